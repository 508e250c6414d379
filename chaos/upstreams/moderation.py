"""A third party's moderation API: scores text and images per category, as well or as badly as it is told to.

``POST /v1/moderate`` with ``{"text": …}`` or ``{"image_base64": …}``; ``GET|PUT|DELETE /admin/behaviour``
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import binascii
import hashlib
import random
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import orjson
from prometheus_client import CollectorRegistry, Counter, Histogram
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from chaos.upstreams import serving
from chaos.upstreams.moderation_behaviour import Behaviour, Mishap, parse_behaviour, seconds_of
from chaos.upstreams.moderation_scores import score_image, score_text

PROGRAM = "moderation-api"
MODEL = "lab-moderation-3"
FLAGGED_FROM = 0.85
BODY_BYTES_MAX = 8 * 1024**2
TEXT_CHARACTERS_MAX = 10_000
REMEMBERED_MAX = 10_000
KEY_CHARACTERS_MAX = 200
HANG_SECONDS_MAX = 600.0

Answer = Mapping[str, Any]


class Moderation:
    """The API: what it scores, how it behaves, and what it answered to each Idempotency-Key."""

    def __init__(self, seed: int, behaviour: Behaviour, registry: CollectorRegistry) -> None:
        self.behaviour = behaviour
        self._start = behaviour
        self._rng = random.Random(seed)  # noqa: S311 - behaviour, not secrets
        self._answered: OrderedDict[str, tuple[str, Answer]] = OrderedDict()
        self._requests = Counter(
            "lab_upstream_requests_total",
            "Requests answered by an upstream.",
            ["upstream", "resource", "status"],
            registry=registry,
        )
        self._requests.labels("moderation", "moderate", "200")
        self._seconds = Histogram(
            "lab_upstream_delay_seconds",
            "How long an upstream kept its clients waiting on purpose.",
            ["upstream"],
            buckets=(0.01, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30),
            registry=registry,
        )
        self._seconds.labels("moderation")

    async def moderate(self, request: Request) -> Response:
        """Answer, or go wrong in the way that the dice and the behaviour choose."""
        mishap = self.behaviour.mishap(self._rng)
        delay_seconds = seconds_of(self.behaviour, mishap, self._rng)
        if mishap is Mishap.HANG:
            await self._hang(request)
        self._seconds.labels("moderation").observe(delay_seconds)
        await asyncio.sleep(delay_seconds)
        response = await self._spoilt(request, mishap)
        self._requests.labels("moderation", "moderate", str(response.status_code)).inc()
        return response

    @staticmethod
    async def _hang(request: Request) -> None:
        """Say nothing until the client gives up."""
        async with asyncio.timeout(HANG_SECONDS_MAX):
            while (await request.receive())["type"] != "http.disconnect":
                pass

    async def _spoilt(self, request: Request, mishap: Mishap | None) -> Response:
        if mishap is Mishap.ERROR:
            return serving.problem(500, "Internal error", "The model is not well today.")
        if mishap is Mishap.RATE_LIMIT:
            response = serving.problem(429, "Too many requests", "Ask again later.")
            response.headers["Retry-After"] = str(self.behaviour.retry_after_seconds)
            return response
        response = await self._answer(request)
        if mishap is not Mishap.GARBAGE or response.status_code != 200:  # noqa: PLR2004
            return response
        kind = self.behaviour.garbage
        if kind == "html":
            return PlainTextResponse("<html><body>Sign in to continue</body></html>", media_type="text/html")
        if kind == "truncated":
            half = bytes(response.body)[: len(response.body) // 2]
            return Response(half, media_type="application/json")
        return serving.JsonResponse({"id": "mod-0", "scores": {"hate": "none"}, "flagged": "no"})

    async def _answer(self, request: Request) -> Response:
        body = await _limited(request)
        if body is None:
            return serving.problem(413, "Too large", f"At most {BODY_BYTES_MAX} bytes.")
        key = request.headers.get("idempotency-key", "")[:KEY_CHARACTERS_MAX]
        digest = hashlib.sha256(body).hexdigest()
        if key in self._answered:
            asked, answered = self._answered[key]
            if asked != digest:
                detail = "This Idempotency-Key was used for other content. Use a new one."
                return serving.problem(409, "Conflict", detail)
            return serving.JsonResponse(answered, headers={"Idempotent-Replayed": "true"})
        scores, error = _scores(body)
        if scores is None:
            return serving.invalid([{"field": "body", "message": error}])
        answer: Answer = {
            "id": f"mod-{digest[:16]}",
            "scores": scores,
            "flagged": max(scores.values()) >= FLAGGED_FROM,
            "model": MODEL,
        }
        if key:
            self._answered[key] = (digest, answer)
            if len(self._answered) > REMEMBERED_MAX:
                self._answered.popitem(last=False)
        return serving.JsonResponse(answer)

    async def get_behaviour(self, _request: Request) -> Response:
        """Tell how it behaves."""
        return serving.JsonResponse(self.behaviour.dump())

    async def put_behaviour(self, request: Request) -> Response:
        """Behave as told; what is left out is as at the start."""
        try:
            document = orjson.loads(await request.body())
        except orjson.JSONDecodeError:
            return serving.invalid([{"field": "body", "message": "must be JSON"}])
        behaviour, errors = parse_behaviour(self._start, document)
        if errors:
            return serving.invalid(errors)
        self.behaviour = behaviour
        return serving.JsonResponse(behaviour.dump())

    async def reset_behaviour(self, _request: Request) -> Response:
        """Behave as at the start."""
        self.behaviour = self._start
        return serving.JsonResponse(self.behaviour.dump())


async def _limited(request: Request) -> bytes | None:
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > BODY_BYTES_MAX:
            return None
    return bytes(body)


def _scores(body: bytes) -> tuple[dict[str, float] | None, str]:
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError:
        return None, "must be JSON"
    if not isinstance(document, dict) or ("text" in document) == ("image_base64" in document):
        return None, "must be an object with either text or image_base64"
    text = document.get("text")
    if isinstance(text, str) and 0 < len(text) <= TEXT_CHARACTERS_MAX:
        return score_text(text), ""
    encoded = document.get("image_base64")
    if isinstance(encoded, str):
        try:
            scores = score_image(base64.b64decode(encoded, validate=True))
        except binascii.Error:
            return None, "image_base64 must be base64"
        return scores, "image_base64 must be a PNG, JPEG or WebP image"
    return None, f"text must have 1 to {TEXT_CHARACTERS_MAX} characters"


def build(seed: int, behaviour: Behaviour, registry: CollectorRegistry) -> Starlette:
    """Return the API."""
    api = Moderation(seed, behaviour, registry)
    admin: Mapping[str, Callable[[Request], Awaitable[Response]]] = {
        "GET": api.get_behaviour,
        "PUT": api.put_behaviour,
        "DELETE": api.reset_behaviour,
    }
    routes = [
        Route("/v1/moderate", api.moderate, methods=["POST"]),
        *(Route("/admin/behaviour", endpoint, methods=[method]) for method, endpoint in admin.items()),
        *serving.observability_routes(PROGRAM, registry, lambda: {"behaviour": api.behaviour.dump()}),
    ]
    return Starlette(routes=routes, exception_handlers=dict(serving.EXCEPTION_HANDLERS))


def _options(parser: argparse.ArgumentParser) -> argparse.Namespace:
    parser.add_argument("--seed", type=int, default=1, help="what delays and mishaps are drawn from")
    parser.add_argument("--behaviour", default="{}", help="JSON, as for PUT /admin/behaviour")
    options = parser.parse_args()
    try:
        document = orjson.loads(options.behaviour)
    except orjson.JSONDecodeError:
        parser.error("--behaviour must be JSON")
    options.behaviour, errors = parse_behaviour(Behaviour(), document)
    if errors:
        parser.error("; ".join(f"--behaviour: {error['field']} {error['message']}" for error in errors))
    return options


def main() -> None:
    """Run the moderation API."""
    options = _options(serving.arguments("chaos.upstreams.moderation", __doc__))
    with serving.reporting_errors(PROGRAM):
        app = build(options.seed, options.behaviour, serving.new_registry())
        with serving.listen(options.host, options.port) as listener:
            serving.serve(app, listener)


if __name__ == "__main__":
    main()
