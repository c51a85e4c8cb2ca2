"""The results, for people (Markdown) and for programs (JSON)."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from chaos.battle import Outcome
from chaos.schedule import KINDS


def summary(outcome: Outcome) -> str:
    """One line for a seed."""
    counts = outcome.counts
    end = "passed" if outcome.passed else "FAILED"
    return (
        f"seed {outcome.seed}: {end}; {len(outcome.struck)} strikes, {counts['orders']} orders, {counts['executions']} "
        f"executions, {counts['take-overs']} take-overs, all ended {outcome.settled:.1f} s after the last strike"
    )


def complaints(outcome: Outcome, most: int = 8) -> list[str]:
    """The complaints about a seed, and how to run it again."""
    lines = []
    for rule, found in outcome.verdict.complaints.items():
        lines += [f"  {rule}: {text}" for text in found[:most]]
        if len(found) > most:
            lines.append(f"  {rule}: and {len(found) - most} more")
    if lines:
        lines.append(f"  again: python -m chaos --seed {outcome.seed} --seconds {outcome.seconds:g}")
    if outcome.logs is not None:
        lines.append(f"  logs: {outcome.logs}")
    return lines


def markdown(outcomes: Sequence[Outcome]) -> str:
    """The table of all seeds: faults by kind, then what was counted."""
    lines = [
        "| fault | strikes | longest stall, s | what a victim ran began again after, s |",
        "|---|---:|---:|---:|",
    ]
    for kind, about in KINDS.items():
        stalls = [outcome.stalls[kind] for outcome in outcomes if kind in outcome.stalls]
        why = next((outcome.missing[kind] for outcome in outcomes if kind in outcome.missing), None)
        if why is not None and not stalls:
            lines.append(f"| {about.title} | **NOT STRUCK HERE: {why}** | | |")
            continue
        struck = sum(one.struck for one in stalls)
        stall = max((one.stall for one in stalls), default=0.0)
        resumed = max((one.resumed for one in stalls), default=0.0)
        lines.append(f"| {about.title} | {struck} | {stall:.1f} | {f'{resumed:.1f}' if resumed else ''} |")
    return "\n".join([*lines, "", *_totals(outcomes)])


def _totals(outcomes: Sequence[Outcome]) -> list[str]:
    def total(name: str) -> int:
        return sum(outcome.counts[name] for outcome in outcomes)

    settled = sorted(outcome.settled for outcome in outcomes)
    failed = [outcome.seed for outcome in outcomes if not outcome.passed]
    lines = [
        "| of all seeds | |",
        "|---|---:|",
        f"| seeds (seconds of faults each) | {len(outcomes)} ({outcomes[0].seconds:g}) |",
        f"| strikes | {sum(len(outcome.struck) for outcome in outcomes)} |",
        f"| orders of customers | {total('orders')} |",
        f"| executions | {total('executions')} |",
        f"| attempts of tasks that began | {total('attempts')} |",
        f"| take-overs | {total('take-overs')} |",
        f"| signals | {total('signals')} |",
        f"| attempts of zombies that began after another's outcome, and were refused | {total('superseded')} |",
        f"| all ended after the last strike, s: least, median, most | "
        f"{settled[0]:.1f}, {settled[len(settled) // 2]:.1f}, {settled[-1]:.1f} |",
    ]
    for rule in outcomes[0].verdict.complaints:
        count = sum(len(outcome.verdict.complaints[rule]) for outcome in outcomes)
        lines.append(f"| complaints: {rule} | {count} |")
    lines.append(f"| failed seeds | {', '.join(map(str, failed)) if failed else 'none'} |")
    return lines


def as_json(outcomes: Sequence[Outcome]) -> str:
    """Every seed with its strikes."""
    return json.dumps([_one(outcome) for outcome in outcomes], indent=1) + "\n"


def _one(outcome: Outcome) -> dict[str, Any]:
    first = min((struck.begin for struck in outcome.struck), default=0.0)
    return {
        "seed": outcome.seed,
        "seconds": outcome.seconds,
        "passed": outcome.passed,
        "settled": round(outcome.settled, 3),
        "counts": outcome.counts,
        "complaints": {rule: found for rule, found in outcome.verdict.complaints.items() if found},
        "not struck": outcome.missing,
        "stalls": {
            kind: {"struck": one.struck, "stall": round(one.stall, 3), "resumed": round(one.resumed, 3)}
            for kind, one in outcome.stalls.items()
        },
        "strikes": [
            {
                "kind": struck.strike.kind,
                "planned": struck.strike.at,
                "begin": round(struck.begin - first, 3),
                "end": round(struck.end - first, 3),
            }
            for struck in outcome.struck
        ],
    }
