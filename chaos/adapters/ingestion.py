"""Ingestion as an operator asks for it: by hand, with a client's key."""

from __future__ import annotations

import time
from collections.abc import Mapping

import httpx

from chaos.domain.topology import Topology
from chaos.errors import AdapterError

TIMEOUT_SECONDS = 5.0
ASK_SECONDS_MAX = 30.0
PAUSE_SECONDS = 0.5


class Populate:
    """Asks through nginx. ``headers`` by client are how it proves who it is."""

    def __init__(self, topology: Topology, headers: Mapping[str, Mapping[str, str]]) -> None:
        self._url = topology.address("nginx").url + "/api/v1/populate"
        self._headers = headers

    def populate(self, client: str, day: str) -> None:
        """Have a client's day listed; whoever is told to come later does."""
        deadline = time.monotonic() + ASK_SECONDS_MAX
        while True:
            try:
                headers = dict(self._headers[client])
                answer = httpx.post(
                    self._url, json={"day": day}, headers=headers, timeout=TIMEOUT_SECONDS, trust_env=False
                )
                if answer.is_success:
                    return
                said = f"{answer.status_code} {answer.text[:200]}"
            except httpx.HTTPError as error:
                said = repr(error)
            if time.monotonic() > deadline:
                raise AdapterError(f"the service does not list {day} of {client}: {said}. See `lab status`")
            time.sleep(PAUSE_SECONDS)
