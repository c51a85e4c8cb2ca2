"""Random annotations, each with values of it: what a function may be given, whether JSON can carry it or not."""

from __future__ import annotations

import collections
import dataclasses
import enum
import fractions
import ipaddress
import pathlib
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextvars import ContextVar
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from typing import (
    Annotated,
    Any,
    Generic,
    Literal,
    NamedTuple,
    NewType,
    NotRequired,
    Optional,
    TypedDict,
    TypeVar,
    Union,
)
from uuid import UUID
from zoneinfo import ZoneInfo

import msgspec
import pydantic
from hypothesis import strategies as st

T = TypeVar("T")
Typed = tuple[Any, st.SearchStrategy[Any]]
Draw = Callable[[st.SearchStrategy[Any]], Any]


class Colour(enum.Enum):
    RED = "red"
    GREEN = "green"
    ALSO_RED = "red"  # noqa: PIE796  an alias is meant


class Size(enum.StrEnum):
    SMALL = "s"
    LARGE = "l"


class Level(enum.IntEnum):
    LOW = 1
    HIGH = 2


class Rights(enum.Flag):
    READ = 1
    WRITE = 2


class Ratio(enum.Enum):
    HALF = 0.5


class Pair(NamedTuple):
    left: int
    right: str = ""


class Partly(TypedDict, total=False):
    name: str
    at: datetime


class Entry(TypedDict):
    id: int
    note: NotRequired[str | None]


class Sku(str):
    __slots__ = ()


@dataclasses.dataclass
class Base:
    id: int
    tags: list[str] = dataclasses.field(default_factory=list)


@dataclasses.dataclass
class Derived(Base):
    more: str = ""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Fixed:
    at: datetime
    price: Decimal = Decimal(0)


@dataclasses.dataclass
class Counted:
    """A field that is not given, one that follows from others, and one that is left out of comparisons."""

    n: int
    twice: int = dataclasses.field(init=False)
    seen: int = dataclasses.field(default=0, init=False, compare=False)

    def __post_init__(self) -> None:
        self.twice = self.n * 2


@dataclasses.dataclass
class Trimmed:
    """It changes what it is given."""

    text: str

    def __post_init__(self) -> None:
        self.text = self.text.strip()


@dataclasses.dataclass
class Seeded:
    n: int
    seed: dataclasses.InitVar[int] = 0


@dataclasses.dataclass
class Holder(Generic[T]):
    value: T


class Plain(msgspec.Struct):
    id: int
    ratio: float = 0.0


class Terse(msgspec.Struct, omit_defaults=True, rename="camel", frozen=True):
    first_name: str = ""
    born_on: date | None = None
    tags: list[str] = []


class Flat(msgspec.Struct, array_like=True):
    a: int
    b: str | None = None


class Unset(msgspec.Struct, forbid_unknown_fields=True):
    n: int | msgspec.UnsetType | None = msgspec.UNSET


class Cat(msgspec.Struct, tag=True):
    lives: int


class Dog(msgspec.Struct, tag=True):
    lives: int


class Model(pydantic.BaseModel):
    id: int
    at: datetime | None = None
    many: dict[str, list[float]] = {}


class Wider(Model):
    extra_field: str = ""


class Open(pydantic.BaseModel, extra="allow"):
    id: int = 0


class Secret(pydantic.BaseModel):
    password: pydantic.SecretStr
    key: pydantic.SecretBytes | None = None


class Hidden(pydantic.BaseModel):
    shown: int = 0
    hidden: int = pydantic.Field(default=0, exclude=True)
    _private: int = pydantic.PrivateAttr(default=0)


class Renamed(pydantic.BaseModel, populate_by_name=True):
    first: int = pydantic.Field(alias="one")
    second: int = pydantic.Field(validation_alias="two", serialization_alias="zwei")
    third: int = pydantic.Field(default=3, validation_alias=pydantic.AliasPath("deep", 0))

    @pydantic.computed_field  # type: ignore[prop-decorator]
    @property
    def total(self) -> int:
        return self.first + self.second


class Shaken(pydantic.BaseModel):
    """Its validator changes what passes, at every pass; its serializer keeps less than there is."""

    n: Annotated[int, pydantic.AfterValidator(lambda n: min(n, 10))] = 0
    text: Annotated[str, pydantic.BeforeValidator(lambda text: text.strip() if text else text)] = ""
    rounded: float = 0.0

    @pydantic.field_serializer("rounded")
    def _round(self, value: float) -> float:
        return round(value, 1)


class Odd(pydantic.BaseModel, ser_json_inf_nan="strings", ser_json_bytes="base64", val_json_bytes="base64"):
    ratio: float = 0.0
    data: bytes = b""
    took: timedelta = timedelta(0)


class Seconds(pydantic.BaseModel, ser_json_timedelta="float", frozen=True):
    took: timedelta = timedelta(0)


class Listed(pydantic.RootModel[list[int]]):
    pass


class Wrapped(pydantic.BaseModel, Generic[T]):
    value: T


class Left(pydantic.BaseModel):
    kind: Literal["left"] = "left"
    n: int = 0


class Right(pydantic.BaseModel):
    kind: Literal["right"] = "right"
    n: int = 0


class Either(pydantic.BaseModel):
    one: Left | Right
    told: Annotated[Left | Right, pydantic.Field(discriminator="kind")]
    nearest: Model | Open | int | str


@pydantic.dataclasses.dataclass
class Checked:
    n: int
    when: date | None = None


OrderId = NewType("OrderId", int)

text = st.text(st.characters(exclude_categories=("Cs",)), max_size=5)
whole = st.integers() | st.integers(-3, 3)
floats = st.floats(allow_nan=False, allow_infinity=False)
zones = st.sampled_from(
    [
        UTC,
        timezone(timedelta(hours=5, minutes=30)),
        timezone(-timedelta(hours=23, minutes=59)),
        timezone(timedelta(hours=1, seconds=1)),
        timezone(timedelta(microseconds=1)),
        *map(ZoneInfo, ["Europe/Amsterdam", "Asia/Shanghai", "America/New_York", "Africa/Monrovia"]),
    ]
)
folds = st.sampled_from([0, 1])
moments = st.builds(
    lambda value, fold: value.replace(fold=fold), st.datetimes(timezones=st.none() | zones, allow_imaginary=True), folds
)
times = st.builds(lambda value, fold: value.replace(fold=fold), st.times(timezones=st.none() | zones), folds)
plain = st.recursive(
    st.none() | st.booleans() | whole | floats | text,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(text, inner, max_size=3),
    max_leaves=5,
)
models = st.builds(Model, id=whole, at=st.none() | moments, many=st.dictionaries(text, st.lists(floats, max_size=2)))
bases = st.builds(Base, whole, st.lists(text, max_size=2))

CARRIED: list[Typed] = [
    (str, text),
    (int, whole),
    (float, floats),
    (bool, st.booleans()),
    (None, st.none()),
    (bytes, st.binary(max_size=5)),
    (bytearray, st.binary(max_size=5).map(bytearray)),
    (date, st.dates()),
    (timedelta, st.timedeltas()),
    (UUID, st.uuids()),
    (Decimal, st.decimals(allow_nan=False)),
    (Colour, st.sampled_from(Colour)),
    (Size, st.sampled_from(Size)),
    (Level, st.sampled_from(Level)),
    (Rights, st.sampled_from([Rights(0), Rights.READ, Rights.READ | Rights.WRITE])),
    (Literal["a", "b", 1, None], st.sampled_from(["a", "b", 1, None])),
    (OrderId, whole),
    (Annotated[int, msgspec.Meta(ge=0)], st.integers(0)),
    (Any, plain),
    (dict, st.dictionaries(text, plain, max_size=2)),
    (list, st.lists(plain, max_size=2)),
    (Pair, st.builds(Pair, whole, text)),
    (Entry, st.fixed_dictionaries({"id": whole}, optional={"note": st.none() | text})),
    (Sku, text.map(Sku)),
    (Base, bases),
    (Derived, st.builds(Derived, whole, st.lists(text, max_size=2), text)),
    (Counted, st.builds(Counted, whole)),
    (Plain, st.builds(Plain, whole, floats)),
    (Terse, st.builds(Terse, text, st.none() | st.dates(), st.lists(text, max_size=2))),
    (Flat, st.builds(Flat, whole, st.none() | text)),
    (Unset, st.builds(Unset, st.none() | whole | st.just(msgspec.UNSET))),
    (Cat | Dog, st.builds(Cat, whole) | st.builds(Dog, whole)),
    (Renamed, st.builds(lambda a, b, c: Renamed(one=a, two=b, deep=[c]), whole, whole, whole)),
    (Listed, st.lists(whole, max_size=3).map(Listed)),
    (Wrapped[date], st.dates().map(lambda value: Wrapped[date](value=value))),
    (Holder[date], st.dates().map(Holder)),
    (Checked, st.builds(Checked, whole, st.none() | st.dates())),
]
DOUBTFUL: list[Typed] = [
    (datetime, moments),
    (time, times),
    (Decimal, st.decimals() | st.just(Decimal("sNaN12")) | st.just(Decimal("-0E+3"))),
    (float, st.floats()),
    (Any, moments | st.dates() | st.uuids() | st.binary() | st.decimals() | st.sampled_from(Colour) | bases | models),
    (dict[str, Any], st.dictionaries(text, st.dates() | st.sets(whole) | models | whole, max_size=2)),
    (Ratio, st.sampled_from(Ratio)),
    (pathlib.Path, text.map(lambda name: pathlib.Path(name.replace("\0", "")))),
    (complex, st.complex_numbers()),
    (fractions.Fraction, st.fractions()),
    (ipaddress.IPv4Address, st.ip_addresses(v=4)),
    (memoryview, st.binary().map(memoryview)),
    (collections.deque[int], st.lists(whole).map(collections.deque)),
    (collections.OrderedDict[str, int], st.dictionaries(text, whole).map(collections.OrderedDict)),
    (collections.Counter[str], st.lists(text).map(collections.Counter)),
    (Partly, st.fixed_dictionaries({}, optional={"name": text, "at": moments, "unknown": whole})),
    (Base, st.builds(Derived, whole, st.just([]), text)),
    (Base, st.builds(Base, st.sampled_from([1, True, 1.0, "1"]), st.sampled_from([("a",), {"a"}, ["a"], [Sku("a")]]))),
    (Fixed, st.builds(Fixed, at=moments, price=st.decimals())),
    (Trimmed, st.builds(Trimmed, text)),
    (Seeded, st.builds(Seeded, whole)),
    (Holder[datetime], moments.map(Holder)),
    (Holder, (whole | moments).map(Holder)),
    (Plain, st.builds(Plain, whole, whole)),
    (Model, models),
    (Model, st.builds(Wider, id=whole, extra_field=text)),
    (Model, st.builds(lambda n: Model.model_construct(id=n), whole | text | floats)),
    (Open, st.builds(lambda n, more: Open(id=n, more=more), whole, plain | st.floats() | moments | st.binary())),
    (Secret, st.builds(lambda a, b: Secret(password=a, key=b), text, st.none() | st.binary())),
    (pydantic.SecretStr, text.map(pydantic.SecretStr)),
    (Shaken, st.builds(Shaken, n=whole, text=text, rounded=floats)),
    (Odd, st.builds(Odd, ratio=st.floats(), data=st.binary(), took=st.timedeltas())),
    (Seconds, st.builds(Seconds, took=st.timedeltas())),
    (Wrapped[Any], (st.dates() | plain).map(lambda value: Wrapped[Any](value=value))),
    (
        Either,
        st.builds(
            lambda one, told, nearest: Either(one=one, told=told, nearest=nearest),
            st.builds(Left, n=whole) | st.builds(Right, n=whole),
            st.builds(Left, n=whole) | st.builds(Right, n=whole),
            models | st.builds(Open, id=whole) | whole | text,
        ),
    ),
    (Model | Open, models | st.builds(Open, id=whole)),
    (str | datetime, text | moments),
    (bytes | str, text | st.binary()),
    (bool | int, st.booleans() | whole),
    (int | float, whole | floats),
    (int | str | None, whole | text | st.none()),
    (date | datetime, st.dates() | moments),
    (UUID | str, st.uuids() | text),
    (T, plain | moments),
    (object, plain | st.dates()),
]


@st.composite
def hidden_models(draw: Draw) -> Hidden:
    model = Hidden(shown=draw(whole), hidden=draw(whole))
    model._private = draw(st.sampled_from([0, 1]))
    return model


@st.composite
def changed_later(draw: Draw) -> Any:
    """Objects that hold what their constructors would not make."""
    counted: Any = Counted(draw(whole))
    change = draw(st.sampled_from(["twice", "seen", "unknown"]))
    setattr(counted, change, draw(whole))
    return counted


DOUBTFUL += [(Hidden, hidden_models()), (Counted, changed_later())]


def _containers(inner: Typed, other: Typed) -> st.SearchStrategy[Typed]:
    (kind, values), (kind2, values2) = inner, other
    return st.sampled_from(
        [
            (list[kind], st.lists(values, max_size=3)),
            (dict[str, kind], st.dictionaries(text, values, max_size=3)),
            (tuple[kind, kind2], st.tuples(values, values2)),
            (tuple[kind, ...], st.lists(values, max_size=3).map(tuple)),
            (Optional[kind], st.none() | values),  # noqa: UP045  `kind` may be what `|` does not take
            (Sequence[kind], st.lists(values, max_size=3)),
            (Iterable[kind], st.lists(values, max_size=3)),
            (Mapping[str, kind], st.dictionaries(text, values, max_size=3)),
        ]
    )


def _doubtful_containers(inner: Typed, other: Typed) -> st.SearchStrategy[Typed]:
    (kind, values), (kind2, values2) = inner, other
    hashed = values.filter(_is_hashable)
    shape = [("first", kind), ("second", kind2, None)]
    wide = dataclasses.make_dataclass("Wide", shape)
    narrow = msgspec.defstruct("Narrow", shape, module=__name__)
    choices = [
        (set[kind], st.frozensets(hashed, max_size=3).map(set)),
        (frozenset[kind], st.frozensets(hashed, max_size=3)),
        (set[kind], st.frozensets(hashed, max_size=3)),
        (dict[kind, kind2], st.dictionaries(hashed, values2, max_size=2)),
        (list[kind], st.lists(values, max_size=3).map(tuple)),
        (tuple[kind, ...], st.lists(values, max_size=3)),
        (Union[kind, kind2], values | values2),  # noqa: UP007  as above
        (wide, st.builds(wide, values, st.none() | values2)),
        (narrow, st.builds(narrow, values, st.none() | values2)),
        (list[wide], st.lists(st.builds(wide, values, values2), max_size=2)),
    ]
    return st.sampled_from(choices)


def _is_hashable(value: Any) -> bool:
    try:
        hash(value)
    except TypeError:
        return False
    return "nan" not in repr(value).lower()  # a NaN's hash is that of its address: no two runs draw alike


@st.composite
def _nested(draw: Draw, leaves: list[Typed], containers: Callable[..., Any]) -> Typed:
    found: Typed = draw(st.sampled_from(leaves))
    for _ in range(draw(st.integers(0, 2))):
        found = draw(containers(found, draw(st.sampled_from(leaves))))
    return found


@st.composite
def _annotated(draw: Draw, types: st.SearchStrategy[Typed]) -> tuple[Any, Any]:
    annotation, values = draw(types)
    return annotation, draw(values)


# An annotation, and a value of it: these are always carried, ...
carried = _annotated(_nested(CARRIED, _containers))
# ... these are carried as they are or refused.
doubtful = _annotated(
    st.one_of(
        _nested(CARRIED + DOUBTFUL, _containers),
        _nested(CARRIED + DOUBTFUL, _doubtful_containers),
        _nested(DOUBTFUL, _doubtful_containers),
    )
)


_loose: ContextVar[bool] = ContextVar("_loose", default=False)
_OPEN = re.compile(r"Any|object|Sequence|Iterable|Mapping|~T|\b(dict|list)\b(?!\[)|Holder$")


def arrived_as(annotation: Any, before: Any, after: Any) -> bool:
    """Whether a value of this annotation arrived as it was."""
    _loose.set(_OPEN.search(str(annotation)) is not None)
    return are_same(before, after)


def are_same(before: Any, after: Any) -> bool:
    """Whether two values are of the same types and say the same, by rules of its own.

    What the docs allow is the same: an int that is a float of its value, a string of a subclass that is a string, and a
    tuple that is a list where the annotation leaves that open.
    """
    if type(before) is tuple and type(after) is list:
        return _loose.get() and are_same(list(before), after)
    if (type(before) is int and type(after) is float) or (isinstance(before, Sku) and type(after) is str):
        return bool(before == after)
    if type(before) is not type(after):
        return False
    if isinstance(before, float):
        return repr(before) == repr(after)
    if isinstance(before, Decimal):
        return str(before) == str(after)
    if isinstance(before, (datetime, time)):
        clocks = [value.replace(tzinfo=None).isoformat() for value in (before, after)]
        zoneless = [value.tzinfo is None for value in (before, after)]
        fold = before.fold == after.fold or before.tzinfo is not None
        return clocks[0] == clocks[1] and before.utcoffset() == after.utcoffset() and len(set(zoneless)) == 1 and fold
    if isinstance(before, (list, tuple, collections.deque)):
        return len(before) == len(after) and all(map(are_same, before, after))
    if isinstance(before, dict):
        return list(before) == list(after) and all(are_same(before[key], after[key]) for key in before)
    if isinstance(before, (set, frozenset)):
        return len(before) == len(after) and all(any(are_same(a, b) for b in after) for a in before)
    if isinstance(before, msgspec.Struct):
        return all(are_same(getattr(before, name), getattr(after, name)) for name in before.__struct_fields__)
    if isinstance(before, pydantic.BaseModel):
        return all(
            are_same(getattr(before, store), getattr(after, store))
            for store in ("__dict__", "__pydantic_extra__", "__pydantic_private__")
        )
    if dataclasses.is_dataclass(before):
        names = [entry.name for entry in dataclasses.fields(before)]
        kept = [{k: v for k, v in getattr(x, "__dict__", {}).items() if k != "__orig_class__"} for x in (before, after)]
        return are_same(*kept) and all(are_same(getattr(before, n), getattr(after, n)) for n in names)
    return bool(before == after)
