"""Workflows in a worker, on an engine that does what the test says (docs/internals/engine.md)."""

from __future__ import annotations

from collections import deque
from typing import Any
from uuid import uuid4

import pytest

from currant._payloads import codec
from currant._workflow.run import WorkflowRun
from fake_core import Engine
from support import eventually_async as eventually
from worker_app import adds_to_its_defaults, clings, double, fails, gives_a_set, naps, quadruple, triple
from worker_items import answer, commands_of, do, run_item, task_item


async def test_a_workflow_is_started_and_resumed_in_memory(engine: Engine) -> None:
    id = str(uuid4())
    lease, commands = await do(engine, run_item(quadruple, 3, id=id), "commands")
    ((verb, key, call),) = commands
    assert (lease, verb, call[1], call[2]) == (7, "execute", double.name, "jobs")
    engine.give(("activate", id, key, 1, 2_000_000, "completed", b"6"))
    await eventually(lambda: len(commands_of(engine, id)) == 2)
    engine.give(("activate", id, commands_of(engine, id)[1][0][1], 2, 3_000_000, "completed", b"12"))
    await eventually(lambda: len(commands_of(engine, id)) == 3)
    assert commands_of(engine, id)[2] == [("complete", b"12")]


async def test_an_activation_that_an_answer_gives_back_is_delivered_at_once(engine: Engine) -> None:
    id, step = str(uuid4()), task_item(double, 3)
    await do(engine, run_item(quadruple, 3, id=id), "commands")
    first = commands_of(engine, id)[0][0][1]
    # Completing the task gives its parent's activation; the answer to that gives the next one.
    engine.activations[step[1]] = deque([(id, first, 1, 2_000_000, "completed", b"6")])
    engine.activations[id] = deque([(id, "1", 2, 3_000_000, "completed", b"12")])
    engine.give(step)
    await eventually(lambda: len(commands_of(engine, id)) == 3)
    assert [given[0] for given in engine.answers[-3:]] == ["complete", "commands", "commands"]
    assert commands_of(engine, id)[2] == [("complete", b"12")]


async def test_a_workflow_is_rebuilt_from_its_history(engine: Engine) -> None:
    id = str(uuid4())
    await do(engine, run_item(quadruple, 3, id=id), "commands")
    key = commands_of(engine, id)[0][0][1]
    engine.give(("evict", id))
    assert await answer(engine, "suspended", id) == (7,)
    engine.answers.clear()
    history = ([(key, "task", double.name, None)], [(key, 1, 2_000_000, "completed", b"6")])
    _, commands = await do(engine, run_item(quadruple, 3, id=id, history=history), "commands")
    assert [command[0] for command in commands] == ["execute"]
    assert double.decode_args(commands[0][2][4]) == ((6,), {})


async def test_what_a_workflow_changes_in_a_default_is_not_the_default_of_the_next_run(engine: Engine) -> None:
    """A replay in another process has the default of the code, and would ask for other steps."""
    for args, result in (((), b"[1,1,1]"), ((), b"[1,1,1]"), ((0, [5]), b"[2,1,1]")):
        _, commands = await do(engine, run_item(adds_to_its_defaults, *args, id=str(uuid4())), "commands")
        assert commands == [("complete", result)]


async def test_a_workflow_that_does_not_fit_its_history_is_incompatible(engine: Engine) -> None:
    id = str(uuid4())
    history = ([("0", "task", triple.name, None)], [("0", 1, 2_000_000, "completed", b"6")])
    _, commands = await do(engine, run_item(quadruple, 3, id=id, history=history), "commands")
    ((verb, error),) = commands
    assert verb == "hold"
    assert codec.decode_error(error).type == "NonDeterminismError"


async def test_a_workflow_that_is_incompatible_is_one_line_in_the_log(
    engine: Engine, caplog: pytest.LogCaptureFixture
) -> None:
    id = str(uuid4())
    history = ([("0", "task", triple.name, None)], [("0", 1, 2_000_000, "completed", b"6")])
    await do(engine, run_item(quadruple, 3, id=id, history=history), "commands")
    (record,) = caplog.records
    assert record.getMessage().startswith(f"{quadruple.name} {id} is incompatible: NonDeterminismError: workflow ")
    assert "\n" not in record.getMessage()


async def test_a_dropped_workflow_answers_nothing_more(engine: Engine) -> None:
    id = str(uuid4())
    await do(engine, run_item(naps, id=id), "commands")
    key = commands_of(engine, id)[0][0][1]
    engine.give(("drop", id, 7, "lease lost"), ("activate", id, key, 1, 9_000_000, "fired", b""))
    await do(engine, task_item(double, 1), "complete")
    assert len(commands_of(engine, id)) == 1


async def test_a_drop_of_an_older_lease_leaves_the_workflow_alone(engine: Engine) -> None:
    id = str(uuid4())
    await do(engine, run_item(naps, id=id), "commands")
    key = commands_of(engine, id)[0][0][1]
    engine.give(("drop", id, 6, "lease lost"), ("activate", id, key, 1, 9_000_000_000, "fired", b""))
    await eventually(lambda: len(commands_of(engine, id)) == 2)
    assert commands_of(engine, id)[1] == [("complete", b'"awake"')]


async def test_a_workflow_that_does_not_end_is_suspended_and_kept(
    engine: Engine, caplog: pytest.LogCaptureFixture
) -> None:
    id = str(uuid4())
    await do(engine, run_item(clings, id=id), "commands")
    engine.give(("evict", id))
    await answer(engine, "suspended", id)
    assert "does not end; it is kept in memory" in caplog.text


@pytest.mark.parametrize(
    ("function", "args", "verb", "type"),
    [
        ("no.such", (), "hold", "UnknownFunction"),
        (double, (1,), "hold", "UnknownFunction"),
        (quadruple, ("x",), "fail", "SerializationError"),
        (quadruple, (), "fail", "TypeError"),
    ],
)
async def test_a_workflow_that_cannot_be_started_is_answered(
    engine: Engine, function: Any, args: tuple[Any, ...], verb: str, type: str
) -> None:
    _, commands = await do(engine, run_item(function, *args, id=str(uuid4())), "commands")
    assert commands[-1][0] == verb
    assert codec.decode_error(commands[-1][1]).type == type
    assert commands[-1][2:] == ((False,) if verb == "fail" else ())  # it would fail alike


@pytest.mark.parametrize(
    ("function", "type", "more"), [(gives_a_set, "SerializationError", (False,)), (fails, "ValueError", ())]
)
async def test_a_workflow_that_failed_by_a_mistake_is_not_tried_again(
    engine: Engine, function: Any, type: str, more: tuple[Any, ...]
) -> None:
    _, commands = await do(engine, run_item(function, id=str(uuid4())), "commands")
    verb, error, *rest = commands[-1]
    assert (verb, codec.decode_error(error).type, tuple(rest)) == ("fail", type, more)


async def test_a_run_that_cannot_go_on_is_incompatible_not_lost(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    def start(*_: Any) -> None:
        raise RuntimeError("a defect")

    monkeypatch.setattr(WorkflowRun, "start", start)
    _, commands = await do(engine, run_item(naps, id=str(uuid4())), "commands")
    assert commands[0][0] == "hold"
    assert codec.decode_error(commands[0][1]).message == "a defect"


async def test_an_item_that_cannot_be_handled_does_not_take_the_next_with_it(engine: Engine) -> None:
    good = task_item(double, 1)
    engine.give(("riddle", "id"), good)
    assert await answer(engine, "complete", good[1]) == (1, b"2")
