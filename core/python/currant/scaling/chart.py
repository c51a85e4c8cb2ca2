"""The curve of a simulation as an SVG: what is ready, what runs, and the pods, over time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from html import escape

from currant.scaling.simulation import Result, Sample

WIDTH, PANEL, LEFT, TOP, GAP = 860, 130, 60, 46, 30
POINTS = 800
_INK, _GRID = "#57606a", "#d0d7de"
_PANELS: tuple[tuple[str, str, Callable[[Sample], float]], ...] = (
    ("ready", "#cf222e", lambda sample: sample.ready),
    ("running", "#0969da", lambda sample: sample.running),
    ("pods", "#1a7f37", lambda sample: sample.pods),
)


def draw(title: str, rows: Sequence[tuple[str, Result]]) -> str:
    """One column of panels; each scaler or setting is a line in all of them, the first one drawn through."""
    end = max((sample.time for _, result in rows for sample in result.samples), default=1.0) or 1.0
    height = TOP + len(_PANELS) * (PANEL + GAP)
    box = f'viewBox="0 0 {WIDTH} {height}"'
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" {box} font-family="sans-serif" font-size="12">',
        f'<rect width="{WIDTH}" height="{height}" fill="white"/>',
        f'<text x="{LEFT}" y="18" font-size="14" fill="{_INK}">{escape(title)}</text>',
        *_legend([name for name, _ in rows]),
    ]
    for place, (name, colour, value) in enumerate(_PANELS):
        parts.extend(_panel(TOP + place * (PANEL + GAP), name, colour, value, rows, end))
    return "\n".join([*parts, "</svg>"]) + "\n"


def _dash(place: int) -> str:
    return "" if place == 0 else f' stroke-dasharray="{6 // place + 1} 3" stroke-opacity="0.75"'


def _legend(names: Sequence[str]) -> list[str]:
    parts, x = [], LEFT
    for place, name in enumerate(names):
        parts.append(f'<path d="M{x} 32h24" stroke="{_INK}" stroke-width="1.5"{_dash(place)}/>')
        parts.append(f'<text x="{x + 30}" y="36" fill="{_INK}">{escape(name)}</text>')
        x += 50 + 7 * len(name)
    return parts


def _panel(
    top: float,
    name: str,
    colour: str,
    value: Callable[[Sample], float],
    rows: Sequence[tuple[str, Result]],
    end: float,
) -> list[str]:
    most = max((value(sample) for _, result in rows for sample in result.samples), default=0.0) or 1.0
    right, bottom = WIDTH - 20, top + PANEL
    parts = [
        f'<path d="M{LEFT} {top}V{bottom}H{right}" fill="none" stroke="{_GRID}"/>',
        f'<text x="{LEFT - 6}" y="{top + 10}" text-anchor="end" fill="{_INK}">{most:g}</text>',
        f'<text x="{LEFT - 6}" y="{bottom}" text-anchor="end" fill="{_INK}">0</text>',
        f'<text x="{LEFT + 6}" y="{top + 10}" fill="{colour}">{name}</text>',
        f'<text x="{right}" y="{bottom + 14}" text-anchor="end" fill="{_INK}">{end / 60:.0f} min</text>',
    ]
    for place, (_, result) in enumerate(rows):
        points = _line(result.samples, value, end, most, top)
        parts.append(f'<path d="{points}" fill="none" stroke="{colour}" stroke-width="1.5"{_dash(place)}/>')
    return parts


def _line(samples: Sequence[Sample], value: Callable[[Sample], float], end: float, most: float, top: float) -> str:
    """Steps; samples that share a point of the curve are drawn as the greatest of them."""
    columns: dict[int, float] = {}
    for sample in samples:
        column = int(sample.time / end * POINTS)
        columns[column] = max(columns.get(column, 0.0), value(sample))
    steps: list[str] = []
    for column, number in sorted(columns.items()):
        x = LEFT + column / POINTS * (WIDTH - 20 - LEFT)
        y = top + PANEL - number / most * PANEL
        steps.append(f"{'M' if not steps else 'H'}{x:.1f}" + (f" {y:.1f}" if not steps else f"V{y:.1f}"))
    return "".join(steps)
