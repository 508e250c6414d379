"""Alertmanager, over its API v2."""

from __future__ import annotations

from collections.abc import Mapping

from chaos.adapters.http import JsonApi


class Alertmanager:
    """The lab's own reads and the silences it ends."""

    def __init__(self, url: str) -> None:
        self._api = JsonApi("alertmanager", url)

    def firing(self) -> list[Mapping[str, str]]:
        """Return the label sets of all alerts it holds, silenced or not."""
        return [item["labels"] for item in self._api.get("/api/v2/alerts")]

    def silences(self) -> list[str]:
        """Return the ids of silences that are active or pending."""
        return sorted(
            item["id"] for item in self._api.get("/api/v2/silences") if item["status"]["state"] != "expired"
        )

    def expire_silence(self, silence: str) -> None:
        """End a silence."""
        self._api.request("DELETE", f"/api/v2/silence/{silence}")

    def close(self) -> None:
        """Drop the connections."""
        self._api.close()
