"""Good and bad days of an upstream: answers late, spoilt, or none at all, as ``/admin/behaviour`` says."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import orjson
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from chaos.upstreams import serving
from chaos.upstreams.moderation_behaviour import Behaviour, Mishap, parse_behaviour, seconds_of

HANG_SECONDS_MAX = 600.0
_OK = 200


class Misbehaving:
    """Wraps the answers of an API. It begins, and ends after a reset, as ``start`` says."""

    def __init__(self, seed: int, start: Behaviour, wrong: Mapping[str, Any]) -> None:
        self.behaviour = start
        self._start = start
        self._wrong = wrong
        self._rng = random.Random(seed)  # noqa: S311 - behaviour, not secrets

    async def answer(self, request: Request, good: Callable[[], Response]) -> Response:
        """Answer, or go wrong in the way that the dice and the behaviour choose."""
        mishap = self.behaviour.mishap(self._rng)
        if mishap is Mishap.HANG:
            await self._hang(request)
        await asyncio.sleep(seconds_of(self.behaviour, mishap, self._rng))
        if mishap is Mishap.ERROR:
            return serving.problem(500, "Internal error", "Something is not well here today.")
        if mishap is Mishap.RATE_LIMIT:
            response = serving.problem(429, "Too many requests", "Ask again later.")
            response.headers["Retry-After"] = str(self.behaviour.retry_after_seconds)
            return response
        response = good()
        if mishap is Mishap.GARBAGE and response.status_code == _OK:
            return self._spoilt(response)
        return response

    @staticmethod
    async def _hang(request: Request) -> None:
        async with asyncio.timeout(HANG_SECONDS_MAX):
            while (await request.receive())["type"] != "http.disconnect":
                pass

    def _spoilt(self, response: Response) -> Response:
        match self.behaviour.garbage:
            case "html":
                return PlainTextResponse("<html><body>Sign in</body></html>", media_type="text/html")
            case "truncated":
                body = bytes(response.body)
                return Response(body[: len(body) // 2], media_type="application/json")
        return serving.JsonResponse(self._wrong)

    def routes(self) -> list[Route]:
        """Return ``GET|PUT|DELETE /admin/behaviour``."""
        admin: Mapping[str, Callable[[Request], Awaitable[Response]]] = {
            "GET": self._get,
            "PUT": self._put,
            "DELETE": self._reset,
        }
        return [Route("/admin/behaviour", endpoint, methods=[method]) for method, endpoint in admin.items()]

    async def _get(self, _request: Request) -> Response:
        return serving.JsonResponse(self.behaviour.dump())

    async def _put(self, request: Request) -> Response:
        try:
            document = orjson.loads(await request.body())
        except orjson.JSONDecodeError:
            return serving.invalid([{"field": "body", "message": "must be JSON"}])
        behaviour, errors = parse_behaviour(self._start, document)
        if errors:
            return serving.invalid(errors)
        self.behaviour = behaviour
        return serving.JsonResponse(behaviour.dump())

    async def _reset(self, _request: Request) -> Response:
        self.behaviour = self._start
        return serving.JsonResponse(self.behaviour.dump())
