"""The drawn timeline of one incident: a lane each for fault, Prometheus, Alertmanager, receiver and lab."""

from __future__ import annotations

from dataclasses import dataclass

from markupsafe import Markup

from chaos.domain.run import VariantResult
from chaos.engine.report import svg
from chaos.engine.report.incident import KINDS, AlertRow, Axis, Mark, alert_rows, axis_of, marks
from chaos.engine.report.wording import offset, one_line, seconds

# Heights in CSS pixels.
_AXIS = 26
_LANE = 34
_ALERT = 42
_LEVEL = 20
_BAR = 16
_CAPTION = 15
_CAPTION_CHARACTERS_MAX = 34  # more would leave a small screen; key and table have the whole name
_LABEL_PERCENT_MIN = 14.0  # a narrower bar has no room for its word on a small screen

_WORDS = {
    "fault": "fault live",
    "pending": "pending",
    "firing": "firing",
    "waiting": "group_wait",
    "active": "sent",
}
_HATCHED = {"fault", "pending", "waiting"}  # so that colour alone tells nothing

_LANES = (
    ("fault", "Fault"),
    ("prometheus", "Prometheus"),
    ("alertmanager", "Alertmanager"),
    ("receiver", "Receiver"),
    ("lab", "Lab"),
)


@dataclass(frozen=True)
class KeyEntry:
    """One line of the key under the drawing."""

    shape: Markup
    words: str
    when: str


@dataclass(frozen=True)
class Timeline:
    """A drawing and the key that names its marks."""

    svg: Markup
    key: tuple[KeyEntry, ...]


def draw_timeline(variant: VariantResult, key: str) -> Timeline:
    """Draw one variant; ``key`` makes the drawing's ids unique in the page."""
    axis = axis_of(variant)
    rows = alert_rows(variant)
    found = marks(variant, axis)
    lanes: list[Markup] = []
    contents: list[Markup] = []
    y = 0.0
    for number, (lane, label) in enumerate(_LANES):
        own = [mark for mark in found if mark.lane == lane]
        height = _height(lane, own, rows)
        css = "lane even" if number % 2 else "lane"
        lanes.append(svg.element("rect", x=0, y=y, width="100%", height=height, class_=css))
        lanes.append(svg.element("text", label, x=-10, y=y + height / 2, class_="lane-label"))
        contents += _lane(lane, variant, axis, rows, y)
        contents += _draw_marks(own, axis, y + height if lane == "prometheus" else None, y)
        y += height
    title = f"Timeline of {one_line(variant.variant)}"
    background = [*lanes, *_grid(axis, y), *_guides(variant, axis, y)]
    drawn = svg.drawing(f"{key}-timeline", title, _in_words(variant, rows), y + _AXIS, *background, *contents)
    return Timeline(drawn, _key(variant, axis, rows, found))


def _height(lane: str, own: list[Mark], rows: list[AlertRow]) -> float:
    marked = _LANE + max((mark.level for mark in own), default=0) * _LEVEL
    if (rows and lane == "prometheus") or (len(rows) > 1 and lane == "alertmanager"):
        return len(rows) * _ALERT + (marked if own else 0)
    return marked


def _lane(lane: str, variant: VariantResult, axis: Axis, rows: list[AlertRow], y: float) -> list[Markup]:
    if lane == "fault" and variant.fault_unix is not None:
        end = variant.remedy_unix if variant.remedy_unix is not None else variant.ended_unix
        return _bar(axis, variant.fault_unix, end, y + (_LANE - _BAR) / 2, "fault")
    drawn: list[Markup] = []
    for number, row in enumerate(rows):
        top = y + number * _ALERT + 5
        end = row.resolved_unix if row.resolved_unix is not None else axis.end_unix
        if lane == "prometheus":
            start = row.firing_unix if row.pending_unix is None else row.pending_unix
            drawn.append(_caption(axis, start, top + 6, row.alert))
            if row.pending_unix is not None:
                drawn += _bar(axis, row.pending_unix, row.firing_unix, top + _CAPTION, "pending")
            drawn += _bar(axis, row.firing_unix, end, top + _CAPTION, "firing")
        elif lane == "alertmanager":
            # One alert needs its name once; several are told apart in this lane too.
            place = top + _CAPTION if len(rows) > 1 else y + (_LANE - _BAR) / 2
            if len(rows) > 1:
                drawn.append(_caption(axis, row.firing_unix, top + 6, row.alert))
            drawn += _bar(axis, row.firing_unix, row.sent_unix, place, "waiting")
            drawn += _bar(axis, row.sent_unix, end, place, "active")
    return drawn


def _bar(axis: Axis, start: float, end: float, y: float, css: str) -> list[Markup]:
    word = _WORDS[css]
    left, right = axis.percent(start), axis.percent(end)
    title = (
        f"{word}: {offset(start - axis.zero_unix)} to {offset(end - axis.zero_unix)}, {seconds(end - start)}"
    )
    parts = [_box(left, right, y, f"bar {css}", title)]
    if css in _HATCHED:
        parts.append(_box(left, right, y, "hatch", title))
    if right - left >= _LABEL_PERCENT_MIN:
        middle = svg.percent((left + right) / 2)
        parts.append(svg.element("text", word, x=middle, y=y + _BAR / 2, class_=f"in-bar on-{css}"))
    return parts


def _box(left: float, right: float, y: float, css: str, title: str) -> Markup:
    width = svg.percent(max(right - left, 0.3))  # even a moment stays visible
    words = svg.element("title", title)
    return svg.element("rect", words, x=svg.percent(left), y=y, width=width, height=_BAR, rx=3, class_=css)


def _caption(axis: Axis, at_unix: float, y: float, words: str) -> Markup:
    at = axis.percent(at_unix)
    # Past the middle a long name would run out of the drawing, so it ends where its bar starts.
    css = "caption left" if at > 55 else "caption"  # noqa: PLR2004 percent
    shown = words if len(words) <= _CAPTION_CHARACTERS_MAX else f"{words[: _CAPTION_CHARACTERS_MAX - 1]}…"
    return svg.element("text", shown, x=svg.percent(at), y=y, class_=css)


def _draw_marks(own: list[Mark], axis: Axis, bottom: float | None, top: float) -> list[Markup]:
    # Below the bars where a lane has bars, else from the lane's top.
    levels = max((mark.level for mark in own), default=0)
    first = top + _LANE / 2 if bottom is None else bottom - _LANE / 2 - levels * _LEVEL
    drawn = []
    for mark in own:
        _, shape, letter, name = KINDS[mark.kind]
        at, y = axis.percent(mark.at_unix), first + mark.level * _LEVEL
        title = f"{name} {offset(mark.at_unix - axis.zero_unix)}: {mark.text}"
        drawn.append(svg.mark(shape, at, y, mark.kind, title))
        if letter:
            drawn.append(svg.element("text", letter, x=svg.percent(at), y=y, class_="letter"))
    return drawn


def _grid(axis: Axis, bottom: float) -> list[Markup]:
    parts = []
    start, end = axis.start_unix - axis.zero_unix, axis.end_unix - axis.zero_unix
    for number, at in enumerate(svg.ticks(start, end)):
        x = svg.percent(axis.percent(at + axis.zero_unix))
        parts.append(svg.element("line", x1=x, x2=x, y1=0, y2=bottom + 4, class_="grid"))
        css = "tick minor" if number % 2 else "tick"
        parts.append(svg.element("text", f"{svg.tick_label(at)} s", x=x, y=bottom + 17, class_=css))
    return parts


def _guides(variant: VariantResult, axis: Axis, bottom: float) -> list[Markup]:
    moments = [at for at in (variant.fault_unix, variant.remedy_unix) if at is not None]
    places = [svg.percent(axis.percent(at)) for at in moments]
    return [svg.element("line", x1=x, x2=x, y1=0, y2=bottom, class_="guide") for x in places]


def _swatch(shape: str, css: str, letter: str) -> Markup:
    parts = [svg.element("path", d=svg.SHAPES[shape], class_=css)]
    if css in _HATCHED:
        parts.append(svg.element("path", d=svg.SHAPES[shape], class_="hatch"))
    if letter:
        parts.append(svg.element("text", letter, x=0, y=0, class_="letter"))
    return svg.element("svg", *parts, class_="swatch", view_box="-10 -10 20 20", aria_hidden="true")


def _key(variant: VariantResult, axis: Axis, rows: list[AlertRow], found: list[Mark]) -> tuple[KeyEntry, ...]:
    moments: list[tuple[float, str, str]] = []
    if variant.fault_unix is not None:
        moments.append((variant.fault_unix, "fault", _WORDS["fault"]))
    for row in rows:
        name = f"{row.alert} " if len(rows) > 1 else ""
        if row.pending_unix is not None:
            moments.append((row.pending_unix, "pending", f"{name}pending"))
        moments.append((row.firing_unix, "firing", f"{name}firing"))
        if row.sent_unix > row.firing_unix:
            moments.append((row.firing_unix, "waiting", f"{name}group_wait"))
        moments.append((row.sent_unix, "active", f"{name}sent"))
    moments += [
        (mark.at_unix, mark.kind, mark.text if mark.kind == "alert" else KINDS[mark.kind][3])
        for mark in found
    ]
    entries = []
    for at, kind, words in sorted(moments, key=lambda moment: moment[0]):
        _, shape, letter, _ = KINDS.get(kind, ("", "bar", "", ""))
        css = kind if shape == "bar" else f"mark {kind}"
        entries.append(KeyEntry(_swatch(shape, css, letter), words, offset(at - axis.zero_unix)))
    return tuple(entries)


def _in_words(variant: VariantResult, rows: list[AlertRow]) -> str:
    if variant.fault_unix is None:
        return "The fault was never live."
    zero = variant.fault_unix
    words = ["The fault was live at 0 s"]
    for row in rows:
        words.append(f"{row.alert} fired at {offset(row.firing_unix - zero)}")
        words.append(f"its notification arrived at {offset(row.notified_unix - zero)}")
        if row.resolved_unix is not None:
            words.append(f"it was resolved at {offset(row.resolved_unix - zero)}")
    if variant.remedy_unix is not None:
        words.append(f"the remedy ended at {offset(variant.remedy_unix - zero)}")
    return "; ".join(words) + "."
