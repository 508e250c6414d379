"""Asking for avatars."""

from __future__ import annotations

from typing import Any

import httpx

from tests.support.service import ServiceProcess
from tests.support.waiting import eventually

PATH = "/api/v1/avatars"
ENDED = ("ready", "rejected", "failed")


def request(
    api: ServiceProcess, method: str, path: str, client: str = "default", **arguments: Any
) -> httpx.Response:
    return api.request(method, path, client=client, **arguments)


def post(api: ServiceProcess, **arguments: Any) -> httpx.Response:
    return request(api, "POST", PATH, **arguments)


def ended(
    api: ServiceProcess, job_id: str, within_seconds: float = 20, client: str = "default"
) -> dict[str, Any]:
    def status() -> dict[str, Any] | None:
        answer: dict[str, Any] = request(api, "GET", f"{PATH}/{job_id}", client).raise_for_status().json()
        return answer if answer["status"] in ENDED else None

    return eventually(status, within_seconds=within_seconds, what=f"avatar {job_id} has ended")
