"""Prometheus, read over its HTTP API (https://prometheus.io/docs/prometheus/latest/querying/api/)."""

from __future__ import annotations

from typing import Any

from chaos.adapters.http import JsonApi
from chaos.domain.times import parse_time_unix
from chaos.errors import AdapterError
from chaos.ports import ActiveAlert, Sample


class Prometheus:
    """The lab's own reads: direct, never through a proxy that a fault may touch."""

    def __init__(self, url: str) -> None:
        self._api = JsonApi("prometheus", url)

    def _data(self, path: str, **fields: str) -> Any:
        answer = self._api.post_form(path, **fields) if fields else self._api.get(path)
        if answer.get("status") != "success":
            raise AdapterError(f"prometheus refused {fields or path}: {answer.get('error')}")
        return answer["data"]

    def query(self, expr: str) -> list[Sample]:
        """Evaluate an instant query; a scalar becomes one sample without labels."""
        data = self._data("/api/v1/query", query=expr)
        if data["resultType"] == "scalar":
            at, value = data["result"]
            return [Sample({}, float(value), float(at))]
        if data["resultType"] != "vector":
            raise AdapterError(f"{expr!r} is a {data['resultType']}, not an instant vector")
        return [
            Sample(item["metric"], float(item["value"][1]), float(item["value"][0]))
            for item in data["result"]
        ]

    def raw_samples(self, selector: str, seconds: float) -> list[list[tuple[float, float]]]:
        """Return the raw (unix time, value) samples of each series of the last ``seconds``."""
        data = self._data("/api/v1/query", query=f"{selector}[{max(1, round(seconds * 1000))}ms]")
        return [[(float(at), float(value)) for at, value in item["values"]] for item in data["result"]]

    def active_alerts(self) -> list[ActiveAlert]:
        """Return pending and firing alerts."""
        return [
            ActiveAlert(
                item["labels"]["alertname"], item["state"], item["labels"], parse_time_unix(item["activeAt"])
            )
            for item in self._data("/api/v1/alerts")["alerts"]
        ]

    def alert_names(self) -> frozenset[str]:
        """Return the alerts that the loaded rules define."""
        groups = self._data("/api/v1/rules")["groups"]
        return frozenset(r["name"] for group in groups for r in group["rules"] if r["type"] == "alerting")

    def alertmanagers(self) -> int:
        """Return how many Alertmanagers Prometheus is connected to."""
        return len(self._data("/api/v1/alertmanagers")["activeAlertmanagers"])

    def targets_down(self) -> list[str]:
        """Return the targets whose last scrape failed or has not happened."""
        active = self._data("/api/v1/targets")["activeTargets"]
        return sorted(
            f"{target['labels'].get('job')}/{target['labels'].get('instance')}"
            for target in active
            if target["health"] != "up"
        )

    def close(self) -> None:
        """Drop the connections."""
        self._api.close()
