"""A value arrives as it was, or the call raises `SerializationError` that says where and why: the known cases by name."""

from __future__ import annotations

import dataclasses
import enum
import functools
import math
from collections import OrderedDict, defaultdict
from collections.abc import Sequence
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from typing import Any, Literal
from uuid import UUID
from zoneinfo import ZoneInfo

import msgspec
import pydantic
import pytest

from currant import SerializationError
from currant._calls.options import Options
from currant._payloads import codec
from currant.decorators import Task
from random_types import (
    Base,
    Colour,
    Counted,
    Derived,
    Entry,
    Hidden,
    Holder,
    Model,
    Open,
    Pair,
    Partly,
    Secret,
    Seeded,
    Shaken,
    Size,
    Wider,
)

AMSTERDAM = datetime(1935, 1, 1, tzinfo=ZoneInfo("Europe/Amsterdam"))
SHANGHAI = datetime(1900, 1, 1, tzinfo=ZoneInfo("Asia/Shanghai"))


def carrying(annotation: Any) -> Task[Any, Any]:
    async def carry(value: Any) -> Any:
        return value

    carry.__annotations__ = {"value": annotation, "return": annotation}
    return Task(carry, "carry", Options(), {})


def private() -> Hidden:
    model = Hidden()
    model._private = 5
    return model


def counted(**changed: Any) -> Counted:
    value = Counted(1)
    for name, item in changed.items():
        setattr(value, name, item)
    return value


CHANGED = [
    # pydantic
    (Secret, Secret(password="s3cret"), r"at \.password: its value would change"),  # type: ignore[arg-type]
    (Secret, Secret(password="", key=b"k"), r"at \.key: its value would change"),  # type: ignore[arg-type]
    (Open, Open(ratio=math.nan), r"at \.ratio: a float would arrive as None"),  # type: ignore[call-arg]
    (Open, Open(at=date(2020, 1, 2)), r"at \.at: a date would arrive as a str"),  # type: ignore[call-arg]
    (Hidden, Hidden(hidden=7), r"at \.hidden: its value would change"),
    (Hidden, private(), r"at \._private: its value would change"),
    (list[Model], [Wider(id=1)], r"at \[0\]: a Wider would arrive as a Model"),
    (Model | Open, Open(id=1), "a Open would arrive as a Model|union"),
    (Shaken, Shaken(rounded=0.25), r"at \.rounded: its value would change"),
    (Model, Model.model_construct(id="x"), "does not fit Model"),
    (Any, Model(id=1), "a Model would arrive as a dict"),
    # dataclasses, named tuples, typed dicts
    (Base, Derived(1), "a Derived would arrive as a Base"),
    (Base, Base(1, ("a",)), r"at \.tags: a tuple would arrive as a list"),  # type: ignore[arg-type]
    (Counted, counted(twice=5), r"at \.twice: its value would change"),
    (Counted, counted(note="x"), "the attribute 'note' would be lost"),
    (dict[str, Holder[Any]], {"a": Holder(date(2020, 1, 2))}, r"at \['a'\]\.value: a date would arrive as a str"),
    (Seeded, Seeded(1), "InitVar"),
    (Any, Pair(1), "a Pair would arrive as a list"),
    (dict[str, Any], {"a": {1: "b"}}, r"at \['a'\]: the key 1 is not a string, nor declared"),
    (Partly, {"name": "a", "more": 1}, "the key 'more' would be lost"),
    # containers
    (list[int], (1, 2), "a tuple would arrive as a list"),
    (tuple[int, ...], [1, 2], "a list would arrive as a tuple"),
    (set[int], frozenset({1}), "a frozenset would arrive as a set"),
    (bytes, bytearray(b"a"), "a bytearray would arrive as a bytes"),
    (dict[str, Any], {"a": {1, 2}}, r"at \['a'\]: a set would arrive as a list"),
    (dict[str, Any], {"a": [(date(2020, 1, 2),)]}, r"at \['a'\]\[0\]\[0\]: a date would arrive as a str"),
    (Any, {"id": UUID(int=1)}, r"at \['id'\]: a UUID would arrive as a str"),
    (Any, Decimal(1), "a Decimal would arrive as a str"),
    (Any, Colour.RED, "a Colour would arrive as a str"),
    # numbers
    (float, 2**53 + 1, "as a float it would be another number"),
    (float | None, math.nan, "nan is not a JSON number"),
    (int, True, "does not fit int"),
    (int, 1.0, "does not fit int"),
    (Literal[1], True, "does not fit"),
    # times
    (datetime, AMSTERDAM, r"its UTC offset has seconds, which would be lost; give it in UTC"),
    (datetime, SHANGHAI, "its UTC offset has seconds"),
    (list[datetime], [datetime(2020, 1, 1, tzinfo=timezone(timedelta(microseconds=1)))], r"at \[0\]: its UTC offset"),
    (datetime, datetime(2020, 10, 25, 2, 30, fold=1), "fold=1 would be lost"),
    (dict[datetime, int], {datetime(2020, 10, 25, 2, 30, fold=1): 1}, "fold=1 would be lost"),
    (set[datetime], {datetime(2020, 10, 25, 2, 30, fold=1)}, "fold=1 would be lost"),
    (time, time(1, 2, tzinfo=ZoneInfo("Europe/Berlin")), "its time zone would be lost"),
    (time, time(1, 2, fold=1), "fold=1 would be lost"),
    (time, time(1, 2, tzinfo=timezone(timedelta(seconds=1))), "its UTC offset has seconds"),
]


@pytest.mark.parametrize(("annotation", "value", "said"), CHANGED)
def test_what_would_arrive_as_another_value_is_refused(annotation: Any, value: Any, said: str) -> None:
    function = carrying(annotation)
    for encode in (lambda: function.encode_args((value,), {}), lambda: function.encode_args((), {"value": value})):
        with pytest.raises(SerializationError, match=f"argument 'value' of carry .*{said}"):
            encode()
    with pytest.raises(SerializationError, match=f"the result of carry .*{said}"):
        function.encode_result(value)


class Id(str):
    __slots__ = ()


class Number(enum.IntEnum):
    ONE = 1


CARRIED = [
    (float, 3, 3.0),
    (Any, (1, (2, "x")), [1, [2, "x"]]),
    (dict[str, Any], {"a": (1,)}, {"a": [1]}),
    (Sequence[int], (1, 2), [1, 2]),
    (str, Id("a"), "a"),
    (str, Size.SMALL, "s"),
    (tuple[int, str], Pair(1), (1, "")),
    (int, Number.ONE, 1),
    (dict[str, int], OrderedDict(a=1), {"a": 1}),
    (dict[str, list[int]], defaultdict(list, a=[1]), {"a": [1]}),
    (dict[int, date], {1: date(2020, 1, 2)}, {1: date(2020, 1, 2)}),
    (dict[UUID, str], {UUID(int=1): "a"}, {UUID(int=1): "a"}),
    (Entry, {"id": 1}, {"id": 1}),
    (datetime, datetime.min.replace(tzinfo=timezone(timedelta(hours=5))), None),
    (datetime, datetime.max.replace(tzinfo=timezone(-timedelta(hours=5))), None),
    (datetime, datetime(2020, 10, 25, 2, 30), None),
    (date, date.min, None),
    (date, date.max, None),
    (timedelta, timedelta.min, None),
    (timedelta, timedelta.max, None),
    (timedelta, -timedelta(microseconds=1), None),
    (time, time.max.replace(tzinfo=timezone(-timedelta(hours=3))), None),
    (Decimal, Decimal("-0E+3"), None),
]


@pytest.mark.parametrize(("annotation", "value", "arrived"), CARRIED)
def test_what_the_annotation_makes_of_a_value_is_its_equal(annotation: Any, value: Any, arrived: Any) -> None:
    function, arrived = carrying(annotation), value if arrived is None else arrived
    for _ in range(2):
        (back,), _kwargs = function.decode_args(function.encode_args((value,), {}))
        assert (repr(back), type(back)) == (repr(arrived), type(arrived))
    assert repr(function.decode_result(function.encode_result(value))) == repr(arrived)


@pytest.mark.parametrize("fold", [0, 1])
def test_a_moment_in_a_zone_arrives_as_that_moment_with_its_offset(fold: int) -> None:
    moment = datetime(2020, 10, 25, 2, 30, fold=fold, tzinfo=ZoneInfo("Europe/Berlin"))
    function = carrying(datetime)
    arrived = function.decode_result(function.encode_result(moment))
    assert arrived.astimezone(UTC) == moment.astimezone(UTC)
    assert arrived.utcoffset() == moment.utcoffset() == timedelta(hours=2 - fold)


def test_a_time_that_was_stored_with_a_rounded_offset_is_still_read() -> None:
    assert codec.decode(b'"1935-01-01T00:00:00+00:20"', datetime) == datetime(
        1935, 1, 1, tzinfo=timezone(timedelta(minutes=20))
    )


class Priced(pydantic.BaseModel):
    cents: int
    _seen: int = pydantic.PrivateAttr(default=0)

    @functools.cached_property
    def euros(self) -> Decimal:
        return Decimal(self.cents) / 100


def test_a_private_attribute_and_a_cached_property_are_no_loss_where_they_come_back() -> None:
    function, price = carrying(Priced), Priced(cents=250)
    assert price.euros == Decimal("2.5")
    assert function.decode_result(function.encode_result(price)).euros == Decimal("2.5")


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (Secret(password="s3cret"), r"at \.password"),  # type: ignore[arg-type]
        ([{"a": Hidden(hidden=1)}], r"at \.hidden"),
        ({"at": AMSTERDAM}, "its UTC offset has seconds"),
        (pydantic.SecretStr("s"), "is not a JSON type"),
    ],
)
def test_a_signal_that_nobody_could_read_as_it_was_is_refused(value: Any, said: str) -> None:
    with pytest.raises(SerializationError, match=f"the payload .*{said}") as refused:
        codec.encode_untyped(value, "the payload")
    assert "s3cret" not in str(refused.value)


@dataclasses.dataclass
class Approval:
    by: UUID
    at: datetime


class Note(msgspec.Struct):
    text: str


def test_a_signal_may_be_what_its_reader_names() -> None:
    approval = Approval(UUID(int=1), datetime(2020, 1, 2, tzinfo=UTC))
    data = codec.encode_untyped({"approvals": [approval], "notes": (Note("x"),), "on": date(2020, 1, 2)}, "the payload")
    assert codec.decode(data, dict[str, Any])["on"] == "2020-01-02"
    named = msgspec.defstruct(
        "Named", [("approvals", list[Approval]), ("notes", tuple[Note, ...]), ("on", date)], module=__name__
    )
    assert codec.decode(data, named) == named([approval], (Note("x"),), date(2020, 1, 2))


def test_values_that_are_deeply_nested_are_compared() -> None:
    value: Any = date(2020, 1, 2)
    for _ in range(600):
        value = [value]
    with pytest.raises(SerializationError, match="a date would arrive as a str"):
        carrying(Any).encode_result(value)
