"""A drawing of the ratios: each round a dot, what is promised a line. Plain SVG, no library."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from bench.documents.report import Judged

WIDTH, LABELS_WIDTH, ROW_HEIGHT, MARGIN = 760, 330, 30, 26
TICK = 0.5
_STYLE = 'font-family="sans-serif" font-size="13" role="img"'
_INK, _PALE, _GOOD, _BAD = "#1f2933", "#c3cad1", "#1a7f5a", "#b42318"


def ratios_svg(judged: Sequence[Judged]) -> str:
    """Draw every promise of a speed; those of a ceiling are no speeds, and are left out."""
    shown = [one for one in judged if one.judgement.ratio_min is not None]
    ceiling = max([1.0, *(ratio for one in shown for ratio in one.ratios)]) * 1.05
    height = ROW_HEIGHT * len(shown) + 2 * MARGIN
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" {_STYLE}>',
        "<title>Ratios of each round, and what is promised</title>",
        f'<rect width="{WIDTH}" height="{height}" fill="#ffffff"/>',
    ]
    tick = 0.0
    while tick <= ceiling:
        x = _x(tick, ceiling)
        parts.append(f'<line x1="{x}" y1="{MARGIN}" x2="{x}" y2="{height - MARGIN}" stroke="{_PALE}"/>')
        parts.append(f'<text x="{x}" y="{height - 8}" fill="{_INK}" text-anchor="middle">{tick:g}</text>')
        tick += TICK
    for number, one in enumerate(shown):
        parts += _row(one, MARGIN + ROW_HEIGHT * number + ROW_HEIGHT // 2, ceiling)
    return "\n".join([*parts, "</svg>", ""])


def _row(one: Judged, y: int, ceiling: float) -> list[str]:
    judgement = one.judgement
    color = _GOOD if judgement.kept else _BAD
    wanted, median = _x(judgement.ratio_min or 0.0, ceiling), _x(judgement.ratio.median, ceiling)
    return [
        f'<text x="8" y="{y + 4}" fill="{_INK}">{escape(judgement.title)}</text>',
        f'<line x1="{wanted}" y1="{y - 11}" x2="{wanted}" y2="{y + 11}" stroke="{_INK}" stroke-width="2"/>',
        *(
            f'<circle cx="{_x(ratio, ceiling)}" cy="{y}" r="4" fill="{color}" fill-opacity="0.45"/>'
            for ratio in one.ratios
        ),
        f'<circle cx="{median}" cy="{y}" r="5" fill="none" stroke="{color}" stroke-width="2"/>',
    ]


def _x(ratio: float, ceiling: float) -> float:
    return round(LABELS_WIDTH + (WIDTH - LABELS_WIDTH - MARGIN) * ratio / ceiling, 1)
