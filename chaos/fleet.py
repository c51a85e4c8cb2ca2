"""The workers: real processes, each with a network of its own, restarted as Kubernetes would."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

from chaos import ledger
from chaos.functions import OTHER_QUEUE, QUEUE
from chaos.relay import Relay

ROOT = Path(__file__).resolve().parent.parent
RHYTHM = {
    "WORKFLOWS_WORKER_HEARTBEAT_INTERVAL": "0.5",
    "WORKFLOWS_WORKER_HEARTBEAT_TIMEOUT": "3",
    "WORKFLOWS_WORKER_POLL_INTERVAL": "0.5",
    "WORKFLOWS_WORKER_SHUTDOWN_GRACE": "2",
}
DRAIN_TIMEOUT = 30.0


@dataclass
class Slot:
    """A place of the fleet where a worker runs, with its network and its variables."""

    name: str
    relay: Relay
    url: str
    variables: dict[str, str] = field(default_factory=dict)
    process: subprocess.Popen[bytes] | None = None
    busy: asyncio.Lock = field(default_factory=asyncio.Lock)  # one fault of its process at a time


class Fleet:
    """The slots, and whoever runs in them. A worker that ends unasked is noted, and started again."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.slots: list[Slot] = []
        self.deserters: list[str] = []
        self.pids: dict[int, str] = {}
        self._asked: set[int] = set()
        self._logs = 0

    def start(self, slot: Slot) -> None:
        """Start a worker in a slot."""
        self._logs += 1
        log_path = self.directory / f"{slot.name}-{self._logs}.log"
        lanes = ["-q", QUEUE, "-q", OTHER_QUEUE, "-m", "chaos.functions", "--concurrency", "20", "--name", slot.name]
        environment = {
            **os.environ,
            **RHYTHM,
            ledger.PLACE: str(self.directory / "ledger"),
            **slot.variables,
            "WORKFLOWS_DATABASE_URL": slot.url,
        }
        with log_path.open("wb") as log:
            slot.process = subprocess.Popen(
                [sys.executable, "-m", "currant", "worker", *lanes],
                env=environment,
                cwd=ROOT,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self.pids[slot.process.pid] = log_path.name

    def send(self, slot: Slot, number: signal.Signals) -> int:
        """Send the slot's worker a signal; gives its process id. One that ends a worker is noted as asked for."""
        process = _there(slot)
        if number in (signal.SIGKILL, signal.SIGTERM):
            self._asked.add(process.pid)
        if process.poll() is None:
            process.send_signal(number)
        return process.pid

    async def ended(self, slot: Slot, timeout: float = DRAIN_TIMEOUT) -> None:
        """Wait until the slot's worker has ended. Raises `TimeoutError`: it has not, though asked."""
        process = _there(slot)
        try:
            await asyncio.to_thread(process.wait, timeout)
        except subprocess.TimeoutExpired:
            raise TimeoutError(f"{self.pids[process.pid]}: did not end within {timeout:.0f} s") from None

    async def restart(self, slot: Slot, number: signal.Signals, pause: float = 0.0) -> int:
        """End the slot's worker by a signal and start another after a pause; gives the process id of the first."""
        pid = self.send(slot, number)
        await self.ended(slot)
        await asyncio.sleep(pause)
        self.start(slot)
        return pid

    def name_of(self, slot: Slot) -> str:
        """The slot's worker, by the name of its log."""
        return self.pids[_there(slot).pid]

    def is_one_of(self, slot: Slot, pids: set[int]) -> bool:
        """Whether the slot's worker is among these processes."""
        return _there(slot).pid in pids

    async def guard(self) -> None:
        """Until cancelled: whoever ended unasked is noted, and started again."""
        while True:
            for slot in self.slots:
                self._look_after(slot)
            await asyncio.sleep(0.2)

    def _look_after(self, slot: Slot) -> None:
        process = slot.process
        if process is None or process.poll() is None or process.pid in self._asked:
            return
        log = self.directory / self.pids[process.pid]
        said = (log.read_text(errors="replace").strip().splitlines() or ["nothing"])[-1]
        self.deserters.append(f"{log.name} ended by itself with {process.returncode}; it said: {said[:300]}")
        self.start(slot)

    async def disband(self) -> list[str]:
        """End all by SIGTERM; gives who did not end, or not well."""
        for slot in self.slots:
            self.send(slot, signal.SIGCONT)
            self.send(slot, signal.SIGTERM)
        complaints = []
        for slot in self.slots:
            try:
                await self.ended(slot)
            except TimeoutError as error:
                complaints.append(str(error))
                continue
            code = _there(slot).returncode
            if code:
                complaints.append(f"{self.pids[_there(slot).pid]} ended with {code} after SIGTERM")
        return complaints

    def kill_all(self) -> None:
        """End all workers: none is left behind, also after an error."""
        for slot in self.slots:
            if slot.process is not None and slot.process.poll() is None:
                slot.process.kill()
                slot.process.wait()


def _there(slot: Slot) -> subprocess.Popen[bytes]:
    if slot.process is None:
        raise RuntimeError(f"no worker was started in {slot.name}")
    return slot.process
