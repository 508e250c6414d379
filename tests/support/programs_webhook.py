"""Alertmanager webhooks for tests."""

from __future__ import annotations

from typing import Any


def webhook(
    name: str = "PostgresUnreachable", status: str = "firing", receiver: str = "pager"
) -> dict[str, Any]:
    """Return a body as Alertmanager 0.31 sends it."""
    return {
        "receiver": receiver,
        "status": status,
        "alerts": [
            {
                "status": status,
                "labels": {"alertname": name, "severity": "critical"},
                "annotations": {"summary": "it broke"},
                "startsAt": "2026-01-02T03:04:05.123456789Z",
                "endsAt": "0001-01-01T00:00:00Z",
                "generatorURL": "http://prometheus.example/graph?g0.expr=up",
                "fingerprint": "0123456789abcdef",
            }
        ],
        "groupLabels": {"alertname": name},
        "commonLabels": {"alertname": name, "severity": "critical"},
        "commonAnnotations": {"summary": "it broke"},
        "externalURL": "http://alertmanager.example",
        "version": "4",
        "groupKey": f'{{}}:{{alertname="{name}"}}',
        "truncatedAlerts": 0,
    }
