"""What the page shows, worked out before the template so that the template only lays out."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from chaos.domain.run import Check, Detection, DrillResult, Event, Recovered, VariantResult
from chaos.domain.verdict import Verdict
from chaos.engine.report.bars_svg import LegsDrawing, draw_legs, draw_range, scale_seconds
from chaos.engine.report.crosstable import CrossTable, cross_table
from chaos.engine.report.timeline_svg import Timeline, draw_timeline
from chaos.engine.report.wording import advice, clean, offset, one_line, placing, tally


@dataclass(frozen=True)
class DetectionView:
    """One detection with its drawings. ``place`` is ``in range``, ``late`` or ``early``."""

    detection: Detection
    place: str
    range_svg: Markup
    legs: LegsDrawing


@dataclass(frozen=True)
class CheckView:
    """One check; ``todo`` is empty when it passed."""

    check: Check
    todo: str


@dataclass(frozen=True)
class NotificationView:
    """One notification as the receiver kept it."""

    when: str
    receiver: str
    status: str
    alerts: tuple[tuple[str, str, str], ...]  # name, summary, runbook link ("" if it is no http link)
    raw: str


@dataclass(frozen=True)
class VariantView:
    """One section of the page."""

    key: str
    variant: VariantResult
    verdict: Verdict
    detections: tuple[DetectionView, ...]
    recoveries: tuple[Recovered, ...]
    timeline: Timeline
    checks: tuple[CheckView, ...]
    notifications: tuple[NotificationView, ...]
    events: tuple[tuple[str, Event], ...]

    @property
    def problems(self) -> tuple[CheckView, ...]:
        """The checks that did not pass."""
        return tuple(view for view in self.checks if view.todo)

    @property
    def reached(self) -> bool:
        """Whether the fault was ever live."""
        return self.variant.fault_unix is not None


@dataclass(frozen=True)
class PageView:
    """The whole page."""

    result: DrillResult
    tally: str
    variants: tuple[VariantView, ...]
    cross: CrossTable
    told: tuple[tuple[str, str, tuple[str, ...], str], ...]  # alert, receiver, variants, runbook link


def page_view(result: DrillResult) -> PageView:
    """Work out everything the template needs."""
    scale = scale_seconds([d for variant in result.variants for d in variant.detections])
    variants = tuple(
        _variant_view(variant, f"v{number}", scale) for number, variant in enumerate(result.variants, 1)
    )
    return PageView(result, tally(result), variants, cross_table(result), _told(variants))


def _variant_view(variant: VariantResult, key: str, scale: float) -> VariantView:
    zero = variant.fault_unix if variant.fault_unix is not None else variant.started_unix
    detections = tuple(
        DetectionView(
            detection,
            placing(detection),
            draw_range(detection, scale, f"{key}-range-{number}"),
            draw_legs(detection, f"{key}-legs-{number}"),
        )
        for number, detection in enumerate(variant.detections, 1)
    )
    return VariantView(
        key=key,
        variant=variant,
        verdict=variant.verdict,
        detections=detections,
        recoveries=variant.recoveries,
        timeline=draw_timeline(variant, key),
        checks=tuple(
            CheckView(check, "" if check.verdict is Verdict.PASS else advice(check))
            for check in variant.checks
        ),
        notifications=tuple(_notification_view(found, zero) for found in variant.notifications),
        events=tuple(
            (offset(event.at_unix - zero), event)
            for event in sorted(variant.timeline, key=lambda event: event.at_unix)
        ),
    )


def _notification_view(found: Mapping[str, Any], zero_unix: float) -> NotificationView:
    payload = _mapping(found.get("payload"))
    received = found.get("received_unix")
    when = offset(received - zero_unix) if isinstance(received, int | float) else "?"
    return NotificationView(
        when=when,
        receiver=one_line(str(found.get("receiver", "?"))),
        status=one_line(str(payload.get("status", "?"))),
        alerts=tuple(_alert(alert) for alert in _mappings(payload.get("alerts"))),
        raw=clean(json.dumps(found, indent=2, ensure_ascii=False, default=str)),
    )


def _alert(alert: Mapping[str, Any]) -> tuple[str, str, str]:
    labels, annotations = _mapping(alert.get("labels")), _mapping(alert.get("annotations"))
    return (
        one_line(str(labels.get("alertname", "?"))),
        one_line(str(annotations.get("summary", ""))),
        web_link(str(annotations.get("runbook_url", ""))),
    )


def web_link(url: str) -> str:
    """Return ``url`` if following it opens a web page, else nothing: ``javascript:`` is a link too."""
    return one_line(url) if url.startswith(("https://", "http://")) else ""


def _told(variants: Iterable[VariantView]) -> tuple[tuple[str, str, tuple[str, ...], str], ...]:
    found: dict[tuple[str, str], list[str]] = {}
    links: dict[str, str] = {}
    for view in variants:
        for detection in view.variant.detections:
            found.setdefault((detection.alert, detection.receiver), []).append(view.variant.variant)
        for notification in view.notifications:
            links.update({name: link for name, _, link in notification.alerts if link})
    return tuple(
        (alert, receiver, tuple(dict.fromkeys(names)), links.get(alert, ""))
        for (alert, receiver), names in found.items()
    )


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _mappings(value: object) -> list[Mapping[str, Any]]:
    return [item for item in value if isinstance(item, Mapping)] if isinstance(value, list | tuple) else []
