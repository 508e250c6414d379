"""The lab clock: production rules and routes, mechanically made k times faster, and nothing else.

Rule files hold production durations. A lab divides every range, ``for``, ``keep_firing_for``, group and
repeat time by one k. Scrape and evaluation are *set*, not divided: no daemon scrapes in half a second.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import yaml

from chaos.domain import promql
from chaos.domain.thresholds import MarkerFinding, UnmarkedThresholdsError, check_markers, scale_thresholds
from chaos.domain.yamltext import dump

SCRAPES_PER_WINDOW_MIN = 4
"""Two samples make a rate; four keep it when one scrape is lost and another is late."""

RESEND_DELAY_PRODUCTION_SECONDS = 60  # Prometheus' own default for --rules.alert.resend-delay

_RULE_DURATIONS = ("for", "keep_firing_for")
_ROUTE_DURATIONS = ("group_wait", "group_interval", "repeat_interval")

__all__ = [
    "LabClock",
    "UnmarkedThresholdsError",
    "check_rules",
    "choose_clock",
    "derive_alertmanager",
    "derive_duration",
    "derive_rules",
    "resend_delay",
]


@dataclass(frozen=True)
class LabClock:
    """How much faster than production a lab runs, and what its Prometheus is set to."""

    k: int
    scrape_seconds: float = 1.0
    evaluation_seconds: float = 1.0

    def __post_init__(self) -> None:
        if self.k < 1 or self.scrape_seconds <= 0 or self.evaluation_seconds <= 0:
            raise ValueError(f"a lab clock needs k >= 1 and positive intervals, not {self}")

    @property
    def scrape(self) -> str:
        """The scrape interval as Prometheus writes it."""
        return promql.format_seconds(Fraction(self.scrape_seconds))

    @property
    def eval(self) -> str:
        """The evaluation interval as Prometheus writes it."""
        return promql.format_seconds(Fraction(self.evaluation_seconds))

    @property
    def resend_delay(self) -> str:
        """The value of ``--rules.alert.resend-delay``."""
        return resend_delay(self)


def choose_clock(
    rule_texts: Iterable[str], scrape_seconds: float = 1, evaluation_seconds: float = 1
) -> LabClock:
    """Return the fastest clock under which the shortest window still holds four scrapes."""
    windows = [
        window
        for text in rule_texts
        for rule in _rules(yaml.safe_load(text))
        for window in promql.windows_seconds(promql.parse(str(rule["expr"])))
    ]
    if not windows:
        return LabClock(1, scrape_seconds, evaluation_seconds)
    k = math.floor(min(windows) / (SCRAPES_PER_WINDOW_MIN * scrape_seconds))
    return LabClock(max(1, k), scrape_seconds, evaluation_seconds)


def check_rules(texts: Mapping[str, str]) -> list[MarkerFinding]:
    """Return every threshold in seconds that is not marked, over all files (name to text)."""
    return [finding for name, text in texts.items() for finding in check_markers(text, name)]


def derive_rules(text: str, clock: LabClock, name: str = "rules") -> str:
    """Return a rule file on the lab clock.

    Raises:
        UnmarkedThresholdsError: naming file and line of every threshold in seconds without a marker.
    """
    if findings := check_markers(text, name):
        raise UnmarkedThresholdsError(findings)
    document = yaml.safe_load(text)
    for group in document.get("groups", []):
        if "interval" in group:
            group["interval"] = clock.eval
        _scale(group, ("query_offset",), clock)
    for rule in _rules(document):
        rule["expr"] = promql.scale_ranges(scale_thresholds(str(rule["expr"]), clock.k), clock.k)
        _scale(rule, _RULE_DURATIONS, clock)
    return dump(document)


def derive_alertmanager(text: str, clock: LabClock) -> str:
    """Return an Alertmanager configuration on the lab clock."""
    document = yaml.safe_load(text)
    _each_route(document["route"], lambda route: _scale(route, _ROUTE_DURATIONS, clock))
    return dump(document)


def derive_duration(text: str, clock: LabClock) -> str:
    """Return one duration on the lab clock, to the nearest millisecond but never down to nothing."""
    seconds = promql.parse_seconds(text)
    if seconds == 0:
        return text
    return promql.format_seconds(max(seconds / clock.k, Fraction(1, 1000)))


def resend_delay(clock: LabClock) -> str:
    """Return how soon Prometheus repeats a firing alert to Alertmanager, on the lab clock."""
    return derive_duration(f"{RESEND_DELAY_PRODUCTION_SECONDS}s", clock)


def _rules(document: Any) -> list[dict[str, Any]]:
    return [rule for group in (document or {}).get("groups", []) for rule in group.get("rules", [])]


def _each_route(route: dict[str, Any], visit: Callable[[dict[str, Any]], None]) -> None:
    visit(route)
    for child in route.get("routes", []):
        _each_route(child, visit)


def _scale(holder: dict[str, Any], keys: tuple[str, ...], clock: LabClock) -> None:
    for key in keys:
        if key in holder:
            holder[key] = derive_duration(str(holder[key]), clock)
