"""Any text and any JSON: in the SQL functions, as names of everything, on the command line, from the bridge. Taken, or refused in a line."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import psycopg
import pytest
from click.testing import CliRunner
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from psycopg.rows import dict_row
from psycopg.types.json import Jsonb

from currant import CurrantError, cli
from currant.rust_bridge import Call, NewExecution, RustBridge, new_id

# The database is one for all examples: nothing of one is another's.
EXAMPLES = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])

# Text that Postgres can store: no NUL, and (UTF-8) no lone surrogate.
STORABLE = st.characters(blacklist_categories=["Cs"], blacklist_characters="\0")
SPITEFUL = (
    "'; drop table x; --",
    '"',
    "\\",
    "{}",
    "{a,b}",
    "%s",
    "$1",
    "\u202e",
    "\n",
    " ",
    "null",
    "a/b",
    "🎉" * 40,
    "(x)",
    "NULL",
)
names = st.one_of(st.sampled_from(SPITEFUL), st.text(STORABLE, min_size=1, max_size=200))
numbers = st.one_of(
    st.integers(), st.floats(allow_nan=False, allow_infinity=False), st.sampled_from([0, -1, 1e308, 2**63, 2**63 - 1])
)
scalars = st.one_of(st.none(), st.booleans(), numbers, st.text(STORABLE, max_size=20))
anything = st.recursive(
    scalars,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4), st.dictionaries(st.text(STORABLE, max_size=8), inner, max_size=4)
    ),
    max_leaves=20,
)
retry = st.dictionaries(
    st.sampled_from(["max_attempts", "initial", "multiplier", "max_delay", "jitter", "non_retryable", "other"]),
    st.one_of(scalars, st.lists(scalars, max_size=3)),
    max_size=4,
)
options = st.fixed_dictionaries(
    {},
    optional={
        **{
            name: st.one_of(scalars, st.lists(scalars, max_size=2))
            for name in ("queue", "priority", "timeout", "delay", "run_at", "retries", "kind", "id", "idempotency_key")
        },
        "kind": st.sampled_from(["task", "workflow", "", 1, None]),
        "retry": retry,
        "defaults": st.one_of(
            anything, st.fixed_dictionaries({}, optional={"queue": names, "priority": numbers, "retry": retry})
        ),
    },
)


@pytest.fixture
def sql(database: str) -> Iterator[psycopg.Connection[dict[str, Any]]]:
    """A connection."""
    with psycopg.connect(database, autocommit=True, row_factory=dict_row) as connection:
        yield connection


def is_refusal(error: psycopg.Error) -> bool:
    """What the caller gave is wrong (class 22: data, 23 never: no constraint is there to be run into), in one line."""
    return (error.sqlstate or "")[:2] in ("22", "54", "P0", "55") and "\n" not in (error.diag.message_primary or "")


@EXAMPLES
@example(function="f", args={"\n": None}, options={})
@given(function=st.one_of(names, st.just("")), args=anything, options=st.one_of(options, anything))
def test_enqueue_takes_or_refuses_whatever_it_is_given(
    function: str, args: Any, options: Any, sql: psycopg.Connection[dict[str, Any]]
) -> None:
    try:
        row = sql.execute(
            "select currant.enqueue(%s, %s, %s) as id", [function, Jsonb(args), Jsonb(options)]
        ).fetchone()
    except psycopg.Error as error:
        assert is_refusal(error), (error.sqlstate, str(error))
        return
    assert row is not None
    stored = sql.execute(
        "select function, state, args::jsonb as args from currant.runs where id = %s", [row["id"]]
    ).fetchone()
    assert stored is not None
    assert (stored["function"], stored["state"]) == (function, "pending")
    if isinstance(args, dict) and "args" in args:
        assert stored["args"]["args"] == (args["args"] or [])


@EXAMPLES
@given(name=names, payload=anything)
def test_a_signal_has_any_name_that_fits_and_any_payload(
    name: str, payload: Any, sql: psycopg.Connection[dict[str, Any]]
) -> None:
    row = sql.execute("select currant.enqueue('f', '{}', '{\"kind\": \"workflow\"}') as id").fetchone()
    assert row is not None
    sql.execute("select currant.signal(%s, %s, %s)", [row["id"], name, Jsonb(payload)])
    same = "select name, convert_from(payload, 'UTF8')::jsonb = %s as same from currant.signals where execution_id = %s"
    assert sql.execute(same, [Jsonb(payload), row["id"]]).fetchone() == {"name": name, "same": True}


@EXAMPLES
@given(function=names, queue=names, key=names, error=names)
def test_names_go_through_an_execution_s_life_as_they_are(
    function: str, queue: str, key: str, error: str, bridge: RustBridge, sql: psycopg.Connection[dict[str, Any]]
) -> None:
    call = Call("task", function, queue, 5, b"{}", json.dumps({"retry": {"max_attempts": 1, "non_retryable": [error]}}))
    id, worker = new_id(), new_id()
    assert bridge.create_execution(call, id=id, idempotency_key=f"{id} {key}") == id
    assert bridge.create_execution(call, idempotency_key=f"{id} {key}") == id
    bridge.update_heartbeat(worker, name=function, queues=[queue])
    claimed = {claim.id: claim for claim in bridge.claim_executions(worker, [queue], 1000)}
    assert (claimed[id].execution["function"], claimed[id].execution["queue"]) == (function, queue)
    bridge.fail_execution(worker, id, claimed[id].lease, json.dumps({"type": error, "message": error}).encode())
    assert bridge.list_executions(queue=queue, function=function)[0]["error"]["message"] == error
    assert queue in {row["queue"] for row in bridge.queues()}


@EXAMPLES
@given(
    call=st.builds(
        Call,
        kind=st.just("task"),
        function=st.text(max_size=600),
        queue=st.text(max_size=300),
        priority=st.integers(-(2**15), 2**15 - 1),
        args=st.binary(max_size=40),
        options=st.fixed_dictionaries(
            {},
            optional={
                "timeout": st.none() | st.floats(),
                "max_worker_losses": st.integers(-1, 2**31 - 1),
                "retry": st.fixed_dictionaries(
                    {},
                    optional={
                        "max_attempts": st.integers(-1, 2**31 - 1),
                        "initial": st.floats(),
                        "multiplier": st.floats(),
                        "max_delay": st.floats(),
                        "jitter": st.floats(),
                        "non_retryable": st.lists(st.text(max_size=5), max_size=2),
                    },
                ),
            },
        ).map(json.dumps)
        | st.text(max_size=5),
        delay=st.none() | st.floats(),
        run_at=st.none() | st.integers(-(2**63), 2**63 - 1),
        given=st.sets(st.sampled_from(["queue", "priority", "timeout", "retry"])).map(tuple),
    )
)
def test_a_call_from_the_bridge_is_stored_within_the_invariants_or_refused_in_a_line(
    call: Call, bridge: RustBridge
) -> None:
    """The tables check nothing (but here, in tests: core/tests/invariants.sql)."""
    try:
        id = bridge.create_execution(call)
    except (ValueError, UnicodeEncodeError) as error:
        assert "\n" not in str(error).replace(repr(call.function), "").replace(repr(call.queue), "")
        assert "violates" not in str(error)
        return
    assert bridge.get_execution(id)["function"] == call.function


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"priority": 11}, "priority must be a number from 0 to 10, not 11"),
        ({"options": '{"timeout": 0.0}'}, "timeout must be more than 0, not 0"),
        ({"queue": "q" * 201}, "queue must have 1 to 200 characters, not 201"),
        ({"queue": ""}, "queue must have 1 to 200 characters, not 0"),
        ({"args": b"\xff"}, "args must be JSON in UTF-8"),
    ],
)
def test_a_value_out_of_its_range_is_named_and_its_whole_batch_is_not_stored(
    change: dict[str, Any], said: str, bridge: RustBridge
) -> None:
    good = Call("task", "f", "q", 5, b"{}", '{"retry": {"max_attempts": 1}}')
    with pytest.raises(ValueError, match=said):
        bridge.create_executions([NewExecution(new_id(), good), NewExecution(new_id(), good._replace(**change))])
    assert bridge.list_executions() == []


def test_what_is_no_text_is_refused_before_it_breaks_the_views(
    bridge: RustBridge, sql: psycopg.Connection[Any]
) -> None:
    worker = new_id()
    call = Call("task", "f", "q", 5, b"{}", '{"retry": {"max_attempts": 1}}')
    ids = [bridge.create_execution(call) for _ in range(2)]
    bridge.update_heartbeat(worker, queues=["q"])
    leases = {claim.id: claim.lease for claim in bridge.claim_executions(worker, ["q"], 2)}
    for wrong in (b"\xff", b"\0"):
        with pytest.raises(ValueError, match="result must be JSON"):
            bridge.complete_execution(worker, ids[0], leases[ids[0]], wrong)
        with pytest.raises(ValueError, match="error must be JSON"):
            bridge.fail_execution(worker, ids[1], leases[ids[1]], wrong)
        with pytest.raises(ValueError, match="payload must be JSON"):
            bridge.send_signal(ids[0], "n", wrong)
    assert len(sql.execute("select * from currant.runs").fetchall()) == 2


arguments = st.lists(
    st.one_of(names.filter(lambda name: not name.startswith("-")), st.just(str(uuid.UUID(int=0)))),
    min_size=1,
    max_size=3,
)


@EXAMPLES
@given(
    command=st.sampled_from(["status", "show", "cancel", "retry", "signal", "queue", "queues", "list", "workers"]),
    arguments=arguments,
)
def test_the_command_line_answers_any_argument_with_a_line_and_a_code(
    command: str, arguments: list[str], database: str
) -> None:
    done = CliRunner().invoke(cli.cli, [command, *arguments], standalone_mode=True)
    expected = done.exit_code in (0, 1, 2) and (done.exception is None or isinstance(done.exception, SystemExit))
    assert expected or isinstance(done.exception, CurrantError), (done.exception, done.output)


def test_a_payload_with_every_corner_of_json_comes_back_as_it_was(
    bridge: RustBridge, run_currant: Callable[..., Any]
) -> None:
    corners = (
        '{"args": [0, -0.0, 1e400, 123456789012345678901234567890, 1.10, "\\u0000", "\\ud83c\\udf89", "\\"\\\\/\\b\\f\\n\\r\\t", "",'
        ' [], {}, [[]], {"": {"": ""}}, {"b": 1, "a": 2, "b": 3}, true, false, null], "kwargs": {}}'
    )
    call = Call("task", "f", "q", 5, corners.encode(), '{"retry": {"max_attempts": 1}}')
    id = bridge.create_execution(call)
    assert corners.encode() in bridge.core.get_execution(id)
    assert run_currant("show", id).returncode == 0
    assert run_currant("list", "--json").returncode == 0
