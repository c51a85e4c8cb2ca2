"""Names, results, errors and payloads that would act on a terminal: no command lets them, on a terminal or in a pipe."""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Callable, Iterator
from typing import Any

import click
import psycopg
import pytest
from psycopg.types.json import Jsonb

from apps import letters
from currant import cli
from currant.rust_bridge import Call, RustBridge, new_id
from support import WorkerProcess, child_environment
from terminals import on_a_terminal, run_on_a_terminal

EVIL = "e\x1b[2Jv\x1b]0;owned\x07\x9b5m\u202e\u2066[red]x[/] [link=http://x]y[/link]\x1b[38;5;201m\terror: forged\x7f\u2028l"
SHOWN = r"e\x1b[2Jv\x1b]0;owned\x07\x9b5m\u202e\u2066[red]x[/] [link=http://x]y[/link]\x1b[38;5;201m"
FORGED = f"{EVIL}\r\nerror: no such thing\n2026-01-02 03:04:05 forged"
STYLE = re.compile(r"\x1b\[([0-9]{1,2}(;[0-9]{1,2})*)?m")  # what rich and click write, and no other sequence
Db = psycopg.Connection[dict[str, Any]]


def acting(text: str) -> list[str]:
    """What in a text does something other than be seen."""
    directed = {"LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI"}
    return [
        ascii(character)
        for character in text
        if unicodedata.category(character) in {"Cc", "Cs", "Zl", "Zp"}
        or unicodedata.bidirectional(character) in directed
    ]


class Shop:
    """A database in which everything that has a name has a hostile one."""

    def __init__(self, bridge: RustBridge, db: Db) -> None:
        call = Call("workflow", EVIL, EVIL, 5, b'{"args": [], "kwargs": {}}')
        worker = new_id()
        self.failed = bridge.create_execution(call)
        self.run = bridge.create_execution(call)
        self.held = bridge.create_execution(call)
        bridge.update_heartbeat(worker, name=EVIL, queues=[EVIL])
        leases = {claim.id: claim.lease for claim in bridge.claim_executions(worker, [EVIL], 10)}
        error = json.dumps({"type": EVIL, "message": FORGED, "traceback": FORGED})
        bridge.fail_execution(worker, self.failed, leases[self.failed], error.encode())
        bridge.complete_execution(worker, self.run, leases[self.run], json.dumps(FORGED).encode())
        bridge.send_signal(self.held, EVIL, json.dumps({FORGED: FORGED}).encode())
        db.execute(
            "update currant.workers set host = %(evil)s, concurrency = 1, build = %(evil)s, pool = %(evil)s, pod_name = %(evil)s",
            {"evil": EVIL},
        )
        db.execute(
            "insert into currant.steps (execution_id, epoch, key, kind, name, payload, after_seq)"
            " values (%s, 0, %s, 'signal', %s, %s, 0)",
            [self.held, EVIL, EVIL, json.dumps(FORGED).encode()],
        )
        child = db.execute("select currant.enqueue(%s, '{}', %s) as id", [EVIL, Jsonb({"queue": EVIL})]).fetchone()
        assert child is not None
        db.execute(
            "update currant.executions set parent_id = %s, root_id = %s, parent_epoch = 0, step_key = %s where id = %s",
            [self.held, self.held, EVIL, child["id"]],
        )
        db.execute(
            "insert into currant.schedules (id, function, name, owner, cron, time_zone, args, overlap, catch_up, jitter,"
            " suspended, definition_suspended, last_outcome) values (gen_random_uuid(), %(evil)s, %(evil)s, %(evil)s, %(evil)s,"
            " %(evil)s, '{}', 'Allow', 'Last', 0, false, false, %(failed)s)",
            {"evil": EVIL, "failed": f"failed: {FORGED}"},
        )
        bridge.set_queue_retention(EVIL, 3600.0)

    def commands(self) -> dict[str, list[str]]:
        """Every command that reads, and those that say back what they were given."""
        return {
            "list": ["list"],
            "list of a queue": ["list", "-q", EVIL, "--function", EVIL],
            "status, completed": ["status", self.run],
            "status, failed": ["status", self.failed],
            "show, completed": ["show", self.run],
            "show, failed": ["show", self.failed],
            "show, with steps and signals": ["show", self.held],
            "queues": ["queues"],
            "queues by name": ["queues", EVIL],
            "workers": ["workers"],
            "schedules": ["schedules"],
            "doctor": ["doctor", "--ready", "0"],
            "retention": ["retention", "list"],
            "scale explain": ["scale", "explain", EVIL],
            "signal": ["signal", self.held, EVIL, json.dumps(FORGED)],
            "retention set": ["retention", "set", EVIL, "7d"],
            "no such queue": ["queues", f"no {FORGED}"],
            "no such execution": ["status", EVIL],
            "no such function": ["queue", FORGED],
            "no such module": ["queue", "f", "-m", FORGED],
            "no JSON": ["signal", self.held, "go", FORGED],
            "no such option": ["list", f"--{FORGED}"],
            "no such command": [FORGED],
            "no such choice": ["list", "--state", FORGED],
            "no number": ["list", "--limit", FORGED],
            "no setting": ["scale", "simulate", "--set", f"{EVIL}={EVIL}"],
        }


# The row of its own that a test's commands look at; a value that has to be seen there, as text.
NAMED = {"list", "list of a queue", "show, failed", "show, with steps and signals", "queues", "workers", "schedules"}
NAMED |= {"doctor", "retention", "status, failed", "no such queue", "scale explain", "signal"}


@pytest.fixture
def shop(bridge: RustBridge, db: Db) -> Shop:
    return Shop(bridge, db)


def check(name: str, shown: str) -> None:
    """Nothing of it acts or stands on a line of its own, and what is named is seen."""
    assert acting(shown.replace("\n", "")) == [], name
    assert "Traceback" not in shown, name
    assert not any(line.startswith(("error: no such thing", "2026-01-02")) for line in shown.split("\n")), name
    if name in NAMED:
        assert SHOWN in shown, name


def test_in_a_pipe_nothing_that_others_wrote_acts(shop: Shop, capsys: pytest.CaptureFixture[str]) -> None:
    for name, command in shop.commands().items():
        cli.run(command)
        out, err = capsys.readouterr()
        check(name, out + err)


def test_on_a_terminal_nothing_that_others_wrote_acts(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("COLUMNS", "300")
    coloured = 0
    for name, command in shop.commands().items():
        _, shown = run_on_a_terminal(command)
        check(name, STYLE.sub("", shown).replace("\r\n", "\n"))
        coloured += STYLE.search(shown) is not None
    assert coloured > 10  # it was shown as to people


def test_json_says_what_was_stored_and_does_not_act_either(shop: Shop, capsys: pytest.CaptureFixture[str]) -> None:
    reads = ["list"], ["status", shop.failed], ["show", shop.held], ["queues"], ["workers"], ["schedules"], ["doctor"]
    for command in reads:
        cli.run([*command, "--json"])
        _, shown = run_on_a_terminal([*command, "--json"])
        for document in (capsys.readouterr().out, shown.replace("\r\n", "\n")):
            assert acting(document.replace("\n", "")) == [], command
            assert EVIL in flat(json.loads(document)), command


def flat(value: Any) -> list[Any]:
    """Every scalar in a value."""
    if isinstance(value, dict):
        return [*value, *(each for one in value.values() for each in flat(one))]
    if isinstance(value, list):
        return [each for one in value for each in flat(one)]
    return [value]


@pytest.fixture
def worker(worker_process: Callable[..., WorkerProcess]) -> Iterator[WorkerProcess]:
    yield worker_process("letters", "apps.letters", options=("--name", EVIL))


def test_what_is_waited_for_and_what_the_worker_logs_does_not_act(worker: WorkerProcess, database: str) -> None:
    environment = child_environment(database)
    code, shown = on_a_terminal(["queue", "apps.letters.write", json.dumps([FORGED]), "--wait"], environment)
    assert (code, acting(shown.replace("\r\n", ""))) == (0, [])
    assert json.loads(shown.splitlines()[-1]) == FORGED
    code, shown = on_a_terminal(["queue", "apps.letters.tear", json.dumps([FORGED]), "--wait"], environment)
    assert (code, acting(STYLE.sub("", shown).replace("\r\n", ""))) == (1, [])
    assert SHOWN in shown
    assert letters.tear.name in worker.log
    assert acting(worker.log.replace("\n", "")) == []
    assert not any(line.startswith("2026-01-02 03:04:05 forged") for line in worker.log.splitlines())


def test_every_command_that_reads_is_among_them(shop: Shop) -> None:
    """Else the next one goes untested. `bench` reads nothing that others wrote."""
    given = list(shop.commands().values())
    reads = [path for path, command in commands(cli.cli) if any(each.name == "as_json" for each in command.params)]
    untested = [path for path in reads if not any(command[: len(path)] == path for command in given)]
    assert untested == [["bench"]], "write a line for each of the others in Shop.commands"


def commands(group: click.Group, path: tuple[str, ...] = ()) -> Iterator[tuple[list[str], click.Command]]:
    """Every command, those of groups too, with the words that call it."""
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        if isinstance(command, click.Group):
            yield from commands(command, (*path, name))
        else:
            yield [*path, name], command
