"""The four lines of the README's "how fast", from results.json: `python -m bench --summary` prints them."""

from __future__ import annotations

from bench.candidates import LIMIT, OWN
from bench.model import Results
from bench.report import peers
from bench.stats import Summary


class NoFigure(Exception):
    """The results lack a figure that the lines need; the message names it."""


def how_fast(results: Results) -> list[str]:
    """The lines, in Markdown. Raises `NoFigure` when a workload was left out."""

    def share(workload: str, key: str = "rate") -> str:
        return f"{_ratio(results, workload, key):.2f}"

    def times(workload: str, key: str) -> str:
        return f"{_ratio(results, workload, key):.1f}"

    idle = f"{_median(results, 'W8', OWN, 'statements'):.0f}"
    beside = f"{_median(results, 'W7', OWN, 'beside'):.2f}"
    growth = f"{_median(results, 'W5-10000', OWN, 'growth'):.1f}"
    return [
        f"- **Enqueue**: `.queue()` reaches {share('W1-seq')} of the rate of bare INSERTs one after the other and "
        f"{share('W1-conc')} with 16 in flight, `.queue_many()` {share('W1-bulk')} of multi-row INSERTs"
        f"{_beside(results, 'W1-conc')}.",
        f"- **Tasks**: one worker drains a queue at {share('W2-1')} of the rate of the best batched SQL, two at "
        f"{share('W2-2')}. With 500,000 finished rows in the table it keeps {beside} of its rate"
        f"{_beside(results, 'W2-1')}.",
        f"- **Pick-up**: a task starts on an idle worker after {times('W3', 'p50')} times what LISTEN and NOTIFY take "
        f"by themselves (median), and an idle worker sends {idle} statements a minute{_beside(results, 'W3', 'p50')}.",
        f"- **Workflows**: those of five steps run at {share('W4')} of the rate of writing the same rows in batches; "
        f"in a run of 10,000 steps a step takes as long as {times('W5-10000', 'step')} bare commits, and "
        f"{growth} times as long as in a run of 200 steps{_beside(results, 'W4')}.",
    ]


def _median(results: Results, workload: str, candidate: str, key: str) -> float:
    found = Summary.of(results.values(workload, candidate, key))
    if found is None:
        raise NoFigure(f"the results have no figure {key} of {candidate} at {workload}")
    return found.median


def _ratio(results: Results, workload: str, key: str) -> float:
    own, limit = (_median(results, workload, candidate, key) for candidate in (OWN, LIMIT))
    return own / limit


def _beside(results: Results, workload: str, key: str = "rate") -> str:
    """How it stands beside the best of the others, if some took part."""
    own = _median(results, workload, OWN, key)
    found = {
        name: summary.median for name in peers(results) if (summary := Summary.of(results.values(workload, name, key)))
    }
    if not found:
        return ""
    best = max(found, key=lambda name: found[name]) if key == "rate" else min(found, key=lambda name: found[name])
    return f" ({own / found[best]:.2f} times {best}, the best of {len(found)} others here)"
