"""What the benchmark suite makes of its figures: goals, ratios between workloads, the summary, the README's lines."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree

import pytest

from bench import report
from bench.__main__ import is_long, is_whole, parse, run_line
from bench.chart import line_chart, share_chart
from bench.fleet import PLANS, Reading, mean
from bench.meters import Cost
from bench.model import WORKLOADS, Figure, Results, Run, select
from bench.parts import Void
from bench.readme import NoFigure, how_fast
from bench.soak import Soak
from bench.suite import takes_part

SECOND = 1_000_000_000


def results_of(runs: list[Run], candidates: tuple[str, ...] = ("limit", "currant")) -> Results:
    workloads = list(dict.fromkeys(run.workload for run in runs))
    settings: dict[str, dict[str, str]] = {name: {} for name in candidates}
    return Results("2026-01-31", 3, False, workloads, list(candidates), {}, {}, settings, runs)


def whole_results(**candidates: float) -> Results:
    """Every figure of every workload, the same number for all figures of a candidate."""
    runs = [
        Run(workload.id, name, 1, workload.items, {figure.key: value for figure in workload.figures})
        for workload in WORKLOADS
        for name, value in candidates.items()
    ]
    return results_of(runs, tuple(candidates))


def workload_of(name: str) -> report.Workload:
    return next(workload for workload in WORKLOADS if workload.id == name)


class TestGoals:
    @pytest.mark.parametrize(("ratio", "met"), [(0.8, True), (0.79, False), (None, None)])
    def test_a_goal_for_a_rate_is_a_least_share_of_the_limit(self, ratio: float | None, met: bool | None) -> None:
        assert Figure("rate", "", "tasks/s", "higher", ">= 0.8").met(1.0, ratio) is met

    @pytest.mark.parametrize(("value", "met"), [(15.0, True), (15.1, False)])
    def test_an_absolute_goal_is_about_the_figure_itself(self, value: float, met: bool) -> None:
        assert Figure("statements", "", "per minute", "lower", "<= 15", absolute=True).met(value, 99.0) is met

    def test_without_a_goal_nothing_is_met_or_missed(self) -> None:
        assert Figure("p95", "", "ms", "lower").met(1.0, 1.0) is None

    def test_a_goal_may_have_a_comma_in_its_number(self) -> None:
        figure = Figure("rate", "", "workflows/s", "higher", ">= 3,000", absolute=True)
        assert (figure.bound, figure.aim) == (3000.0, ">= 3,000 workflows/s")

    def test_every_goal_of_the_suite_has_a_number_and_points_the_way_of_its_figure(self) -> None:
        for figure in (figure for workload in WORKLOADS for figure in workload.figures if figure.goal):
            assert figure.bound > 0
            assert figure.goal.startswith(">=" if figure.better == "higher" else "<=")


class TestFiguresSetBesideOthers:
    def test_the_drain_beside_history_is_set_beside_the_drain_of_the_same_candidate_in_the_same_round(self) -> None:
        results = results_of([])
        for run in (
            Run("W2-1", "currant", 1, 1, {"rate": 100.0}),
            Run("W2-1", "limit", 2, 1, {"rate": 200.0}),
            Run("W2-1", "currant", 2, 1, {"rate": 50.0}),
            Run("W7", "currant", 2, 1, {"rate": 40.0}),
        ):
            results.add(run, workload_of(run.workload))
        assert results.values("W7", "currant", "beside") == [0.8]

    def test_there_is_no_such_figure_when_the_other_turn_was_void(self) -> None:
        results = results_of([])
        results.add(Run("W5-200", "currant", 1, 1, void="it hung"), workload_of("W5-200"))
        results.add(Run("W5-10000", "currant", 1, 1, {"step": 1.0}), workload_of("W5-10000"))
        assert results.values("W5-10000", "currant", "growth") == []
        assert results.values("W5-10000", "currant", "step") == [1.0]

    def test_a_workload_brings_those_that_it_is_set_beside(self) -> None:
        assert [workload.id for workload in select("W7")] == ["W2-1", "W7"]

    def test_what_the_table_calls_a_figure_selects_the_workload_that_has_it(self) -> None:
        assert [workload.id for workload in select("W9")] == ["W2-1", "W4"]
        assert [workload.id for workload in select("W5r-1000")] == ["W5-1000"]


class TestOptionalWorkloads:
    def test_what_takes_long_is_run_only_when_it_is_named(self) -> None:
        assert "W10" not in [workload.id for workload in select(None)]
        assert [workload.id for workload in select("W10")] == ["W10"]
        assert [workload.id for workload in select("memory")] == ["memory-drain", "memory-waiting"]
        assert [workload.id for workload in select("W7-10M")] == ["W2-1", "W7-10M"]

    def test_the_length_of_the_soak_can_be_set(self) -> None:
        (workload,) = parse(["--only", "W10", "--soak-minutes", "5"]).workloads
        assert (workload.items, workload.quick) == (5, 5)

    def test_a_soak_too_short_for_its_open_transaction_is_a_mistake(self, capsys: pytest.CaptureFixture[str]) -> None:
        with pytest.raises(SystemExit):
            parse(["--soak-minutes", "2"])
        assert "--soak-minutes is at least 3" in capsys.readouterr().err

    def test_the_long_result_needs_all_that_takes_long_at_its_length(self) -> None:
        every = ["--only", "W7-10M,W10,W11,soak,memory", "--rounds", "1"]
        assert is_long(parse(every), results_of([]))
        assert not is_long(parse([*every, "--soak-minutes", "5"]), results_of([]))
        assert not is_long(parse(["--only", "W10"]), results_of([]))
        assert not is_long(parse(every), results_of([Run("W10", "currant", 1, 30, void="it hung")]))

    def test_a_void_turn_of_a_peer_leaves_the_result_of_the_others_standing(self) -> None:
        assert is_whole(parse([]), results_of([Run("W4", "a-peer", 1, 1, void="it hung")]))
        assert not is_whole(parse([]), results_of([Run("W4", "limit", 1, 1, void="it hung")]))


class TestWhoTakesPart:
    def test_a_figure_of_the_limit_alone_is_asked_of_no_one_else(self) -> None:
        single = workload_of("W6-single")
        assert (takes_part("limit", single), takes_part("currant", single)) == (True, False)

    def test_currant_takes_part_in_everything_else(self) -> None:
        assert {workload.id for workload in WORKLOADS if not takes_part("currant", workload)} == {"W6-single"}


class TestTable:
    def test_rows_are_in_the_order_of_the_benchmarks_numbers(self) -> None:
        labels = list(dict.fromkeys(row.label for row in report.rows(whole_results(limit=2.0, currant=1.0), "currant")))
        numbers = [report.place(label) for label in labels]
        assert numbers == sorted(numbers)
        assert labels[-2:] == ["memory-drain", "memory-waiting"]

    def test_peers_are_told_in_a_table_of_their_own_with_the_workloads_that_they_can_do(self) -> None:
        results = whole_results(limit=4.0, currant=2.0)
        results.candidates.append("pgqueuer")
        results.settings["pgqueuer"] = {"batch": "10"}
        results.runs.append(Run("W2-1", "pgqueuer", 1, 1, {"rate": 1.5}))
        results.runs.append(Run("W2-2", "pgqueuer", 1, 1, void="it hung"))
        assert report.peer_lines(results) == [
            ("W2-1", "drain, one worker (tasks/s)", "4", "2", "1.5"),
            ("W2-2", "drain, two workers (tasks/s)", "4", "2", "void"),
        ]
        assert "## pgqueuer\n- batch: 10" in report.markdown(results)

    def test_results_are_read_again_as_they_were_written(self, tmp_path: report.Path) -> None:
        results = whole_results(limit=2.0, currant=1.0)
        results.runs[0].series["rss"] = [1.0, 2.0]
        report.write(results, tmp_path)
        assert Results.from_json((tmp_path / "results.json").read_text()) == results

    def test_what_a_turn_has_left_out_is_told(self) -> None:
        run = Run("W10", "currant", 1, 3, {"drain": 30.0}, notes=["no pg_dump ran meanwhile"])
        assert "- W10, currant, round 1: no pg_dump ran meanwhile" in report.markdown(results_of([run]))
        assert run_line(workload_of("W10"), run).endswith("drain 30; no pg_dump ran meanwhile")

    def test_what_was_measured_each_minute_is_a_table_and_a_chart_of_lines(self) -> None:
        series = {"rate": [10.0, 20.0], "p99": [1.0, 3.0]}
        results = results_of([Run("W10", "currant", 1, 2, {"drain": 30.0}, series=series)])
        page = report.markdown(results)
        assert "|  | throughput (tasks/s) | pick-up p99 (ms) |" in page
        assert "| 2 | 20 | 3 |" in page
        assert {"W10", "W10-rate", "W10-p99"} == {drawing.name for drawing in report.charts(results)}


class TestSummary:
    def test_times_are_turned_over_so_that_more_is_better_everywhere(self) -> None:
        results = results_of([Run("W3", "limit", 1, 1, {"p50": 2.0}), Run("W3", "currant", 1, 1, {"p50": 5.0})])
        row = report.rows(results, "currant")[0]
        assert row.share == 0.4
        assert row.share_aimed_at == 0.8

    def test_an_absolute_goal_is_shown_as_a_share_of_this_runs_limit(self) -> None:
        results = results_of([Run("W4", "limit", 1, 1, {"rate": 12_000.0}), Run("W4", "currant", 1, 1, {"rate": 1.0})])
        assert report.rows(results, "currant")[0].share_aimed_at == 0.25

    def test_bars_are_shares_of_the_line_of_bare_sql_and_goals_are_ticks(self) -> None:
        drawing = ElementTree.fromstring(share_chart("a & b", [("W1", 0.5, 0.8), ("W8", 1.0, None)]))
        bars = [float(item.attrib["width"]) for item in drawing if item.tag.endswith("rect")][1:]
        paths = [item.attrib["d"] for item in drawing if item.tag.endswith("path")]
        assert bars[0] == pytest.approx(bars[1] / 2, abs=0.1)
        line, tick = (float(path[1:].split()[0]) for path in paths)
        left = line - bars[1]
        assert tick - left == pytest.approx(0.8 * bars[1], abs=0.2)

    def test_the_summary_shows_no_workload_that_is_run_only_when_named(self) -> None:
        text = report.summary(whole_results(limit=2.0, currant=1.0))
        assert text is not None
        assert "W2-1" in text
        assert "W10" not in text
        assert "memory" not in text

    def test_without_any_figure_there_is_no_summary(self) -> None:
        assert report.summary(results_of([])) is None

    def test_a_line_goes_from_its_first_value_to_its_last_on_a_scale_from_zero(self) -> None:
        drawing = ElementTree.fromstring(line_chart("a", "b", {"currant": [0.0, 10.0, 5.0]}))
        (line,) = (item for item in drawing if item.tag.endswith("polyline"))
        points = [tuple(map(float, point.split(","))) for point in line.attrib["points"].split()]
        (x0, bottom), (x1, top), (x2, middle) = points
        assert x1 - x0 == pytest.approx(x2 - x1, abs=0.2)
        assert middle == pytest.approx((top + bottom) / 2)
        assert top < bottom


class TestHowFast:
    def test_there_are_four_lines_with_ratios_of_the_run(self) -> None:
        lines = how_fast(whole_results(limit=4.0, currant=2.0))
        assert [line.split("**")[1] for line in lines] == ["Enqueue", "Tasks", "Pick-up", "Workflows"]
        assert "drains a queue at 0.50 of the rate of the best batched SQL" in lines[1]
        assert "after 0.5 times what LISTEN and NOTIFY take" in lines[2]

    def test_the_best_of_the_others_is_named_when_some_took_part(self) -> None:
        lines = how_fast(whole_results(limit=8.0, currant=2.0, slow=1.0, quick=4.0))
        assert "(0.50 times quick, the best of 2 others here)" in lines[1]
        assert "(2.00 times slow, the best of 2 others here)" in lines[2]

    def test_a_missing_workload_is_named(self) -> None:
        with pytest.raises(NoFigure, match="beside of currant at W7|statements of currant at W8"):
            how_fast(results_of([Run("W2-1", "currant", 1, 1, {"rate": 1.0})]))


class TestSoak:
    def soak(self) -> Soak:
        plan = Soak(minutes=3, rate=1000.0)
        plan.start = 5 * SECOND
        plan.asked = [second * SECOND for second in (5, 35, 65, 96)]
        plan.others = 2
        plan.waits = [1.0, 2.0, 3.0, 6.0]
        return plan

    def marks(self, plan: Soak, *places: int) -> bytes:
        marks = bytearray(plan.places)
        for place in places:
            marks[place] += 1
        return bytes(marks)

    def test_a_batch_is_what_the_rate_asks_for_between_two_batches(self) -> None:
        assert self.soak().batch == 50

    def test_the_timed_ones_of_a_minute_are_those_that_were_enqueued_in_it(self) -> None:
        plan = self.soak()
        assert [plan.between(number, number + 1) for number in (0, 1, 2)] == [range(2), range(2, 4), range(0)]
        with pytest.raises(Void, match="nothing was enqueued between the minutes 2 and 3"):
            plan.p99(2, 3)

    def test_the_middle_third_is_set_beside_the_first_and_its_second_half_beside_its_first(self) -> None:
        assert self.soak().while_open() == {"before_p99": 2.0, "open_p99": 6.0, "slower": 3.0, "growth": 2.0}

    def test_each_item_that_was_enqueued_once_is_without_fault(self) -> None:
        plan = self.soak()
        assert plan.faults([self.marks(plan, 0, 1, 2, 3, plan.room, plan.room + 1)]) == []

    def test_a_lost_item_a_repeated_one_and_one_that_does_not_exist_are_faults(self) -> None:
        plan = self.soak()
        assert plan.faults([self.marks(plan, 0, 0, 1, 2, 3, plan.room, plan.room + 7)]) == [
            "1 of 6 items never ran (first: 5)",
            "1 of 6 items ran more than once (first: 0, 2 times)",
            "1 marks of items that do not exist",
        ]


class TestFleet:
    def test_there_is_a_plan_for_both_sizes(self) -> None:
        workload = workload_of("W11")
        assert set(PLANS) == {workload.items, workload.quick}
        for plan in PLANS.values():
            assert plan.enqueued <= plan.queues == len(set(plan.names))
            assert plan.drained + plan.drained_by_all < plan.ready

    def test_what_follows_an_enqueue_is_what_there_is_more_of_than_at_rest(self) -> None:
        begin, end, last = (
            Reading(at, {"heartbeat": count}) for at, count in ((10.0, 5.0), (40.0, 65.0), (70.0, 145.0))
        )
        assert begin.each_minute(end, "heartbeat") == 120.0
        assert end.beyond(last, "heartbeat", 120.0) == 20.0

    def test_the_mean_of_statements_is_that_of_those_between_two_readings(self) -> None:
        assert mean((10, 100.0), (14, 110.0)) == 2.5
        assert mean((10, 100.0), (10, 100.0)) == 0.0


class TestCost:
    def test_what_lies_between_two_moments_is_shared_out_over_the_items(self) -> None:
        before, after = Cost(wal=1000, server=1.0, workers=0.5), Cost(wal=5000, server=1.2, workers=0.6)
        found = before.until(after, 1000)
        assert found["wal"] == 4.0
        assert found["server_cpu"] == pytest.approx(200.0)
        assert found["worker_cpu"] == pytest.approx(100.0)
