"""`@task` and `@workflow`: names, binding, arguments and results by their annotations."""

from __future__ import annotations

import asyncio
import functools
import importlib
import json
import math
import re
import runpy
import subprocess
import sys
import textwrap
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path
from typing import Annotated, Any
from uuid import UUID

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from currant import NotRunning, SerializationError, Task, Workflow, configure, registry, task, workflow
from currant.decorators import Function


@dataclass
class Order:
    id: UUID
    due: date


@task(queue="orders")
async def book(order: Order, amount: int = 1, *, note: str | None = None) -> Order:
    return order


@task
def add(a: int, b: int) -> int:
    return a + b


@workflow(version=3)
async def flow(order: Order) -> list[Order]:
    return [order]


ORDER = Order(UUID(int=7), date(2020, 1, 2))


def test_the_plain_function_can_be_called() -> None:
    assert add(1, 2) == 3
    assert asyncio.run(book(ORDER)) is ORDER
    assert asyncio.run(flow(ORDER)) == [ORDER]


def test_functions_are_registered_by_module_and_qualified_name() -> None:
    @task
    async def inner() -> None: ...

    assert registry[f"{__name__}.book"] is book
    assert inner.name == f"{__name__}.test_functions_are_registered_by_module_and_qualified_name.<locals>.inner"
    assert (book.kind, flow.kind, flow.version) == ("task", "workflow", 3)


def test_a_name_can_be_given() -> None:
    @task(name="billing.charge")
    async def charge() -> None: ...

    assert registry["billing.charge"] is charge
    assert charge.__name__ == "charge"


@pytest.mark.parametrize("name", ["", 5, "a\0b"])
def test_a_name_that_cannot_be_stored_is_refused(name: Any) -> None:
    with pytest.raises((TypeError, ValueError), match="name"):

        @task(name=name)
        async def charge() -> None: ...


def test_a_second_function_of_that_name_is_an_error_that_names_both_places() -> None:
    @task(name="one")
    async def first() -> None: ...

    with pytest.raises(ValueError, match=r"'one' is taken by the task at .*py:\d+; give the workflow at .*py:\d+ "):

        @workflow(name="one")
        async def second() -> None: ...

    assert registry["one"] is first


def test_a_module_can_be_imported_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "shop_of_test.py").write_text("from currant import task\n\n@task\nasync def pay() -> None: ...\n")
    monkeypatch.syspath_prepend(tmp_path)
    module = importlib.import_module("shop_of_test")
    first = registry["shop_of_test.pay"]
    importlib.reload(module)
    assert registry["shop_of_test.pay"] is not first
    # `python -m` runs a module beside its import.
    runpy.run_path(str(tmp_path / "shop_of_test.py"), run_name="shop_of_test")


def make(n: Any) -> Task[[int], int]:
    @task
    async def times(value: int) -> int:
        return value * n  # type: ignore[no-any-return]

    return times


def test_two_closures_under_one_name_are_refused_unless_they_hold_the_same() -> None:
    twice = make(2)
    assert make(2) is registry[twice.name]
    for other in (3, 2.0, True, None, [2]):
        with pytest.raises(
            ValueError, match=r"times' is taken by the task at .*py:\d+; give the task .*name=\.\.\."
        ) as e:
            make(other)
        assert str(e.value).count("test_decorators.py:") == 2
    assert asyncio.run(registry[twice.name](5)) == 10


def test_closures_over_what_can_change_are_two() -> None:
    make([])
    with pytest.raises(ValueError, match="is taken"):
        make([])


@pytest.mark.parametrize("second", ["default", "keyword", "annotation", "decorator", "bound", "constant", "body"])
def test_functions_of_one_name_that_differ_anywhere_are_refused(second: str) -> None:
    class Doer:
        async def act(self, n: int) -> int:
            return n

    def around(n: int) -> Any:
        def wrap(function: Any) -> Any:
            @functools.wraps(function)
            async def call(*args: Any) -> Any:
                return await function(*args) + n

            return call

        return wrap

    def made(kind: str) -> None:
        other = kind == second

        async def plain(n: int) -> int:
            return n

        async def same(n: int) -> int:
            return n

        if kind == "default":
            plain.__defaults__ = same.__defaults__ = (other,)
        if kind == "keyword":
            plain.__kwdefaults__ = {"n": other}
        if kind == "annotation":
            plain.__annotations__["n"] = float if other else int
        function: Any = plain
        if kind == "decorator":
            function = around(2 if other else 1)(plain)
        if kind == "bound":
            function = Doer().act
        task(name="one")(function)

    def constant(text: str) -> None:
        names: dict[str, Any] = {"__name__": __name__, "task": task}
        names = globals() | names if text == "" else globals()
        exec(f"@task(name='one')\nasync def one() -> object:\n    return {text}\n", names)

    if second in ("constant", "body"):
        constant("0")
        constant("0")
        for text in ("False", "0.0", "-0.0", "[0]", "lambda: 0"):
            with pytest.raises(ValueError, match="'one' is taken"):
                constant(text)
        return
    made(second if second == "bound" else "plain")
    with pytest.raises(ValueError, match="'one' is taken"):
        made(second)


def test_a_task_and_a_workflow_of_one_function_are_refused() -> None:
    async def both() -> None: ...

    task(both)
    with pytest.raises(ValueError, match=r"taken by the task at .*; give the workflow at"):
        workflow(both)


def test_the_same_code_under_one_name_in_two_modules_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, rate in (("first_of_test", 1), ("second_of_test", 2)):
        (tmp_path / f"{name}.py").write_text(
            f"from currant import task\nRATE = {rate}\n@task(name='rate')\nasync def rate() -> int:\n    return RATE\n"
        )
    monkeypatch.syspath_prepend(tmp_path)
    importlib.import_module("first_of_test")
    with pytest.raises(ValueError, match=r"'rate' is taken by the task at .*first_of_test.py:\d+; .*second_of_test"):
        importlib.import_module("second_of_test")


def test_a_module_that_was_edited_replaces_its_functions_when_it_is_reloaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = "from currant import task\n\ndef make(n):\n    @task{}\n    async def pay() -> int:\n        return n\nmake({})\n"
    (tmp_path / "edited_of_test.py").write_text(source.format("", 2))
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    module = importlib.import_module("edited_of_test")
    (tmp_path / "edited_of_test.py").write_text("\n" + source.format("(queue='new', retries=7)", 3))
    importlib.reload(module)
    new = registry["edited_of_test.make.<locals>.pay"]
    assert (asyncio.run(new()), new.queue_name, new.call((), {}).policy.max_attempts) == (3, "new", 8)
    (tmp_path / "edited_of_test.py").write_text(source.format("", 2) + "make(3)\n")
    with pytest.raises(ValueError, match="is taken"):
        importlib.reload(module)


CELLS = r"""
import sys
sys.path.insert(0, {paths!r})
import fake_core
fake_core.install()
from currant import registry, task
def cell(source):
    exec(compile(source, "<cell>", "exec"), globals())
del __file__
cell("@task\nasync def pay() -> int: return 1")
cell("@task\nasync def pay() -> int: return 2")
cell("def make(n):\n @task\n async def pay() -> int: return n")
cell("make(2)")
cell("make(2)")
print(registry["__main__.pay"].plain.__code__.co_consts)
try:
    cell("make(3)")
except ValueError as error:
    print(error)
"""


def test_a_cell_of_a_notebook_can_be_run_again_but_what_factories_made_is_compared(tmp_path: Path) -> None:
    (tmp_path / "book.py").write_text(CELLS.format(paths=str(Path(__file__).parents[1])))
    environment = {"PYTHONPATH": ":".join(filter(None, sys.path))}
    command = [sys.executable, str(tmp_path / "book.py")]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    shown, said = done.stdout.splitlines()
    assert "2" in shown
    assert "'__main__.make.<locals>.pay' is taken" in said


SCRIPT = """
import sys
sys.path.insert(0, {paths!r})
import fake_core
fake_core.install()
from currant import Retry, task
class Declined(Exception): pass
@task(retry=Retry(non_retryable=(Declined,)))
async def pay() -> None: ...
print(pay.name, pay.call((), {{}}).policy.non_retryable[0])
"""


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    (tmp_path / "shop" / "orders").mkdir(parents=True)
    for folder in (tmp_path / "shop", tmp_path / "shop" / "orders"):
        (folder / "__init__.py").touch()
    script = textwrap.dedent(SCRIPT).format(paths=str(Path(__file__).parents[1]))
    for name in ("orders/pay.py", "orders/__main__.py"):
        (tmp_path / "shop" / name).write_text(script)
    (tmp_path / "alone.py").write_text(script)
    return tmp_path


@pytest.mark.parametrize(
    ("arguments", "module"),
    [
        (["shop/orders/pay.py"], "shop.orders.pay"),
        (["-m", "shop.orders.pay"], "shop.orders.pay"),
        (["-m", "shop.orders"], "shop.orders.__main__"),
        (["alone.py"], "alone"),
    ],
    ids=" ".join,
)
def test_a_script_registers_the_name_that_a_worker_imports(shop: Path, arguments: list[str], module: str) -> None:
    command = [sys.executable, *arguments]
    environment = {"PYTHONPATH": ":".join(filter(None, sys.path))}
    done = subprocess.run(command, cwd=shop, env=environment, capture_output=True, text=True, check=False)
    assert done.stdout.split() == [f"{module}.pay", f"{module}.Declined"], done.stderr


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


# Arguments


@pytest.mark.parametrize(
    ("args", "kwargs"),
    [
        ((ORDER,), {}),
        ((ORDER, 5), {}),
        ((ORDER, 5), {"note": "n"}),
        ((), {"order": ORDER}),
        ((ORDER,), {"amount": 2**70, "note": None}),
    ],
)
def test_arguments_come_back_as_given(args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    assert book.decode_args(book.encode_args(args, kwargs)) == (args, kwargs)


def test_arguments_are_stored_as_args_and_kwargs() -> None:
    assert json.loads(add.encode_args((1,), {"b": 2})) == {"args": [1], "kwargs": {"b": 2}}
    assert add.decode_args(b'{"args": [1, 2]}') == ((1, 2), {})
    assert add.decode_args(b'{"kwargs": {"a": 1, "b": 2}}') == ((), {"a": 1, "b": 2})


@pytest.mark.parametrize(
    ("args", "kwargs", "said"),
    [
        ((), {}, "missing a required argument: 'order'"),
        ((ORDER, 1, "n"), {}, "too many positional arguments"),
        ((ORDER,), {"colour": 1}, "unexpected keyword argument 'colour'"),
        ((ORDER,), {"order": ORDER}, "multiple values for argument 'order'"),
    ],
)
def test_arguments_that_do_not_bind_are_a_type_error_at_the_call(
    args: tuple[Any, ...], kwargs: dict[str, Any], said: str
) -> None:
    with pytest.raises(TypeError, match=rf"book\(\): .*{said}"):
        book.queue(*args, **kwargs)


@pytest.mark.parametrize(
    ("args", "kwargs", "said"),
    [
        ((object(),), {}, r"argument 'order' of .*book cannot be carried as JSON: builtins.object"),
        ((ORDER, float("nan")), {}, r"argument 'amount' of .*book cannot .*nan"),
        ((ORDER,), {"note": "\ud800"}, r"argument 'note' of .*book cannot .*surrogate"),
        ((ORDER, "5"), {}, r"argument 'amount' of .*book does not fit int"),
        (({"id": 1},), {}, r"argument 'order' of .*book does not fit Order"),
    ],
)
def test_arguments_that_cannot_be_carried_are_refused_at_the_call_by_name(
    args: tuple[Any, ...], kwargs: dict[str, Any], said: str
) -> None:
    with pytest.raises(SerializationError, match=said):
        book.queue(*args, **kwargs)


@pytest.mark.parametrize(
    ("args", "kwargs", "culprit"),
    [
        ((1, date(2020, 1, 1), "soon"), {}, "'days[1]'"),
        ((1, datetime(2020, 1, 1)), {}, "'days[0]'"),
        ((1, date(2020, 1, 1)), {"ann": UUID(int=1), "bob": "me"}, "'bob'"),
        (("one", date(2020, 1, 1)), {"ann": UUID(int=1)}, "'number'"),
        ((1,), {"kind": 2, "ann": UUID(int=1)}, "'kind'"),
    ],
)
def test_the_culprit_among_variable_arguments_is_named(args: Any, kwargs: Any, culprit: str) -> None:
    @task(name="shop.book_days")
    async def book_days(number: int, *days: date, kind: str = "", **owners: UUID) -> None: ...

    with pytest.raises(SerializationError, match=re.escape(f"argument {culprit} of shop.book_days ")):
        book_days.encode_args(args, kwargs)


def test_variable_arguments_are_decoded_by_their_annotations() -> None:
    @task
    async def total(*days: date, **owners: UUID) -> None: ...

    args, kwargs = (date(2020, 1, 2), date(2021, 1, 2)), {"ann": UUID(int=1)}
    assert total.decode_args(total.encode_args(args, kwargs)) == (args, kwargs)


def test_positional_only_and_required_keyword_arguments_bind() -> None:
    @task
    async def odd(a: int, /, *, b: int) -> None: ...

    assert odd.decode_args(odd.encode_args((1,), {"b": 2})) == ((1,), {"b": 2})
    with pytest.raises(TypeError, match="'b'"):
        odd.encode_args((1,), {})


def test_without_annotations_arguments_are_plain_json() -> None:
    @task
    async def anything(a, b=None):  # type: ignore[no-untyped-def]
        return a

    assert anything.decode_args(anything.encode_args(((1, 2), {"x": None}), {})) == (([1, 2], {"x": None}), {})
    assert anything.decode_result(anything.encode_result((1, 2))) == [1, 2]


def test_constraints_of_an_annotation_hold() -> None:
    @task
    async def pay(amount: Annotated[int, msgspec.Meta(ge=1)]) -> None: ...

    with pytest.raises(SerializationError, match=r"argument 'amount' of .*Expected `int` >= 1"):
        pay.encode_args((0,), {})


@given(
    st.integers() | st.integers(3_900, 4_299).map(lambda digits: -(10**digits)), st.floats(), st.text(), st.booleans()
)
def test_what_is_enqueued_without_a_trial_is_what_the_worker_gets(a: int, b: float, c: str, d: bool) -> None:
    try:
        stored = plain.encode_args((a, b, c, d), {})
    except SerializationError:
        assert not math.isfinite(b) or a < -(10**4_000)
        return
    args, _ = plain.decode_args(stored)
    assert [(type(arg), arg) for arg in args] == [(int, a), (float, b), (str, c), (bool, d)]


@task
async def plain(a: int, b: float, c: str, d: bool) -> None: ...


@pytest.mark.parametrize(
    ("args", "culprit"), [((True, 0.5), "'a' of .* does not fit int"), ((1, "0.5"), "'b' of .* does not fit float")]
)
def test_a_value_of_another_plain_type_is_tried(args: tuple[Any, ...], culprit: str) -> None:
    with pytest.raises(SerializationError, match=culprit):
        plain.encode_args((*args, "", False), {})


def test_a_number_too_long_for_python_is_refused_at_the_call() -> None:
    with pytest.raises(SerializationError, match="argument 'a'"):
        plain.encode_args((10**5000, 0.5, "", False), {})


def test_a_default_of_none_allows_none() -> None:
    @task
    async def maybe(a: int = None) -> None: ...  # type: ignore[assignment]  # noqa: RUF013

    assert maybe.decode_args(maybe.encode_args((None,), {})) == ((None,), {})


def test_a_class_of_the_enclosing_function_is_found() -> None:
    @dataclass
    class Local:
        x: int

    @task
    async def local(value: Local) -> Local:
        return value

    assert local.decode_args(local.encode_args((Local(1),), {})) == ((Local(1),), {})
    assert local.decode_result(local.encode_result(Local(2))) == Local(2)


@task
async def forward(value: Later) -> Later:
    return value


@dataclass
class Later:
    x: int


def test_a_class_defined_further_down_is_found() -> None:
    assert forward.decode_args(forward.encode_args((Later(1),), {})) == ((Later(1),), {})


def test_an_annotation_that_is_not_there_at_run_time_is_an_error_that_names_it() -> None:
    @task
    async def lost(value: Nowhere) -> None: ...  # type: ignore[name-defined]  # noqa: F821

    with pytest.raises(SerializationError, match="lost: the annotation of argument 'value' names something"):
        lost.queue(1)


def test_such_an_annotation_is_an_error_also_when_the_argument_is_left_out() -> None:
    @task
    async def half(a: int, b: Nowhere | None = None) -> None: ...  # type: ignore[name-defined]  # noqa: F821

    for _ in range(2):
        with pytest.raises(SerializationError, match="half: the annotation of argument 'b' names something"):
            half.queue(1)


def test_stored_arguments_that_do_not_fit_are_refused_by_name() -> None:
    with pytest.raises(SerializationError, match="argument 'b' of .*add does not fit int"):
        add.decode_args(b'{"args": [1, "x"]}')
    with pytest.raises(SerializationError, match=r'the arguments of .*add are not \{"args"'):
        add.decode_args(b"[1, 2]")


def test_arguments_over_the_limit_name_the_function_and_the_limit() -> None:
    configure(max_payload_bytes=1000)
    with pytest.raises(SerializationError, match=r"the arguments of .*book: too large, \d+ bytes .* at most 1000"):
        book.queue(ORDER, note="x" * 1000)


# Results


def test_a_result_comes_back_as_annotated() -> None:
    assert flow.decode_result(flow.encode_result([ORDER])) == [ORDER]


@pytest.mark.parametrize("result", [float("inf"), {1: 2}, "five", object()])
def test_a_result_that_cannot_be_carried_or_does_not_fit_is_refused(result: Any) -> None:
    with pytest.raises(SerializationError, match=r"the result of .*add"):
        add.encode_result(result)


# Calls


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
