"""`python -m chaos`: seeds of faults against a load, and a verdict. See README.md."""

from __future__ import annotations

import argparse
import asyncio
import signal
import sys
from pathlib import Path

from chaos import naive, report, restart
from chaos.battle import Battle, Outcome
from chaos.fleet import ROOT
from chaos.schedule import KINDS

WHAT = "naive: take rules out of the SQL, and see that it is noticed; restart: how soon throughput is back"
RESULTS = ROOT / ".currant/chaos"


def arguments(given: list[str]) -> argparse.Namespace:
    """The command line. A usage error ends with 2."""
    parser = argparse.ArgumentParser(prog="python -m chaos", description="Attack Currant, and judge what it did.")
    parser.add_argument("--seeds", type=int, default=3, metavar="N", help="seeds 1 to N (3)")
    parser.add_argument("--seed", type=int, metavar="N", help="only this seed, as when one has failed")
    parser.add_argument("--seconds", type=float, default=60.0, help="of faults for each seed (60)")
    parser.add_argument("--faults", default=",".join(KINDS), help="only these kinds, with commas between them")
    parser.add_argument("--output", type=Path, default=RESULTS, help="where results and logs of failed seeds go")
    parser.add_argument("--keep", action="store_true", help="keep the logs of seeds that are passed, too")
    parser.add_argument("what", nargs="?", choices=["naive", "restart"], help=WHAT)
    chosen = parser.parse_args(given)
    chosen.kinds = [kind for kind in chosen.faults.split(",") if kind]
    if unknown := [kind for kind in chosen.kinds if kind not in KINDS]:
        parser.error(f"unknown faults {', '.join(unknown)}: known are {', '.join(KINDS)}")
    return chosen


def main(given: list[str]) -> int:
    """Fight all seeds; 0 when every one is passed, 1 when not."""
    chosen = arguments(given)
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # as Ctrl-C: nothing is left running
    if chosen.what == "naive":
        return naive.run(lambda text: print(text, flush=True))
    if chosen.what == "restart":
        return restart.run()
    seeds = [chosen.seed] if chosen.seed is not None else list(range(1, chosen.seeds + 1))
    chosen.output.mkdir(parents=True, exist_ok=True)
    outcomes: list[Outcome] = []
    for seed in seeds:
        outcomes.append(_fight(seed, chosen))
        # After each, so that a run that is ended early has shown something.
        (chosen.output / "RESULTS.md").write_text(report.markdown(outcomes) + "\n")
        (chosen.output / "results.json").write_text(report.as_json(outcomes))
    print(f"\n{report.markdown(outcomes)}\n\nwritten to {chosen.output}")
    failed = [outcome.seed for outcome in outcomes if not outcome.passed]
    if failed:
        print(f"FAILED: {', '.join(f'seed {seed}' for seed in failed)}")
    return 1 if failed else 0


def _fight(seed: int, chosen: argparse.Namespace) -> Outcome:
    print(f"seed {seed}: {chosen.seconds:g} s of faults", flush=True)
    battle = Battle(seed, chosen.seconds, chosen.kinds, lambda text: print(f"  {text}", flush=True), chosen.output)
    battle.keep_all = chosen.keep
    outcome = asyncio.run(battle.fight())
    print("\n".join([report.summary(outcome), *report.complaints(outcome)]), flush=True)
    return outcome


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
