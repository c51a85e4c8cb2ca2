"""Whether the code asks for what is recorded: one pure comparison, for workers and for replays in tests.

Arguments are the same when, decoded to the parameters of the function as it is now, they are written as the same JSON.
The order of an object's keys, a default that is written out, an argument by position or by name make no difference.
Equal bytes are equal: nothing is decoded where the code has not changed.
"""

from __future__ import annotations

from typing import Any, Literal, NamedTuple, get_args

import msgspec

from currant._payloads import codec
from currant._payloads.signatures import Argument, Arguments

ReplayCheck = Literal["arguments", "names"]
CHECKS: tuple[str, ...] = get_args(ReplayCheck)

HELP = (
    "a value that is meant to differ each time (the clock, chance, the order of a set) comes from currant.now(), "
    'uuid4(), random() or side_effect(), or the workflow says @workflow(replay_check="names")'
)

_LONGEST = 100  # characters of a value in a message
_BEFORE = 20  # characters of a longer one before the first that differs
_MASK = "**********"  # the text that pydantic shows for a secret, at any depth of a value
_NOTHING = "nothing"
_LABELS = {  # names for the parts of a verb
    "signal": ("the target", "the signal's name", "the payload"),
    "cancel": ("the target", "", "force"),
    "enqueue": ("the function", "idempotency_key", ""),
}

# The request of a recorded command. A call: its arguments. A verb: its target, name and payload; an enqueue under a
# key: function, key and arguments. A timer or a wait: when it is due, in microseconds since 1970.
Asked = bytes | tuple[str, str, bytes] | int | None


class Difference(NamedTuple):
    """The first thing that differs, and both sides of it, shortened."""

    what: str
    recorded: str
    asked: str

    def __str__(self) -> str:
        return f"{self.what}: recorded is {self.recorded}, the code asks for {self.asked}"


def asked_by(command: tuple[Any, ...]) -> Asked:
    """The request of a workflow's command, without its name (docs/internals/engine.md)."""
    kind = command[0] if command else ""
    if kind in ("execute", "detach"):
        args: bytes = command[2].args
        return args
    if kind == "enqueue":
        _, call, key, _ = command[2]
        return call.function, key, call.args
    if kind == "verb":
        return command[3], command[4], command[5]
    return command[-1] if kind in ("timer", "signal") else None


def find_difference(name: str, recorded: Asked, asked: Asked, arguments: Arguments | None) -> Difference | None:
    """Compare what the code asks for at a step with what the history has: the first difference, or None if they agree.

    `name`: for a step that is a verb, the verb's name; otherwise not used. `arguments` reads stored arguments by the
    function's parameters; if it is None, the stored JSON is compared as it is.
    """
    if recorded == asked:
        return None
    if isinstance(recorded, bytes) and isinstance(asked, bytes):
        return _different_arguments(recorded, asked, arguments)
    if isinstance(recorded, tuple) and isinstance(asked, tuple):
        return _different_verb(name, recorded, asked, arguments)
    return None


def _different_verb(
    name: str, recorded: tuple[str, str, bytes], asked: tuple[str, str, bytes], arguments: Arguments | None
) -> Difference | None:
    labels = _LABELS.get(name, _LABELS["signal"])
    for place, label in enumerate(labels[:2]):
        one, other = str(recorded[place]), str(asked[place])
        if one != other:
            return Difference(label, _shown(one, other), _shown(other, one))
    if name == "enqueue":
        return _different_arguments(recorded[2], asked[2], arguments)
    return _different_values(labels[2], _json(recorded[2]), _json(asked[2]))


def find_other_time(recorded: Asked, asked: Asked, clock: int) -> Difference | None:
    """How a wait differs in length, seen from `clock`. The recorded length counts: the run goes on."""
    if recorded == asked or isinstance(recorded, (bytes, tuple)) or isinstance(asked, (bytes, tuple)):
        return None
    return Difference("its length", _length(recorded, clock), _length(asked, clock))


def _length(due: int | None, clock: int) -> str:
    return "no time-out" if due is None else f"{(due - clock) / 1e6:g} s"


def _different_arguments(recorded: bytes, asked: bytes, arguments: Arguments | None) -> Difference | None:
    try:
        if arguments is None:
            raise TypeError
        before, now = arguments(recorded), arguments(asked)
    except Exception:  # the function has other parameters now: the stored JSON is compared as it is
        return _different_values("the arguments", _json(recorded), _json(asked))
    for name in [*now, *(name for name in before if name not in now)]:
        one, other = before.get(name), now.get(name)
        if one is not None and other is not None:
            found = _different_argument(name, one, other)
        else:
            found = Difference(f"argument {name!r}", _shown_argument(one), _shown_argument(other))
        if found is not None:
            return found
    return None


def _different_argument(name: str, one: Argument, other: Argument) -> Difference | None:
    if one.json == other.json:
        return None
    before, now = _canonical(one), _canonical(other)
    if before is None or now is None:  # one of them does not fit the type that the parameter has now
        before, now = _stored(one), _stored(other)
    found = _different_values(f"argument {name!r}", _json(before), _json(now))
    if found is not None and (_hides(one) or _hides(other)):
        return found._replace(recorded="a secret", asked="another")
    return found


def _canonical(argument: Argument) -> bytes | None:
    """The decoded value as JSON, with keys and sets sorted; None if it cannot be decoded, or not be written again."""
    try:
        return codec.encode_sorted(argument.value())
    except Exception:
        return None


def _stored(argument: Argument) -> bytes:
    return b"null" if argument.json is None else argument.json


def _hides(argument: Argument) -> bool:
    try:
        return _MASK in repr(argument.value())
    except Exception:
        return False


def _json(data: bytes) -> Any:
    try:
        return msgspec.json.decode(data)
    except msgspec.MsgspecError:
        return repr(data)


def _different_values(what: str, one: Any, other: Any) -> Difference | None:
    """The first place where two JSON values differ."""
    path = ""
    while True:
        if isinstance(one, dict) and isinstance(other, dict):
            place: Any = next(
                (key for key in [*other, *one] if not _same(one.get(key, ...), other.get(key, ...))), None
            )
            one, other = one.get(place, ...), other.get(place, ...)
        elif isinstance(one, list) and isinstance(other, list):
            pairs = enumerate([*zip(one, other, strict=False)])
            place = next((index for index, (left, right) in pairs if not _same(left, right)), min(len(one), len(other)))
            one, other = one[place] if place < len(one) else ..., other[place] if place < len(other) else ...
        else:
            break
        if one is ... and other is ...:
            return None
        path += f"[{place}]" if isinstance(place, int) else f".{place}" if path else place
    if _same(one, other):
        return None
    left, right = _text(one), _text(other)
    return Difference(f"{what}{f' at {path}' if path else ''}", _shown(left, right), _shown(right, left))


def _same(one: Any, other: Any) -> bool:
    """Whether two values are written as the same JSON: True is not 1, and 1 is not 1.0."""
    return one is other or (
        one is not ... and other is not ... and codec.encode_sorted(one) == codec.encode_sorted(other)
    )


def _text(value: Any) -> str:
    return _NOTHING if value is ... else msgspec.json.encode(value).decode()


def _shown_argument(argument: Argument | None) -> str:
    if argument is None:
        return _NOTHING
    return "a secret" if _hides(argument) else _shown(_text(_json(_stored(argument))), "")


def _shown(text: str, other: str) -> str:
    """The part of a text where it begins to differ from the other."""
    if len(text) <= _LONGEST:
        return text
    pairs = enumerate(zip(text, other, strict=False))
    first = next((index for index, (one, two) in pairs if one != two), 0)
    begin = max(0, min(first - _BEFORE, len(text) - _LONGEST))
    end = begin + _LONGEST
    return f"{'...' if begin else ''}{text[begin:end]}{'...' if end < len(text) else ''}"
