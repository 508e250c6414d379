"""The third parties of the lab: how they are told to misbehave, and what a client of theirs then meets."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping

import httpx

from chaos.domain.topology import Topology
from chaos.engine.nemesis.ports import Answered
from chaos.errors import AdapterError

ADMIN_TIMEOUT_SECONDS = 3.0
ASK_TIMEOUT_SECONDS = 2.5
_QUESTION = {"text": "a lighthouse in the fog"}


class Upstreams:
    """Told by their administration; the moderation API also asked, over the service's own path."""

    def __init__(self, topology: Topology) -> None:
        self._topology = topology

    def behave(self, upstream: str, behaviour: Mapping[str, float]) -> None:
        """Let it behave so; what is left out is as at its start."""
        self._admin("PUT", upstream, dict(behaviour))

    def reset(self, upstream: str) -> None:
        """Let it behave as at its start."""
        self._admin("DELETE", upstream, None)

    def ask(self, upstream: str) -> Answered:
        """Ask as the service does, over the same path."""
        began = time.monotonic()
        try:
            response = httpx.post(
                f"{self._topology.via(upstream).url}/v1/moderate",
                json=_QUESTION,
                timeout=ASK_TIMEOUT_SECONDS,
                trust_env=False,
            )
        except httpx.HTTPError:
            return Answered(0, usable=False, seconds=time.monotonic() - began)
        try:
            body = response.json()
        except ValueError:
            body = None
        scores = body.get("scores") if isinstance(body, dict) else None
        usable = isinstance(scores, dict) and all(isinstance(score, float) for score in scores.values())
        return Answered(response.status_code, usable=usable, seconds=time.monotonic() - began)

    def mishaps(self, relay: str, kind: str) -> float:
        """Return how many events have gone wrong in a way so far."""
        url = f"{self._topology.address(relay).url}/metrics"
        try:
            text = httpx.get(url, timeout=ADMIN_TIMEOUT_SECONDS, trust_env=False).raise_for_status().text
        except httpx.HTTPError as error:
            raise AdapterError(f"{relay} does not tell: {error}. See `lab logs {relay}`") from error
        found = re.search(rf'^lab_s3_event_mishaps_total{{kind="{kind}"}} (\S+)$', text, re.MULTILINE)
        if found is None:
            raise AdapterError(f"{relay} does not count events that were {kind}")
        return float(found[1])

    def _admin(self, method: str, upstream: str, body: Mapping[str, float] | None) -> None:
        url = f"{self._topology.address(upstream).url}/admin/behaviour"
        try:
            response = httpx.request(method, url, json=body, timeout=ADMIN_TIMEOUT_SECONDS, trust_env=False)
            response.raise_for_status()
        except httpx.HTTPError as error:
            raise AdapterError(
                f"{upstream} cannot be told how to behave: {error}. See `lab logs {upstream}`"
            ) from error
