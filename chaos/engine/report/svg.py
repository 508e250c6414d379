"""Small pieces of SVG, escaped. Horizontal places are percent, so that a drawing fits any width."""

from __future__ import annotations

import itertools

from markupsafe import Markup, escape

from chaos.engine.report.wording import clean

_TICK_STEPS_SECONDS = (0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 1800, 3600)
_TICKS_MAX = 8

# What each mark looks like around its own origin: the shape tells, the colour only helps.
SHAPES = {
    "circle": "M-7 0a7 7 0 1 0 14 0a7 7 0 1 0 -14 0z",
    "square": "M-6.5 -6.5h13v13h-13z",
    "diamond": "M0 -8L8 0L0 8L-8 0z",
    "up": "M0 -8L8 6H-8z",
    "down": "M0 8L8 -6H-8z",
    "bar": "M-9 -6h18v12h-18z",
    "hexagon": "M-4 -7.5H4L8 0L4 7.5H-4L-8 0z",
}


def element(tag: str, /, *children: str, **attributes: str | float) -> Markup:
    """Return one element. Children and values are escaped unless they are ``Markup``."""
    words = Markup("").join(
        Markup(' {}="{}"').format(_attribute_name(name), _number(value)) for name, value in attributes.items()
    )
    inner = Markup("").join(escape(clean_text(child)) for child in children)
    return Markup("<{}{}>{}</{}>").format(tag, words, inner, tag)


def clean_text(text: str) -> str:
    """Return ``text`` without control characters; ``Markup`` stays as it is."""
    return text if isinstance(text, Markup) else clean(text)


def _attribute_name(name: str) -> str:
    return "viewBox" if name == "view_box" else name.rstrip("_").replace("_", "-")


def _number(value: str | float) -> str:
    return clean_text(value) if isinstance(value, str) else f"{value:.2f}".rstrip("0").rstrip(".")


def percent(value: float) -> str:
    """Return a place or a length along the drawing's width."""
    return f"{value:.2f}%"


def mark(shape: str, at_percent: float, y: float, css: str, title: str) -> Markup:
    """Return one shape with a title. A nested ``svg`` is what can be moved by percent."""
    path = element("path", element("title", title), d=SHAPES[shape], class_=f"mark {css}")
    return element("svg", path, x=percent(at_percent), y=y, overflow="visible", class_="at")


def drawing(key: str, title: str, description: str, height: float, *children: str) -> Markup:
    """Return a whole drawing that says in words what it shows. ``key`` must be unique in the page."""
    return element(
        "svg",
        element("title", title, id=f"{key}-title"),
        element("desc", description, id=f"{key}-desc"),
        *children,
        class_="drawing",
        role="img",
        width="100%",
        height=height,
        aria_labelledby=f"{key}-title {key}-desc",
    )


def ticks(start: float, end: float, ticks_max: int = _TICKS_MAX) -> list[float]:
    """Return round moments between ``start`` and ``end`` (seconds), 0 among them if it is inside."""
    length = max(end - start, 0.001)
    step = next((s for s in _TICK_STEPS_SECONDS if length / s <= ticks_max), length / ticks_max)
    first = int(start / step) - 1
    found = itertools.takewhile(lambda at: at <= end, (n * step for n in itertools.count(first)))
    return [at for at in found if at >= start]


def tick_label(at: float) -> str:
    """Return ``5 s`` as ``5`` with a real minus sign; the axis names the unit."""
    return f"{at:g}".replace("-", "\N{MINUS SIGN}")
