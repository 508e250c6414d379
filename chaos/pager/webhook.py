"""What a well-formed Alertmanager webhook (version 4) looks like.

Source: https://prometheus.io/docs/alerting/latest/configuration/#webhook_config
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from typing import Any

ERRORS_MAX = 50  # enough to see what is wrong, bounded for a hostile body
STATUSES = ("firing", "resolved")


class _Check:
    def __init__(self) -> None:
        self.errors: list[dict[str, str]] = []

    def fail(self, field: str, message: str) -> None:
        if len(self.errors) < ERRORS_MAX:
            self.errors.append({"field": field, "message": message})

    def text(self, body: Mapping[str, Any], name: str, prefix: str = "", *, empty: bool = False) -> None:
        value = body.get(name)
        if not isinstance(value, str) or not (value or empty):
            self.fail(prefix + name, "must be a string" if empty else "must be a non-empty string")

    def status(self, body: Mapping[str, Any], prefix: str = "") -> None:
        if body.get("status") not in STATUSES:
            self.fail(f"{prefix}status", "must be 'firing' or 'resolved'")

    def strings(self, body: Mapping[str, Any], name: str, prefix: str = "") -> None:
        value = body.get(name)
        if not isinstance(value, dict):
            self.fail(prefix + name, "must be an object of strings")
            return
        for key, item in value.items():
            if not isinstance(item, str):
                self.fail(f"{prefix}{name}.{key}", "must be a string")

    def moment(self, body: Mapping[str, Any], name: str, prefix: str) -> None:
        try:
            parsed = dt.datetime.fromisoformat(body.get(name, ""))
        except (TypeError, ValueError):
            parsed = None
        if parsed is None or parsed.tzinfo is None:
            self.fail(prefix + name, "must be an RFC 3339 time with an offset")


def webhook_errors(body: object) -> list[dict[str, str]]:
    """Return every way in which ``body`` is not an Alertmanager webhook; empty when it is one."""
    check = _Check()
    if not isinstance(body, dict):
        check.fail("", "must be a JSON object")
        return check.errors
    if body.get("version") != "4":
        check.fail("version", "must be '4'")
    for name in ("groupKey", "receiver"):
        check.text(body, name)
    check.text(body, "externalURL", empty=True)
    check.status(body)
    for name in ("groupLabels", "commonLabels", "commonAnnotations"):
        check.strings(body, name)
    truncated = body.get("truncatedAlerts", 0)
    if not isinstance(truncated, int) or isinstance(truncated, bool) or truncated < 0:
        check.fail("truncatedAlerts", "must be a whole number of 0 or more")
    alerts = body.get("alerts")
    if not isinstance(alerts, list) or not alerts:
        check.fail("alerts", "must be a non-empty list")
        return check.errors
    for index, alert in enumerate(alerts):
        _check_alert(check, alert, f"alerts.{index}")
    return check.errors


def _check_alert(check: _Check, alert: object, where: str) -> None:
    if not isinstance(alert, dict):
        check.fail(where, "must be an object")
        return
    prefix = f"{where}."
    check.status(alert, prefix)
    check.strings(alert, "labels", prefix)
    check.strings(alert, "annotations", prefix)
    for name in ("startsAt", "endsAt"):
        check.moment(alert, name, prefix)
    check.text(alert, "generatorURL", prefix, empty=True)
    check.text(alert, "fingerprint", prefix)
