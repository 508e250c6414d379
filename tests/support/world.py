"""A small lab made of fakes, and the webhooks it is told by."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from chaos.ports import Notification, Operators
from tests.support.fakes import (
    START_UNIX,
    FakeAlertmanager,
    FakeCache,
    FakeClock,
    FakeDatabase,
    FakeDataPath,
    FakeLogs,
    FakeMetrics,
    FakePager,
    FakeProxies,
    FakeStack,
)


@dataclass
class World:
    """A small lab that is well, with every part at hand."""

    clock: FakeClock = field(default_factory=FakeClock)
    proxies: FakeProxies = field(default_factory=FakeProxies)
    monitoring: FakeProxies = field(default_factory=FakeProxies)
    metrics: FakeMetrics = field(default_factory=FakeMetrics)
    logs: FakeLogs = field(default_factory=FakeLogs)
    alerts: FakeAlertmanager = field(default_factory=FakeAlertmanager)
    pager: FakePager = field(default_factory=FakePager)
    database: FakeDatabase = field(default_factory=FakeDatabase)
    stack: FakeStack = field(default_factory=FakeStack)

    @property
    def operators(self) -> Operators:
        return Operators(
            stack=self.stack,
            service_proxies=self.proxies,
            monitoring_proxies=self.monitoring,
            metrics=self.metrics,
            logs=self.logs,
            alerts=self.alerts,
            notifications=self.pager,
            database=self.database,
            cache=FakeCache(),
            data_path=FakeDataPath(self.proxies, self.clock),
            clock=self.clock,
        )


def notification(
    number: int,
    alert: str,
    *,
    receiver: str = "pager",
    received: float,
    starts: str,
    status: str = "firing",
    severity: str = "critical",
    runbook: str | None = None,
    grouped: Sequence[str] = ("service", "alertname"),
) -> Notification:
    """Return a webhook as Alertmanager sends it. ``received`` is in seconds from the clock's start."""
    labels = {"alertname": alert, "severity": severity, "service": "dcs"}
    url = f"file:///docs/runbooks/{alert}.md" if runbook is None else runbook
    payload = {
        "version": "4",
        "status": status,
        "groupLabels": {name: labels.get(name, "") for name in grouped},
        "alerts": [
            {"status": status, "labels": labels, "annotations": {"runbook_url": url}, "startsAt": starts}
        ],
    }
    return Notification(number, receiver, START_UNIX + received, payload)
