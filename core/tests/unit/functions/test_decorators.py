"""`@task` and `@workflow`: what they take and refuse, and what they make of it."""

from __future__ import annotations

import asyncio
import functools
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from currant import NotRunning, Task, Workflow, registry, task, workflow
from currant.decorators import Function
from order_functions import ORDER, add, book, flow


def test_the_plain_function_can_be_called() -> None:
    assert add(1, 2) == 3
    assert asyncio.run(book(ORDER)) is ORDER
    assert asyncio.run(flow(ORDER)) == [ORDER]


class Registers:
    """What is in it cannot be registered when it is defined, so that tests can."""

    def method(self, n: int) -> int:
        return n

    @classmethod
    def of_the_class(cls, n: int) -> int:
        return n

    async def __call__(self, n: int) -> int:
        return n


async def generator() -> AsyncIterator[int]:
    yield 1


@functools.wraps(generator)
def around_generator() -> Any:
    return generator()


def plain_function() -> None: ...


@functools.wraps(flow.plain)
def around_async(*args: Any) -> Any:
    return flow.plain(*args)


@pytest.mark.parametrize(
    ("decorate", "given", "said"),
    [
        (workflow, plain_function, "a workflow is an `async def` function$"),
        (workflow, around_async, "a decorator below @workflow makes a `def` of it"),
        (task, generator, "a generator cannot be a task"),
        (task, around_generator, "a generator cannot be a task"),
        (task, 5, "@task decorates a function, not 5"),
        (task, "orders", "@task decorates a function, not 'orders'"),
        (task, Registers, "@task decorates a function, not the class Registers"),
        (task, Registers(), "@task decorates a function, not <.*Registers object"),
        (task, functools.partial(plain_function), r"@task decorates a function, not functools\.partial"),
        (task, Registers.__dict__["method"], "@task Registers.method: a method cannot be a task"),
        (task, Registers.__dict__["of_the_class"], "a class method cannot be a task"),
        (task, add, "@task add: it is a task already"),
        (task, flow, "@task flow: it is a workflow already"),
        (workflow, flow, "@workflow flow: it is a workflow already"),
        (workflow, staticmethod(flow), "@workflow flow: it is a workflow already"),
        (task, max, "the parameters of .* are not known"),
    ],
)
def test_what_could_never_run_is_refused(decorate: Any, given: Any, said: str) -> None:
    before = dict(registry)
    with pytest.raises(TypeError, match=said):
        decorate(given)
    assert registry == before


def test_a_static_method_is_a_task_either_way_round() -> None:
    class Shop:
        @task
        @staticmethod
        async def close(n: int) -> int:
            return n

        @staticmethod
        @task
        def open(n: int) -> int:
            return n

    assert (Shop.close.is_async, Shop.open.is_async) == (True, False)
    assert (asyncio.run(Shop().close(3)), Shop().open(4)) == (3, 4)
    assert json.loads(Shop.close.encode_args((3,), {})) == {"args": [3], "kwargs": {}}


def test_a_bound_method_and_a_lambda_are_tasks() -> None:
    bound = task(Registers().method)
    assert bound.decode_args(bound.encode_args((3,), {})) == ((3,), {})
    assert bound(3) == 3
    assert task(name="one")(lambda n: n)(4) == 4


def test_a_queue_is_the_functions_own_else_the_workflows_else_default() -> None:
    assert book.call((ORDER,), {}, "flows").queue == "orders"
    assert add.call((1, 2), {}, "flows").queue == "flows"
    assert add.call((1, 2), {}).queue == "default"


@pytest.mark.parametrize("function", [add, book, flow])
def test_run_outside_a_workflow_says_what_to_use(function: Function[..., Any]) -> None:
    with pytest.raises(NotRunning, match=r"run\(\) was called outside a workflow: there, use .queue\(\)"):
        function.run()


def test_a_workflow_called_plainly_cannot_run_its_steps() -> None:
    @workflow
    async def outer() -> int:
        return await add.run(1, 2)

    with pytest.raises(NotRunning, match="outside a workflow"):
        asyncio.run(outer())


def test_classes_are_public() -> None:
    assert isinstance(book, Task)
    assert isinstance(flow, Workflow)


def test_what_a_replay_compares_is_one_of_two() -> None:
    async def flow() -> None: ...

    assert workflow(name="checks.default")(flow).replay_check == "arguments"
    assert workflow(name="checks.names", replay_check="names")(flow).replay_check == "names"
    with pytest.raises(ValueError, match='replay_check is "arguments" or "names", not \'name\''):
        workflow(replay_check="name")  # type: ignore[call-overload]
