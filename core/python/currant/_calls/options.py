"""The options of a durable call: each is declared once, and checked when it is given.

The annotations of `DeclaredOptions` and `CallOptions` are the declaration. Type checkers read them at `@task`,
`@workflow` and `.options()`; the checks, the list of SQL's options (a test compares it) and docs/reference/options.md
follow from them.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, NamedTuple, Self, TypedDict

from currant import settings
from currant._base import limits
from currant._base.checks import Range, seconds, text, whole_number
from currant._calls.retry import Retry, stored_policy

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Default:
    """The type of `DEFAULT`: not given, so the setting decides (None is a value: no time-out)."""

    def __repr__(self) -> str:
        return "DEFAULT"


DEFAULT = Default()


class Call(NamedTuple):
    """One durable call. `delay` is in seconds, `run_at` in microseconds since 1970, UTC.

    `options`: the stored options (`Options.stored`) as a JSON object; what is not there has the default of the kind.
    `given`: the names of the options that the caller itself chose. For the others the function's definition, if it has
    one, outranks the call. `headers`: a trace context, JSON.
    """

    kind: str
    function: str
    queue: str
    priority: int
    args: bytes
    options: str = "{}"
    delay: float | None = None
    run_at: int | None = None
    given: tuple[str, ...] = ()
    headers: str | None = None


class NewExecution(NamedTuple):
    """An enqueue: the id its client made, the call, and perhaps an idempotency key.

    `checked`: the hash of the input schema that the arguments were checked against, `""` if the function has no
    schema, or None if no check is wanted.
    """

    id: str
    call: Call
    idempotency_key: str | None = None
    checked: str | None = None


def _retry(value: Any) -> Retry:
    if not isinstance(value, Retry):
        raise TypeError(f"retry is a Retry(...), not {value!r}; for a number of retries write retries={value!r}")
    return value


def _retries(value: Any) -> Retry:
    most = limits.MAX_ATTEMPTS.most - 1
    return Retry(max_attempts=whole_number(value, "retries", Range(0, most)) + 1)


def _run_at(value: Any) -> int:
    if not isinstance(value, datetime):
        raise TypeError(f"run_at is a datetime, not {value!r}")
    if value.tzinfo is None or value.utcoffset() is None:
        raise ValueError(f"run_at needs a time zone: {value.isoformat()} could be meant in any")
    return (value - _EPOCH) // timedelta(microseconds=1)


@dataclass(frozen=True)
class Option:
    """One option: what it means (Markdown), its check, and what None does.

    `given`: the option's name in `Call.given`, if a call with this option outranks the function's definition, else "".
    `none`: None is `"nothing"` (it takes back what was given), a `"value"` like others, or `"refused"`.
    """

    about: str
    check: Callable[[Any], Any]
    given: str = ""
    none: str = "nothing"


class DeclaredOptions(TypedDict, total=False):
    """The options of `@task` and `@workflow`; `.options()` has them, too."""

    queue: Annotated[
        str | None,
        Option(
            f"The queue in which the execution waits: a name of at most {limits.QUEUE_CHARACTERS} characters. Default: "
            "for a step of a workflow the workflow's queue, otherwise `default`.",
            lambda value: text(value, "queue", limits.QUEUE_CHARACTERS),
            given="queue",
        ),
    ]
    priority: Annotated[
        int,
        Option(
            f"{limits.PRIORITY.least} to {limits.PRIORITY.most}: an execution with a higher priority starts first, "
            "within a queue. Default: 5.",
            lambda value: whole_number(value, "priority", limits.PRIORITY),
            given="priority",
            none="refused",
        ),
    ]
    timeout: Annotated[
        float | timedelta | Default | None,
        Option(
            "The longest time that one attempt of a task may take, and a workflow from its first start to its end: "
            "seconds above 0 or a timedelta, or None for no time-out. Default: `WORKFLOWS_DEFAULT_TIMEOUT`, for a "
            "workflow `WORKFLOWS_DEFAULT_WORKFLOW_TIMEOUT`.",
            lambda value: seconds(value, "timeout", limits.TIMEOUT),
            given="timeout",
            none="value",
        ),
    ]
    retry: Annotated[
        Retry | None,
        Option(
            "A `Retry(...)`: how often and when a failed attempt is tried again, and for which exceptions it is not "
            "(`non_retryable`); not together with `retries`. Default: `WORKFLOWS_DEFAULT_RETRIES`; for a workflow no "
            "retry, because a replay would fail in the same way.",
            _retry,
            given="retry",
        ),
    ]
    retries: Annotated[
        int | None,
        Option(
            "How many attempts follow the first, 0 or more: short for `retry=Retry(max_attempts=retries + 1)`.",
            _retries,
            given="retry",
        ),
    ]
    max_worker_losses: Annotated[
        int | None,
        Option(
            "How many lost workers, which only this execution can have killed, are allowed, 0 or more: with the next "
            "one it fails as `WorkerLost`. An attempt that is lost with its worker costs no retry. With 0 the "
            "execution is not started again after any worker that ran it is lost; together with `retries=0` it then "
            "runs at most once. Default: `WORKFLOWS_DEFAULT_MAX_WORKER_LOSSES`.",
            lambda value: whole_number(value, "max_worker_losses", limits.MAX_WORKER_LOSSES),
            given="max_worker_losses",
        ),
    ]


class CallOptions(DeclaredOptions, total=False):
    """The options of `.options()`."""

    delay: Annotated[
        float | timedelta | None,
        Option(
            "The execution becomes ready after this time: seconds or a timedelta, 0 or more; not together with "
            "`run_at`.",
            lambda value: seconds(value, "delay", limits.DELAY._replace(least=0)),
        ),
    ]
    run_at: Annotated[
        datetime | None,
        Option(
            "The execution becomes ready at this time: a datetime with a time zone; not together with `delay`.", _run_at
        ),
    ]
    idempotency_key: Annotated[
        str | None,
        Option(
            f"A text of at most {limits.IDEMPOTENCY_KEY_CHARACTERS} characters. Unique per function, for 30 days, "
            "while an execution with this key exists that is not failed or cancelled: a second enqueue with it "
            "returns a handle on the first execution.",
            lambda value: text(value, "idempotency_key", limits.IDEMPOTENCY_KEY_CHARACTERS),
        ),
    ]
    connection: Annotated[
        Any,
        Option(
            "An open asyncpg, psycopg or SQLAlchemy connection: the enqueue commits or rolls back with it.",
            lambda value: value,
        ),
    ]


def _declared(options: Any) -> dict[str, Option]:
    # The annotations of this module are no strings: to evaluate strings would take a third of the import.
    return {name: hint.__metadata__[0] for name, hint in options.__annotations__.items()}


OPTIONS = _declared(CallOptions)
DECLARED = {name: OPTIONS[name] for name in _declared(DeclaredOptions)}
STORED = tuple(name for name, option in DECLARED.items() if name == option.given and name not in ("queue", "priority"))
_PAIRS = (("retry", "retries"), ("delay", "run_at"))  # one or the other


@dataclass(frozen=True)
class Options:
    """The options of a function or a bound copy of it. `delay`: seconds; `run_at`: microseconds since 1970, UTC."""

    queue: str | None = None
    priority: int = 5
    timeout: float | Default | None = DEFAULT
    retry: Retry | None = None
    max_worker_losses: int | None = None
    delay: float | None = None
    run_at: int | None = None
    idempotency_key: str | None = None
    connection: Any = None
    given: tuple[str, ...] = ()  # what `.options()` was given, as in `Call`: it outranks the function's definition

    @classmethod
    def declared(cls, given: DeclaredOptions) -> Self:
        """Check a decorator's options. Raises `TypeError` for an unknown option, a wrong type, or both of a pair."""
        return cls()._changed({**given}, DECLARED)

    def overriding(self, given: CallOptions) -> Self:
        """A copy with the options of a call, which outrank the function's definition. Raises as `declared`."""
        values = {**given}
        changed = self._changed(values, OPTIONS)
        names = dict.fromkeys(self.given)
        for name, option in OPTIONS.items():
            value = values.get(name, DEFAULT)
            if value is DEFAULT or not option.given:
                continue
            if value is None and option.none == "nothing":
                names.pop(option.given, None)
            else:
                names[option.given] = None
        return replace(changed, given=tuple(names))

    def _changed(self, given: dict[str, Any], known: dict[str, Option]) -> Self:
        unknown = sorted(given.keys() - known.keys())
        if unknown:
            raise TypeError(f"there is no option {unknown[0]!r}; there are {', '.join(known)}")
        for one, other in _PAIRS:
            if given.get(one) is not None and given.get(other) is not None:
                raise ValueError(f"give {one} or {other}, not both")
        values = {name: _checked(known[name], value) for name, value in given.items() if value is not DEFAULT}
        retries = values.pop("retries", None)
        if retries is not None:
            values["retry"] = retries
        if "delay" in values or "run_at" in values:  # the later one of `delay` and `run_at` replaces the earlier
            values = {"delay": None, "run_at": None, **values}
        return replace(self, **values)

    def retry_for(self, kind: str) -> Retry:
        """The retry policy given, else that of the settings. A workflow is not retried by default."""
        if self.retry is not None:
            return self.retry
        return Retry(max_attempts=settings.load().default_retries + 1 if kind == "task" else 1)

    def timeout_for(self, kind: str) -> float | None:
        """The time-out given, else that of the settings, in seconds, or None for no time-out."""
        if not isinstance(self.timeout, Default):
            return self.timeout
        found = settings.load()
        return found.default_timeout if kind == "task" else found.default_workflow_timeout

    def stored(self, kind: str) -> dict[str, Any]:
        """The options that are stored with an execution as JSON, by the names that they have in SQL."""
        losses = self.max_worker_losses
        return {name: getattr(self, name) for name in STORED} | {
            "timeout": self.timeout_for(kind),
            "retry": stored_policy(self.retry_for(kind)),
            "max_worker_losses": settings.load().default_max_worker_losses if losses is None else losses,
        }

    def fields(self, kind: str) -> tuple[Any, ...]:
        """The fields of `Call` from `options` to `given`: what the calls of one function have in common."""
        return json.dumps(self.stored(kind)), self.delay, self.run_at, self.given

    def declaration(self, kind: str) -> dict[str, Any]:
        """The values by the columns of `currant.functions`: workers register them for SQL and for schedules."""
        return {"queue": self.queue, "priority": self.priority, "options": self.stored(kind)}


def _checked(option: Option, value: Any) -> Any:
    return None if value is None and option.none != "refused" else option.check(value)


def sql_options(new: NewExecution) -> dict[str, Any]:
    """The third argument of `currant.enqueue`: the options that the caller chose, and `defaults` for the others."""
    call = new.call
    options: dict[str, Any] = {"id": new.id, "kind": call.kind, "defaults": {}}
    for name, value in {"queue": call.queue, "priority": call.priority, **json.loads(call.options)}.items():
        (options if name in call.given else options["defaults"])[name] = value
    due = {"delay": call.delay, "run_at": call.run_at, "idempotency_key": new.idempotency_key}
    options.update({name: value for name, value in due.items() if value is not None})
    return options
