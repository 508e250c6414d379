"""The service's own way to its database, tried from outside, and what the service says of it."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import httpx
import psycopg2

from chaos.domain.topology import Topology
from chaos.ports import ProbeResult

CONNECT_TIMEOUT_SECONDS = 2  # libpq's smallest
HEALTH_TIMEOUT_SECONDS = 2.0
APIS = ("api-1", "api-2")
SERVICE = (*APIS, "worker-1", "worker-2")

# What a server or the network says, in libpq's words. Order matters: the first match wins.
_REASONS: tuple[tuple[str, re.Pattern[str]], ...] = (
    (
        "too_many_clients",
        re.compile(r"too many (clients|connections)|remaining connection slots", re.IGNORECASE),
    ),
    ("starting", re.compile(r"is starting up|not yet accepting|in recovery mode", re.IGNORECASE)),
    ("stopping", re.compile(r"is shutting down|terminating connection", re.IGNORECASE)),
    ("refused", re.compile(r"Connection refused", re.IGNORECASE)),
    ("timeout", re.compile(r"timeout expired|timed out", re.IGNORECASE)),
    ("closed", re.compile(r"closed the connection|reset by peer|Broken pipe|SSL SYSCALL", re.IGNORECASE)),
)


def reason_of(message: str) -> str:
    """Return why a connection failed, as one word, or ``other``."""
    for reason, pattern in _REASONS:
        if pattern.search(message):
            return reason
    return "other"


class ServiceDataPath:
    """Connects with the service's present settings: the baseline plus what was deployed since."""

    def __init__(
        self,
        topology: Topology,
        settings: Callable[[], Mapping[str, str]],
        overrides: Callable[[str], Mapping[str, str]],
    ) -> None:
        self._topology = topology
        self._settings = settings
        self._overrides = overrides

    def probe(self) -> ProbeResult:
        """Connect, ask for one row, and say what happened."""
        started = time.time()
        changed = {name: env for name in SERVICE if (env := self._overrides(name))}
        if changed and not self.answering(tuple(changed)):
            # A service that is still starting with other settings has not met them yet.
            return ProbeResult(started, ok=False, reason="no answer")
        env = {**self._settings(), **next(iter(changed.values()), {})}
        try:
            connection = psycopg2.connect(
                host=env["DCS_DATABASE_HOST"],
                port=int(env["DCS_DATABASE_PORT"]),
                dbname=env["DCS_DATABASE_NAME"],
                user=env["DCS_DATABASE_USER"],
                password=Path(env["DCS_DATABASE_PASSWORD_FILE"]).read_text(encoding="utf-8").strip(),
                sslmode=env.get("DCS_DATABASE_SSLMODE", "prefer"),
                connect_timeout=CONNECT_TIMEOUT_SECONDS,
                application_name="lab-probe",
            )
        except psycopg2.OperationalError as error:
            return ProbeResult(started, False, reason_of(str(error)), time.time() - started)  # noqa: FBT003
        connection.close()
        return ProbeResult(started, ok=True, reason="ok")

    def answering(self, programs: Sequence[str]) -> frozenset[str]:
        """Return those of the service's programs that answer ``/health/live``."""
        return frozenset(name for name in programs if self._get(name, "/health/live") is not None)

    def service_reasons(self) -> Mapping[str, str | None]:
        """Return, per API, why its database is down as ``/health`` tells, or None where it is up."""
        reasons: dict[str, str | None] = {}
        for name in APIS:
            body = self._get(name, "/health")
            if body is None:
                reasons[name] = "no answer"
                continue
            postgres = body.get("dependencies", {}).get("postgres", {})
            reasons[name] = (
                None if postgres.get("status") == "up" else str(postgres.get("reason") or "unknown")
            )
        return reasons

    def _get(self, program: str, path: str) -> dict[str, dict[str, dict[str, str]]] | None:
        url = self._topology.address(program).url + path
        try:
            response = httpx.get(url, timeout=HEALTH_TIMEOUT_SECONDS, trust_env=False)
            response.raise_for_status()
            body: dict[str, dict[str, dict[str, str]]] = response.json()
        except (httpx.HTTPError, ValueError):
            return None
        return body
