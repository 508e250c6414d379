"""The API: ``python -m app.main``. Wiring only."""

from __future__ import annotations

import asyncio
import math
import signal
import sys
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from types import FrameType

import anyio.to_thread
import structlog
import uvicorn
from fastapi import FastAPI

from app import __version__
from app.access import endpoints as access
from app.apidocs.document import DESCRIPTION, install_document, operation_id
from app.apidocs.page import install_page
from app.avatars import endpoints as avatars
from app.cache.cache import Cache
from app.context import Context
from app.database.engine import ConnectOptions, Database
from app.database.slots import DatabaseSlots
from app.garbage import settle
from app.health.endpoints import router as health_router
from app.health.probe import DependencyProbe
from app.ingest import endpoints as ingest
from app.jobs import endpoints as jobs
from app.jobs.batches import Batches
from app.jobs.caching import FinishedJobs
from app.jobs.service import JobService
from app.jobs.wakeups import Announcer
from app.problems import install_error_handlers
from app.settings import Settings
from app.sources.catalogue import catalogue
from app.telemetry import metrics
from app.telemetry.logging import configure_logging, tell_now
from app.telemetry.middleware import TelemetryMiddleware, initialise_routes
from app.telemetry.runtime import watch_event_loop
from app.telemetry.tracing import configure_tracing

log = structlog.get_logger()


def create_app(settings: Settings) -> FastAPI:
    """Return the API, ready to be served by one process."""
    options = ConnectOptions(
        application_name=settings.instance,
        connect_timeout=settings.database_connect_timeout_seconds,
        query_deadline=settings.database_query_deadline_seconds,
    )
    database = Database(
        settings.database,
        options,
        pool_size=settings.database_pool_size,
        pool_timeout_seconds=settings.database_pool_timeout_seconds,
    )
    announcer = Announcer(settings)
    cache = Cache(settings.redis_url.get_secret_value(), settings)
    probe = DependencyProbe(settings, database.connector)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        # Threads beyond the pool's connections would only wait for one.
        anyio.to_thread.current_default_thread_limiter().total_tokens = settings.database_pool_size
        lag = asyncio.create_task(watch_event_loop())
        probe.start()
        log.info("service_started", version=__version__, database_target=str(settings.database))
        async with app.state.access.serving():
            yield
        log.info("service_stopping")
        lag.cancel()
        probe.stop()
        announcer.close()
        cache.close()
        database.close()

    app = FastAPI(
        title="Data Collection Service",
        version=__version__,
        description=DESCRIPTION,
        lifespan=lifespan,
        generate_unique_id_function=operation_id,
        openapi_url="/openapi.json" if settings.docs_enabled else None,
        docs_url=None,
        redoc_url=None,
        # FastAPI's own, which would look for providers in every request; ours is the middleware.
        telemetry={"tracing": False, "metrics": False, "logs": False},
    )
    app.state.settings = settings
    app.state.probe = probe
    app.state.draining = threading.Event()
    slots = DatabaseSlots(
        settings.database_pool_size,
        settings.database_pool_timeout_seconds,
        waiting_max=settings.database_waiting_max,
    )
    service = JobService(
        database,
        catalogue(settings, cache),
        announcer,
        max_attempts=settings.max_attempts,
        queued_max=settings.client_queued_max,
        finished=FinishedJobs(cache, settings.cache_result_seconds),
    )
    batches = Batches(
        service.intake,
        slots,
        wait_seconds_max=settings.database_pool_timeout_seconds,
        waiting_max=settings.database_waiting_max,
    )
    context = Context(settings, database, slots, announcer, service, batches)
    app.state.context = context
    install_error_handlers(app)
    for slice_ in (jobs, access, ingest, avatars):  # routes are tried in this order: the busiest first
        slice_.install(app, context)
    app.include_router(health_router)
    routers = (health_router, *(slice_.router for slice_ in (access, jobs, ingest, avatars)))
    routes = [route for router in routers for route in router.routes]
    app.state.routes = routes
    install_document(app, routes)
    if settings.docs_enabled:
        install_page(app)
    access.guard(app, context, routes)
    app.add_middleware(TelemetryMiddleware)  # last added is outermost: it sees what the guard refuses
    metrics.initialise(
        __version__,
        host=settings.database.host,
        port=settings.database.port,
        database=settings.database.name,
    )
    initialise_routes(*routers)
    return app


class _Server(uvicorn.Server):
    """Says that it is draining before it stops listening."""

    def __init__(self, config: uvicorn.Config, draining: threading.Event) -> None:
        super().__init__(config)
        self._draining = draining

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        self._draining.set()
        super().handle_exit(sig, frame)


def server_config(app: FastAPI, settings: Settings) -> uvicorn.Config:
    """Return how the API is served. Requests in progress at the end have as long as a worker's jobs."""
    return uvicorn.Config(
        app,
        host=settings.host,
        port=settings.port,
        access_log=False,
        log_config=None,
        log_level="warning",
        ws="none",
        server_header=False,
        proxy_headers=False,  # the guard decides whose word on addresses is believed
        timeout_graceful_shutdown=math.ceil(settings.drain_timeout_seconds),
    )


def main() -> int:
    """Serve until SIGTERM, then finish the requests in progress."""
    settings = Settings()
    flush_logs = configure_logging(
        service="api",
        instance=settings.instance,
        environment=settings.environment,
        version=__version__,
        otlp_endpoint=str(settings.otlp_logs_endpoint) if settings.otlp_logs_endpoint else None,
    )
    flush_traces = configure_tracing(settings, service="api")
    app = create_app(settings)
    # uvicorn ends by raising the signal again, which would skip the flush.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda _number, _frame: sys.exit(0))
    settle()
    server = _Server(server_config(app, settings), app.state.draining)
    try:
        server.run()
    finally:
        tell_now()  # there are spans in it
        flush_traces()
        flush_logs()
    return 0 if server.started else 1


if __name__ == "__main__":
    sys.exit(main())
