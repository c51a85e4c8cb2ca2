"""OpenTelemetry: a span for each attempt of a task, and for each workflow in memory with its steps.

Tracing is off unless `WORKFLOWS_TRACING=on`; then `opentelemetry-api` is needed (`pip install 'currant[otel]'`), and
spans go to the tracer provider that the program has set up. The context travels in the headers of calls: a trace
begins where a run is enqueued, and goes on in the worker that has the run.
"""

from __future__ import annotations

import functools
import inspect
import logging
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

import msgspec

from currant import settings
from currant._base.user_errors import SafeLogger, interrupted, message_of, type_name
from currant.errors import CurrantError

if TYPE_CHECKING:
    from opentelemetry.context import Context
    from opentelemetry.trace import Span, Tracer

Command = tuple[Any, ...]
P = ParamSpec("P")
R = TypeVar("R")

_log = SafeLogger(logging.getLogger(__name__))

_RUN = "currant-run"  # the header with the last span of a run, for the link of the next one
_STEPS = ("execute", "timer", "signal", "verb", "enqueue")  # commands whose outcome comes later
_CHILDREN = ("execute", "detach")  # commands with a call
_ENDS = {"complete": "completed", "fail": "failed", "cancelled": "cancelled", "hold": "held"}


def _or(otherwise: Callable[..., Any]) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Go on without a span where the tracer provider (processors, samplers, exporters: programs' code) raises.

    `otherwise` has the arguments of the function, and returns the answer in its place.
    """

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        @functools.wraps(function)
        def call(*args: P.args, **kwargs: P.kwargs) -> R:
            try:
                return function(*args, **kwargs)
            except BaseException as error:
                if interrupted(error):
                    raise
                _log.failure(error, "tracing: %s failed; the work goes on without", function.__name__)
                return otherwise(*args, **kwargs)  # type: ignore[no-any-return]

        return call

    return decorate


def _nothing(*_: Any, **__: Any) -> None:
    """For functions that return nothing."""


class Tracing:
    """The spans of this process. `active()` returns it, or None if tracing is off: then nothing here costs anything."""

    def __init__(self) -> None:
        try:
            from opentelemetry import propagate, trace
        except ImportError:
            raise CurrantError(
                "WORKFLOWS_TRACING is on, but opentelemetry-api is not installed: pip install 'currant[otel]'"
            ) from None
        self._trace, self._propagate = trace, propagate
        self._tracer: Tracer = trace.get_tracer("currant")

    @_or(_nothing)
    def inject(self, context: Context | None = None) -> str | None:
        """The headers of a trace context (default: the current one) as JSON, or None if there is no trace."""
        carrier: dict[str, str] = {}
        self._propagate.inject(carrier, context)
        headers = msgspec.json.encode(carrier).decode() if carrier else None
        # A jsonb column of Postgres refuses the character NUL.
        return headers if headers is None or "\\u0000" not in headers else None

    @_or(_nothing)
    def attempt(self, function: str, id: str, number: int, queue: str, headers: str | None) -> Span | None:
        """Start the span of an attempt of a task. Returns None if tracing cannot do it."""
        return self._tracer.start_span(
            f"attempt {function}",
            self._parent(headers),
            kind=self._trace.SpanKind.CONSUMER,
            attributes=_attributes(function, id, number, queue),
        )

    def within(self, span: Span, plain: Callable[..., Any], is_async: bool) -> Callable[..., Any]:
        """The function of a task, in which the span is the current one: spans of the task's code are then below it."""
        quiet = {"end_on_exit": False, "record_exception": False, "set_status_on_exception": False}

        async def wait_for(result: Any) -> Any:
            with self._trace.use_span(span, **quiet):
                return await result

        def call(*args: Any, **kwargs: Any) -> Any:
            with self._trace.use_span(span, **quiet):
                result = plain(*args, **kwargs)
            return wait_for(result) if inspect.isawaitable(result) else result

        async def call_async(*args: Any, **kwargs: Any) -> Any:
            with self._trace.use_span(span, **quiet):
                return await plain(*args, **kwargs)

        return call_async if is_async else call

    @_or(_nothing)
    def end(self, span: Span, error: BaseException | None, outcome: str) -> None:
        """End the span of an attempt."""
        span.set_attribute("currant.outcome", outcome)
        if error is not None:
            try:
                span.record_exception(error)
            except BaseException:  # the error's own code: `str(error)` raises
                span.add_event(
                    "exception", {"exception.type": type_name(error), "exception.message": message_of(error)}
                )
            span.set_status(self._trace.Status(self._trace.StatusCode.ERROR, message_of(error)))
        span.end()

    @_or(_nothing)
    def run(self, function: str, id: str, number: int, queue: str, headers: str | None) -> RunTrace | None:
        """The spans of a workflow that comes into memory, or None if tracing cannot make them."""
        carrier = _carrier(headers)
        links = []
        if _RUN in carrier:  # the run was in memory before, perhaps in a worker that died
            before = self._trace.get_current_span(self._propagate.extract({"traceparent": carrier[_RUN]}))
            links = [self._trace.Link(before.get_span_context())]
        span = self._tracer.start_span(
            f"run {function}",
            self._parent(headers),
            kind=self._trace.SpanKind.CONSUMER,
            attributes=_attributes(function, id, number, queue),
            links=links,
        )
        return RunTrace(self, span, carrier)

    def _parent(self, headers: str | None) -> Context:
        from opentelemetry.context import Context

        return self._propagate.extract(_carrier(headers), Context())

    def context_of(self, span: Span) -> Context:
        """Return a new context in which the span is the current one; nothing of the caller's context is in it."""
        from opentelemetry.context import Context

        return self._trace.set_span_in_context(span, Context())

    def step(self, name: str, key: str, above: Span, resumed: bool) -> Span:
        """Start the span of a step."""
        attributes: dict[str, Any] = {"currant.step.key": key, "currant.step.resumed": resumed}
        return self._tracer.start_span(name, self.context_of(above), attributes=attributes)

    def failed(self, span: Span, outcome: str) -> None:
        """Mark a span as one that went wrong."""
        span.set_status(self._trace.Status(self._trace.StatusCode.ERROR, outcome))


class RunTrace:
    """The spans of a workflow while it is in this worker's memory: its own, and one for each step that it waits for."""

    def __init__(self, tracing: Tracing, span: Span, carrier: dict[str, str]) -> None:
        self._tracing, self._span, self._carrier = tracing, span, carrier
        self._steps: dict[str, Span] = {}

    @_or(lambda _self, _waiting, commands: commands)
    def begin(self, waiting: list[tuple[str, str, str]], commands: list[Command]) -> list[Command]:
        """Note that a run was started, or rebuilt and waits for these steps (key, kind, name). Returns its commands.

        Unless they end it, they note this span, for a link from the next one.
        """
        asked = {command[1] for command in commands if len(command) > 1}
        for key, kind, name in waiting:
            if key not in asked:
                self._steps[key] = self._tracing.step(_step_name(kind, name), key, self._span, True)
        sent = self.commands(commands)
        if not self._span.get_span_context().is_valid or (sent and sent[-1][0] in _ENDS):
            return sent
        return [("headers", self._own_headers()), *sent]

    @_or(_nothing)
    def outcome(self, key: str, status: str) -> None:
        """Note that a step's outcome will be delivered."""
        span = self._steps.pop(key, None)
        if span is not None:
            span.set_attribute("currant.outcome", status)
            if status == "failed":
                self._tracing.failed(span, status)
            span.end()

    @_or(lambda _self, commands: commands)
    def commands(self, commands: list[Command]) -> list[Command]:
        """The same commands, with headers for the executions that they start."""
        return [self._command(command) for command in commands]

    @_or(_nothing)
    def end(self, outcome: str) -> None:
        """End the spans: the run has ended, or is evicted."""
        for key in list(self._steps):
            self.outcome(key, outcome)
        self._span.set_attribute("currant.outcome", outcome)
        if outcome in ("failed", "held"):
            self._tracing.failed(self._span, outcome)
        self._span.end()

    def _command(self, command: Command) -> Command:
        verb = command[0]
        if verb in _ENDS:
            self.end(_ENDS[verb])
        elif verb == "cancel":
            self.outcome(command[1], "abandoned")
        elif verb in _STEPS:
            self._begin(command)
        if verb not in _CHILDREN:
            return command
        _, key, call = command
        above = self._tracing.context_of(self._steps.get(key, self._span))
        return (verb, key, call._replace(headers=self._tracing.inject(above)))

    def _begin(self, command: Command) -> None:
        kind, key, name = command[0], command[1], command[2] if command[0] in ("signal", "verb") else ""
        if kind == "execute":
            kind, name = command[2].kind, command[2].function
        self._steps[key] = self._tracing.step(_step_name(kind, name), key, self._span, False)

    def _own_headers(self) -> str:
        own = _carrier(self._tracing.inject(self._tracing.context_of(self._span)))
        carrier = {key: value for key, value in self._carrier.items() if key != _RUN}
        if "traceparent" in own:
            carrier[_RUN] = own["traceparent"]
        return msgspec.json.encode(carrier).decode()


def _step_name(kind: str, name: str) -> str:
    return f"step {kind} {name}".rstrip()


def _attributes(function: str, id: str, number: int, queue: str) -> dict[str, Any]:
    return {
        "currant.function": function,
        "currant.execution_id": id,
        "currant.attempt": number,
        "currant.queue": queue,
    }


def _carrier(headers: str | None) -> dict[str, str]:
    """The headers of a call. A value that is not text was not written by Currant, and is left out."""
    found = {} if headers is None else msgspec.json.decode(headers)
    return {key: value for key, value in found.items() if isinstance(value, str)} if isinstance(found, dict) else {}


_is_decided = False  # whether `_active` has been set
_active: Tracing | None = None


def active() -> Tracing | None:
    """This process's tracing, or None if it is off. Raises `CurrantError` when it is on but cannot be."""
    global _is_decided, _active
    if not _is_decided:
        _active = Tracing() if settings.load().tracing else None
        _is_decided = True
    return _active


def headers() -> str | None:
    """The current context as headers for an enqueue, or None if tracing is off or there is no trace."""
    tracing = active()
    return None if tracing is None else tracing.inject()


def span_ids() -> dict[str, str]:
    """The ids of the current span, for logs; empty if there is no span."""
    if _active is None:
        return {}
    span = sys.modules["opentelemetry.trace"].get_current_span().get_span_context()
    return {"trace_id": f"{span.trace_id:032x}", "span_id": f"{span.span_id:016x}"} if span.is_valid else {}


def export() -> None:
    """Send spans by OTLP, as the usual `OTEL_*` variables say, unless the program has set up a tracer provider itself.

    Raises `CurrantError` when the exporter is not installed.
    """
    tracing = active()
    if tracing is None:
        return
    from opentelemetry import trace

    if not isinstance(trace.get_tracer_provider(), trace.ProxyTracerProvider):
        return
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ImportError:
        raise CurrantError(
            "WORKFLOWS_TRACING is on, but no exporter is installed: pip install 'currant[otel]'"
        ) from None
    provider = TracerProvider()
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    trace.set_tracer_provider(provider)
