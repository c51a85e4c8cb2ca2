"""The commands of one run, made by its code or recorded; in a replay also the message about the first that differs."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

from currant._payloads.signatures import Arguments
from currant._workflow.loop import WorkflowLoop
from currant._workflow.replay_check import HELP, Asked, ReplayCheck, asked_by, find_difference, find_other_time
from currant._workflow.steps import Step
from currant.errors import NonDeterminismError

Command = tuple[Any, ...]

_NAMED = frozenset({"task", "workflow", "detach", "signal", "version", "verb"})  # kinds whose name must fit as well


class Record(NamedTuple):
    """A command of this epoch as the database has it. `value`: of a version or a side effect."""

    kind: str
    name: str
    value: bytes | None
    asked: Asked = None
    retried: bool = False  # it failed before this epoch and is to be done again: the code may ask for something else


class Journal:
    """The commands of a run, and whether they fit its history.

    `name` is that of the workflow, for messages. `replay_check`: whether a replay compares what steps ask for, or only
    their names.
    """

    __slots__ = (
        "_loop",
        "_name",
        "_replay_check",
        "commands",
        "divergence",
        "frontier",
        "other_times",
        "records",
        "retried",
        "unwinding",
    )

    def __init__(self, name: str, loop: WorkflowLoop, replay_check: ReplayCheck) -> None:
        self._name = name
        self._loop = loop
        self._replay_check = replay_check
        self.commands: list[Command] = []  # made, and not yet sent to the engine
        self.records: dict[str, Record] | None = None  # while replaying: what the code has not asked for yet
        self.frontier = False  # whether a replay has delivered the last recorded outcome
        self.retried = False  # replaying, and steps that failed before this epoch are to be done again
        self.divergence: NonDeterminismError | None = None
        self.unwinding = False  # durable calls are refused
        self.other_times: list[str] = []  # waits that are not as long as recorded; what is recorded counts

    def load(self, records: Iterable[Command]) -> dict[str, Record]:
        """Begin a replay with what is recorded."""
        self.records = found = {key: Record(*record) for key, *record in records}
        self.retried = any(record.retried for record in found.values())
        return found

    def end_replay(self, how_it_failed: Callable[[], str]) -> None:
        """End a replay after its last outcome. The code has diverged if it did not ask for all that is recorded.

        `how_it_failed` returns what to add to that message.
        """
        left = self.records or {}
        given_up = [("cancel", key) for key, record in left.items() if record.retried]
        if len(given_up) < len(left) and self.divergence is None:
            missing = _missing({key: record for key, record in left.items() if not record.retried})
            self.diverge(missing + how_it_failed())
        self.records = None
        self.frontier = False
        if not any(command[0] != "cancel" for command in self.commands):
            self.commands.clear()  # single cancels are not recorded, but the commit that they were part of is
        self.commands += given_up

    def take(self) -> list[Command]:
        """The commands to send to the engine now."""
        commands = self.commands
        self.commands = []
        return commands

    def make(self, kind: str, key: str, name: str, command: Command, arguments: Arguments | None = None) -> bool:
        """Make a command, or find it in the history. Returns False if the history has something else."""
        records = self.records
        if records is None:
            self.commands.append(command)
            return True
        record = records.pop(key, None)
        if record is None:
            # After the last outcome the code may make more commands than are recorded, because a run that failed at
            # that point may be retried with fixed code. It must make the recorded ones, too: `end_replay` checks that.
            if self.frontier:
                self.commands.append(command)
                return True
            self.diverge(f"step {key}: nothing is recorded, the code asks for {show(kind, name)}")
            return False
        if record.kind != kind or (record.name != name and kind in _NAMED):
            self.diverge(
                f"step {key}: recorded is {show(record.kind, record.name)}, the code asks for {show(kind, name)}"
            )
            return False
        if command and command[0] == "execute" and record.asked == command[2].args:
            return True  # the usual case, without a call
        return kind == "side_effect" or self._asks_the_same(record, key, command, arguments)

    def renew(self, step: Step[Any]) -> bool:
        """Make a step anew that failed before this epoch, if the code has been fixed to ask for something else.

        It then has a key of its own, one `~` longer for each time, so that later replays find it. Returns False if
        there is nothing to do.
        """
        records = self.records
        if records is None or step.command[0] != "execute":
            return False
        while (later := f"{step.key}~") in records:
            del records[step.key]
            step.rename(later)
        record = records.get(step.key)
        if record is None or not record.retried or self._is_the_same(record, step):
            return False
        del records[step.key]
        self.commands.append(("cancel", step.key))
        step.rename(later)
        self.commands.append(step.command)
        return True

    def _is_the_same(self, record: Record, step: Step[Any]) -> bool:
        if (record.kind, record.name) != (step.kind, step.name):
            return False
        if self._replay_check == "names":
            return True
        return find_difference(record.name, record.asked, asked_by(step.command), step.arguments) is None

    def _asks_the_same(self, record: Record, key: str, command: Command, arguments: Arguments | None) -> bool:
        asked = asked_by(command)
        if record.asked == asked:  # before anything is decoded
            return True
        what = f"step {key} ({show(record.kind, record.name)})"
        if record.kind in ("timer", "signal"):
            other = find_other_time(record.asked, asked, self._loop.clock)
            self.other_times.append(f"{what}, {other}")
            return True
        if self._replay_check == "names":
            return True
        difference = find_difference(record.name, record.asked, asked, arguments)
        if difference is not None:
            self.diverge(f"{what}, {difference} ({HELP})")
        return difference is None

    def diverge(self, message: str) -> None:
        """Make the run incompatible: remember the first difference, and ignore every later command.

        They are ignored even if the workflow's code catches the exception that ends it.
        """
        if self.divergence is None:
            self.divergence = NonDeterminismError(f"workflow {self._name}: {message}")
        self.unwinding = True


def show(kind: str, name: str) -> str:
    return f"{kind} {name}" if name else kind


def _missing(records: dict[str, Record]) -> str:
    key, record = next(iter(records.items()))
    more = f" (and {len(records) - 1} more)" if len(records) > 1 else ""
    return f"step {key}: recorded is {show(record.kind, record.name)}, the code no longer asks for it{more}"
