"""The order of locks (docs/internals/locks.md): every two statements that can meet are stepped against each other, and none deadlocks.

The idea is that of Postgres's isolation tester. A third session holds one row, so that the first statement stops in the middle, with
the locks that it has by then; the second runs until it ends or waits; then the row is let go. All is rolled back: each pair finds the
same rows.
"""

from __future__ import annotations

import itertools
import select
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from queue import SimpleQueue
from typing import Any

import psycopg
import pytest
from psycopg.pq import ExecStatus

from currant.rust_bridge import RustBridge
from support import AT_MIDNIGHT, eventually

# So many databases at once: a meeting is mostly waiting.
BENCHES = 4

W1, W2 = (f"00000000-0000-0000-0000-0000000000{n:02}" for n in (1, 2))
# Children before and after their run by id, since both happen.
LOW, RUN, HIGH, QUEUED, FAILED, FAILED_STEP, OLD_STEP, OLD, SCHEDULED, SUSPENDED, PARKED = (
    f"01900000-0000-7000-8000-0000000000{n:02}" for n in range(1, 12)
)
SCHEDULE = "02900000-0000-7000-8000-000000000001"

ROWS = f"""
insert into currant.workers (id, name, queues, tasks, workflows, last_heartbeat, pod_uid) values
    ('{W1}', 'w1', '{{q}}', '{{f.task}}', '{{f.run}}', '-infinity', 'pod-1'), ('{W2}', 'w2', '{{q}}', '{{f.task}}', '{{f.run}}', '-infinity', null);
insert into currant.definitions (function, owner, concurrency_limit, runs_marked, retention, item) values
    ('f.task', 'o', 5, true, null, '{{}}'), ('f.old', 'o', null, true, 1, '{{}}');
create temporary table given (like currant.executions including defaults);
insert into given (id, root_id, parent_id, parent_epoch, step_key, kind, function, queue, state, worker_id, lease, attempt,
    started_at, finished_at, result, error, defined, has_permit, awaiting_permit, seq, clock, run_at, schedule_id, fire_time, args) values
    ('{RUN}', '{RUN}', null, null, null, 'workflow', 'f.run', 'q', 'running', '{W1}', 1, 1, now(), null, null, null, false, false, false, null, null, null, null, null, ''),
    ('{LOW}', '{RUN}', '{RUN}', 0, '0', 'task', 'f.task', 'q', 'running', '{W1}', 1, 1, now(), null, null, null, true, true, false, null, null, null, null, null, ''),
    ('{HIGH}', '{RUN}', '{RUN}', 0, '1', 'task', 'f.task', 'q', 'running', '{W2}', 1, 1, now(), null, null, null, true, true, false, null, null, null, null, null, ''),
    ('{QUEUED}', '{RUN}', '{RUN}', 0, '2', 'task', 'f.other', 'q', 'pending', null, 0, 0, null, null, null, null, false, false, false, null, null, null, null, null, ''),
    ('{FAILED}', '{FAILED}', null, null, null, 'workflow', 'f.run', 'q', 'failed', '{W1}', 1, 1, now(), now(), null, '{{}}', false, false, false, null, null, null, null, null, ''),
    ('{FAILED_STEP}', '{FAILED}', '{FAILED}', 0, '0', 'task', 'f.other', 'q', 'failed', '{W1}', 1, 1, now(), now(), null, '{{}}', false, false, false, 1, 1, null, null, null, ''),
    ('{OLD}', '{OLD}', null, null, null, 'workflow', 'f.old', 'q', 'completed', '{W1}', 1, 1, now(), now() - interval '1 h', '1', null, true, false, false, null, null, null, null, null, ''),
    ('{OLD_STEP}', '{OLD}', '{OLD}', 0, '0', 'task', 'f.other', 'q', 'completed', '{W1}', 1, 1, now(), now() - interval '1 h', '1', null, false, false, false, 1, 1, null, null, null, ''),
    ('{SCHEDULED}', '{SCHEDULED}', null, null, null, 'workflow', 'f.run', 'q', 'running', '{W1}', 1, 1, now(), null, null, null, false, false, false, null, null, null, '{SCHEDULE}', now() - interval '1 h', ''),
    ('{SUSPENDED}', '{SUSPENDED}', null, null, null, 'workflow', 'f.run', 'q', 'suspended', null, 1, 1, now(), null, null, null, false, false, false, null, null, now(), null, null, ''),
    ('{PARKED}', '{PARKED}', null, null, null, 'task', 'f.task', 'q', 'pending', null, 0, 0, null, null, null, null, true, false, true, null, null, null, null, null, '');
update given set ready_xid = case when state = 'pending' and run_at is null then currant.xid() end,
    suspended_at = case when state = 'suspended' then now() end, claim_xid = case when state = 'running' then 1 end,
    defined_state = case when defined then state end, defined_end = case when defined then finished_at end,
    open_schedule = case when finished_at is null then schedule_id end;
insert into currant.executions select * from given;
drop table given;
insert into currant.claims (worker_id, xid, executions, unended)
    select worker_id, 1, array_agg(id), count(*) from currant.executions where state = 'running' group by worker_id;
insert into currant.schedules (id, function, name, owner, cron, time_zone, args, overlap, catch_up, jitter, suspended, definition_suspended, next_fire_at, due_at)
    values ('{SCHEDULE}', 'f.task', 's', 'o', '* * * * *', 'UTC', '{{}}', 'Replace', 'Last', 0, false, false, now(), now());
insert into currant.idempotency_keys (function, key, execution_id) values ('f.other', 'k', '{OLD}');
insert into currant.signals (execution_id, ordinal, name, payload) values ('{OLD}', 1, 's', '1');
"""

DECISION = f"""[{{"id": "{SCHEDULE}", "fires": [{{"fire_time": 1, "run_at": null}}], "replace": true, "next_fire_at": 9000000000000000, "outcome": "x"}}]"""
DEFINITION = '{"function": "f.task", "owner": "o", "suspended": false, "concurrency_limit": 4, "item": "{}"}'
FUNCTIONS = """[{"function": "f.task", "kind": "task", "priority": 5, "options": {"retry": {"max_attempts": 1}}}]"""
SPEC = """[{"name": "s", "cron": "0 * * * *", "time_zone": "UTC", "args": "{}", "overlap": "Replace", "catch_up": "Last", "jitter": 0, "suspended": false}]"""


def enqueue(keys: str) -> str:
    """Of keyed executions, through the client's function."""
    ids = "array[" + ", ".join(["currant.new_id()"] * len(keys)) + "]::uuid[]"
    args = f"array_fill('{{}}'::bytea, array[{len(keys)}]), array_fill(1, array[{len(keys)}])"
    return (
        f"select currant.create_executions({ids}, {args}, '{{{','.join(keys)}}}', '{{task}}', '{{f.other}}', '{{q}}', '{{5}}',"
        " array[null]::text[], array[null]::double precision[], array[null]::bigint[], '{\"\"}', array[null]::text[], false)"
    )


class Commit:
    """Calls of commit_batch: every parameter that is not given is empty."""

    def __init__(self, names: list[str]) -> None:
        self._names = names

    def __call__(self, worker: str, claim: int = 0, **given: str) -> str:
        values = {
            "p_worker": f"'{worker}'",
            "q_queues": "'{q}'",
            "q_limit": str(claim),
            "q_poison_suspect": "true",
            "q_look": "true",
        }
        values |= {name: f"'{{{value}}}'" for name, value in given.items()}
        return (
            "select currant.commit_batch("
            + ", ".join(f"{name} => {values.get(name, _EMPTY)}" for name in self._names)
            + ")"
        )


_EMPTY = "'{}'"


def outcome(id: str, action: str, **more: str) -> dict[str, str]:
    """The o_ arrays of one outcome."""
    columns = {
        "o_payloads": "1",
        "o_dues": "null",
        "o_wakes": "0",
        "o_runs": "null",
        "o_seqs": "null",
        "o_clocks": "null",
    }
    return {"f_ids": id, "f_leases": "1", "o_ids": id, "o_actions": action, **columns, **more}


def statements(commit: Commit) -> dict[str, str]:
    """Every transaction of Currant that takes locks, on rows that the others take too."""
    return {
        "a step ends and more is claimed": commit(W1, 5, f_parents=RUN, **outcome(LOW, "complete")),
        "a run goes one step further": f"select currant.commit_step('{W1}', '{RUN}', 1, 1, 1, '{LOW}', 1, true, '1', currant.new_id(), '{RUN}', 0,"
        " 'next', '{}', 'f.next', 'q', 5::smallint, null, '')",
        "another worker's step ends": commit(W2, 5, f_parents=RUN, **outcome(HIGH, "complete")),
        "a run ends and cancels its steps": commit(W1, 5, **outcome(RUN, "complete")),
        "a run is suspended": commit(W1, 0, **outcome(RUN, "suspend")),
        "a run starts anew": commit(W1, 0, **outcome(RUN, "retry")),
        "claim": commit(W2, 5),
        "an idle worker's claim": f"select currant.claim('{W2}', '{{q}}', 5, true)",
        "heartbeat": f"select currant.heartbeat('{W1}', null, false)",
        "take over": f"select currant.take_over('{W1}')",
        "take over from the other": f"select currant.take_over('{W2}')",
        "a worker starts in the same pod": "select currant.register_worker(currant.new_id(), 'w', '', 1, '', '{q}', '{}', '{}', 1, 30, null, null, 'pod-1')",
        "a worker registers its functions": f"select currant.declare_functions('{W1}', 'new', 'b', '{FUNCTIONS}')",
        "pods end": "select currant.end_pods('{pod-1}', '{Evicted}')",
        "good-bye": f"select currant.stop_worker('{W1}')",
        "signal": f"select currant.signal('{RUN}', 's')",
        "signal to a suspended run": f"select currant.signal('{SUSPENDED}', 's')",
        "resume": f"select currant.resume('{{{SUSPENDED},{RUN}}}')",
        "cancel": f"select currant.cancel('{RUN}')",
        "cancel by force": f"select currant.cancel('{RUN}', true)",
        "cancel a step": f"select currant.cancel('{HIGH}')",
        "cancel a finished step": f"select currant.cancel_tree('{OLD_STEP}', false)",
        "cancel the run of a schedule": f"select currant.cancel('{SCHEDULED}')",
        "retry": f"select currant.retry_run('{FAILED}')",
        "enqueue with keys": enqueue("ka"),
        "enqueue with keys, in another order": enqueue("ak"),
        "enqueue one with a key": "select currant.create_execution(currant.new_id(), '{}', 'a', 'task', 'f.other', 'q', 5::smallint, null,"
        " null, null, '', null, false)",
        "fire schedules": f"select currant.take_due_schedules(10); select currant.fire_schedules('{DECISION}')",
        "apply a definition": APPLY,
        "delete definitions": "select currant.delete_definitions('{o}')",
        "settle": f"select currant.mark_runs('{{{PARKED},{LOW},{HIGH}}}'); select currant.runs_are_marked('{{f.task,f.old}}')",
        "sweep": "select currant.sweep(10, true)",
    }


# As core/src/store/definitions.rs does it, in one transaction.
APPLY = (
    "select 1 from currant.schedules where function = 'f.task' order by function, name for update;"
    f" select currant.apply_definition('{DEFINITION}'); select currant.apply_schedules('f.task', 'o', false, '{SPEC}')"
)

GATES = {
    **{
        f"execution {id[-2:]}": f"select 1 from currant.executions where id = '{id}' for update"
        for id in (LOW, RUN, HIGH, QUEUED, FAILED, FAILED_STEP, OLD, OLD_STEP, SCHEDULED, SUSPENDED, PARKED)
    },
    "worker 1": f"select 1 from currant.workers where id = '{W1}' for update",
    "worker 2": f"select 1 from currant.workers where id = '{W2}' for update",
    "definition": "select 1 from currant.definitions where function = 'f.task' for update",
    "schedule": "select 1 from currant.schedules for update",
    "key": "select 1 from currant.idempotency_keys for update",
    "upkeep": "select 1 from currant.upkeep for update",
}


class Session:
    """A connection whose statements are sent without waiting for them."""

    def __init__(self, url: str) -> None:
        self.connection = psycopg.connect(url, autocommit=True)
        self.connection.execute("set deadlock_timeout = '20ms'")
        self.connection.execute("set lock_timeout = '20s'")
        self.pid = self.connection.info.backend_pid
        self.errors: list[str] = []

    def start(self, sql: str) -> None:
        """Send a transaction, and leave it open."""
        self.errors = []
        self.connection.pgconn.send_query(f"begin; {sql}".encode())

    def busy(self) -> bool:
        """Whether it still runs, or waits."""
        raw = self.connection.pgconn
        raw.consume_input()
        while not raw.is_busy():
            result = raw.get_result()
            if result is None:
                return False
            if result.status == ExecStatus.FATAL_ERROR:
                self.errors.append(result.error_message.decode())
        return True

    def answers_within(self, seconds: float) -> bool:
        """Whether something of its answer comes in that time."""
        return bool(select.select([self.connection], [], [], seconds)[0])

    def end(self) -> None:
        """Undo what it did."""
        self.connection.execute("rollback")


@dataclass
class Bench:
    """The sessions of the test, and one to look at them."""

    keeper: Session
    first: Session
    second: Session
    monitor: psycopg.Connection[Any]

    def waits(self, session: Session) -> bool:
        """Whether a lock keeps it."""
        row = self.monitor.execute("select cardinality(pg_blocking_pids(%s)) > 0", [session.pid]).fetchone()
        return row is not None and bool(row[0])

    def until_it_stands(self, session: Session) -> bool:
        """Run it until it ends (False) or waits (True)."""
        limit = time.monotonic() + 20
        while session.busy():
            if not session.answers_within(0.001) and self.waits(session):
                return True
            assert time.monotonic() < limit, "neither ends nor waits"
        return False

    def meet(self, gate: str, first: str, second: str) -> list[str]:
        """The two statements against each other, the first stopped at the gate; gives their errors."""
        self.keeper.connection.execute(f"begin; {GATES[gate]}")  # type: ignore[arg-type]
        self.first.start(first)
        self.until_it_stands(self.first)
        self.second.start(second)
        self.until_it_stands(self.second)
        self.keeper.end()
        left = [self.first, self.second]
        eventually(lambda: self.advance(left), 30, 0.001)
        return self.first.errors + self.second.errors

    def advance(self, left: list[Session]) -> bool:
        """Ends the transactions of those that are done, so that the others get on."""
        for session in [session for session in left if not session.busy()]:
            session.end()
            left.remove(session)
        return not left

    def stops(self, gate: str, statement: str) -> bool:
        """Whether the statement waits at the gate."""
        self.keeper.connection.execute(f"begin; {GATES[gate]}")  # type: ignore[arg-type]
        self.first.start(statement)
        stops = self.until_it_stands(self.first)
        self.keeper.end()
        left = [self.first]
        eventually(lambda: self.advance(left), 30, 0.001)
        assert not [error for error in self.first.errors if "lock timeout" not in error], (statement, self.first.errors)
        return stops


@contextmanager
def bench_on(database: str) -> Iterator[Bench]:
    """Three sessions on a database, with the rows above."""
    sessions = [Session(database) for _ in range(3)]
    sessions[0].connection.execute(ROWS)  # type: ignore[arg-type]
    with psycopg.connect(database, autocommit=True) as monitor:
        yield Bench(*sessions, monitor)
    for session in sessions:
        session.connection.close()


@pytest.fixture
def bench(database: str) -> Iterator[Bench]:
    """On the test's database."""
    with bench_on(database) as bench:
        yield bench


@pytest.fixture
def benches(make_database: Callable[..., str], template_database: str) -> Iterator[list[Bench]]:
    """On databases of their own, to be used at the same time."""
    with ExitStack() as stack:
        yield [stack.enter_context(bench_on(make_database(template_database))) for _ in range(BENCHES)]


@pytest.fixture
def commit(db: psycopg.Connection[dict[str, Any]]) -> Commit:
    """commit_batch by name."""
    row = db.execute(
        "select array(select a.name from unnest(p.proargnames, p.proargmodes) a(name, mode) where a.mode = 'i') as names"
        " from pg_proc p where p.oid = 'currant.commit_batch'::regproc"
    ).fetchone()
    assert row is not None
    return Commit(row["names"])


def deadlocks(bench: Bench, all_of_them: dict[str, str], first: str) -> tuple[set[str], int]:
    """Which of the others deadlock with this one, and how many meetings were tried."""
    gates = [gate for gate in GATES if bench.stops(gate, all_of_them[first])]
    found = set()
    for gate, second in itertools.product(gates, all_of_them):
        errors = bench.meet(gate, all_of_them[first], all_of_them[second])
        if any("deadlock detected" in error for error in errors):
            found.add(f"{first} | {second} | at {gate}")
    return found, len(gates) * len(all_of_them)


@pytest.mark.timeout(600)
def test_no_two_statements_deadlock(benches: list[Bench], commit: Commit) -> None:
    every = statements(commit)
    free = SimpleQueue[Bench]()
    for bench in benches:
        free.put(bench)

    def attempt(first: str) -> tuple[set[str], int]:
        bench = free.get()
        try:
            return deadlocks(bench, every, first)
        finally:
            free.put(bench)

    with ThreadPoolExecutor(len(benches)) as threads:
        results = list(threads.map(attempt, every))
    found, met = set[str]().union(*(found for found, _ in results)), sum(met for _, met in results)
    print(f"{met} meetings of {len(every)} statements")
    assert met > 1000
    assert found == set(), "\n".join(sorted(found))


def test_a_deadlock_would_be_seen(bench: Bench) -> None:
    """Two that lock the same rows in opposite orders: the first has to stop before either has both."""
    one, other = (f"select 1 from currant.executions where id = '{id}' for update" for id in (LOW, HIGH))
    crossing = {"up": f"{one}; {other}", "down": f"{other}; {one}"}
    found, met = deadlocks(bench, crossing, "up")
    assert met == 4, "it stops at either row"
    assert found == {f"up | down | at execution {LOW[-2:]}"}


def test_a_commit_an_applied_definition_and_a_schedule_that_fires_do_not_wait_in_a_circle(
    bench: Bench, commit: Commit
) -> None:
    """Schedules, then executions, then definitions."""
    bench.keeper.connection.execute(f"begin; select 1 from currant.executions where id = '{SCHEDULED}' for update")  # type: ignore[arg-type]
    bench.first.start(statements(commit)["fire schedules"])
    assert bench.until_it_stands(bench.first), "the run that it replaces is locked"
    bench.second.start(APPLY)
    assert bench.until_it_stands(bench.second), "its schedule is being fired"
    claim = commit(W2, 5)
    bench.keeper.connection.pgconn.send_query(claim.encode())
    left = [bench.keeper, bench.first, bench.second]
    eventually(lambda: bench.advance(left), 30, 0.001)
    errors = bench.keeper.errors + bench.first.errors + bench.second.errors
    assert any("deadlock" in error or "lock timeout" in error for error in errors) is False, errors


def test_an_applied_definition_locks_its_schedules_first(database: str, bridge: RustBridge) -> None:
    """As APPLY above has it."""
    rules = {"function": "f", "owner": "o", "suspended": False}
    bridge.apply_definitions([{**rules, "schedules": [AT_MIDNIGHT]}])
    other, look = Session(database), Session(database)
    other.connection.execute("begin; select 1 from currant.schedules for update")
    with ThreadPoolExecutor(1) as threads:
        applying = threads.submit(bridge.apply_definitions, [{**rules, "priority": 7, "schedules": [AT_MIDNIGHT]}])
        waiting = "select 1 from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'"
        eventually(lambda: look.connection.execute(waiting).fetchone())
        look.connection.execute("select 1 from currant.definitions for update nowait")
        other.end()
        assert [answer["status"] for answer in applying.result(30)] == ["applied"]
    for session in (other, look):
        session.connection.close()
