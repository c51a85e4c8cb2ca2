"""Arguments and results by their annotations: bound and checked at the call, stored, read by the worker."""

from __future__ import annotations

import json
import math
import re
from dataclasses import dataclass
from datetime import date, datetime
from typing import Annotated, Any
from uuid import UUID

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from currant import SerializationError, configure, task
from order_functions import ORDER, add, book, flow


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


def test_a_result_comes_back_as_annotated() -> None:
    assert flow.decode_result(flow.encode_result([ORDER])) == [ORDER]


@pytest.mark.parametrize("result", [float("inf"), {1: 2}, "five", object()])
def test_a_result_that_cannot_be_carried_or_does_not_fit_is_refused(result: Any) -> None:
    with pytest.raises(SerializationError, match=r"the result of .*add"):
        add.encode_result(result)
