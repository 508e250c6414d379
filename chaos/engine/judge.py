"""Judge what the monitoring did: whether the right person was told in time, and led to the cause."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from chaos.domain.run import Check, Detection
from chaos.domain.scenario import AlertSignal, Contract, Expectation, LogSignal, MetricSignal, Variant
from chaos.domain.times import parse_time_unix
from chaos.domain.verdict import Verdict
from chaos.domain.waiting import EVIDENCE_SECONDS_MAX, POLL_SECONDS
from chaos.engine.legs import measure
from chaos.engine.plan import AlertPlan
from chaos.engine.timeline import Timeline
from chaos.ports import Notification, Operators
from chaos.signals.steady import WATCHDOG
from chaos.signals.truth import RANGE_MS_MIN, Ranges, is_true

LATE_SECONDS_MAX = 15.0  # after a deadline: how long to look on, so as to say how late it was
ALERT_SLACK_SECONDS = 0.05  # clocks are read in different processes


@dataclass(frozen=True)
class Told:
    """The first notification of an alert, and the alert as it stands in it."""

    notification: Notification
    alert: Mapping[str, Any]

    @property
    def fired_unix(self) -> float:
        """When Prometheus fired it."""
        return parse_time_unix(str(self.alert["startsAt"]))


class Judge:
    """Watches one variant from its fault on."""

    def __init__(
        self,
        operators: Operators,
        timeline: Timeline,
        plans: Mapping[str, AlertPlan],
        fault_unix: float,
        ranges: Ranges,
    ) -> None:
        self._ops = operators
        self._timeline = timeline
        self._plans = plans
        self._fault = fault_unix
        self._ranges = ranges
        self._seen_alerts: dict[tuple[str, str], float] = {}
        self._seen_notifications: set[int] = set()
        self._true_since: dict[LogSignal | MetricSignal, float] = {}
        self.detections: list[Detection] = []

    # ---- what must happen ------------------------------------------------------------------

    def expectations(self, expected: Sequence[Expectation]) -> list[Check]:
        """Wait for each expectation until its own deadline and return what came of it."""
        checks: dict[int, Check] = {}
        while len(checks) < len(expected):
            notifications = self._look()
            for index, item in enumerate(expected):
                if index not in checks:
                    check = self._one(item, notifications)
                    if check is not None:
                        checks[index] = check
            self._ops.clock.sleep(POLL_SECONDS)
        return [checks[index] for index in sorted(checks)]

    def _one(self, item: Expectation, notifications: Sequence[Notification]) -> Check | None:
        if isinstance(item, AlertSignal):
            return self._alert(item, self._plans[item.name], notifications)
        text = item.query if isinstance(item, LogSignal) else item.expr
        name = f"{item.signal} {text}"
        waited = self._seen_after(item)
        if waited is not None:
            verdict = Verdict.PASS if waited <= item.within else Verdict.FAIL
            self._timeline.add("signal", f"{item.signal} is there: {text}", self._fault + waited)
            return Check("expect", name, verdict, f"after {waited:.1f} s", waited, item.within)
        if self._ops.clock.now() - self._fault > item.within + LATE_SECONDS_MAX:
            return Check("expect", name, Verdict.FAIL, "not seen", None, item.within)
        return None

    def _seen_after(self, item: LogSignal | MetricSignal) -> float | None:
        """Return how long after the fault a signal was there; None while it is not."""
        if isinstance(item, LogSignal) and item.query.lstrip().startswith("{"):
            at = self._ops.logs.first_unix(item.query, self._fault)
            return None if at is None else max(0.0, at - self._fault)
        now = self._ops.clock.now()
        if not is_true(item, self._ranges, self._ops):
            self._true_since.pop(item, None)
            return None
        since = self._true_since.setdefault(item, now)
        hold = item.hold if isinstance(item, MetricSignal) else 0.0
        return now - self._fault if now - since >= hold else None

    def _alert(
        self, item: AlertSignal, plan: AlertPlan, notifications: Sequence[Notification]
    ) -> Check | None:
        name = f"alert {item.name} reaches {plan.receiver}"
        told = self._told(item.name, plan.receiver, notifications)
        if told is None:
            if self._ops.clock.now() - self._fault <= plan.within_seconds + LATE_SECONDS_MAX:
                return None
            elsewhere = sorted(
                {n.receiver for n in notifications if self._fired_now(n, item.name)} - {plan.receiver}
            )
            detail = (
                f"it reached {', '.join(elsewhere)} instead"
                if elsewhere
                else f"no notification; the alert {self._state_of(item.name)}"
            )
            return Check("expect", name, Verdict.FAIL, detail, None, plan.within_seconds)
        detection = measure(plan, told.notification, told.alert, self._fault, self._ops)
        self.detections.append(detection)
        problems = self._wrong_with(plan, told)
        if detection.total_seconds > plan.within_seconds:
            problems.append(
                f"late: {detection.total_seconds:.1f} s where {plan.within_seconds:.1f} s is the limit"
            )
        return Check(
            "expect",
            name,
            Verdict.FAIL if problems else Verdict.PASS,
            "; ".join(problems) or f"after {detection.total_seconds:.1f} s",
            detection.total_seconds,
            plan.within_seconds,
        )

    def _told(self, alert: str, receiver: str, notifications: Sequence[Notification]) -> Told | None:
        for notification in notifications:
            if notification.receiver != receiver or notification.status != "firing":
                continue
            for found in notification.alerts(alert):
                told = Told(notification, found)
                # An alert that already fired is no evidence of this fault.
                if told.fired_unix >= self._ranges.act_unix - ALERT_SLACK_SECONDS:
                    return told
        return None

    @staticmethod
    def _wrong_with(plan: AlertPlan, told: Told) -> list[str]:
        problems: list[str] = []
        labels, annotations = told.alert.get("labels", {}), told.alert.get("annotations", {})
        if plan.severity is not None and labels.get("severity") != plan.severity:
            problems.append(f"severity is {labels.get('severity')}, not {plan.severity}")
        if not str(annotations.get("runbook_url", "")).endswith(f"/{plan.name}.md"):
            problems.append(f"no runbook link: runbook_url is {annotations.get('runbook_url')!r}")
        grouped = set(told.notification.payload.get("groupLabels", {}))
        if grouped != set(plan.group_by):
            problems.append(f"grouped by {sorted(grouped)}, not {sorted(plan.group_by)}")
        return problems

    def _state_of(self, alert: str) -> str:
        states = {a.state for a in self._ops.metrics.active_alerts() if a.name == alert}
        return f"is {' and '.join(sorted(states))}" if states else "did not even become pending"

    # ---- what tells the causes apart -------------------------------------------------------

    def evidence(self, own: Variant, others: Sequence[Variant]) -> tuple[list[Check], dict[str, bool]]:
        """Wait until the variant's own evidence is true, then take every variant's in one moment."""
        ready = self._ranges.fault_unix + RANGE_MS_MIN / 1000
        while self._ops.clock.now() < ready:
            self._look()
            self._ops.clock.sleep(POLL_SECONDS)
        deadline = self._ops.clock.now() + EVIDENCE_SECONDS_MAX
        started = self._ops.clock.now()
        while not self._holds(own) and self._ops.clock.now() < deadline:
            self._look()
            self._ops.clock.sleep(POLL_SECONDS)
        row = self.row(others)
        waited = self._ops.clock.now() - started
        checks = []
        for variant in others:
            due, found = variant.id == own.id, row[variant.id]
            words = "true" if found else "false"
            checks.append(
                Check(
                    "evidence",
                    f"evidence of {variant.id} is {'true' if due else 'false'}",
                    Verdict.PASS if found is due else Verdict.FAIL,
                    f"it is {words}" if found is due else f"it is {words}: it does not tell {own.id} apart",
                    waited if due else None,
                    EVIDENCE_SECONDS_MAX if due else None,
                )
            )
        true_ones = ", ".join(name for name, found in row.items() if found) or "none"
        self._timeline.add("evidence", f"evidence true: {true_ones}")
        return checks, row

    def row(self, variants: Sequence[Variant]) -> dict[str, bool]:
        """Return, per variant, whether all its evidence is true now."""
        return {variant.id: self._holds(variant) for variant in variants}

    def _holds(self, variant: Variant) -> bool:
        return all(is_true(item, self._ranges, self._ops) for item in variant.evidence)

    # ---- what must not happen --------------------------------------------------------------

    def watch_until(self, unix: float) -> None:
        """Keep looking until then: an alert that is still waiting for its time has not stayed silent."""
        while self._ops.clock.now() < unix:
            self._look()
            self._ops.clock.sleep(POLL_SECONDS)

    def forbidden(self, contract: Contract) -> list[Check]:
        """Return one check per forbidden alert, and one for those nobody named, since the first act."""
        told = [n for n in self._since_act() if n.status == "firing"]
        names = {name for n in told for name in n.names if self._fired_now(n, name)}
        firing = {a.name for a in self._ops.metrics.active_alerts() if a.state == "firing"}
        fired = names | {name for (name, state) in self._seen_alerts if state == "firing"} | firing
        checks = [
            Check(
                "forbid",
                f"alert {name} stays silent",
                Verdict.FAIL if name in fired else Verdict.PASS,
                "it fired" if name in fired else "silent",
            )
            for name in contract.forbid
        ]
        expected = {item.name for item in contract.expect if isinstance(item, AlertSignal)}
        stray = sorted(names - expected - set(contract.allow) - set(contract.forbid) - {WATCHDOG})
        verdict = Verdict.FAIL if stray else Verdict.PASS
        checks.append(Check("forbid", "no other notification", verdict, ", ".join(stray) or "none"))
        return checks

    def _fired_now(self, notification: Notification, name: str) -> bool:
        return any(
            alert.get("status") == "firing"
            and parse_time_unix(str(alert["startsAt"])) >= self._ranges.act_unix - ALERT_SLACK_SECONDS
            for alert in notification.alerts(name)
        )

    # ---- what must end ---------------------------------------------------------------------

    def resolved_unix(self, plan: AlertPlan, since_unix: float) -> float | None:
        """Return when the resolved notification of an alert arrived at its receiver, if it has."""
        for notification in self._look():
            if notification.receiver != plan.receiver or notification.received_unix < since_unix:
                continue
            if any(alert.get("status") == "resolved" for alert in notification.alerts(plan.name)):
                return notification.received_unix
        return None

    # ---- watching --------------------------------------------------------------------------

    def _since_act(self) -> list[Notification]:
        return self._ops.notifications.since(self._ranges.act_unix)

    def _look(self) -> list[Notification]:
        """Note what is new at Prometheus and at the receivers, for the timeline."""
        for alert in self._ops.metrics.active_alerts():
            key = (alert.name, alert.state)
            if alert.name != WATCHDOG and key not in self._seen_alerts:
                at = alert.active_at_unix if alert.state == "pending" else None
                self._seen_alerts[key] = self._ops.clock.now()
                self._timeline.add("alert", f"{alert.name} is {alert.state}", at)
        notifications = self._since_act()
        for item in notifications:
            if item.id not in self._seen_notifications and set(item.names) != {WATCHDOG}:
                self._seen_notifications.add(item.id)
                self._timeline.add(
                    "notification",
                    f"{item.receiver}: {', '.join(item.names)} {item.status}",
                    item.received_unix,
                )
        return notifications

    def notifications(self) -> tuple[Mapping[str, Any], ...]:
        """Return what arrived since the first act, for the report. Watchdog is left out."""
        return tuple(
            {"receiver": n.receiver, "received_unix": n.received_unix, "payload": dict(n.payload)}
            for n in self._since_act()
            if set(n.names) != {WATCHDOG}
        )
