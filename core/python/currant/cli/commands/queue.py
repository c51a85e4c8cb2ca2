"""`currant queue`: enqueue a function."""

from __future__ import annotations

import json
import time
from typing import Any

import click

from currant._payloads.codec import decode_error
from currant.cli.arguments import duration, moment
from currant.cli.functions import Mistake, check_arguments, find_function, parse_arguments
from currant.cli.output import print_json, say
from currant.decorators import Function
from currant.errors import CurrantError, ExecutionCancelled, InvalidInput
from currant.rust_bridge import RustBridge


@click.command()
@click.argument("function")
@click.argument("json_args", required=False)
@click.option("-m", "--module", "modules", multiple=True, help="Import this module and look FUNCTION up in it.")
@click.option("-q", "--queue", help="The queue to put it in, instead of the function's own.")
@click.option("--priority", type=int, help="0 to 10, higher first.")
@click.option("--delay", callback=duration, help="Not before this time has passed: 30s, 5m, 1h30m, 7d.")
@click.option("--run-at", callback=moment, help="Not before this moment: 2026-01-31T10:00:00+01:00.")
@click.option("--retries", type=int, help="How many times it is tried again after a failure.")
@click.option("--run-timeout", callback=duration, help="Time-out of an attempt of a task, or of the whole workflow.")
@click.option("--idempotency-key", help="Enqueue it once: if an execution with this key exists, print its id.")
@click.option("--wait", is_flag=True, help="Wait for the result and print it as JSON.")
@click.option("--timeout", type=click.FloatRange(0, min_open=True), help="With --wait: seconds to wait at most.")
def queue(
    function: str,
    json_args: str | None,
    modules: tuple[str, ...],
    wait: bool,
    timeout: float | None,
    run_timeout: float | None,
    **given: Any,
) -> None:
    """Enqueue FUNCTION and print the execution's id.

    FUNCTION is a registered name, module.function unless it was given another; its module is imported from the
    working directory, or with -m, so that the arguments are checked before anything is stored. JSON_ARGS is an array
    (positional arguments), an object (arguments by name), or {"args": [...], "kwargs": {...}}. The options from
    --queue to --idempotency-key are those of FUNCTION.options(): they outrank the function's definition and decorator.
    """
    if timeout is not None and not wait:
        raise click.UsageError("--timeout goes with --wait")
    found = _with_options(find_function(function, modules), {**given, "timeout": run_timeout})
    args, kwargs = check_arguments(found, *parse_arguments(json_args))
    try:
        id = str(found.queue_sync(*args, **kwargs))
    except InvalidInput as error:
        raise Mistake(str(error)) from None
    # With --wait standard output is for the result alone.
    say(id, err=wait)
    if wait:
        print_json(_wait(id, timeout))


def _with_options(function: Function[..., Any], given: dict[str, Any]) -> Function[..., Any]:
    """The function with the options of the command line. Raises `Mistake`."""
    try:
        return function.options(**{name: value for name, value in given.items() if value is not None})
    except (TypeError, ValueError) as error:
        raise Mistake(str(error)) from None


def _wait(id: str, timeout: float | None) -> Any:
    """The result. Raises when the execution fails, is cancelled, or does not end in time."""
    bridge = RustBridge()
    limit = None if timeout is None else time.monotonic() + timeout
    while True:
        left = None if limit is None else limit - time.monotonic()
        if left is not None and left <= 0:
            raise CurrantError(f"{id} has not ended within {timeout:g} s; it goes on")
        # In short waits, between which Ctrl-C works.
        state, payload = bridge.wait_execution(id, 0.5 if left is None else min(0.5, left))
        if state == "completed":
            return json.loads(payload)
        if state == "failed":
            raise decode_error(payload)
        if state == "cancelled":
            raise ExecutionCancelled(f"{id} was cancelled")
