"""Requests as bytes, made once: the load generator only sends them."""

from __future__ import annotations

import json
from collections.abc import Mapping

ENDPOINT = "evidence"
TRIGGER_PATH = "/api/v1/jobs/trigger"


def http_request(method: str, path: str, headers: Mapping[str, str], body: str = "") -> str:
    """Return one HTTP/1.1 request."""
    lines = [
        f"{method} {path} HTTP/1.1",
        "Host: 127.0.0.1",
        *(f"{key}: {value}" for key, value in headers.items()),
    ]
    if body:
        lines += ["Content-Type: application/json", f"Content-Length: {len(body.encode())}"]
    return "\r\n".join([*lines, "", body])


def trigger(headers: Mapping[str, str]) -> str:
    """Return a request that hands in a job."""
    spec = {"source_type": "api", "config": {"endpoint": ENDPOINT, "resource": "controls"}}
    return http_request("POST", TRIGGER_PATH, headers, json.dumps(spec))
