"""What the deployed configuration promises of one alert, computed before anything is broken."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

LEGS = ("scrape", "rule_window", "evaluation", "for", "group_wait", "delivery")


@dataclass(frozen=True)
class LegBudget:
    """One leg of a detection, in seconds."""

    name: str
    floor_seconds: float
    ceiling_seconds: float


@dataclass(frozen=True)
class AlertPlan:
    """One expected alert: where it must arrive, and when at the earliest and the latest."""

    name: str
    receiver: str
    severity: str | None
    floor_seconds: float
    ceiling_seconds: float
    resolve_ceiling_seconds: float
    group_wait_seconds: float
    legs: tuple[LegBudget, ...]
    selectors: tuple[str, ...]  # the series the rule reads, each as a vector selector
    within_seconds: float  # the deadline that is judged: the scenario's, or the ceiling
    group_by: tuple[str, ...]
    defined: bool = True


@dataclass(frozen=True)
class Plans:
    """What is planned for one variant.

    ``silence_seconds`` is how long the fault must last before an alert can be said to have stayed
    silent: the latest moment at which a forbidden one would have arrived.
    """

    expected: Mapping[str, AlertPlan]
    silence_seconds: float
