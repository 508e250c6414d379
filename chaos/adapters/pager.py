"""The pager, read over its own HTTP API."""

from __future__ import annotations

from chaos.adapters.http import JsonApi
from chaos.ports import Notification


class Pager:
    """Every notification that arrived, whichever receiver it was for."""

    def __init__(self, url: str) -> None:
        self._api = JsonApi("pager", url)

    def since(self, unix: float) -> list[Notification]:
        """Return the notifications that arrived after ``unix``, oldest first."""
        answer = self._api.get("/v1/notifications", since_unix=f"{unix:.6f}", limit=1000)
        return [
            Notification(item["id"], item["receiver"], float(item["received_unix"]), item["payload"])
            for item in answer["notifications"]
        ]

    def close(self) -> None:
        """Drop the connections."""
        self._api.close()
