"""Measured against floor and ceiling: one bar per detection, and one per leg of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from markupsafe import Markup

from chaos.domain.run import Detection, LegTime
from chaos.engine.report import svg
from chaos.engine.report.wording import one_line, placing, seconds, span

LEG_COLOURS = 8  # classes leg-1 to leg-8 exist; a ninth leg starts again
_HEADROOM = 1.06
# Heights in CSS pixels.
_BAR_HEIGHT = 30
_ROW = 34
_NUMBER_PERCENT_MIN = 6.0  # a narrower piece has no room for its number


@dataclass(frozen=True)
class LegsDrawing:
    """The drawing and what its numbers stand for."""

    svg: Markup
    legs: tuple[tuple[int, LegTime], ...]  # colour class and leg


@dataclass(frozen=True)
class _Row:
    label: str
    css: str
    length: Callable[[LegTime], float]


_ROWS = (
    _Row("Floor", "thin", lambda leg: leg.floor_seconds),
    _Row("Measured", "thick", lambda leg: leg.measured_seconds),
    _Row("Ceiling", "thin", lambda leg: leg.ceiling_seconds),
)


def scale_seconds(detections: list[Detection]) -> float:
    """Return the length all bars share, so that they can be compared."""
    longest = max((max(d.total_seconds, d.ceiling_seconds) for d in detections), default=1.0)
    return max(longest, 0.1) * _HEADROOM


def draw_range(detection: Detection, scale: float, key: str) -> Markup:
    """Draw the bracket from floor to ceiling and the measured mark in or beside it."""
    floor, ceiling = _place(detection.floor_seconds, scale), _place(detection.ceiling_seconds, scale)
    at = _place(detection.total_seconds, scale)
    middle = _BAR_HEIGHT / 2
    words = f"{one_line(detection.alert)}: {seconds(detection.total_seconds)}, {placing(detection)}"
    description = f"Allowed {span(detection.floor_seconds, detection.ceiling_seconds)}."
    fits = "in-range" if placing(detection) == "in range" else "out-of-range"
    ends = [
        svg.element(
            "line", x1=svg.percent(x), x2=svg.percent(x), y1=middle - 9, y2=middle + 9, class_="bracket-end"
        )
        for x in (floor, ceiling)
    ]
    return svg.drawing(
        key,
        words,
        description,
        _BAR_HEIGHT,
        svg.element("line", x1="0%", x2="100%", y1=middle, y2=middle, class_="rail"),
        svg.element(
            "rect",
            x=svg.percent(floor),
            y=middle - 6,
            width=svg.percent(max(ceiling - floor, 0.5)),
            height=12,
            class_="bracket",
        ),
        *ends,
        svg.mark("diamond", at, middle, f"measured {fits}", words),
    )


def draw_legs(detection: Detection, key: str) -> LegsDrawing:
    """Draw the legs end to end, as measured, between what floor and ceiling allow of each."""
    scale = scale_seconds([detection])
    longest = max((sum(row.length(leg) for leg in detection.legs) for row in _ROWS), default=0.0)
    scale = max(scale, longest * _HEADROOM)
    parts: list[Markup] = []
    bottom = _ROW * len(_ROWS)
    for at in svg.ticks(0, scale, 6):
        x = svg.percent(_place(at, scale))
        parts.append(svg.element("line", x1=x, x2=x, y1=0, y2=bottom + 4, class_="grid"))
        parts.append(svg.element("text", f"{svg.tick_label(at)} s", x=x, y=bottom + 17, class_="tick"))
    for limit in (detection.floor_seconds, detection.ceiling_seconds):
        x = svg.percent(_place(limit, scale))
        parts.append(svg.element("line", x1=x, x2=x, y1=0, y2=bottom, class_="limit"))
    for number, row in enumerate(_ROWS):
        parts += _stack(detection, scale, number * _ROW, row)
    numbered = tuple((n % LEG_COLOURS + 1, leg) for n, leg in enumerate(detection.legs))
    title = f"Legs of the detection by {one_line(detection.alert)}"
    return LegsDrawing(svg.drawing(key, title, _in_words(detection), bottom + 26, *parts), numbered)


def _stack(detection: Detection, scale: float, y: float, row: _Row) -> list[Markup]:
    height = 22 if row.css == "thick" else 12
    top = y + (_ROW - height) / 2
    parts = [svg.element("text", row.label, x=-10, y=y + _ROW / 2, class_="lane-label")]
    at = 0.0
    for number, leg in enumerate(detection.legs):
        left, width = _place(at, scale), _place(row.length(leg), scale)
        at += row.length(leg)
        if width <= 0:
            continue
        title = f"{number + 1} {one_line(leg.name)}: {seconds(row.length(leg))}"
        parts.append(
            svg.element(
                "rect",
                svg.element("title", title),
                x=svg.percent(left),
                y=top,
                width=svg.percent(width),
                height=height,
                class_=f"leg leg-{number % LEG_COLOURS + 1} {row.css}",
            )
        )
        if row.css == "thick" and width >= _NUMBER_PERCENT_MIN:
            middle = svg.percent(left + width / 2)
            parts.append(svg.element("text", str(number + 1), x=middle, y=y + _ROW / 2, class_="on-leg"))
    return parts


def _place(value_seconds: float, scale: float) -> float:
    return min(100.0, max(0.0, value_seconds / scale * 100))


def _in_words(detection: Detection) -> str:
    legs = ", ".join(
        f"{one_line(leg.name)} {seconds(leg.measured_seconds)} "
        f"(allowed {span(leg.floor_seconds, leg.ceiling_seconds)})"
        for leg in detection.legs
    )
    return f"{legs or 'No legs were measured'}; in all {seconds(detection.total_seconds)}."
