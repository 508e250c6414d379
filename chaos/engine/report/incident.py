"""What of a variant's timeline is drawn, and where: no SVG here, only moments and lanes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from chaos.domain.run import Detection, Event, VariantResult
from chaos.engine.report.wording import offset, one_line

DEADMAN = "deadman"  # its heartbeat is no part of the incident
_LEAD_FRACTION = 0.15  # of the incident; the long wait for a steady state is in the log, not in the drawing
_LEAD_SECONDS_MIN = 3.0
_MERGE_PERCENT = 2.5  # marks of one kind closer than this are one mark
_APART_PERCENT = 5.5  # marks closer than this are drawn one above the other

# kind -> (lane, shape, letter, what it is called); a shape used once needs no letter
KINDS = {
    "steady": ("lab", "circle", "S", "steady state"),
    "fault": ("fault", "bar", "", "fault live"),
    "signal": ("lab", "circle", "O", "observed"),
    "alert": ("prometheus", "hexagon", "A", "alert"),
    "notification": ("receiver", "up", "", "notification"),
    "evidence": ("lab", "diamond", "E", "evidence"),
    "remedy": ("lab", "square", "R", "remedy"),
    "resolved": ("receiver", "down", "", "resolved"),
    "baseline": ("lab", "circle", "B", "baseline"),
}


@dataclass(frozen=True)
class Axis:
    """Turns unix seconds into percent of the drawing's width."""

    start_unix: float
    end_unix: float
    zero_unix: float

    def percent(self, at_unix: float) -> float:
        """Return the place of a moment, kept inside the drawing."""
        length = max(self.end_unix - self.start_unix, 0.001)
        return min(100.0, max(0.0, (at_unix - self.start_unix) / length * 100))

    def holds(self, at_unix: float) -> bool:
        """Whether a moment is inside the drawing."""
        return self.start_unix <= at_unix <= self.end_unix


@dataclass(frozen=True)
class Mark:
    """One moment in a lane. ``level`` is 0 unless it would cover another."""

    kind: str
    lane: str
    at_unix: float
    text: str
    level: int = 0


@dataclass(frozen=True)
class AlertRow:
    """The life of one expected alert. Moments are unix seconds."""

    alert: str
    pending_unix: float | None
    firing_unix: float
    sent_unix: float  # the end of group_wait
    notified_unix: float
    resolved_unix: float | None


def axis_of(variant: VariantResult) -> Axis:
    """Return the span worth drawing: shortly before the fault to the end."""
    zero = variant.fault_unix if variant.fault_unix is not None else variant.started_unix
    end = max(variant.ended_unix, zero + 1.0)
    lead = max(_LEAD_SECONDS_MIN, (end - zero) * _LEAD_FRACTION)
    return Axis(max(min(variant.started_unix, zero), zero - lead), end, zero)


def alert_rows(variant: VariantResult) -> list[AlertRow]:
    """Return when each detected alert was pending, firing, notified and resolved, from its legs."""
    if variant.fault_unix is None:
        return []
    return [_alert_row(variant, detection, variant.fault_unix) for detection in variant.detections]


def _alert_row(variant: VariantResult, detection: Detection, fault_unix: float) -> AlertRow:
    notified = fault_unix + detection.total_seconds
    at, pending, firing, sent = fault_unix, None, None, None
    for leg in detection.legs:
        name = leg.name.lower()
        if name.startswith("for") and leg.measured_seconds > 0:
            pending = at
        if firing is None and name.startswith(("group", "deliver")):
            firing = at
        if sent is None and name.startswith("deliver"):
            sent = at
        at += leg.measured_seconds
    resolved = [
        variant.remedy_unix + recovery.total_seconds
        for recovery in variant.recoveries
        if variant.remedy_unix is not None and recovery.alert == detection.alert
    ]
    return AlertRow(
        alert=one_line(detection.alert),
        pending_unix=pending,
        firing_unix=notified if firing is None else min(firing, notified),
        sent_unix=notified if sent is None else min(sent, notified),
        notified_unix=notified,
        resolved_unix=resolved[0] if resolved else None,
    )


def marks(variant: VariantResult, axis: Axis) -> list[Mark]:
    """Return what happened, merged and kept apart, lane by lane, oldest first."""
    known = {detection.alert for detection in variant.detections}
    found = [
        Mark(event.kind, KINDS[event.kind][0], event.at_unix, one_line(event.text))
        for event in variant.timeline
        if event.kind in KINDS and axis.holds(event.at_unix) and not _drawn_elsewhere(event, known)
    ]
    found += [mark for mark in _received(variant.notifications) if axis.holds(mark.at_unix)]
    if not any(mark.lane == "receiver" for mark in found):
        found += _received_by_event(variant.timeline, axis)
    found.sort(key=lambda mark: mark.at_unix)
    return _spread(_merge(found, axis), axis)


def _drawn_elsewhere(event: Event, known: set[str]) -> bool:
    # Bars show the expected alerts; the fault is a bar; the receiver's own record beats the log's.
    if event.kind == "alert":
        return any(name in event.text for name in known)
    return event.kind in {"fault", "notification", "resolved"}


def _received(notifications: Iterable[Mapping[str, Any]]) -> list[Mark]:
    found = []
    for notification in notifications:
        at, receiver = notification.get("received_unix"), one_line(str(notification.get("receiver", "")))
        if not isinstance(at, int | float) or receiver == DEADMAN:
            continue
        payload = notification.get("payload")
        status = str(payload.get("status", "")) if isinstance(payload, Mapping) else ""
        kind = "resolved" if status == "resolved" else "notification"
        found.append(Mark(kind, "receiver", float(at), f"{receiver}: {one_line(status)}"))
    return found


def _received_by_event(timeline: Iterable[Event], axis: Axis) -> list[Mark]:
    return [
        Mark(event.kind, "receiver", event.at_unix, one_line(event.text))
        for event in timeline
        if event.kind in {"notification", "resolved"} and axis.holds(event.at_unix)
    ]


def _merge(found: list[Mark], axis: Axis) -> list[Mark]:
    kept: list[Mark] = []
    last: dict[tuple[str, str], int] = {}
    for mark in found:
        key = (mark.lane, mark.kind)
        if key in last:
            earlier = kept[last[key]]
            if axis.percent(mark.at_unix) - axis.percent(earlier.at_unix) < _MERGE_PERCENT:
                text = f"{earlier.text}; {offset(mark.at_unix - axis.zero_unix)} {mark.text}"
                kept[last[key]] = Mark(earlier.kind, earlier.lane, earlier.at_unix, text)
                continue
        last[key] = len(kept)
        kept.append(mark)
    return kept


def _spread(found: list[Mark], axis: Axis) -> list[Mark]:
    ends: dict[str, list[float]] = {}
    placed = []
    for mark in found:
        at = axis.percent(mark.at_unix)
        levels = ends.setdefault(mark.lane, [])
        level = next((n for n, end in enumerate(levels) if at - end >= _APART_PERCENT), len(levels))
        levels[level : level + 1] = [at]
        placed.append(Mark(mark.kind, mark.lane, mark.at_unix, mark.text, level))
    return placed
