"""`python -m scripts.generate [--check] [NAME...]`: write what is generated, or say what differs from it.

Without names all generators run, in the order in which one may need what another wrote.
"""

from __future__ import annotations

import argparse
import subprocess
import sys

from scripts.generate import (
    bench_results,
    charts,
    commands,
    core_stub,
    crds,
    dashboards,
    error_page,
    limits,
    metrics_page,
    options_page,
    pod_template,
    python_pages,
    scaling_charts,
    settings_page,
    sql_page,
    sqlx_answers,
    version,
)
from scripts.generate.outputs import CHECKOUT, HOW, Generator, Missing, Texts

GENERATORS: tuple[Generator, ...] = (
    Texts("version", version.outputs),
    sqlx_answers.SqlxAnswers(),
    Texts("pod-template", pod_template.outputs),
    Texts("core-stub", core_stub.outputs),
    Texts("limits", limits.outputs),
    Texts("options", options_page.outputs),
    Texts("python", python_pages.outputs),
    Texts("errors", error_page.outputs),
    Texts("sql", sql_page.outputs),
    Texts("metrics", metrics_page.outputs),
    Texts("settings", settings_page.outputs),
    Texts("commands", commands.outputs),
    Texts("crds", crds.outputs, owned=("charts/currant/files/crds/*.yaml",)),
    Texts("dashboards", dashboards.outputs, owned=("charts/currant/files/dashboards/*.json",)),
    Texts("chart-values", charts.values_table),
    Texts("golden", charts.golden_files, owned=("charts/tests/golden/*.yaml",)),
    Texts("bench", bench_results.outputs, owned=("bench/charts/*.svg",)),
    Texts("scaling-charts", scaling_charts.outputs, owned=("docs/operate/charts/*.svg",)),
)
NAMES = tuple(generator.name for generator in GENERATORS)


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """The command line's arguments."""
    parser = argparse.ArgumentParser(prog="python -m scripts.generate", description="Write what is generated.")
    parser.add_argument("names", nargs="*", metavar="NAME", choices=[*NAMES, []], help=f"of {', '.join(NAMES)}")
    parser.add_argument(
        "--check", action="store_true", help="write nothing: say what differs, and fail if anything does"
    )
    parser.add_argument(
        "--except", dest="left_out", action="append", default=[], choices=NAMES, help="all but this one"
    )
    return parser.parse_args(arguments)


def main() -> int:
    """Write or check; the exit code is 1 when a check finds a difference."""
    given = parse()
    failed = False
    for generator in GENERATORS:
        if (given.names and generator.name not in given.names) or generator.name in given.left_out:
            continue
        failed |= not (check(generator) if given.check else write(generator))
    return 1 if failed else 0


def write(generator: Generator) -> bool:
    """Write the files of a generator; False when the machine lacks what that takes."""
    try:
        generator.write()
    except Missing as missing:
        print(f"error: {missing.what} cannot be written here: {missing.how}", file=sys.stderr)
        return False
    print(f"generate: {generator.name} ok", flush=True)
    return True


def check(generator: Generator) -> bool:
    """Say what differs; True when nothing does. The last line of make says what this machine cannot compare."""
    try:
        problems = list(generator.problems())
    except Missing as missing:
        subprocess.run(
            [CHECKOUT / "scripts" / "leave-out.sh", f"whether {missing.what} is up to date", missing.how], check=True
        )
        return True
    for problem in problems:
        print(f"generate: {problem}")
    print(f"generate: {generator.name} {f'FAILED: {HOW}' if problems else 'ok'}", flush=True)
    return not problems


if __name__ == "__main__":
    sys.exit(main())
