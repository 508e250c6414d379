"""How soon and how late an alert can reach its receiver, leg by leg, from the *deployed* configuration.

floor = threshold x window / fault ratio + ceil(for / evaluation) x evaluation + group_wait
ceiling = floor + the signal's own leg + scrape (+ scrape time-out when the target hangs)
+ one evaluation per rule hop + delivery, or group_interval in place of group_wait for a group that exists.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from chaos.domain.routes import Route, RouteTree
from chaos.domain.watching import PrometheusTiming, Rule, RuleFile, find_alert
from chaos.domain.windows import FaultProfile, Span, WindowReader

DELIVERY_SECONDS_MAX = 1.0

__all__ = [
    "Budget",
    "DetectionBudget",
    "FaultProfile",
    "Leg",
    "ResolveBudget",
    "alert_labels",
    "alert_route",
    "detection_budget",
    "resolve_budget",
]


@dataclass(frozen=True)
class Leg:
    """One part of the way from fault to notification, with its least and its most, in seconds."""

    name: str
    floor_seconds: float
    ceiling_seconds: float


@dataclass(frozen=True)
class Budget:
    """The legs of one alert's way."""

    alert: str
    receiver: str
    legs: tuple[Leg, ...]

    @property
    def floor_seconds(self) -> float:
        """The sum of every leg's least."""
        return sum(leg.floor_seconds for leg in self.legs)

    @property
    def ceiling_seconds(self) -> float:
        """The sum of every leg's most."""
        return sum(leg.ceiling_seconds for leg in self.legs)

    def leg(self, name: str) -> Leg:
        """Return the leg called ``name``."""
        return next(leg for leg in self.legs if leg.name == name)


@dataclass(frozen=True)
class DetectionBudget(Budget):
    """Fault to notification: signal, scrape, rule_window, for, evaluation, group_wait, delivery."""


@dataclass(frozen=True)
class ResolveBudget(Budget):
    """Fix to resolved notification: the same, with keep_firing_for and group_interval in between."""


def alert_labels(rule: Rule) -> dict[str, str]:
    """Return the labels by which an alert of this rule is routed."""
    return {**rule.labels, "alertname": rule.name}


def alert_route(rule: Rule, routes: RouteTree, receiver: str | None = None) -> Route:
    """Return the route that brings an alert to ``receiver``, by default the first that sends it."""
    found = routes.routes_for(alert_labels(rule))
    return next((route for route in found if route.receiver == receiver), found[0])


def detection_budget(
    alert: str,
    *,
    rules: Sequence[RuleFile],
    routes: RouteTree,
    prometheus: PrometheusTiming,
    fault: FaultProfile,
    group_exists: bool = False,
    receiver: str | None = None,
) -> DetectionBudget:
    """Return how soon and how late ``alert`` is delivered after the fault is live.

    Raises:
        UndefinedAlertError: when the deployed rules do not define the alert.
    """
    rule = find_alert(alert, rules)
    route = alert_route(rule, routes, receiver)
    reader = WindowReader(fault, rules, prometheus.scrape_seconds)
    evaluation = prometheus.evaluation_seconds
    window, hops = reader.onset(rule.tree), reader.hops(rule.tree)
    hold = _whole_evaluations(rule.for_seconds, evaluation)
    group = Span(route.group_wait_seconds, route.group_wait_seconds)
    if group_exists:  # the next tick of the group's interval, whenever that is
        group = Span(0.0, route.group_interval_seconds)
    legs = (
        *_arrival(prometheus, fault),
        Leg("rule_window", window.floor, window.ceiling),
        Leg("for", hold, hold),
        Leg("evaluation", 0.0, evaluation * (1 + hops)),
        Leg("group_wait", group.floor, group.ceiling),
        Leg("delivery", 0.0, DELIVERY_SECONDS_MAX),
    )
    return DetectionBudget(alert, route.receiver, legs)


def resolve_budget(
    alert: str,
    *,
    rules: Sequence[RuleFile],
    routes: RouteTree,
    prometheus: PrometheusTiming,
    fault: FaultProfile,
    receiver: str | None = None,
) -> ResolveBudget:
    """Return how soon and how late ``alert`` is reported resolved after the fault has ended.

    Raises:
        UndefinedAlertError: when the deployed rules do not define the alert.
    """
    rule = find_alert(alert, rules)
    route = alert_route(rule, routes, receiver)
    reader = WindowReader(fault, rules, prometheus.scrape_seconds)
    evaluation = prometheus.evaluation_seconds
    window, hops = reader.release(rule.tree), reader.hops(rule.tree)
    keep = _whole_evaluations(rule.keep_firing_for_seconds, evaluation)
    legs = (
        *_arrival(prometheus, fault),
        Leg("rule_window", window.floor, window.ceiling),
        Leg("keep_firing_for", keep, keep),
        Leg("evaluation", 0.0, evaluation * (1 + hops)),
        Leg("group_interval", 0.0, route.group_interval_seconds),
        Leg("delivery", 0.0, DELIVERY_SECONDS_MAX),
    )
    return ResolveBudget(alert, route.receiver, legs)


def _arrival(prometheus: PrometheusTiming, fault: FaultProfile) -> tuple[Leg, Leg]:
    hang = prometheus.scrape_timeout_seconds if fault.hang else 0.0
    return (
        Leg("signal", 0.0, fault.signal_seconds_max),
        Leg("scrape", 0.0, prometheus.scrape_seconds + hang),
    )


def _whole_evaluations(seconds: float, evaluation: float) -> float:
    # Rounded first: 0.3 / 0.1 is a little more than 3.
    return math.ceil(round(seconds / evaluation, 6)) * evaluation
