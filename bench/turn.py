"""One turn in a process of its own: `python -m bench.turn JSON`. Prints its figures, or why it is void, as JSON."""

from __future__ import annotations

import asyncio
import json
import sys
import tempfile
import traceback
from pathlib import Path

import uvloop

from bench.candidates import load
from bench.parts import Turn, Void
from bench.processes import WorkerEnded
from bench.workloads import WORKLOADS


async def take(turn: Turn) -> dict[str, float]:
    """Make the schema, run the workload."""
    await turn.candidate.prepare(turn.url)
    return await WORKLOADS[turn.workload](turn)


def main(text: str) -> None:
    """Run what the JSON says."""
    given = json.loads(text)
    with tempfile.TemporaryDirectory(prefix="currant-bench-") as directory:
        turn = Turn(**{**given, "candidate": load(given["candidate"]), "directory": Path(directory)})
        answer: dict[str, object]
        try:
            with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                answer = {"values": runner.run(take(turn)), "series": turn.series, "notes": turn.notes}
        except (Void, WorkerEnded) as error:
            answer = {"void": str(error)}
            print(last_log_lines(Path(directory)), file=sys.stderr)
        except Exception as error:  # whatever a candidate raises makes its turn void, not the suite
            traceback.print_exc()
            answer = {"void": f"{type(error).__name__}: {error}"}
    print(json.dumps(answer))


def last_log_lines(directory: Path) -> str:
    """The last lines that the workers wrote."""
    return "\n".join(path.read_text(errors="replace").strip()[-2000:] for path in sorted(directory.glob("*.log")))


if __name__ == "__main__":
    main(sys.argv[1])
