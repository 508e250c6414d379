"""Avatars from prompt or upload to image, as clients see them."""

from __future__ import annotations

import io
from typing import Any

import httpx
from PIL import Image

from tests.support.service import ServiceProcess
from tests.support.waiting import eventually

PATH = "/api/v1/avatars"
ENDED = ("ready", "rejected", "failed")


def request(
    api: ServiceProcess, method: str, path: str, client: str = "default", **arguments: Any
) -> httpx.Response:
    headers = {"X-Client-ID": client, **arguments.pop("headers", {})}
    return httpx.request(method, f"{api.url}{path}", headers=headers, timeout=15, **arguments)


def post(api: ServiceProcess, **arguments: Any) -> httpx.Response:
    return request(api, "POST", PATH, **arguments)


def ended(api: ServiceProcess, job_id: str, within_seconds: float = 20) -> dict[str, Any]:
    def status() -> dict[str, Any] | None:
        answer: dict[str, Any] = api.get(f"{PATH}/{job_id}").raise_for_status().json()
        return answer if answer["status"] in ENDED else None

    return eventually(status, within_seconds=within_seconds, what=f"avatar {job_id} has ended")


def made_from(api: ServiceProcess, prompt: str) -> dict[str, Any]:
    accepted = post(api, json={"prompt": prompt})
    assert accepted.status_code == 202, accepted.text
    return ended(api, accepted.json()["job_id"])


def test_a_prompt_becomes_an_image(api: ServiceProcess, worker: ServiceProcess) -> None:
    before = worker.metric("dcs_avatars_total", outcome="ready")
    accepted = post(api, json={"prompt": "a lighthouse in the fog"})
    assert accepted.status_code == 202
    body = accepted.json()
    assert body["status"] == "queued"
    assert accepted.headers["location"] == body["status_url"] == f"{PATH}/{body['job_id']}"
    status = ended(api, body["job_id"])
    assert (status["status"], status["input"], status["error"]) == ("ready", "prompt", None)
    assert status["avatar_url"] == f"{PATH}/{body['job_id']}/image"
    image = api.get(status["avatar_url"])
    assert image.headers["content-type"] == "image/png"
    assert "immutable" in image.headers["cache-control"]
    with Image.open(io.BytesIO(image.content)) as opened:
        assert (opened.format, opened.size) == ("PNG", (256, 256))
    assert worker.metric("dcs_avatars_total", outcome="ready") == before + 1
