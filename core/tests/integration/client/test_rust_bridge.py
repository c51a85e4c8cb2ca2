"""`RustBridge`: the seed's verbs, one at a time and in batches, and a worker written by hand on them, with its fence."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest

import currant
from currant import LeaseLost, NotFound, NotRunning
from currant.rust_bridge import Call, NewExecution, RustBridge, new_id
from support import eventually

Db = psycopg.Connection[dict[str, Any]]
ONCE = '{"timeout": null, "retry": {"max_attempts": 1}}'
THRICE = '{"timeout": null, "retry": {"max_attempts": 3, "initial": 0, "jitter": 0}}'
ERROR = json.dumps({"type": "ValueError", "message": "no", "traceback": "", "id": None}).encode()


def call(kind: str = "task", options: str = ONCE, queue: str = "q", priority: int = 5) -> Call:
    """A call of a function that no worker of ours knows."""
    return Call(kind, f"by_hand.{kind}", queue, priority, b'{"args": [1], "kwargs": {"b": 2}}', options)


@pytest.fixture
def me(bridge: RustBridge) -> Iterator[str]:
    """The id of a worker that lives by heartbeats of its own."""
    id = new_id()
    bridge.update_heartbeat(id, "by hand", ["q"])
    return id


def test_the_verbs_work_on_the_class_as_in_the_seed(empty_database: str, monkeypatch: pytest.MonkeyPatch) -> None:
    currant.configure(database_url=empty_database)
    assert RustBridge.schema_version() == 0
    version = RustBridge.migrate()
    assert version == RustBridge.migrate() == RustBridge.schema_version() > 0
    id = RustBridge.create_execution(call())
    assert RustBridge.get_execution(id)["state"] == "pending"
    worker = new_id()
    claimed = RustBridge.claim_execution(worker, ["q"])
    assert claimed is not None
    RustBridge.complete_execution(worker, id, claimed.lease, b"1")
    assert RustBridge.wait_execution(id, 5) == ("completed", b"1")
    monkeypatch.setenv("WORKFLOWS_DATABASE_URL", empty_database)
    currant.configure()
    assert RustBridge.get_execution(id)["state"] == "completed"
    RustBridge.close()  # the shared connections stay
    assert RustBridge.get_execution(id)["state"] == "completed"


def test_a_loop_written_by_hand_runs_all_there_is(bridge: RustBridge, me: str) -> None:
    ids = {bridge.create_execution(call()) for _ in range(5)}
    seen = set()
    while (claimed := bridge.claim_execution(me, ["q", "other"])) is not None:
        assert claimed.execution["function"] == "by_hand.task"
        assert claimed.execution["args"] == {"args": [1], "kwargs": {"b": 2}}
        assert (claimed.execution["attempt"], claimed.lease) == (1, 1)
        assert bridge.get_execution(claimed.id)["worker_id"] == me
        bridge.complete_execution(me, claimed.id, claimed.lease, json.dumps(claimed.id).encode())
        seen.add(claimed.id)
    assert seen == ids
    assert {bridge.get_execution(id)["result"] for id in ids} == ids


def test_a_claim_takes_higher_priority_then_older_first_and_only_its_queues(bridge: RustBridge, me: str) -> None:
    low, first, second, high = (bridge.create_execution(call(priority=p)) for p in (1, 5, 5, 9))
    bridge.create_execution(call(queue="foreign"))
    order = []
    while (claimed := bridge.claim_execution(me, ["q"])) is not None:
        order.append(claimed.id)
    assert order == [high, first, second, low]


def test_a_failure_is_tried_again_until_the_attempts_are_used_up(bridge: RustBridge, me: str) -> None:
    id = bridge.create_execution(call(options=THRICE))
    for attempt in (1, 2, 3):
        claimed = eventually(lambda: bridge.claim_execution(me, ["q"]))
        assert claimed is not None
        assert claimed.execution["attempt"] == attempt
        bridge.fail_execution(me, id, claimed.lease, ERROR)
    execution = bridge.get_execution(id)
    assert (execution["state"], execution["error"]["message"], execution["attempt"]) == ("failed", "no", 3)
    assert bridge.claim_execution(me, ["q"]) is None


def test_a_failure_that_may_not_be_tried_again_ends_it(bridge: RustBridge, me: str) -> None:
    id = bridge.create_execution(call(options=THRICE))
    claimed = bridge.claim_execution(me, ["q"])
    assert claimed is not None
    bridge.fail_execution(me, id, claimed.lease, ERROR, retry=False)
    assert bridge.get_execution(id)["state"] == "failed"


def test_a_workflow_is_suspended_and_resumed(bridge: RustBridge, me: str) -> None:
    id = bridge.create_execution(call("workflow"))
    claimed = bridge.claim_execution(me, ["q"])
    assert claimed is not None
    bridge.suspend_workflow(me, id, claimed.lease)
    assert bridge.get_execution(id)["state"] == "suspended"
    assert bridge.claim_execution(me, ["q"]) is None
    bridge.resume_workflow(id)
    assert bridge.get_execution(id)["state"] == "pending"
    again = bridge.claim_execution(me, ["q"])
    assert again is not None
    assert again.lease > claimed.lease
    with pytest.raises(LeaseLost):
        bridge.complete_execution(me, id, claimed.lease, b"1")
    bridge.complete_execution(me, id, again.lease, b"2")
    assert bridge.wait_execution(id, 1) == ("completed", b"2")


@pytest.mark.parametrize("signal_first", [True, False], ids=["before the suspend", "after it"])
def test_a_signal_is_not_slept_through(signal_first: bool, bridge: RustBridge, me: str) -> None:
    """Rule c: whoever suspends does not overlook what came meanwhile."""
    id = bridge.create_execution(call("workflow"))
    claimed = bridge.claim_execution(me, ["q"])
    assert claimed is not None
    if signal_first:
        bridge.send_signal(id, "go", b"1")
    bridge.suspend_workflow(me, id, claimed.lease)
    if not signal_first:
        assert bridge.get_execution(id)["state"] == "suspended"
        bridge.send_signal(id, "go", b"1")
    assert bridge.get_execution(id)["state"] == "pending"


@pytest.mark.parametrize("verb", ["complete", "fail", "suspend"])
def test_every_write_is_fenced_by_its_lease(verb: str, bridge: RustBridge, me: str, db: Db) -> None:
    id = bridge.create_execution(call("workflow"))
    claimed = bridge.claim_execution(me, ["q"])
    assert claimed is not None
    before = db.execute("select * from currant.executions").fetchall()

    def write(worker: str, lease: int) -> None:
        if verb == "complete":
            bridge.complete_execution(worker, id, lease, b"1")
        elif verb == "fail":
            bridge.fail_execution(worker, id, lease, ERROR)
        else:
            bridge.suspend_workflow(worker, id, lease)

    for worker, lease in ((me, claimed.lease - 1), (me, claimed.lease + 1), (new_id(), claimed.lease)):
        with pytest.raises(LeaseLost, match=id):
            write(worker, lease)
    with pytest.raises(LeaseLost):
        bridge.complete_execution(me, new_id(), 1, b"1")
    assert db.execute("select * from currant.executions").fetchall() == before
    write(me, claimed.lease)
    assert bridge.get_execution(id)["state"] != "running"


def test_what_is_done_already_under_my_lease_is_success(bridge: RustBridge, me: str, db: Db) -> None:
    """Rule f: the reply to the first try may have been lost. It is not written again."""
    id = bridge.create_execution(call())
    claimed = bridge.claim_execution(me, ["q"])
    assert claimed is not None
    bridge.complete_execution(me, id, claimed.lease, b"1")
    before = db.execute("select * from currant.executions").fetchall()
    bridge.complete_execution(me, id, claimed.lease, b"1")
    assert db.execute("select * from currant.executions").fetchall() == before
    assert bridge.wait_execution(id, 1) == ("completed", b"1")
    with pytest.raises(LeaseLost):
        bridge.complete_execution(new_id(), id, claimed.lease, b"2")


def test_a_zombie_is_refused_after_its_work_was_taken_over(bridge: RustBridge, me: str, db: Db) -> None:
    id = bridge.create_execution(call(options=THRICE))
    mine = bridge.claim_execution(me, ["q"])
    assert mine is not None
    db.execute("update currant.workers set last_heartbeat = now() - interval '1 hour' where id = %s", [me])
    other = new_id()
    bridge.update_heartbeat(other, "other", ["q"])  # finds the dead
    theirs = bridge.claim_execution(other, ["q"])
    assert theirs is not None
    assert theirs.lease > mine.lease
    with pytest.raises(LeaseLost):
        bridge.complete_execution(me, id, mine.lease, b'"zombie"')
    bridge.complete_execution(other, id, theirs.lease, b'"good"')
    assert bridge.wait_execution(id, 1) == ("completed", b'"good"')


def test_a_cancelled_execution_refuses_its_outcome(bridge: RustBridge, me: str) -> None:
    id = bridge.create_execution(call())
    claimed = bridge.claim_execution(me, ["q"])
    assert claimed is not None
    bridge.cancel_execution(id, force=True)
    with pytest.raises(LeaseLost):
        bridge.complete_execution(me, id, claimed.lease, b"1")
    assert bridge.get_execution(id)["state"] == "cancelled"
    with pytest.raises(NotRunning):
        bridge.cancel_execution(id)
    bridge.retry_execution(id)
    again = bridge.claim_execution(me, ["q"])
    assert again is not None
    assert again.lease > claimed.lease


def test_batches_write_what_they_can_and_name_what_was_refused(bridge: RustBridge, me: str) -> None:
    items = [NewExecution(new_id(), call("workflow")) for _ in range(4)]
    assert bridge.create_executions(items) == [item.id for item in items]
    assert bridge.create_executions(items) == [item.id for item in items]  # ids are the client's: it may ask twice
    claimed = bridge.claim_executions(me, ["q"], 10)
    assert [each.id for each in claimed] == [item.id for item in items]
    one, two, three, four = claimed
    assert bridge.complete_executions(me, [(one.id, one.lease, b"1"), (two.id, two.lease + 1, b"1")]) == [two.id]
    assert bridge.fail_executions(me, [(two.id, two.lease, ERROR, True), (three.id, 99, ERROR, True)]) == [three.id]
    assert bridge.suspend_workflows(me, [(three.id, three.lease), (four.id, 99)]) == [four.id]
    assert [bridge.get_execution(each.id)["state"] for each in claimed] == [
        "completed", "failed", "suspended", "running",
    ]  # fmt: skip
    assert three.id in bridge.resume_workflows([three.id, new_id()])


def test_verbs_on_what_is_not_there(bridge: RustBridge) -> None:
    nobody = new_id()
    verbs = (bridge.get_execution, bridge.show, bridge.cancel_execution, bridge.retry_execution, bridge.resume_workflow)
    for verb in verbs:
        with pytest.raises(NotFound, match=nobody):
            verb(nobody)
    with pytest.raises(NotFound, match=nobody):
        bridge.send_signal(nobody, "x")
    with pytest.raises(NotFound, match=nobody):
        bridge.wait_execution(nobody, 5)
    for verb in verbs:
        with pytest.raises(ValueError, match="not an id"):
            verb("not an id")


def test_a_wait_that_ends_early_gives_the_present_state(bridge: RustBridge) -> None:
    assert bridge.wait_execution(bridge.create_execution(call()), 0.05) == ("pending", b"")


def test_heartbeats_make_a_worker_known_and_keep_it_alive(bridge: RustBridge, me: str, db: Db) -> None:
    (row,) = bridge.workers()
    assert (row["id"], row["name"], row["queues"], row["state"]) == (me, "by hand", ["q"], "alive")
    db.execute("update currant.workers set last_heartbeat = now() - interval '1 hour'")
    assert bridge.workers()[0]["state"] == "stale"
    bridge.update_heartbeat(me, "by hand", ["q"])
    assert bridge.workers()[0]["state"] == "alive"


def test_an_impossible_call_is_refused_and_disturbs_no_other(bridge: RustBridge) -> None:
    impossible = ({"kind": "saga"}, {"function": ""}, {"queue": ""}, {"priority": 11}, {"timeout": -1.0})
    for change in impossible:
        with pytest.raises((ValueError, currant.CurrantError), match=next(iter(change))):
            bridge.create_execution(call()._replace(**change))
    assert bridge.get_execution(bridge.create_execution(call()))["state"] == "pending"


def test_two_bridges_have_two_databases(database: str, empty_database: str) -> None:
    one, other = RustBridge(database), RustBridge(empty_database)
    assert one.schema_version() > other.schema_version() == 0
    one.close()
    other.close()
