"""When what the code asks for is what is recorded, and what is said when it is not."""

from __future__ import annotations

from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

import pydantic
import pytest

from currant._payloads import codec
from currant._payloads.signatures import Argument, Signature
from currant._workflow.replay_check import HELP, Difference, find_difference, find_other_time
from fake_engine import stored


@dataclass
class Order:
    id: str
    cents: int = 0
    tags: set[str] = field(default_factory=set)


class Same:
    """Not comparable by value."""


@dataclass(eq=False)
class Plain:
    number: int


class Login(pydantic.BaseModel):
    user: str
    password: pydantic.SecretStr


def takes(function: Any) -> Any:
    return Signature(function, "shop.charge", {}).arguments


def charge(order: Order, amount: float = 1.0, *more: int, currency: str = "EUR", **extra: Decimal) -> None: ...


def anything(value, other=None): ...  # type: ignore[no-untyped-def]


def plain(value: Plain) -> None: ...


def login(value: Login) -> None: ...


SAME = [
    (charge, stored({"id": "a"}), stored({"id": "a", "cents": 0}), "a default of a field that is written out"),
    (charge, stored({"id": "a", "cents": 1}), stored({"cents": 1, "id": "a"}), "the order of keys"),
    (charge, stored({"id": "a"}, 2), stored({"id": "a"}, 2.0), "a number as its type has it"),
    (charge, stored({"id": "a"}), stored({"id": "a"}, 1.0, currency="EUR"), "defaults that are written out"),
    (charge, stored({"id": "a"}, 2.0), stored(order={"id": "a"}, amount=2.0), "by position and by name"),
    (charge, stored({"id": "a", "tags": ["x", "y"]}), stored({"id": "a", "tags": ["y", "x"]}), "the order of a set"),
    (charge, stored({"id": "a", "gone": 1}), stored({"id": "a"}), "a field that the class no longer has"),
    (charge, stored({"id": "a"}, b="2", c="1"), stored({"id": "a"}, c="1", b="2"), "the order of keywords"),
    (anything, stored({"a": 1, "b": [True]}), stored({"b": [True], "a": 1}), "the order of keys of plain JSON"),
    (anything, stored(1), stored(1, None), "a default of plain JSON"),
    (plain, stored({"number": 1}), b'{"args": [ {"number":1} ], "kwargs": {}}', "a class without __eq__"),
    (None, stored({"a": 1, "b": 2}), stored({"b": 2, "a": 1}), "a function that is not known here"),
]


@pytest.mark.parametrize(("function", "recorded", "asked"), [row[:3] for row in SAME], ids=[row[3] for row in SAME])
def test_what_comes_out_the_same_is_the_same(function: Any, recorded: bytes, asked: bytes) -> None:
    arguments = None if function is None else takes(function)
    assert find_difference("f", recorded, asked, arguments) is None
    assert find_difference("f", asked, recorded, arguments) is None


DIFFERENT = [
    (charge, stored({"id": "a"}), stored({"id": "b"}), "argument 'order' at id", '"a"', '"b"'),
    (charge, stored({"id": "a"}), stored({"id": "a", "cents": 5}), "argument 'order' at cents", "0", "5"),
    (charge, stored({"id": "a"}), stored({"id": "a"}, 2), "argument 'amount'", "1.0", "2.0"),
    (charge, stored({"id": "a"}, 1, 7, 8), stored({"id": "a"}, 1, 8, 7), "argument 'more[0]'", "7", "8"),
    (charge, stored({"id": "a"}, 1, 7), stored({"id": "a"}, 1), "argument 'more[0]'", "7", "nothing"),
    (charge, stored({"id": "a"}), stored({"id": "a"}, rate="0.1"), "argument 'rate'", "nothing", '"0.1"'),
    (charge, stored({"id": "a"}), stored({"id": "a"}, currency="USD"), "argument 'currency'", '"EUR"', '"USD"'),
    (charge, stored({"name": "a"}), stored({"id": "a"}), "argument 'order' at id", "nothing", '"a"'),
    (charge, stored({"id": "a"}, old=1, order=2), stored({"id": "a"}), "the arguments at kwargs.old", "1", "nothing"),
    (anything, stored(True), stored(1), "argument 'value'", "true", "1"),
    (anything, stored([1, [2, 3]]), stored([1, [3, 2]]), "argument 'value' at [1][0]", "2", "3"),
    (anything, stored({"a": None}), stored({}), "argument 'value' at a", "null", "nothing"),
    (anything, stored([1]), stored([1, 2]), "argument 'value' at [1]", "nothing", "2"),
    (plain, stored({"number": 1}), stored({"number": 2}), "argument 'value' at number", "1", "2"),
    (None, stored(1), stored(2), "the arguments at args[0]", "1", "2"),
    (None, b"", stored(2), "the arguments", "\"b''\"", '{"args":[2],"kwargs":{}}'),
]


@pytest.mark.parametrize("row", DIFFERENT, ids=lambda row: row[3])
def test_a_difference_is_named_where_it_begins(row: tuple[Any, ...]) -> None:
    function, recorded, asked, *expected = row
    arguments = None if function is None else takes(function)
    assert find_difference("f", recorded, asked, arguments) == Difference(*expected)


def test_nothing_is_decoded_where_the_bytes_are_equal() -> None:
    def never(data: bytes) -> dict[str, Argument]:
        raise AssertionError("decoded")

    assert find_difference("f", stored(1), stored(1), never) is None


def test_a_long_value_is_shown_where_it_differs() -> None:
    text = "x" * 300
    found = find_difference("f", stored(text + "abc" + text), stored(text + "abd" + text), takes(anything))
    assert found is not None
    assert len(found.recorded) < 120
    assert "xabc" in found.recorded
    assert "xabd" in found.asked


def test_a_secret_is_not_shown() -> None:
    one, other = (stored({"user": "ann", "password": word}) for word in ("hunter2", "letmein"))
    found = find_difference(
        "f",
        one,
        other,
        lambda data: {"value": Argument(data, lambda: Login(user="ann", password=pydantic.SecretStr("x")))},
    )
    shown = str(
        find_difference(
            "f", stored({"user": "ann", "password": "p"}), stored({"user": "bob", "password": "p"}), takes(login)
        )
    )
    assert found is None or "hunter2" not in str(found)
    assert "secret" in shown
    assert "bob" not in shown


VERBS: list[tuple[str, Any, Any, str]] = [
    ("signal", ("id-1", "go", b"1"), ("id-2", "go", b"1"), "the target: recorded is id-1, the code asks for id-2"),
    ("signal", ("id", "go", b"1"), ("id", "stop", b"1"), "the signal's name: recorded is go, the code asks for stop"),
    (
        "signal",
        ("id", "go", b'{"a":1}'),
        ("id", "go", b'{"a":2}'),
        "the payload at a: recorded is 1, the code asks for 2",
    ),
    ("cancel", ("id", "", b"false"), ("id", "", b"true"), "force: recorded is false, the code asks for true"),
    ("status", ("id-1", "", b"null"), ("id-2", "", b"null"), "the target: recorded is id-1, the code asks for id-2"),
    ("enqueue", ("f", "k", b"1"), ("g", "k", b"1"), "the function: recorded is f, the code asks for g"),
    ("enqueue", ("f", "k", b"1"), ("f", "l", b"1"), "idempotency_key: recorded is k, the code asks for l"),
    ("enqueue", ("f", "k", stored(1)), ("f", "k", stored(2)), "argument 'value': recorded is 1, the code asks for 2"),
]


@pytest.mark.parametrize(("verb", "recorded", "asked", "message"), VERBS)
def test_a_verb_is_compared_with_all_that_it_was_given(verb: str, recorded: Any, asked: Any, message: str) -> None:
    assert str(find_difference(verb, recorded, asked, takes(anything))) == message


def test_a_signal_s_payload_may_have_its_keys_in_another_order() -> None:
    assert find_difference("signal", ("i", "n", b'{"a":1,"b":2}'), ("i", "n", b'{"b":2,"a":1}'), None) is None


def test_another_length_of_a_wait_is_told_in_seconds() -> None:
    start = 1_700_000_000_000_000
    told = "its length: recorded is 3600 s, the code asks for 60 s"
    assert str(find_other_time(start + 3_600_000_000, start + 60_000_000, start)) == told
    assert "recorded is no time-out" in str(find_other_time(None, start, start))
    assert find_other_time(start, start, start) is None


def test_the_help_names_the_way_out() -> None:
    assert 'replay_check="names"' in HELP
    assert codec.encode_sorted({"b": 1, "a": {2, 1}}) == b'{"a":[1,2],"b":1}'
