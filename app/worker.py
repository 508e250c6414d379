"""The worker: ``python -m app.worker``. Wiring and the loops of its threads."""

from __future__ import annotations

import signal
import sys
import threading
import time
from collections.abc import Callable, Mapping

import structlog

from app import __version__
from app.avatars import tasks as avatars
from app.database.engine import ConnectOptions, Database
from app.garbage import settle
from app.health.probe import DependencyProbe
from app.ingest import tasks as ingest
from app.ingest.watch import watch as ingest_watch
from app.jobs.dispatcher import Dispatcher
from app.jobs.handlers import Handler
from app.jobs.leases import WATCH_SECONDS, Leases, bulkheads_max
from app.jobs.reconciler import Reconciler
from app.jobs.tasks import JobRunner
from app.jobs.wakeups import Announcer, Listener
from app.objectstore.client import close_clients
from app.settings import Settings
from app.sources import tasks as sources
from app.sources.catalogue import catalogue
from app.telemetry import metrics
from app.telemetry.exposition import serve_metrics
from app.telemetry.logging import configure_logging
from app.telemetry.metrics import runtime
from app.telemetry.tracing import configure_tracing

SUPERVISE_INTERVAL_SECONDS = 1.0
LAST_SECONDS = 1.5
"""What the dispatcher and the finisher have at least to come to an end: one wait each, at the same time."""
RELEASE_SECONDS_MAX = 1.5
"""Of a database that does not answer: the leases of the jobs end by themselves."""
# Dispatcher, finisher, heart, reconciler and watch of the bucket need one each, beside the job threads.
EXTRA_CONNECTIONS = 5

log = structlog.get_logger()


class Worker:
    """Threads that claim and run jobs, one that keeps leases alive, one that reconciles."""

    def __init__(self, settings: Settings, more_handlers: Mapping[str, Handler] | None = None) -> None:
        self._settings = settings
        options = ConnectOptions(
            application_name=settings.instance,
            connect_timeout=settings.database_connect_timeout_seconds,
            query_deadline=settings.database_query_deadline_seconds,
        )
        self._database = Database(
            settings.database,
            options,
            pool_size=settings.worker_threads + EXTRA_CONNECTIONS,
            pool_timeout_seconds=settings.database_pool_timeout_seconds,
        )
        self._stopping = threading.Event()
        self._drained = threading.Event()
        handlers = {
            **sources.handlers(catalogue(settings)),
            **ingest.handlers(settings, self._database),
            **avatars.handlers(settings, self._database),
            **(more_handlers or {}),
        }
        self._announcer = Announcer(settings)
        self._leases = Leases(
            self._database,
            owner=settings.instance,
            lease_seconds=settings.lease_seconds,
            limits={kind: handler.concurrency_max for kind, handler in handlers.items()},
            client_running_max=settings.client_running_max,
            bulkheads_max=bulkheads_max(settings.worker_threads),
            # Else the next one waits until somebody hands in a job, or for the poll.
            made_room=self._announcer.announce_here,
        )
        self._dispatcher = Dispatcher(
            self._leases,
            Listener(settings, self._stopping),
            self._stopping,
            threads=settings.worker_threads,
            store_max=settings.worker_store_max,
            poll_interval_seconds=settings.poll_interval_seconds,
        )
        self._runner = JobRunner(self._database, handlers, self._leases, self._stopping)
        self._reconciler = Reconciler(
            self._database,
            self._announcer,
            kinds=list(handlers),
            retention_days=settings.job_retention_days,
        )
        self._probe = DependencyProbe(settings, self._database.connector)
        runtime.WORKER_THREADS.set(settings.worker_threads)
        self._job_threads = [
            threading.Thread(target=self._work, name=f"jobs-{number}", daemon=True)
            for number in range(settings.worker_threads)
        ]
        self._dispatching = threading.Thread(target=self._dispatcher.run, name="dispatcher", daemon=True)
        self._finishing = threading.Thread(target=self._runner.finisher.run, name="finisher", daemon=True)
        self._helper_threads = [
            self._dispatching,
            self._finishing,
            self._helper("lease-heart", self._leases.beat, WATCH_SECONDS, self._drained),
            self._helper(
                "reconciler", self._reconciler.run_once, settings.reconcile_interval_seconds, self._stopping
            ),
        ]
        watch = ingest_watch(settings, self._database)
        if watch is not None:
            interval_seconds = settings.ingest_watch_interval_seconds
            self._helper_threads.append(
                self._helper("ingest-watch", watch.run_once, interval_seconds, self._stopping)
            )

    @staticmethod
    def _helper(
        name: str, act: Callable[[], None], interval_seconds: float, end: threading.Event
    ) -> threading.Thread:
        def loop() -> None:
            while not end.is_set():
                act()
                end.wait(interval_seconds)

        return threading.Thread(target=loop, name=name, daemon=True)

    def stop(self) -> None:
        """Claim nothing more."""
        self._stopping.set()

    def run(self) -> int:
        """Run until stopped. A thread that dies ends the process: whoever supervises it starts a new one."""
        self._probe.start()
        for thread in (*self._helper_threads, *self._job_threads):
            thread.start()
        exit_code = 0
        while not self._stopping.is_set():
            if not all(thread.is_alive() for thread in (*self._helper_threads, *self._job_threads)):
                log.critical("worker_thread_died")
                exit_code = 1
                self._stopping.set()
                break
            metrics.WORKER_HEARTBEAT.set(time.time())
            self._stopping.wait(SUPERVISE_INTERVAL_SECONDS)
        log.info("service_stopping")
        self._drain()
        return exit_code

    def _drain(self) -> None:
        give_up_at = time.monotonic() + self._settings.drain_timeout_seconds
        self._dispatcher.close()
        for thread in self._job_threads:
            thread.join(max(0.0, give_up_at - time.monotonic()))
        self._runner.finisher.close()
        last_at = max(give_up_at, time.monotonic() + LAST_SECONDS)
        for thread in (self._finishing, self._dispatching):
            thread.join(max(0.0, last_at - time.monotonic()))
        self._drained.set()
        releasing = threading.Thread(
            target=self._leases.release, args=(self._leases.snapshot(),), name="releasing", daemon=True
        )
        releasing.start()
        releasing.join(RELEASE_SECONDS_MAX)
        self._announcer.close()
        self._probe.stop()
        close_clients()
        self._database.close()

    def _work(self) -> None:
        while (held := self._dispatcher.take()) is not None:
            started = time.monotonic()
            self._runner.run(held)
            self._dispatcher.ran(time.monotonic() - started)


def main(more_handlers: Mapping[str, Handler] | None = None) -> int:
    """Work until SIGTERM, then finish or give back the jobs in progress.

    ``more_handlers`` run kinds of jobs that are not of the service, such as those of a benchmark.
    """
    settings = Settings()
    flush_logs = configure_logging(
        service="worker",
        instance=settings.instance,
        environment=settings.environment,
        version=__version__,
        otlp_endpoint=str(settings.otlp_logs_endpoint) if settings.otlp_logs_endpoint else None,
    )
    flush_traces = configure_tracing(settings, service="worker")
    metrics.initialise(
        __version__,
        host=settings.database.host,
        port=settings.database.port,
        database=settings.database.name,
    )
    metrics.initialise_worker()
    worker = Worker(settings, more_handlers)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda _number, _frame: worker.stop())
    settle()
    server = serve_metrics(settings.host, settings.port)
    log.info("service_started", version=__version__, database_target=str(settings.database))
    try:
        return worker.run()
    finally:
        server.shutdown()
        flush_traces()
        flush_logs()


if __name__ == "__main__":
    sys.exit(main())
