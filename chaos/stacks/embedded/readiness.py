"""Probes that ask a daemon itself. Each answers within its time-out and says in words what is wrong."""

from __future__ import annotations

import http.client
import json
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import psycopg2

from chaos.domain.topology import Address, Proxy
from chaos.stacks.embedded.daemon import Probe

PROBE_TIMEOUT_SECONDS = 2.0
STATEMENT_TIMEOUT_MS = 5000
BODY_BYTES_MAX = 4 * 1024 * 1024
_OK = 200


def fetch(
    address: Address, path: str, *, method: str = "GET", body: object = None,
    timeout_seconds: float = PROBE_TIMEOUT_SECONDS,
) -> tuple[int, bytes]:  # fmt: skip
    """Make one HTTP request and return status and body; raises OSError or HTTPException."""
    connection = http.client.HTTPConnection(address.host, address.port, timeout=timeout_seconds)
    try:
        payload = None if body is None else json.dumps(body).encode()
        # Toxiproxy refuses browsers, which it tells by their user agent; be named.
        headers = {"User-Agent": "firedrill", "Content-Type": "application/json"}
        connection.request(method, path, body=payload, headers=headers)
        response = connection.getresponse()
        return response.status, response.read(BODY_BYTES_MAX)
    finally:
        connection.close()


def fetch_json(address: Address, path: str) -> Any:
    """Return a JSON answer; raises ValueError when it is not 200 or not JSON."""
    status, body = fetch(address, path)
    if status != _OK:
        raise ValueError(f"{path} answers {status}: {body[:200].decode(errors='replace')}")
    return json.loads(body)


def http_ok(address: Address, path: str) -> Probe:
    """Ready when ``path`` answers 200."""

    def probe() -> str | None:
        try:
            status, body = fetch(address, path)
        except (OSError, http.client.HTTPException) as error:
            return f"{address.url}{path}: {error!r}"
        if status == _OK:
            return None
        return f"{address.url}{path} answers {status}: {body[:120].decode(errors='replace')}"

    return probe


def both(*probes: Probe) -> Probe:
    """Ready when every probe is; the first reason is the one told."""

    def probe() -> str | None:
        return next((reason for each in probes if (reason := each()) is not None), None)

    return probe


def redis_pings(address: Address) -> Probe:
    """Ready when Redis answers PONG."""

    def probe() -> str | None:
        try:
            answer = redis_command(address, "PING")
        except OSError as error:
            return f"redis at {address}: {error!r}"
        return None if answer == "+PONG" else f"redis at {address} says {answer!r}"

    return probe


def redis_command(address: Address, *words: str) -> str:
    """Send one command and return the first line of the answer. Enough for a probe and a marker."""
    request = f"*{len(words)}\r\n" + "".join(f"${len(w.encode())}\r\n{w}\r\n" for w in words)
    with socket.create_connection((address.host, address.port), timeout=PROBE_TIMEOUT_SECONDS) as link:
        link.sendall(request.encode())
        with link.makefile("rb") as answer:
            return answer.readline(4096).decode(errors="replace").rstrip("\r\n")


def postgres_selects(address: Address, user: str, password_file: Path, database: str) -> Probe:
    """Ready when PostgreSQL answers a query over TCP."""

    def probe() -> str | None:
        try:
            link = psycopg2.connect(
                host=address.host, port=address.port, user=user, dbname=database,
                password=password_file.read_text("utf-8").strip(), connect_timeout=2,
                options=f"-c statement_timeout={STATEMENT_TIMEOUT_MS}",
            )  # fmt: skip
        except (psycopg2.Error, OSError) as error:
            return str(error).strip()
        try:
            with link, link.cursor() as cursor:
                cursor.execute("SELECT 1")
        except psycopg2.Error as error:
            return str(error).strip()
        finally:
            link.close()
        return None

    return probe


def holds_proxies(address: Address, proxies: Mapping[str, Proxy]) -> Probe:
    """Ready when Toxiproxy answers and listens for every proxy of the topology.

    Only names and addresses count: whether a proxy is enabled may be a fault's doing.
    """

    def probe() -> str | None:
        try:
            held = fetch_json(address, "/proxies")
        except (OSError, http.client.HTTPException, ValueError) as error:
            return f"toxiproxy at {address}: {error!r}"
        for name, wanted in proxies.items():
            found = held.get(name, {})
            if (found.get("listen"), found.get("upstream")) != (str(wanted.listen), str(wanted.upstream)):
                return f"toxiproxy at {address} lacks proxy {name} from {wanted.listen} to {wanted.upstream}"
        return None

    return probe


def prometheus_sees_all(address: Address) -> Probe:
    """Ready when Prometheus has scraped every target and has found Alertmanager."""

    def probe() -> str | None:
        try:
            targets = fetch_json(address, "/api/v1/targets?state=active")["data"]["activeTargets"]
            managers = fetch_json(address, "/api/v1/alertmanagers")["data"]["activeAlertmanagers"]
        except (OSError, http.client.HTTPException, ValueError, KeyError) as error:
            return f"prometheus at {address}: {error!r}"
        down = [
            f"{t['labels'].get('job')} {t['scrapeUrl']} ({t['lastError']})"
            for t in targets
            if t["health"] != "up"
        ]
        if not targets:
            return "prometheus has no target yet"
        if down:
            return f"prometheus has not yet scraped {len(down)} targets, such as {down[0]}"
        return None if managers else "prometheus has not found Alertmanager"

    return probe
