"""`python -m chaos naive`: is the suite hostile enough? Rules are taken out of a scratch database's SQL, each alone.

Each must be noticed: a suite that passes without the lease, the wake-up, the take-over or the replay's order shows
nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from chaos.battle import Battle, Outcome
from chaos.schedule import KINDS

SEEDS = 10  # a rule that none of so many seeds misses is one that the suite cannot see
SECONDS = 20.0


@dataclass(frozen=True)
class Rule:
    """A rule that is taken out: in the SQL function `function`, `instead` takes the place of each `text`."""

    title: str
    function: str
    text: str
    instead: str
    shows: tuple[str, ...]  # rules of the verdict by which it must be noticed


RULES = (
    Rule(
        "the lease fence: whoever has run an execution may record it",
        "commit_batch",
        "e.lease <> f.lease or e.worker_id is distinct from p_worker",
        "false",
        ("twice", "recorded step run again", "wrong"),
    ),
    Rule(
        "the wake-up: a run that was woken while it was being evicted sleeps on",
        "commit_batch",
        "coalesce(x.wakes <> u.wakes, currant.has_news(x.id))",
        "false",
        ("stuck",),
    ),
    Rule(
        "the take-over: what a dead worker was running stays with it",
        "take_over",
        "if not found then return; end if;",
        "return;",
        ("stuck",),
    ),
    Rule(
        "the replay order: outcomes of children come in the order of the calls, not in that of their delivery",
        "load_runs",
        "when e.state = 'failed' then e.error end, e.seq, e.clock,",
        "when e.state = 'failed' then e.error end, case when e.seq is not null then (select count(*)"
        " from currant.executions x where x.parent_id = e.parent_id and x.parent_epoch = e.parent_epoch"
        " and x.seq is not null and x.step_key <= e.step_key) end, e.clock,",
        ("stuck", "wrong"),
    ),
    Rule(
        "at most once: what may lose no worker is taken over like the rest",
        "lose_worker",
        "most.losses = 0 or",
        "false or",
        ("at most once",),
    ),
)


def run(say: Callable[[str], None]) -> int:
    """Take out each rule; 0 when the suite noticed every time, 1 when not."""
    missed = 0
    for rule in RULES:
        outcome = _first_that_notices(rule, say)
        if outcome is None:
            missed += 1
            say(f"NOT NOTICED in {SEEDS} seeds: {rule.title}")
            continue
        say(f"noticed by seed {outcome.seed}: {rule.title}")
        for kind, found in outcome.verdict.complaints.items():
            if found:
                say(f"  {kind}: {len(found)}, first: {found[0]}")
    return 1 if missed else 0


def _first_that_notices(rule: Rule, say: Callable[[str], None]) -> Outcome | None:
    for seed in range(1, SEEDS + 1):
        battle = Battle(seed, SECONDS, list(KINDS), lambda _: None, naive=(rule.function, rule.text, rule.instead))
        outcome = asyncio.run(battle.fight())
        if any(outcome.verdict.complaints[kind] for kind in rule.shows):
            return outcome
        say(f"  seed {seed} did not notice: {rule.title}")
    return None
