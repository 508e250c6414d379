"""Loki, over its HTTP API (https://grafana.com/docs/loki/latest/reference/loki-http-api/)."""

from __future__ import annotations

import time

from chaos.adapters.http import JsonApi
from chaos.errors import AdapterError
from chaos.ports import LogLine

_READY_LOOKBACK_SECONDS = 15.0
_NANOSECONDS = 1_000_000_000


class Loki:
    """The lab's own reads: direct."""

    def __init__(self, url: str) -> None:
        self._api = JsonApi("loki", url)

    def truth(self, query: str, start_unix: float) -> bool:
        """Return whether a log query finds a line since then, or a metric query is true now.

        A metric query is true when its vector is not empty, as in PromQL: comparisons filter.
        """
        if query.lstrip().startswith("{"):
            return bool(self.lines(query, start_unix, 1))
        data = self._api.get("/loki/api/v1/query", query=query, time=f"{time.time():.9f}")["data"]
        if data["resultType"] not in {"vector", "scalar"}:
            raise AdapterError(f"{query!r} is a {data['resultType']}, not an instant vector")
        return bool(data["result"])

    def lines(self, query: str, start_unix: float, limit: int) -> list[LogLine]:
        """Return the newest lines since then, oldest first."""
        return self._lines(query, start_unix, limit, "backward")[-limit:]

    def _lines(self, query: str, start_unix: float, limit: int, direction: str) -> list[LogLine]:
        data = self._api.get(
            "/loki/api/v1/query_range",
            query=query,
            start=str(int(start_unix * _NANOSECONDS)),
            end=str(int((time.time() + 1) * _NANOSECONDS)),
            limit=limit,
            direction=direction,
        )["data"]
        if data["resultType"] != "streams":
            raise AdapterError(f"{query!r} is no log query")
        found = [
            LogLine(int(at) / _NANOSECONDS, line, item["stream"])
            for item in data["result"]
            for at, line, *_ in item["values"]
        ]
        return sorted(found, key=lambda line: line.at_unix)

    def first_unix(self, query: str, start_unix: float) -> float | None:
        """Return when the first line since then that a log query finds was written, if there is one."""
        found = self._lines(query, start_unix, 1, "forward")
        return found[0].at_unix if found else None

    def ready(self) -> None:
        """Raise unless Loki answers and has lately ingested lines of the service and of the daemons.

        The service pushes its own; nginx's access log, which never pauses under traffic, stands for
        what the forwarder brings: evidence of a missing line is worth nothing while it is stopped.
        """
        self._api.request("GET", "/ready")
        since = time.time() - _READY_LOOKBACK_SECONDS
        for query, whose, look in (
            ('{service_namespace="dcs"}', "the service", "api-1"),
            ('{service_name="nginx"}', "the daemons", "forwarder"),
        ):
            if not self.truth(query, since):
                raise AdapterError(
                    f"no line of {whose} has reached loki for {_READY_LOOKBACK_SECONDS:g} s: "
                    f"see `lab logs {look}` and `lab logs loki`"
                )

    def close(self) -> None:
        """Drop the connections."""
        self._api.close()
