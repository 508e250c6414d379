"""Split a detection into its legs, from what each daemon recorded itself."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from chaos.domain.run import Detection, LegTime
from chaos.domain.times import parse_time_unix
from chaos.engine.plan import AlertPlan
from chaos.ports import Notification, Operators

_LOOK_BACK_SECONDS = 10.0  # a last sample from before the fault, to compare with


def measure(
    plan: AlertPlan,
    notification: Notification,
    alert: Mapping[str, Any],
    fault_unix: float,
    operators: Operators,
) -> Detection:
    """Return how long each leg took.

    The scrape leg ends with the first sample that shows the fault; the next two with the
    evaluation that made the alert pending, of which the rule's window accounts for what the
    configuration says and waiting for the evaluation for the rest; ``for`` ends when Prometheus
    fires; then group_wait as configured, and delivery for the rest.
    """
    fired = parse_time_unix(str(alert["startsAt"]))
    budgets = {leg.name: leg for leg in plan.legs}
    held = round(budgets["for"].floor_seconds, 3)
    pending = fired - held  # pending to firing takes whole evaluations, exactly ceil(for / interval)
    seen = _first_changed(plan, fault_unix, operators)
    seen = pending if seen is None else min(seen, pending)
    window = min(max(0.0, pending - seen), budgets["rule_window"].ceiling_seconds)
    waited = notification.received_unix - fired
    grouped = min(max(0.0, waited), plan.group_wait_seconds)
    measured = {
        "scrape": seen - fault_unix,
        "rule_window": window,
        "evaluation": max(0.0, pending - seen - window),
        "for": fired - pending,
        "group_wait": grouped,
        "delivery": waited - grouped,
    }
    return Detection(
        alert=plan.name,
        receiver=notification.receiver,
        total_seconds=notification.received_unix - fault_unix,
        floor_seconds=plan.floor_seconds,
        ceiling_seconds=plan.ceiling_seconds,
        legs=tuple(
            LegTime(leg.name, measured[leg.name], leg.floor_seconds, leg.ceiling_seconds) for leg in plan.legs
        ),
    )


def _first_changed(plan: AlertPlan, fault_unix: float, operators: Operators) -> float | None:
    """Return the time of the first sample after the fault that differs from the last before it."""
    lookback = operators.clock.now() - fault_unix + _LOOK_BACK_SECONDS
    moments: list[float] = []
    for selector in plan.selectors:
        for series in operators.metrics.raw_samples(selector, lookback):
            before = [value for at, value in series if at <= fault_unix]
            last = before[-1] if before else 0.0
            moments += [at for at, value in series if at > fault_unix and value != last][:1]
    return min(moments, default=None)
