"""A route that will be removed says so in every answer, in the document, and in the figures."""

from __future__ import annotations

import asyncio
from datetime import date
from typing import Any

import httpx
import pytest
from fastapi import APIRouter
from prometheus_client import REGISTRY

from app.access.versions import deprecated, headers_of
from app.main import create_app
from app.settings import Settings

PATH, SUCCESSOR = "/api/v1/old", "/api/v2/new"
router = APIRouter()


@router.get(PATH, **deprecated(since=date(2026, 12, 1), sunset=date(2027, 6, 1), successor=SUCCESSOR))
async def old() -> dict[str, str]:
    """Return nothing of interest."""
    return {}


def counted() -> float:
    return REGISTRY.get_sample_value("dcs_deprecated_requests_total", {"route": PATH}) or 0.0


def test_the_headers_are_as_their_standards_say() -> None:
    assert dict(headers_of(router.routes[0])) == {
        b"deprecation": b"@1796083200",  # RFC 9745: seconds since 1970, as a structured date
        b"sunset": b"Tue, 01 Jun 2027 00:00:00 GMT",  # RFC 8594: a date as HTTP writes it
        b"link": b'</api/v2/new>; rel="successor-version"',
    }


def test_no_route_goes_sooner_than_promised() -> None:
    with pytest.raises(ValueError, match="180 days"):
        deprecated(since=date(2026, 12, 1), sunset=date(2027, 5, 29), successor=SUCCESSOR)


def test_other_routes_say_nothing() -> None:
    before = counted()
    assert headers_of(None) == []
    assert all(headers_of(route) == [] for route in create_app(Settings()).routes)
    assert counted() == before


def test_the_document_and_every_answer_say_so() -> None:
    app = create_app(Settings())
    app.include_router(router)
    app.state.routes.extend(router.routes)

    async def ask() -> httpx.Response:
        transport = httpx.ASGITransport(app, client=("192.0.2.1", 1))
        async with httpx.AsyncClient(transport=transport, base_url="http://api") as client:
            return await client.get(PATH)

    before = counted()
    answer = asyncio.run(ask())
    # Also who is refused should know.
    assert answer.status_code == 401
    assert answer.headers["deprecation"] == "@1796083200"
    assert answer.headers["link"].startswith(f"<{SUCCESSOR}>")
    assert "sunset" in answer.headers
    assert counted() == before + 1
    described: dict[str, Any] = app.openapi()["paths"][PATH]["get"]
    assert described["deprecated"] is True
