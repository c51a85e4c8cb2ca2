"""The charts, as SVG written by hand: bars with whiskers, lines over minutes, and the summary's shares with goals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape

from bench.stats import Summary

WIDTH = 640
LABEL = 230  # room left of the bars
VALUE = 110  # room right of them
BAR, GAP, TOP = 22, 10, 44
THIN, SPACE = 16, 8  # the summary's bars
LINES, MARGIN = 160, 70  # the height of a chart of lines, and the room around it
COLOURS = ("#9aa5b1", "#a3195b", "#2f6f9f", "#3f8f5f", "#b07d2b", "#6b5b95", "#4a4a4a")


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
    parts = _head(title, subtitle, TOP + len(bars) * (BAR + GAP) + GAP)
    for place, (label, candidate, summary) in enumerate(bars):
        colour = COLOURS[names.index(candidate) % len(COLOURS)]
        parts += _bar(TOP + place * (BAR + GAP), label, colour, summary, scale)
    return "\n".join([*parts, "</svg>", ""])


def line_chart(title: str, subtitle: str, lines: Mapping[str, Sequence[float]]) -> str:
    """An SVG with a line for each candidate, from its first value to its last; the scale begins at 0."""
    top = max(max(values) for values in lines.values()) or 1.0
    most = max(len(values) for values in lines.values())
    width, bottom = WIDTH - 2 * MARGIN, TOP + LINES
    parts = _head(title, subtitle, bottom + MARGIN)
    parts += [
        f'<path d="M{MARGIN} {TOP}V{bottom}H{WIDTH - MARGIN}" stroke="#555" fill="none"/>',
        f'<text x="{MARGIN - 6}" y="{TOP + 10}" text-anchor="end" font-size="11">{number(top)}</text>',
        f'<text x="{MARGIN - 6}" y="{bottom}" text-anchor="end" font-size="11">0</text>',
        f'<text x="{WIDTH - MARGIN}" y="{bottom + 16}" text-anchor="end" font-size="11">{most}</text>',
    ]
    for place, (candidate, values) in enumerate(lines.items()):
        colour = COLOURS[(place + 1) % len(COLOURS)]
        points = " ".join(
            f"{MARGIN + width * index / max(most - 1, 1):.1f},{bottom - LINES * value / top:.1f}"
            for index, value in enumerate(values)
        )
        parts.append(f'<polyline points="{points}" stroke="{colour}" stroke-width="2" fill="none"/>')
        y = TOP + 14 * (place + 1)
        parts.append(
            f'<text x="{WIDTH - MARGIN + 4}" y="{y}" font-size="11" fill="{colour}">{escape(candidate)}</text>'
        )
    return "\n".join([*parts, "</svg>", ""])


def share_chart(title: str, bars: Sequence[tuple[str, float, float | None]]) -> str:
    """An SVG of (label, share, goal): a bar for the share, a tick for the goal, a line where the share is 1.

    The scale ends at 1 or the largest of them. Raises `ValueError` without bars.
    """
    if not bars:
        raise ValueError("a chart needs a bar")
    scale = (WIDTH - LABEL - VALUE) / max(1.0, *(max(share, goal or 0) for _, share, goal in bars))
    bottom = TOP + len(bars) * (THIN + SPACE) + SPACE
    parts = _head(title, "1 is bare SQL; more is better; the ticks are what we aim for", bottom + SPACE)
    parts.append(f'<path d="M{LABEL + scale:.1f} {TOP}V{bottom}" stroke="#555" stroke-dasharray="3 3"/>')
    for place, (label, share, goal) in enumerate(bars):
        y = TOP + place * (THIN + SPACE)
        end = LABEL + share * scale
        parts += [
            f'<text x="{LABEL - 8}" y="{y + THIN - 4}" font-size="12" text-anchor="end">{escape(label)}</text>',
            f'<rect x="{LABEL}" y="{y}" width="{max(share * scale, 1):.1f}" height="{THIN}" fill="{COLOURS[1]}"/>',
            f'<text x="{max(end, LABEL + (goal or 0) * scale) + 8:.1f}" y="{y + THIN - 4}" font-size="12">'
            f"{number(share)}</text>",
        ]
        if goal is not None:
            at = LABEL + goal * scale
            parts.append(f'<path d="M{at:.1f} {y - 2}v{THIN + 4}" stroke="#222" stroke-width="2"/>')
    return "\n".join([*parts, "</svg>", ""])


def _head(title: str, subtitle: str, height: int) -> list[str]:
    return [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" font-family="sans-serif" '
        'font-size="13">',
        f'<rect width="{WIDTH}" height="{height}" fill="white"/>',
        f'<text x="12" y="20" font-weight="bold">{escape(title)}</text>',
        f'<text x="12" y="36" font-size="11" fill="#555">{escape(subtitle)}</text>',
    ]


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
