"""The pager's HTTP interface."""

from __future__ import annotations

import logging
import math
import time

import orjson
from prometheus_client import CollectorRegistry, Counter
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from chaos.pager.store import NotificationStore
from chaos.pager.webhook import STATUSES, webhook_errors
from chaos.upstreams import serving

PROGRAM = "pager"
RECEIVERS = ("pager", "tickets", "deadman")
BODY_MAX_BYTES = 1024 * 1024
LIMIT_DEFAULT = 1_000
LIMIT_MAX = 10_000

_LOGGER = logging.getLogger(__name__)


class Pager:
    """Takes notifications, answers what it took."""

    def __init__(self, store: NotificationStore, registry: CollectorRegistry) -> None:
        self._store = store
        self._taken = Counter(
            "lab_pager_notifications_total",
            "Notifications stored, by the status of their group.",
            ["receiver", "status"],
            registry=registry,
        )
        self._refused = Counter(
            "lab_pager_refused_total", "Notifications not stored.", ["reason"], registry=registry
        )
        for receiver in RECEIVERS:
            for status in STATUSES:
                self._taken.labels(receiver, status)
        for reason in ("receiver", "body", "disk"):
            self._refused.labels(reason)

    async def notify(self, request: Request) -> Response:
        """Store one webhook. 200 only once it is on disk."""
        received_unix = time.time()  # before the body is read: arrival, not completion
        receiver: str = request.path_params["receiver"]
        if receiver not in RECEIVERS:
            self._refused.labels("receiver").inc()
            detail = f"There is no receiver {receiver[:64]!r}. Use one of {', '.join(RECEIVERS)}."
            return serving.problem(404, "Unknown receiver", detail)
        raw = await _body(request)
        if raw is None:
            self._refused.labels("body").inc()
            return serving.problem(413, "Body too large", f"Send at most {BODY_MAX_BYTES} bytes.")
        try:
            body = orjson.loads(raw)
        except orjson.JSONDecodeError as error:
            self._refused.labels("body").inc()
            return serving.problem(400, "Not JSON", f"{error}. Send an Alertmanager webhook, version 4.")
        if errors := webhook_errors(body):
            self._refused.labels("body").inc()
            _LOGGER.warning("notification_refused", extra={"receiver": receiver, "errors": errors[:5]})
            return serving.invalid(errors)
        return await self._keep(receiver, received_unix, body)

    async def _keep(self, receiver: str, received_unix: float, body: dict[str, object]) -> Response:
        try:
            number = await run_in_threadpool(self._store.add, receiver, received_unix, body)
        except OSError as error:
            # Alertmanager retries a 5xx, so nothing is lost while the disk is full.
            self._refused.labels("disk").inc()
            _LOGGER.exception("notification_not_stored", extra={"receiver": receiver})
            return serving.problem(503, "Not stored", f"{error.strerror}. Free disk space; send it again.")
        status = str(body["status"])
        self._taken.labels(receiver, status).inc()
        _LOGGER.info(
            "notification_stored",
            extra={"receiver": receiver, "status": status, "id": number, "group_key": body["groupKey"]},
        )
        return serving.JsonResponse({"id": number, "received_unix": received_unix})

    async def notifications(self, request: Request) -> Response:
        """Return stored notifications, oldest first."""
        errors = [
            {"field": name, "message": "unknown parameter; use receiver, since_unix and limit"}
            for name in request.query_params
            if name not in ("receiver", "since_unix", "limit")
        ]
        receiver = request.query_params.get("receiver")
        if receiver is not None and receiver not in RECEIVERS:
            errors.append({"field": "receiver", "message": f"must be one of {', '.join(RECEIVERS)}"})
        since_unix = _number(request.query_params.get("since_unix", "0"))
        if since_unix is None:
            errors.append({"field": "since_unix", "message": "must be a unix time in seconds"})
        limit = _number(request.query_params.get("limit", str(LIMIT_DEFAULT)))
        if limit is None or not 1 <= limit <= LIMIT_MAX or limit != int(limit):
            errors.append({"field": "limit", "message": f"must be a whole number from 1 to {LIMIT_MAX}"})
        if errors or since_unix is None or limit is None:
            return serving.invalid(errors)
        records, more = await run_in_threadpool(self._store.find, receiver, since_unix, int(limit))
        body = b'{"notifications":[%b],"more":%b}' % (b",".join(records), b"true" if more else b"false")
        return Response(body, media_type="application/json")

    def health(self) -> dict[str, object]:
        """Return what /health adds."""
        return {"notifications": len(self._store)}


async def _body(request: Request) -> bytes | None:
    """Return the body, or nothing when it is larger than the limit."""
    chunks, size = [], 0
    async for chunk in request.stream():
        size += len(chunk)
        if size > BODY_MAX_BYTES:
            return None
        chunks.append(chunk)
    return b"".join(chunks)


def _number(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def build(store: NotificationStore, registry: CollectorRegistry) -> Starlette:
    """Return the pager's application."""
    pager = Pager(store, registry)
    routes = [
        Route("/v1/notify/{receiver}", pager.notify, methods=["POST"]),
        Route("/v1/notifications", pager.notifications, methods=["GET"]),
        *serving.observability_routes(PROGRAM, registry, pager.health),
    ]
    return Starlette(routes=routes, exception_handlers=dict(serving.EXCEPTION_HANDLERS))
