"""The chaos suite's pure parts: the schedule, the ledger, the verdict, the stalls, the report. A judge who sees nothing is worse than none."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from chaos import arena as arena_module
from chaos import ledger, report, stalls, verdict
from chaos.__main__ import arguments
from chaos.arena import Arena
from chaos.battle import Outcome
from chaos.facts import Facts, Record, Row, Signal, Wait
from chaos.faults import FAULTS, Struck
from chaos.fleet import Slot
from chaos.ledger import Attempt
from chaos.load import PROMISED, UNKNOWN, UNSAID, WITHDRAWN, Book, Order
from chaos.naive import RULES, Rule
from chaos.restart import recovery
from chaos.schedule import KINDS, Strike, plan
from chaos.stalls import Stalls, longest_gap, measure
from support import CHECKOUT


def row(tag: str, state: str = "completed", **given: object) -> Row:
    row = Row(f"id-{tag}", tag, "double", "task", state, None, 1, 0, 0, False, 4, "")
    return replace(row, **given)


def attempt(tag: str, begin: float, end: float | None = None, number: int = 1, pid: int = 1) -> Attempt:
    return Attempt(f"id-{tag}", number, "double", tag, pid, begin, end)


def good() -> Facts:
    """One order that was promised, ran once, was recorded once, and has its result."""
    book = Book([Order("a", "double", 4, PROMISED, "id-a")])
    return Facts(book, [attempt("a", 1.0, 2.0)], [row("a")], [Record("id-a", "completed", 1, 2.1)])


def complaints(facts: Facts) -> dict[str, list[str]]:
    return {rule: found for rule, found in verdict.judge(facts).complaints.items() if found}


class TestSchedule:
    def test_a_seed_always_gives_the_same_plan_and_another_seed_another(self) -> None:
        kinds = list(KINDS)
        assert plan(7, 60, kinds) == plan(7, 60, kinds) == plan(7, 60, kinds[::-1])
        assert plan(7, 60, kinds) != plan(8, 60, kinds)

    def test_every_kind_strikes_before_one_strikes_again(self) -> None:
        counts = Counter(strike.kind for strike in plan(3, 300, list(KINDS)))
        assert set(counts) == set(KINDS)
        assert max(counts.values()) - min(counts.values()) <= 1

    def test_strikes_come_in_order_within_the_time_and_last_as_long_as_their_kind(self) -> None:
        strikes = plan(5, 90, list(KINDS))
        assert [strike.at for strike in strikes] == sorted(strike.at for strike in strikes)
        for strike in strikes:
            least, most = KINDS[strike.kind].lasts
            assert 0 < strike.at < 90
            assert least <= strike.lasts <= most

    def test_every_kind_can_be_struck(self) -> None:
        assert set(FAULTS) == set(KINDS)

    def test_only_the_kinds_that_were_asked_for_strike(self) -> None:
        assert {strike.kind for strike in plan(1, 60, ["kill"])} == {"kill"}
        assert plan(1, 60, []) == []


class FakeRelay:
    """Leads to a port, without listening anywhere."""

    def __init__(self, upstream: int) -> None:
        self.upstream, self.port = upstream, upstream + 1

    async def open(self) -> None:
        """As if it listened."""


class TestArena:
    @pytest.fixture
    def arena(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Arena:
        """An arena of which nothing runs."""
        ports = iter([5001, 5002])
        monkeypatch.setattr(arena_module, "Disk", lambda home: SimpleNamespace(home=home, refusal="not root"))
        monkeypatch.setattr(arena_module, "Server", lambda home: SimpleNamespace(home=home, port=next(ports)))
        monkeypatch.setattr(arena_module, "Relay", FakeRelay)
        return Arena(tmp_path)

    async def place_workers(self, arena: Arena) -> dict[str, Slot]:
        for name in arena._places():
            await arena._add(name, {})
        await arena.extra_slot("extra-1")
        return {slot.name: slot for slot in arena.fleet.slots}

    async def test_a_fail_over_moves_the_way_of_every_worker_when_there_is_no_pooler(self, arena: Arena) -> None:
        slots = await self.place_workers(arena)
        assert {slot.relay.upstream for slot in slots.values()} == {arena.primary.port}
        assert "pgbouncer" not in slots["pooled"].url
        assert {id(slot.relay) for slot in slots.values()} <= {id(relay) for relay in arena.to_primary}

    async def test_with_a_pooler_its_own_way_is_moved_and_that_of_the_worker_behind_it_is_not(
        self, arena: Arena
    ) -> None:
        arena.pooler = SimpleNamespace(port=6432)  # type: ignore[assignment]
        slots = await self.place_workers(arena)
        assert slots["pooled"].relay.upstream == 6432
        assert "pgbouncer=true" in slots["pooled"].url
        moved = {id(relay) for relay in arena.to_primary}
        assert id(arena.pooled) in moved
        assert [slot.name for slot in slots.values() if id(slot.relay) not in moved] == ["pooled"]

    def test_what_cannot_be_struck_says_how_it_could(self, arena: Arena, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(arena_module, "PROGRAM", None)
        monkeypatch.setattr(arena_module, "FAKETIME", None)
        assert set(arena.missing) == {"disk", "skew", "pooler"}
        assert arena.missing["pooler"] == "PgBouncer is not installed: apt-get install pgbouncer"
        assert arena._places()["skewed"] == {}


class TestLedger:
    def test_attempts_are_read_in_the_order_of_their_begin_with_the_ends_that_they_had(self, tmp_path: Path) -> None:
        (tmp_path / "ledger").write_text(
            "begin x 1 double a 7 1000000000\n"
            "begin y 1 double b 7 1500000000\n"
            "raised y 1 double b 7 1700000000\n"
            "end x 1 double a 7 2000000000\n"
            "begin y 2 double b 8 2500000000\n"
        )
        first, second, third = ledger.read(tmp_path / "ledger")
        assert first == Attempt("x", 1, "double", "a", 7, 1.0, 2.0)
        assert second == Attempt("y", 1, "double", "b", 7, 1.5, 1.7, raised=True)
        assert third == Attempt("y", 2, "double", "b", 8, 2.5)

    def test_no_ledger_is_an_empty_one(self, tmp_path: Path) -> None:
        assert ledger.read(tmp_path / "none") == []


class TestVerdict:
    def test_nothing_speaks_against_what_went_well(self) -> None:
        assert complaints(good()) == {}
        assert verdict.judge(good()).passed

    def test_what_was_promised_and_is_not_there_is_lost(self) -> None:
        facts = good()
        facts.book.orders.append(Order("b", "double", 4, PROMISED))
        assert complaints(facts) == {"lost": ["b was promised and is not there"]}

    def test_what_was_not_promised_may_be_there_once(self) -> None:
        facts = good()
        facts.book.orders.append(Order("b", "double", 4, UNKNOWN))
        assert complaints(facts) == {}

    def test_two_executions_of_one_order_are_found(self) -> None:
        facts = good()
        facts.rows = [row("a"), row("a")]
        assert complaints(facts) == {"twice": ["a is there 2 times"]}

    def test_an_outcome_that_was_recorded_twice_is_found(self) -> None:
        facts = good()
        facts.records = [*facts.records, Record("id-a", "completed", 1, 2.2)]
        assert list(complaints(facts)) == ["twice"]

    def test_a_detached_start_that_came_twice_is_found(self) -> None:
        facts = good()
        detached = [row("a/detached", id=id) for id in ("d-1", "d-2")]
        facts.rows = [*facts.rows, *detached]
        facts.attempts = [*facts.attempts, *(replace(attempt("a/detached", 1.0, 2.0), id=one.id) for one in detached)]
        assert complaints(facts) == {"twice": ["a/detached was started 2 times"]}

    @pytest.mark.parametrize(("customers", "rows"), [(frozenset({"a"}), []), (frozenset(), [row("a")])])
    def test_half_a_transaction_is_found(self, customers: frozenset[str], rows: list[Row]) -> None:
        facts = good()
        facts.book.orders[0] = Order("a", "double", 4, UNKNOWN, transactional=True)
        facts.rows, facts.customers = rows, customers
        assert list(complaints(facts)) == ["lost"]

    def test_what_was_rolled_back_and_is_there_is_found(self) -> None:
        facts = good()
        facts.book.orders[0].fate = WITHDRAWN
        assert list(complaints(facts)) == ["twice"]

    def test_an_attempt_that_begins_after_its_outcome_was_recorded_is_found(self) -> None:
        facts = good()
        facts.attempts = [*facts.attempts, attempt("a", 3.0, 4.0, number=2)]
        assert list(complaints(facts)) == ["recorded step run again"]

    def test_what_may_not_be_started_twice_and_was_is_found(self) -> None:
        facts = good()
        once = replace(attempt("a", 1.0), function="at_most_once")
        facts.book.orders[0].kind = "at_most_once"
        facts.rows = [row("a", "failed", error="WorkerLost: gone")]
        facts.records = [Record("id-a", "failed", 1, 2.1)]
        facts.attempts = [replace(once, begin=3.0)]
        assert complaints(facts) == {}, "a zombie that starts late starts it once"
        facts.attempts = [once, replace(once, number=2, begin=1.5)]
        assert list(complaints(facts)) == ["at most once"]

    def test_a_zombie_that_had_claimed_it_before_is_counted_not_blamed(self) -> None:
        facts = good()
        facts.rows, facts.records = [row("a", attempt=2)], [Record("id-a", "completed", 2, 2.1)]
        facts.attempts = [*facts.attempts, attempt("a", 3.0, 4.0, number=1)]
        assert complaints(facts) == {}
        assert verdict.superseded(facts) == 1

    @pytest.mark.parametrize(
        "bad",
        [row("a", result=5), row("a", "failed", error="WorkerLost"), row("a", "cancelled"), row("a", epoch=1)],
        ids=["result", "failed", "cancelled", "started anew"],
    )
    def test_a_wrong_end_is_found(self, bad: Row) -> None:
        facts = good()
        facts.rows = [bad]
        assert list(complaints(facts)) == ["wrong"]

    def test_what_is_completed_and_never_ran_is_found(self) -> None:
        facts = good()
        facts.attempts = []
        assert list(complaints(facts)) == ["wrong"]

    def test_what_somebody_cancelled_may_be_cancelled(self) -> None:
        facts = good()
        facts.book.orders[0].cancelled = True
        facts.rows = [row("a", "cancelled")]
        assert complaints(facts) == {}

    @pytest.mark.parametrize(("kind", "result"), [("race", [0, 2, 2]), ("chance", [3, 6, 4, 9])])
    def test_results_that_cannot_be(self, kind: str, result: list[int]) -> None:
        facts = good()
        facts.book.orders[0] = Order("a", kind, UNSAID, PROMISED)
        facts.rows = [row("a", result=result)]
        assert list(complaints(facts)) == ["wrong"]

    def test_what_has_not_ended_is_stuck(self) -> None:
        facts = good()
        facts.rows = [row("a"), row("a/0", "suspended", parent="id-a", held=True)]
        (found,) = complaints(facts)["stuck"]
        assert "below a" in found
        assert "held" in found

    def test_a_timer_that_fires_early_is_found_also_when_a_zombie_ran_the_step_before_it_once_more(self) -> None:
        facts = good()
        facts.book.orders[0].seconds = 2.0
        before = [attempt("a/before", 1.0, 1.1), attempt("a/before", 1.0, 4.0)]
        facts.attempts = [*facts.attempts, *before, attempt("a/after", 2.5, 2.6)]
        assert complaints(facts) == {"early": ["a slept 1.400 s instead of 2.0 s"]}
        facts.attempts = [*facts.attempts[:-1], attempt("a/after", 3.2, 3.3)]
        assert complaints(facts) == {}

    def test_what_others_found_is_passed_on(self) -> None:
        facts = good()
        facts.locks, facts.deserters = ["a session waits"], ["a worker ended"]
        facts.book.complaints.append("seen")
        assert list(complaints(facts)) == ["locks", "workers", "seen by customers"]


class TestSignals:
    def facts(self, sent: list[int], signals: list[Signal], result: list[int | None]) -> Facts:
        book = Book([Order("a", "signalled", UNSAID, PROMISED, sent=sent)])
        waits = [Wait("id-a", one.consumed_by, "completed", 1) for one in signals if one.consumed_by is not None]
        return Facts(book, (), [row("a", kind="workflow", result=result)], (), signals, waits)

    def signal(self, number: int, consumed_by: str | None = None) -> Signal:
        return Signal("id-a", "go", number, number, consumed_by, "completed" if consumed_by else None)

    def test_each_once_in_order_or_a_time_out_is_right(self) -> None:
        heard = [self.signal(0, "0"), self.signal(1, "2"), self.signal(2)]
        assert complaints(self.facts([0, 1, 2], heard, [0, None, 1])) == {}

    def test_one_that_was_promised_and_is_not_there(self) -> None:
        assert list(complaints(self.facts([0, 1], [self.signal(0, "0")], [0, None, None]))) == ["signals"]

    def test_one_that_is_there_twice(self) -> None:
        again = replace(self.signal(0, "2"), ordinal=2)
        assert list(complaints(self.facts([0], [self.signal(0, "0"), again], [0, 0, None]))) == ["signals"]

    def test_one_that_was_consumed_and_not_heard(self) -> None:
        assert list(complaints(self.facts([0], [self.signal(0, "0")], [None, None, None]))) == ["signals"]

    @pytest.mark.parametrize(("status", "count"), [("timeout", 1), ("completed", 0), ("completed", 2)])
    def test_a_wait_that_has_both_or_none(self, status: str, count: int) -> None:
        facts = good()
        facts.waits = [Wait("id-a", "0", status, count)]
        assert list(complaints(facts)) == ["signals"]

    def test_a_workflows_own_signal_that_came_twice(self) -> None:
        facts = good()
        facts.book.orders[0] = Order("a", "listener", UNSAID, PROMISED)
        facts.signals = [self.signal(0), self.signal(0)]
        assert list(complaints(facts)) == ["signals"]


class TestStalls:
    def struck(self, begin: float, end: float, *victims: int) -> Struck:
        return Struck(Strike(begin, "kill", 0.0, 0), begin, end, list(victims))

    def test_the_longest_gap_within_the_bounds(self) -> None:
        ends = [0.0, 1.0, 4.0, 4.5, 20.0]
        assert longest_gap(ends, 0.5, 5.0) == pytest.approx(15.5)  # it begins within them
        assert longest_gap(ends, 2.0, 4.1) == pytest.approx(2.0)  # what was before the strike is not its fault
        assert longest_gap(ends, 21.0, 30.0) == 0.0

    def test_what_a_victim_left_undone_is_followed_until_it_begins_again(self) -> None:
        frozen = [attempt("c", 1.0, 7.0, pid=7), attempt("c", 5.0, 5.1, number=2, pid=8)]
        finished = [attempt("b", 1.0, 1.5, pid=7), attempt("b", 9.0, 9.5, number=2, pid=8)]
        attempts = [attempt("a", 1.0, None, pid=7), *frozen, *finished, attempt("a", 6.0, 6.1, pid=8)]
        assert measure([self.struck(2.0, 2.5, 7)], attempts)["kill"].resumed == pytest.approx(4.0)
        assert measure([self.struck(2.0, 2.5, 8)], attempts)["kill"].resumed == 0.0

    def test_what_a_victim_cut_short_itself_is_counted_from_then_on(self) -> None:
        handed_back = replace(attempt("a", 1.0, 8.0, pid=7), raised=True)
        rolling = self.struck(2.0, 9.0, 7)
        assert stalls.resumed(rolling, [handed_back, attempt("a", 8.5, 8.6, pid=8)]) == pytest.approx(0.5)

    def test_the_worst_of_a_kind_counts(self) -> None:
        attempts = [attempt("a", 0.0, 1.0), attempt("b", 0.0, 3.0), attempt("c", 0.0, 40.0), attempt("d", 0.0, 41.0)]
        found = measure([self.struck(0.5, 0.6), self.struck(2.5, 2.6)], attempts)["kill"]
        assert found.struck == 2
        assert found.stall == pytest.approx(37.0)

    def test_a_stall_that_begins_after_the_next_strike_is_not_the_earlier_ones(self) -> None:
        attempts = [attempt("a", 0.0, 1.0), attempt("b", 0.0, 3.0), attempt("c", 0.0, 9.0)]
        cut = Struck(Strike(2.5, "cut", 0.0, 0), 2.5, 2.6)
        found = measure([cut, self.struck(0.5, 0.6)], attempts)
        assert found["kill"].stall == pytest.approx(2.0)
        assert found["cut"].stall == pytest.approx(6.0)


class TestReport:
    def outcome(self, seed: int, facts: Facts) -> Outcome:
        names = ("orders", "executions", "attempts", "take-overs", "signals", "seen", "superseded")
        struck = [Struck(Strike(1.0, "kill", 0.5, 3), 1.0, 2.0)]
        found = {"kill": Stalls(1, 2.5, 3.5)}
        counts = dict.fromkeys(names, 1)
        return Outcome(seed, 20.0, verdict.judge(facts), struck, {"disk": "not root"}, counts, found, 1.5)

    def failed(self) -> Facts:
        facts = good()
        facts.rows = [row("a", "running")]
        return facts

    def test_the_table_says_what_struck_and_aloud_what_could_not(self) -> None:
        table = report.markdown([self.outcome(1, good()), self.outcome(2, self.failed())])
        assert "| SIGKILL of a worker | 2 | 2.5 | 3.5 |" in table
        assert "| disk of the server full | **NOT STRUCK HERE: not root** | | |" in table
        assert "| complaints: stuck | 1 |" in table
        assert "| failed seeds | 2 |" in table

    def test_a_failed_seed_says_how_to_strike_it_again(self) -> None:
        lines = report.complaints(self.outcome(2, self.failed()))
        assert "  again: python -m chaos --seed 2 --seconds 20" in lines
        assert "FAILED" in report.summary(self.outcome(2, self.failed()))
        assert report.complaints(self.outcome(1, good())) == []

    def test_the_json_has_every_strike_and_complaint(self) -> None:
        (found,) = json.loads(report.as_json([self.outcome(2, self.failed())]))
        assert found["seed"] == 2
        assert found["passed"] is False
        assert list(found["complaints"]) == ["stuck"]
        assert [strike["kind"] for strike in found["strikes"]] == ["kill"]


def test_one_seed_or_many_and_no_unknown_fault(capsys: pytest.CaptureFixture[str]) -> None:
    assert arguments(["--seeds", "20"]).kinds == list(KINDS)
    assert arguments(["--seed", "7", "--faults", "kill,cut"]).kinds == ["kill", "cut"]
    with pytest.raises(SystemExit) as ended:
        arguments(["--faults", "earthquake"])
    assert ended.value.code == 2
    assert "earthquake" in capsys.readouterr().err


class TestNaive:
    @pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.function + ": " + rule.title.partition(":")[0])
    def test_what_is_taken_out_is_there(self, rule: Rule) -> None:
        assert rule.text in (CHECKOUT / "migrations" / "functions" / f"{rule.function}.sql").read_text()
        assert set(rule.shows) <= set(verdict.judge(good()).complaints)


class TestRecovery:
    def samples(self, *rates: int) -> list[tuple[float, int]]:
        """So many tasks in each second, sampled four times a second."""
        samples, done = [(0.0, 0)], 0
        for second, rate in enumerate(rates):
            samples += [(second + quarter / 4, done + rate * quarter // 4) for quarter in range(1, 5)]
            done += rate
        return samples

    def test_throughput_is_back_when_a_second_reaches_nine_tenths_of_what_was_before(self) -> None:
        found = recovery(self.samples(100, 100, 0, 0, 40, 80, 100, 100), crash=2.0, returned=3.0, again=7)
        assert (found.before, found.down, found.again) == (100, 1, 7)
        assert found.back == pytest.approx(2.5)  # half of a second of 80 and half of one of 100
        assert found.after == pytest.approx(96, abs=1)
        assert "90% of the throughput before was back 2.5 s after the server's return" in found.line

    def test_throughput_that_never_comes_back_is_no_recovery(self) -> None:
        with pytest.raises(ValueError, match="did not reach 90%"):
            recovery(self.samples(100, 100, 0, 50, 50, 50), crash=2.0, returned=3.0, again=0)


def test_gaps_need_two_ends() -> None:
    assert stalls.longest_gap([], 0.0, 1.0) == 0.0
