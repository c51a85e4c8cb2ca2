"""The codec: what JSON carries comes back as it was, what it cannot carry is refused by name."""

from __future__ import annotations

import dataclasses
import enum
import json
import math
from collections.abc import Iterable
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any, NamedTuple, TypedDict
from uuid import UUID

import msgspec
import pydantic
import pytest
from hypothesis import given
from hypothesis import strategies as st

from currant._payloads import codec
from currant.errors import ExecutionFailed, SerializationError

whole_text = st.text(st.characters(exclude_categories=("Cs",)))
plain_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | whole_text,
    lambda inner: st.lists(inner) | st.dictionaries(whole_text, inner),
    max_leaves=20,
)


class Colour(enum.Enum):
    RED = "red"
    GREEN = "green"


class Box(msgspec.Struct):
    side: int
    label: str = ""


class Pair(NamedTuple):
    left: int
    right: str


class Entry(TypedDict):
    name: str
    at: datetime


@dataclasses.dataclass
class Line:
    sku: str
    price: Decimal
    ids: list[UUID]
    colour: Colour = Colour.RED
    note: str | None = None


class Person(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(strict=True)

    name: str = pydantic.Field(alias="fullName")
    born: date
    friends: list[Person] = []


lines = st.builds(
    Line,
    sku=whole_text,
    price=st.decimals(allow_nan=False, allow_infinity=False),
    ids=st.lists(st.uuids()),
    colour=st.sampled_from(Colour),
    note=st.none() | whole_text,
)
moments = st.datetimes(timezones=st.just(UTC) | st.just(timezone(timedelta(hours=5, minutes=30))))


@given(plain_values)
def test_plain_json_comes_back_as_it_was(value: Any) -> None:
    back = codec.decode(codec.encode(value))
    assert back == value
    assert json.dumps(back) == json.dumps(value)  # also tells 1 from 1.0 and True, 0.0 from -0.0


@pytest.mark.parametrize(
    ("type", "values"),
    [
        (Line, lines),
        (list[Line], st.lists(lines, max_size=3)),
        (Box, st.builds(Box, st.integers(), whole_text)),
        (Pair, st.builds(Pair, st.integers(), whole_text)),
        (Entry, st.fixed_dictionaries({"name": whole_text, "at": moments})),
        (datetime, moments | st.datetimes()),
        (date, st.dates()),
        (timedelta, st.timedeltas()),
        (UUID, st.uuids()),
        (Decimal, st.decimals(allow_nan=False)),
        (Colour, st.sampled_from(Colour)),
        (bytes, st.binary()),
        (tuple[int, str], st.tuples(st.integers(), whole_text)),
        (tuple[int, ...], st.lists(st.integers()).map(tuple)),
        (set[str], st.sets(whole_text)),
        (float, st.floats(allow_nan=False, allow_infinity=False)),
        (int | None, st.none() | st.integers()),
        (dict[str, bytes], st.dictionaries(whole_text, st.binary())),
    ],
    ids=str,
)
def test_an_annotated_value_comes_back_as_its_type(type: Any, values: st.SearchStrategy[Any]) -> None:
    @given(values)
    def holds(value: Any) -> None:
        back = codec.decode(codec.encode(value), type)
        assert back == value
        assert back.__class__ is value.__class__

    holds()


def test_pydantic_models_come_back_by_their_own_rules() -> None:
    bob = Person(fullName="Bob", born=date(1990, 1, 2))
    ann = Person(fullName="Ann", born=date(1990, 1, 2), friends=[bob])
    assert codec.decode(codec.encode([ann, None]), list[Person | None]) == [ann, None]
    # By alias is how another language would write it.
    assert codec.decode(b'{"fullName": "Bob", "born": "1990-01-02"}', Person) == bob
    with pytest.raises(SerializationError, match="Person"):
        codec.decode(b'{"fullName": "Bob", "born": "soon"}', Person)


def test_a_model_inside_a_dataclass_comes_back_too() -> None:
    @dataclasses.dataclass
    class Team:
        lead: Person

    team = Team(Person(fullName="Ann", born=date(1990, 1, 2)))
    assert codec.decode(codec.encode(team), Team) == team


def test_without_annotation_rich_values_are_plain_json() -> None:
    assert codec.decode(codec.encode((1, (2, 3)))) == [1, [2, 3]]
    assert codec.decode(codec.encode({"at": datetime(2020, 1, 2, tzinfo=UTC)})) == {"at": "2020-01-02T00:00:00Z"}


def test_subclasses_of_plain_types_are_carried_as_what_they_are() -> None:
    class Sku(str):
        __slots__ = ()

        def __str__(self) -> str:
            return "not this"

    assert codec.encode([Sku("a-1")]) == b'["a-1"]'
    back = codec.decode(codec.encode(Sku("a-1")), Sku)
    assert isinstance(back, Sku)


@pytest.mark.parametrize("value", [2**63, -(2**63) - 1, 2**64, 10**400, "a\0b", "\0", {"\0": 1}, -0.0, 5e-324])
def test_nul_and_integers_beyond_64_bit_pass(value: Any) -> None:
    assert repr(codec.decode(codec.encode(value))) == repr(value)


@dataclasses.dataclass
class Point:
    x: float


class Odd(enum.Enum):
    NAN = math.nan


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (math.nan, "nan is not a JSON number"),
        ([1.0, None, math.inf], r"at \[2\]: inf"),
        ({"a": {"b": (-math.inf,)}}, r"at \['a'\]\['b'\]\[0\]: -inf"),
        (Point(math.nan), r"at \.x: nan"),
        (Box(math.nan), r"at \.side: nan"),  # type: ignore[arg-type]
        (Odd.NAN, "nan"),
        ({1: "a"}, "the key 1 is not a string"),
        ({"a": [{None: 1}]}, r"at \['a'\]\[0\]: the key None is not a string"),
        ({UUID(int=0): 1}, "is not a string"),
        ({b"a": 1}, "is not a string"),
        ("\ud800", "lone surrogate"),
        ("\ud83d\ude00", "lone surrogate"),
        ({"a": ["x\udfff"]}, r"at \['a'\]\[0\]: .* lone surrogate"),
        ({"\ud800": 1}, "key .* lone surrogate"),
        (object(), "builtins.object is not a JSON type"),
        ([{"f": len}], r"at \[0\]\['f'\]: builtins.builtin_function_or_method is not a JSON type"),
        ({"a": (1, [object()])}, r"at \['a'\]\[1\]\[0\]: builtins.object is not a JSON type"),
        (1j, "complex"),
        (10**5000, "digits"),
    ],
    ids=lambda given: given if isinstance(given, str) and given.isprintable() else type(given).__name__,
)
def test_what_json_cannot_carry_is_refused_by_name(value: Any, said: str) -> None:
    with pytest.raises(SerializationError, match=f"argument 'x' cannot be carried as JSON: .*{said}"):
        codec.encode(value, "argument 'x'")


class Nullable(pydantic.BaseModel):
    value: float


def test_nan_in_a_pydantic_model_is_refused() -> None:
    with pytest.raises(SerializationError, match="nan"):
        codec.encode(Nullable(value=math.nan))


def test_a_value_that_contains_itself_is_refused() -> None:
    value: list[Any] = []
    value.append({"again": value})
    with pytest.raises(SerializationError, match="nested too deeply, or contains itself"):
        codec.encode(value)


@pytest.mark.parametrize("depth", [100, 600, 1_000, 5_000])
def test_deep_nesting_is_carried_or_refused_but_never_crashes(depth: int) -> None:
    value: Any = {"end": None}
    for _ in range(depth):
        value = [value]
    try:
        data = codec.encode(value)
    except SerializationError as error:
        assert "nested too deeply" in str(error)
        assert depth > 100
    else:
        assert codec.encode(codec.decode(data)) == data


def test_an_enum_of_mixed_values_is_refused_with_the_reason() -> None:
    class Mixed(enum.Enum):
        ONE = 1
        TWO = "two"

    with pytest.raises(SerializationError, match="Mixed: Enums must contain either all str or all int"):
        codec.decode(codec.encode(Mixed.ONE), Mixed)


def test_an_iterable_comes_back_as_a_list_of_its_items() -> None:
    assert codec.decode(codec.encode([date(2020, 1, 2)]), Iterable[date]) == [date(2020, 1, 2)]


def test_a_payload_over_the_limit_names_its_size_and_the_limit() -> None:
    assert codec.encode("x" * 98, limit=100)
    with pytest.raises(SerializationError, match="the result: too large, 101 bytes of JSON; at most 100 "):
        codec.encode("x" * 99, "the result", limit=100)


def test_the_limit_is_the_setting_unless_configured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORKFLOWS_MAX_PAYLOAD_BYTES", "10")
    codec.set_payload_limit(None)
    with pytest.raises(SerializationError, match="at most 10 "):
        codec.encode("x" * 20)
    codec.set_payload_limit(22)
    assert codec.encode("x" * 20)


@pytest.mark.parametrize(
    ("data", "type"),
    [
        (b'"a"', int),
        (b"1.5", int),
        (b"{}", Line),
        (b"[1]", tuple[int, str]),
        (b"nonsense", Any),
        (b"", Any),
        (b"1e400", float),
        (b'"\xff"', str),
        (b'"\\ud800"', str),
    ],
)
def test_json_that_does_not_fit_is_refused_by_name(data: bytes, type: Any) -> None:
    with pytest.raises(SerializationError, match="the payload does not fit"):
        codec.decode(data, type, "the payload")


def test_an_annotation_that_json_cannot_tell_apart_is_refused() -> None:
    with pytest.raises(SerializationError, match=r"the payload cannot be carried as str \| datetime"):
        codec.decode(b'"a"', str | datetime, "the payload")


def raised(error: BaseException) -> BaseException:
    try:
        raise error
    except BaseException as caught:
        return caught


def test_an_error_is_stored_with_its_type_message_traceback_and_id() -> None:
    back = codec.decode_error(codec.encode_error(raised(KeyError("who")), "id-1"))
    assert (back.id, back.type, back.message) == ("id-1", "KeyError", "'who'")
    assert "in raised" in back.traceback


def test_an_execution_that_failed_is_still_named_when_its_error_passes_through_a_caller() -> None:
    inner = ExecutionFailed("id-1", "Declined", "no money", "inner traceback")
    back = codec.decode_error(codec.encode_error(raised(inner), "id-2"))
    assert (back.id, back.type, back.message, back.traceback) == ("id-1", "Declined", "no money", "inner traceback")


def test_any_error_can_be_stored_however_odd_and_long() -> None:
    class Broken(Exception):
        def __str__(self) -> str:
            raise RuntimeError("no")

    assert codec.decode_error(codec.encode_error(raised(Broken()))).type == "Broken"
    assert codec.decode_error(codec.encode_error(raised(ValueError("\ud800\0")))).message == "\\ud800\0"
    assert len(codec.encode_error(raised(ValueError("x" * 10_000_000)))) < 200_000


def test_what_is_missing_in_a_stored_error_is_empty() -> None:
    assert codec.decode_error(b'{"type": "WorkerLost", "message": "gone"}').id == ""
