"""The benchmark suite's pure parts: the board, the statistics, the order of turns, the table and the charts."""

from __future__ import annotations

import json
import re
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest

from bench import report
from bench.__main__ import is_whole, parse
from bench.board import Board, Boards, faults, repeats
from bench.chart import bar_chart, number
from bench.model import WORKLOADS, Results, Run, select
from bench.stats import Summary, order_of, percentile, ratio
from bench.suite import Answer, plans, read_answer, without_paths


def results_of(runs: list[Run], rounds: int = 3) -> Results:
    workloads = list(dict.fromkeys(run.workload for run in runs))
    settings: dict[str, dict[str, str]] = {"limit": {"drain": "bare SQL"}, "currant": {"concurrency": "100 (default)"}}
    return Results("2026-01-31", rounds, False, workloads, ["limit", "currant"], {"cores": "2"}, {}, settings, runs)


def drain_runs(limit: list[float], currant: list[float]) -> list[Run]:
    return [
        Run("W2-1", name, round_number, 100, {"rate": rate})
        for name, rates in (("limit", limit), ("currant", currant))
        for round_number, rate in enumerate(rates, 1)
    ]


class TestBoard:
    def test_a_mark_is_seen_by_another_process_that_opens_the_same_board(self, tmp_path: Path) -> None:
        worker = Board(tmp_path / "1.board", 3, create=True)
        worker.start()
        worker.mark(2)
        worker.mark_time(0)
        (judge,) = Boards(tmp_path, 3, 1).open()
        assert (judge.count, judge.marks) == (2, b"\1\0\1")
        assert judge.started > 0
        assert judge.times[0] >= judge.started
        assert judge.times[1:] == [0, 0]

    def test_a_board_that_is_still_being_made_is_not_opened(self, tmp_path: Path) -> None:
        (tmp_path / "1.new").touch()
        assert Boards(tmp_path, 3, 1).open() == []

    def test_the_time_of_the_first_run_stays_when_an_item_runs_again(self, tmp_path: Path) -> None:
        board = Board(tmp_path / "1.board", 1, create=True)
        board.mark_time(0)
        first = board.times
        board.mark_time(0)
        assert board.times == first
        assert board.marks == b"\2"

    def test_an_index_beyond_the_board_is_refused(self, tmp_path: Path) -> None:
        board = Board(tmp_path / "1.board", 1, create=True)
        with pytest.raises(IndexError):
            board.mark(1)
        assert board.count == 0

    def test_items_spread_over_two_workers_are_without_fault(self) -> None:
        assert faults([b"\1\0\1", b"\0\1\0"], 3) == []

    def test_an_item_that_no_worker_ran_is_a_fault(self) -> None:
        assert faults([b"\1\0\0"], 3) == ["2 of 3 items never ran (first: 1)"]

    def test_an_item_that_two_workers_ran_is_a_fault(self) -> None:
        assert faults([b"\1\1", b"\0\1"], 2) == ["1 of 2 items ran more than once (first: 1, 2 times)"]

    def test_an_item_that_has_not_run_yet_is_no_repeat(self) -> None:
        assert repeats([b"\1\0", b"\0\0"], 2) == []
        assert repeats([b"\1\0", b"\1\0"], 2) == ["1 of 2 items ran more than once (first: 0, 2 times)"]

    def test_without_any_board_every_item_is_missing(self) -> None:
        assert faults([], 2) == ["2 of 2 items never ran (first: 0)"]


class TestStatistics:
    def test_the_summary_of_three_rounds_is_the_middle_one_with_the_extremes(self) -> None:
        assert Summary.of([30.0, 10.0, 11.0]) == Summary(11.0, 10.0, 30.0, 3)

    def test_there_is_no_summary_of_nothing(self) -> None:
        assert Summary.of([]) is None

    def test_percentiles_are_values_that_were_measured(self) -> None:
        values = [float(value) for value in range(200, 0, -1)]
        assert [percentile(values, percent) for percent in (50, 95, 99, 100)] == [100.0, 190.0, 198.0, 200.0]
        assert percentile([7.0], 1) == 7.0

    @pytest.mark.parametrize(("values", "percent"), [([], 50), ([1.0], 0), ([1.0], 101)])
    def test_a_percentile_that_does_not_exist_is_refused(self, values: list[float], percent: float) -> None:
        with pytest.raises(ValueError, match="percentile"):
            percentile(values, percent)

    def test_the_ratio_is_the_candidates_median_in_units_of_the_limits(self) -> None:
        assert ratio(Summary.of([20.0, 30.0, 99.0]), Summary.of([60.0])) == 0.5

    @pytest.mark.parametrize("limit", [None, Summary(0.0, 0.0, 0.0, 3)])
    def test_there_is_no_ratio_to_nothing(self, limit: Summary | None) -> None:
        assert ratio(Summary.of([1.0]), limit) is None


class TestPlan:
    def test_every_other_round_has_the_candidates_reversed(self) -> None:
        assert [order_of(["a", "b", "c"], number) for number in (1, 2, 3)] == [
            ["a", "b", "c"],
            ["c", "b", "a"],
            ["a", "b", "c"],
        ]

    def test_candidates_take_turns_within_each_workload(self) -> None:
        todo = plans(select("W2-1,W4"), ["limit", "currant"], 2, quick=False)
        assert [(plan.round, plan.workload.id, plan.candidate) for plan in todo] == [
            (1, "W2-1", "limit"),
            (1, "W2-1", "currant"),
            (1, "W4", "limit"),
            (1, "W4", "currant"),
            (2, "W2-1", "currant"),
            (2, "W2-1", "limit"),
            (2, "W4", "currant"),
            (2, "W4", "limit"),
        ]

    def test_a_quick_run_has_the_small_sizes(self) -> None:
        workload = select("W2-1")[0]
        assert plans([workload], ["limit"], 1, quick=True)[0].items == workload.quick < workload.items

    def test_a_group_selects_all_its_workloads_in_the_suites_order(self) -> None:
        assert [workload.id for workload in select("W3,W1")] == ["W1-seq", "W1-conc", "W1-bulk", "W3"]

    @pytest.mark.parametrize("only", ["W99", "W2,W99", "", ","])
    def test_an_unknown_workload_is_a_mistake_that_names_what_there_is(self, only: str) -> None:
        with pytest.raises(ValueError, match="W1-bulk"):
            select(only)

    @pytest.mark.parametrize("arguments", [[], ["--rounds", "5"]])
    def test_a_whole_clean_run_stands_as_the_result(self, arguments: list[str]) -> None:
        assert is_whole(parse(arguments), results_of(drain_runs([2.0], [1.0])))

    @pytest.mark.parametrize(
        "arguments", [["--quick"], ["--rounds", "2"], ["--only", "W2"], ["--quick", "--rounds", "3"]]
    )
    def test_a_part_of_a_run_does_not_replace_the_result(self, arguments: list[str]) -> None:
        assert not is_whole(parse(arguments), results_of(drain_runs([2.0], [1.0])))

    def test_a_run_with_a_void_turn_does_not_replace_the_result(self) -> None:
        assert not is_whole(parse([]), results_of([Run("W2-1", "currant", 1, 100, void="1 of 100 items never ran")]))


class TestAnswerOfATurn:
    def test_figures_are_read_from_the_last_line(self) -> None:
        answer = read_answer('a warning\n{"values": {"rate": 5.0}, "series": {"rss": [1.0]}}\n')
        assert answer == Answer({"rate": 5.0}, {"rss": [1.0]})

    def test_what_was_left_out_is_read(self) -> None:
        answer = read_answer('{"values": {"rate": 5.0}, "series": {}, "notes": ["no pg_dump ran"]}')
        assert answer == Answer({"rate": 5.0}, notes=["no pg_dump ran"])

    def test_the_reason_why_it_is_void_is_read(self) -> None:
        assert read_answer('{"void": "2 of 3 items never ran"}') == Answer(void="2 of 3 items never ran")

    @pytest.mark.parametrize("output", ["", "Killed", "{}", "[1]", '{"other": 1}'])
    def test_anything_else_is_no_answer(self, output: str) -> None:
        assert read_answer(output) is None

    def test_a_reason_is_published_without_the_directories_of_this_machine(self) -> None:
        checkout = Path(report.__file__).resolve().parent.parent
        assert without_paths(f'File "{checkout}/bench/turn.py", line 1') == 'File "./bench/turn.py", line 1'


class TestReport:
    def test_the_table_has_medians_ratio_aim_and_extremes(self) -> None:
        results = results_of(drain_runs([30_000.0, 10_000.0, 20_000.0], [5_000.0, 9_000.0, 8_000.0]))
        assert [row.cells for row in report.rows(results, "currant")] == [
            (
                "W2-1",
                "drain, one worker (tasks/s)",
                "20,000",
                "8,000",
                "0.4",
                ">= 0.33",
                "yes",
                "10,000..30,000",
                "5,000..9,000",
            )
        ]

    def test_a_void_round_does_not_count_and_is_told(self) -> None:
        runs = drain_runs([10.0, 10.0], [5.0])
        runs.append(Run("W2-1", "currant", 2, 100, void="1 of 100 items never ran (first: 7)"))
        text = report.markdown(results_of(runs, rounds=2))
        assert "| W2-1 | drain, one worker (tasks/s) | 10 | 5 | 0.5 |" in text
        assert "**void**: W2-1, currant, round 2: 1 of 100 items never ran (first: 7)" in text

    def test_a_workload_whose_rounds_are_all_void_shows_no_figure(self) -> None:
        runs = [*drain_runs([10.0], []), Run("W2-1", "currant", 1, 100, void="it hung")]
        (row,) = report.rows(results_of(runs), "currant")
        assert row.cells[3:5] == ("void", "-")

    def test_results_json_holds_every_run(self, tmp_path: Path) -> None:
        results = results_of(drain_runs([10.0, 11.0], [5.0, 6.0]))
        report.write(results, tmp_path)
        stored = json.loads((tmp_path / "results.json").read_text())
        assert [(run["candidate"], run["values"]["rate"]) for run in stored["runs"]] == [
            ("limit", 10.0),
            ("limit", 11.0),
            ("currant", 5.0),
            ("currant", 6.0),
        ]

    def test_every_picture_in_the_page_is_written_and_is_valid_xml(self, tmp_path: Path) -> None:
        figures = {figure.key: 1.5 for workload in WORKLOADS for figure in workload.figures}
        runs = [Run(work.id, name, 1, 10, figures) for work in WORKLOADS for name in ("limit", "currant")]
        report.write(results_of(runs), tmp_path)
        page = (tmp_path / "RESULTS.md").read_text()
        pictures = re.findall(r"\(charts/(.+)\.svg\)", page)
        assert {"summary", "W9-cpu", "W9-wal", "W5r-10000"} | {workload.id for workload in WORKLOADS} <= set(pictures)
        for picture in pictures:
            assert ElementTree.parse(tmp_path / "charts" / f"{picture}.svg").getroot().tag.endswith("svg")

    def test_bars_are_as_long_as_their_medians(self) -> None:
        drawing = ElementTree.fromstring(
            bar_chart(
                "a & b",
                "x",
                [("one", "one", Summary(50.0, 50.0, 50.0, 1)), ("two", "two", Summary(100.0, 99.0, 101.0, 3))],
            )
        )
        bars = [element for element in drawing if element.tag.endswith("rect")][1:]
        widths = [float(bar.attrib["width"]) for bar in bars]
        assert widths[1] == pytest.approx(2 * widths[0], abs=0.2)

    @pytest.mark.parametrize(("value", "text"), [(41_234.4, "41,234"), (1.8571, "1.86"), (0.0, "0"), (100.2, "100")])
    def test_numbers_have_three_figures_at_least(self, value: float, text: str) -> None:
        assert number(value) == text
