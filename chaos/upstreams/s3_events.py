"""Turns SeaweedFS's webhooks into S3 event notifications, and brings those to the service.

``POST /v1/webhook`` as SeaweedFS sends it; ``GET|PUT|DELETE /admin/behaviour`` loses, doubles, reorders.
"""

from __future__ import annotations

import argparse
import contextlib
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from pathlib import Path
from urllib.parse import urlsplit

import orjson
from prometheus_client import CollectorRegistry
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from chaos.upstreams import s3_relay, serving
from chaos.upstreams.s3_records import GarbageError, records
from chaos.upstreams.s3_relay import Metrics, Relay

PROGRAM = "s3-events"
BODY_BYTES_MAX = 4 * 1024 * 1024
"""A notification lists every chunk of a file twice when it was replaced."""
QUEUE_MAX = 10_000
GIVE_UP_SECONDS = 300.0

_LOGGER = logging.getLogger("chaos.upstreams.s3_events")


async def _body(request: Request) -> bytes:
    """Return the body. Raises ``GarbageError`` when it is larger than any notification."""
    got = bytearray()
    async for chunk in request.stream():
        got += chunk
        if len(got) > BODY_BYTES_MAX:
            raise GarbageError(f"it has more than {BODY_BYTES_MAX} bytes")
    return bytes(got)


def build(route: s3_relay.Route, bucket: str, registry: CollectorRegistry, seed: int = 1) -> Starlette:
    """Return the program that serves one bucket."""
    metrics = Metrics(registry)
    relay = Relay(route, metrics, seed)

    def counted(outcome: str, response: Response) -> Response:
        metrics.webhooks.labels(outcome).inc()
        return response

    async def webhook(request: Request) -> Response:
        try:
            found = records(orjson.loads(await _body(request)), bucket)
        except (GarbageError, orjson.JSONDecodeError) as error:
            _LOGGER.warning("webhook_not_understood", extra={"reason": str(error)[:300]})
            return counted("garbage", serving.problem(400, "Not a notification", str(error)[:300]))
        if not found:
            return counted("ignored", serving.JsonResponse({"events": 0}))
        if not relay.offer(found):
            # It tries again a few times; then the event is lost, and the next listing finds the file.
            return counted("refused", serving.problem(503, "Queue full", "Send it again later."))
        return counted("taken", serving.JsonResponse({"events": len(found)}, status_code=202))

    @contextlib.asynccontextmanager
    async def lifespan(_app: Starlette) -> AsyncIterator[None]:
        async with serving.background(relay.run()):
            yield

    routes = [
        Route("/v1/webhook", webhook, methods=["POST"]),
        *_admin(relay),
        *serving.observability_routes(
            PROGRAM, registry, lambda: {"bucket": bucket, "target": route.target, "waiting": relay.waiting}
        ),
    ]
    return Starlette(routes=routes, exception_handlers=dict(serving.EXCEPTION_HANDLERS), lifespan=lifespan)


def _admin(relay: Relay) -> list[Route]:
    async def get(_request: Request) -> Response:
        return serving.JsonResponse(relay.unreliability.dump())

    async def put(request: Request) -> Response:
        try:
            document = orjson.loads(await request.body())
        except orjson.JSONDecodeError:
            return serving.invalid([{"field": "body", "message": "must be JSON"}])
        wanted, errors = s3_relay.parse_unreliability(document)
        if errors:
            return serving.invalid(errors)
        relay.unreliability = wanted
        return serving.JsonResponse(wanted.dump())

    async def reset(request: Request) -> Response:
        relay.unreliability = s3_relay.RELIABLE
        return await get(request)

    admin: Mapping[str, Callable[[Request], Awaitable[Response]]] = {"GET": get, "PUT": put, "DELETE": reset}
    return [Route("/admin/behaviour", endpoint, methods=[method]) for method, endpoint in admin.items()]


def _origin(value: str) -> str:
    parts = urlsplit(value)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.path not in ("", "/"):
        message = f"{value!r} is not an HTTP origin such as http://127.0.0.1:18000"
        raise argparse.ArgumentTypeError(message)
    return value.rstrip("/")


def main() -> None:
    """Relay until SIGTERM."""
    parser = serving.arguments("chaos.upstreams.s3_events", __doc__)
    parser.add_argument("--target", type=_origin, required=True, help="origin of the service")
    parser.add_argument(
        "--key-file",
        type=serving.existing_file,
        required=True,
        help="API key, scopes ingest:write, ingest:events",
    )
    parser.add_argument("--bucket", required=True, help="whose events are relayed")
    parser.add_argument(
        "--queue-max", type=int, default=QUEUE_MAX, choices=range(1, 1_000_001), metavar="1..1000000"
    )
    parser.add_argument(
        "--give-up-seconds", type=float, default=GIVE_UP_SECONDS, help="after which a batch is dropped"
    )
    parser.add_argument("--seed", type=int, default=1, help="what mishaps are drawn from")
    options = parser.parse_args()
    key_file: Path = options.key_file
    with serving.reporting_errors(PROGRAM):
        route = s3_relay.Route(
            options.target, key_file.read_text("utf-8").strip(), options.queue_max, options.give_up_seconds
        )
        app = build(route, options.bucket, serving.new_registry(), options.seed)
        with serving.listen(options.host, options.port) as listener:
            serving.serve(app, listener)


if __name__ == "__main__":
    main()
