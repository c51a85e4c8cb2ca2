"""One bar chart per workload, as SVG written by hand: medians as bars, min and max as whiskers."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from bench.stats import Summary

WIDTH = 640
LABEL = 190  # room left of the bars
VALUE = 110  # room right of them
BAR, GAP, TOP = 22, 10, 44
COLOURS = ("#9aa5b1", "#a3195b", "#2f6f9f", "#3f8f5f", "#b07d2b")


def number(value: float) -> str:
    """Three figures are enough: 41,234 or 1.86."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def bar_chart(title: str, subtitle: str, bars: Sequence[tuple[str, str, Summary]]) -> str:
    """An SVG. A bar is (label, candidate, figures); each candidate has its colour. Raises `ValueError` without bars."""
    if not bars:
        raise ValueError("a chart needs a bar")
    top = max(summary.high for _, _, summary in bars) or 1.0
    scale = (WIDTH - LABEL - VALUE) / top
    names = list(dict.fromkeys(candidate for _, candidate, _ in bars))
    height = TOP + len(bars) * (BAR + GAP) + GAP
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" font-family="sans-serif" '
        'font-size="13">',
        f'<rect width="{WIDTH}" height="{height}" fill="white"/>',
        f'<text x="12" y="20" font-weight="bold">{escape(title)}</text>',
        f'<text x="12" y="36" font-size="11" fill="#555">{escape(subtitle)}</text>',
    ]
    for place, (label, candidate, summary) in enumerate(bars):
        colour = COLOURS[names.index(candidate) % len(COLOURS)]
        parts += _bar(TOP + place * (BAR + GAP), label, colour, summary, scale)
    return "\n".join([*parts, "</svg>", ""])


def _bar(y: int, label: str, colour: str, summary: Summary, scale: float) -> list[str]:
    middle = y + BAR / 2
    low, high = LABEL + summary.low * scale, LABEL + summary.high * scale
    return [
        f'<text x="{LABEL - 8}" y="{middle + 4:g}" text-anchor="end">{escape(label)}</text>',
        f'<rect x="{LABEL}" y="{y}" width="{max(summary.median * scale, 1):.1f}" height="{BAR}" fill="{colour}"/>',
        f'<path d="M{low:.1f} {middle:g}H{high:.1f}M{low:.1f} {middle - 5:g}v10M{high:.1f} {middle - 5:g}v10" '
        'stroke="#222" fill="none"/>',
        f'<text x="{high + 8:.1f}" y="{middle + 4:g}">{number(summary.median)}</text>',
    ]
