"""OpenTelemetry (docs/operate/observability.md): one trace from the enqueuer to the last step, over workers that come and go."""

from __future__ import annotations

import gzip
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from apps import observed
from currant import ExecutionFailed, Function, Worker, registry, send_signal, tracing
from currant.rust_bridge import RustBridge
from support import WorkerProcess, eventually, eventually_async

LocalWorker = Callable[..., Worker]
LIMIT = 30


@pytest.fixture(scope="module")
def exporter() -> InMemorySpanExporter:
    """Where the spans of this process go. A provider can be set once in a process."""
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    trace.set_tracer_provider(provider)
    return exporter


@pytest.fixture
def traced(exporter: InMemorySpanExporter, monkeypatch: pytest.MonkeyPatch) -> InMemorySpanExporter:
    """Tracing is on."""
    monkeypatch.setenv("WORKFLOWS_TRACING", "on")
    monkeypatch.setattr(tracing, "_is_decided", False)
    monkeypatch.setattr(tracing, "_active", None)
    exporter.clear()
    return exporter


def functions() -> list[Function[..., Any]]:
    return [function for name, function in registry.items() if name.startswith("apps.observed.")]


def named(exporter: InMemorySpanExporter, name: str) -> ReadableSpan:
    """The one span of that name."""
    (span,) = [span for span in exporter.get_finished_spans() if span.name == name]
    return span


def above(span: ReadableSpan) -> int | None:
    return None if span.parent is None else span.parent.span_id


def id_of(span: ReadableSpan) -> int:
    assert span.context is not None
    return span.context.span_id


async def test_one_trace_goes_from_the_enqueuer_through_run_and_steps_to_the_attempts(
    traced: InMemorySpanExporter, local_worker: LocalWorker
) -> None:
    async with local_worker("seen", *functions()):
        with trace.get_tracer("shop").start_as_current_span("checkout"):
            handle = await observed.both.queue(4)
        assert await handle.result(LIMIT) == 4
    checkout, run = named(traced, "checkout"), named(traced, "run apps.observed.both")
    assert above(run) == id_of(checkout)
    for function in ("double", "halve"):
        step, attempt = (
            named(traced, f"step task apps.observed.{function}"),
            named(traced, f"attempt apps.observed.{function}"),
        )
        assert above(step) == id_of(run)
        assert above(attempt) == id_of(step)
        assert attempt.attributes is not None
        assert attempt.attributes["currant.outcome"] == "completed"
    assert above(named(traced, "step timer")) == id_of(run)
    assert len({span.context.trace_id for span in traced.get_finished_spans() if span.context}) == 1
    assert run.attributes is not None
    assert run.attributes["currant.execution_id"] == str(handle)


async def test_a_child_workflow_and_what_a_task_enqueues_are_in_the_same_trace(
    traced: InMemorySpanExporter, local_worker: LocalWorker
) -> None:
    async with local_worker("seen", *functions()):
        with trace.get_tracer("shop").start_as_current_span("checkout"):
            handle = await observed.parent.queue(4)
            other = await observed.hands_on.queue(5)
        await handle.result(LIMIT)
        detached = await other.result(LIMIT)
        await eventually_async(lambda: RustBridge.get_execution(detached)["state"] == "completed")
    spans = traced.get_finished_spans()
    step = named(traced, "step workflow apps.observed.both")
    parents = {above(span) for span in spans if span.name == "run apps.observed.both"}
    assert parents == {id_of(step), id_of(named(traced, "attempt apps.observed.hands_on"))}
    assert len({span.context.trace_id for span in spans if span.context}) == 1


async def test_a_failure_is_on_the_spans_of_attempt_step_and_run(
    traced: InMemorySpanExporter, local_worker: LocalWorker
) -> None:
    async with local_worker("seen", *functions()):
        with pytest.raises(ExecutionFailed):
            await (await observed.fails.queue()).result(LIMIT)
    for name in ("attempt apps.observed.fail", "step task apps.observed.fail", "run apps.observed.fails"):
        assert named(traced, name).status.status_code is trace.StatusCode.ERROR, name
    (event,) = named(traced, "attempt apps.observed.fail").events
    assert event.attributes is not None
    assert event.attributes["exception.message"] == "as it should"


async def test_a_run_that_comes_back_links_to_its_last_span_in_the_same_trace(
    traced: InMemorySpanExporter, local_worker: LocalWorker
) -> None:
    soon = {"WORKFLOWS_WORKER_LONG_WAIT": "0.01"}
    async with local_worker("seen", *functions(), **soon):
        with trace.get_tracer("shop").start_as_current_span("checkout"):
            handle = await observed.waits.queue(4)
        await eventually_async(lambda: RustBridge.get_execution(str(handle))["state"] == "suspended")
    async with local_worker("seen", *functions()):
        await send_signal(handle, "go", 1)
        assert await handle.result(LIMIT) == 9
    runs = [span for span in traced.get_finished_spans() if span.name == "run apps.observed.waits"]
    first, second = sorted(runs, key=lambda span: span.start_time or 0)
    assert (first.attributes or {})["currant.outcome"] == "suspended"
    assert (second.attributes or {})["currant.outcome"] == "completed"
    assert first.links == ()
    assert [link.context.span_id for link in second.links] == [id_of(first)]
    assert above(first) == above(second) == id_of(named(traced, "checkout"))
    waits = [span for span in traced.get_finished_spans() if span.name == "step signal go"]
    assert [
        (span.attributes or {})["currant.step.resumed"] for span in sorted(waits, key=lambda s: s.start_time or 0)
    ] == [
        False,
        True,
    ]
    assert len([span for span in traced.get_finished_spans() if span.name.startswith("attempt ")]) == 1


async def test_after_a_fail_over_the_new_run_links_to_the_one_that_died(
    traced: InMemorySpanExporter, local_worker: LocalWorker, worker_process: Callable[..., WorkerProcess], db: Any
) -> None:
    victim = worker_process("seen", "apps.observed", WORKFLOWS_TRACING="on", OTEL_TRACES_EXPORTER="none")
    with trace.get_tracer("shop").start_as_current_span("checkout"):
        handle = await observed.waits.queue(4)

    def before() -> str | None:
        row = db.execute("select headers ->> 'currant-run' as run from currant.executions where id = %s", [handle.id])
        return row.fetchone()["run"]

    await eventually_async(before)
    victims_span = str(before()).split("-")[2]
    await eventually_async(lambda: bool(RustBridge.show(str(handle))["steps"]))
    victim.kill()
    async with local_worker("seen", *functions()):
        await send_signal(handle, "go", 1)
        assert await handle.result(LIMIT) == 9
    run = named(traced, "run apps.observed.waits")
    assert [f"{link.context.span_id:016x}" for link in run.links] == [victims_span]
    assert above(run) == id_of(named(traced, "checkout"))


async def test_while_it_is_off_no_span_is_made_and_no_header_stored(
    exporter: InMemorySpanExporter, local_worker: LocalWorker, db: Any
) -> None:
    exporter.clear()
    async with local_worker("seen", *functions()):
        with trace.get_tracer("shop").start_as_current_span("checkout"):
            handle = await observed.both.queue(4)
        await handle.result(LIMIT)
    assert [span.name for span in exporter.get_finished_spans()] == ["checkout"]
    stored = db.execute("select count(*) as n from currant.executions where headers is not null").fetchone()
    assert stored["n"] == 0


class Receiver(ThreadingHTTPServer):
    """A small OTLP receiver over HTTP: keeps the names of the spans that it is sent."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Traces)
        self.spans: list[str] = []
        self.services: set[str] = set()


class _Traces(BaseHTTPRequestHandler):
    server: Receiver

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.headers.get("Content-Encoding") == "gzip":
            body = gzip.decompress(body)
        for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
            named = {each.key: each.value.string_value for each in resource.resource.attributes}
            self.server.services.add(named.get("service.name", ""))
            self.server.spans += [span.name for scope in resource.scope_spans for span in scope.spans]
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Not to the test's output."""


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver() as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def test_a_worker_sends_its_spans_by_otlp_as_the_usual_variables_say(
    receiver: Receiver, worker_process: Callable[..., WorkerProcess]
) -> None:
    worker = worker_process(
        "seen",
        "apps.observed",
        WORKFLOWS_TRACING="on",
        OTEL_EXPORTER_OTLP_ENDPOINT=f"http://127.0.0.1:{receiver.server_address[1]}",
        OTEL_SERVICE_NAME="shop",
        OTEL_BSP_SCHEDULE_DELAY="100",
    )
    assert observed.both.queue_sync(4).result_sync(LIMIT) == 4
    wanted = {"run apps.observed.both", "step task apps.observed.double", "attempt apps.observed.double"}
    eventually(lambda: wanted <= set(receiver.spans))
    assert receiver.services == {"shop"}
    worker.terminate()
    assert worker.wait() == 0
