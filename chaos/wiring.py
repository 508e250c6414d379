"""The one place that knows which adapter stands behind which port."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass

from chaos.adapters.alertmanager import Alertmanager
from chaos.adapters.clock import SystemClock
from chaos.adapters.datapath import ServiceDataPath
from chaos.adapters.guardian import GuardianProcess, process_ref
from chaos.adapters.ingestion import Populate
from chaos.adapters.loki import Loki
from chaos.adapters.pager import Pager
from chaos.adapters.paths import ServicePaths
from chaos.adapters.postgres import PostgresAdmin
from chaos.adapters.prometheus import Prometheus
from chaos.adapters.runstore import RunStore
from chaos.adapters.toxiproxy import ToxiproxyServer
from chaos.adapters.upstreams import Upstreams
from chaos.adapters.valkey import RedisAdmin
from chaos.config import LabConfig
from chaos.domain.clients import LANDERS
from chaos.domain.clients import LEDGER as CLIENTS
from chaos.engine.nemesis.landing import Store
from chaos.engine.nemesis.run import LEASE_SECONDS, QUERY_DEADLINE_SECONDS, Parts
from chaos.engine.session import Session
from chaos.ports import Operators
from chaos.stacks.embedded import keys, objectstore
from chaos.stacks.embedded.programs import Programs
from chaos.stacks.embedded.stack import EmbeddedStack


@dataclass(frozen=True)
class Lab:
    """One lab: its stack, its runs, and what may touch them."""

    config: LabConfig
    stack: EmbeddedStack
    operators: Operators
    runs: RunStore
    redis: RedisAdmin
    close: Callable[[], None]
    """Drops every connection the adapters keep."""


def open_lab(config: LabConfig | None = None) -> Lab:
    """Wire a lab. Nothing is started and nothing is asked yet."""
    config = config or LabConfig()
    stack = EmbeddedStack(config)
    topology = stack.topology
    kept = (
        Prometheus(topology.address("prometheus").url),
        Loki(topology.address("loki").url),
        Alertmanager(topology.address("alertmanager").url),
        Pager(topology.address("pager").url),
        RedisAdmin(stack.redis_address()),
    )
    metrics, logs, alerts, notifications, cache = kept
    operators = Operators(
        stack=stack,
        service_proxies=ToxiproxyServer(
            "toxiproxy-service",
            topology.address("toxiproxy-service"),
            topology.service_proxies,
            lambda: stack.restart("toxiproxy-service"),
            lambda: stack.listens("toxiproxy-service"),
        ),
        monitoring_proxies=ToxiproxyServer(
            "toxiproxy-monitoring",
            topology.address("toxiproxy-monitoring"),
            topology.monitoring_proxies,
            lambda: stack.restart("toxiproxy-monitoring"),
            lambda: stack.listens("toxiproxy-monitoring"),
        ),
        metrics=metrics,
        logs=logs,
        alerts=alerts,
        notifications=notifications,
        database=PostgresAdmin(stack.admin_dsn),
        cache=cache,
        data_path=ServiceDataPath(topology, stack.service_settings, stack.launched_overrides),
        clock=SystemClock(),
    )

    def close() -> None:
        for adapter in kept:
            adapter.close()

    return Lab(config, stack, operators, RunStore(config.state_dir), cache, close)


def open_session(lab: Lab, lock_fd: int, say: Callable[[str], None]) -> Session:
    """Return what begins and closes runs, for the process that holds the lab's lock."""

    def guard(run_id: str, deadline_unix: float) -> GuardianProcess:
        return GuardianProcess(run_id, deadline_unix, lock_fd, lab.config.state_dir / "logs" / "guardian.log")

    return Session(lab.operators, lab.runs, guard, process_ref(os.getpid()), say)


def nemesis_parts(lab: Lab) -> Parts:
    """Return what a run of the nemesis needs of a lab that is up."""

    def key_header(name: str) -> dict[str, str]:
        return {"X-API-Key": keys.read(lab.stack.layout, name)}

    return Parts(
        operators=lab.operators,
        paths=ServicePaths(lab.stack.topology),
        processes=Programs(lab.stack),
        cache=lab.redis,
        upstreams=Upstreams(lab.stack.topology),
        store=Store(
            objectstore.landing(lab.stack.layout, lab.stack.topology.address("seaweedfs")),
            Populate(lab.stack.topology, {name: key_header(name) for name in LANDERS}),
        ),
        dsn={**lab.stack.admin_dsn(), "dbname": "dcs"},
        headers={name: key_header(name) for name in CLIENTS},
        settings={
            "DCS_LEASE_SECONDS": f"{LEASE_SECONDS:g}",
            "DCS_DATABASE_QUERY_DEADLINE_SECONDS": f"{QUERY_DEADLINE_SECONDS:g}",
        },
    )
