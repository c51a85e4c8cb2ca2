"""`currant signal`: send a workflow a signal."""

from __future__ import annotations

import click

from currant._payloads.codec import encode
from currant.cli.arguments import id_argument
from currant.cli.functions import parse_json
from currant.cli.output import say
from currant.rust_bridge import RustBridge


@click.command()
@id_argument
@click.argument("name")
@click.argument("json_payload", required=False, default="null", metavar="[JSON]")
@click.option("--dedup-key", help="A second signal with this key to the same run is dropped.")
def signal(id: str, name: str, json_payload: str, dedup_key: str | None) -> None:
    """Send workflow ID the signal NAME, with a JSON value (null when there is none)."""
    payload = encode(parse_json(json_payload, "the signal's value"), "the signal's value")
    RustBridge().send_signal(id, name, payload, dedup_key)
    say(f"signal {name} sent to {id}")
