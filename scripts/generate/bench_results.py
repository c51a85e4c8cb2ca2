"""The tables and charts of the benchmarks, and the README's lines, from the figures of the last whole run."""

from __future__ import annotations

from bench import report
from bench.model import Results
from bench.readme import how_fast
from scripts.generate.outputs import CHECKOUT, Outputs, between

# The figures that `make bench` and `make bench-soak` leave; the second exists once a long run was kept.
FIGURES = {"RESULTS": "bench/results.json", "LONG": "bench/long.json"}
README = "README.md"
BEGIN = "<!-- Written by make generate from bench/results.json: -->"
END = "<!-- Written by hand again. -->"


def outputs() -> Outputs:
    """RESULTS.md and LONG.md with their charts, and the README with the four lines of "how fast"."""
    found: Outputs = {}
    for name, path in FIGURES.items():
        if (CHECKOUT / path).exists():
            results = Results.from_json((CHECKOUT / path).read_text(encoding="utf-8"))
            found |= {f"bench/{file}": text for file, text in report.files(results, name).items()}
    results = Results.from_json((CHECKOUT / FIGURES["RESULTS"]).read_text(encoding="utf-8"))
    return {**found, README: between(README, BEGIN, END, how_fast(results))}
