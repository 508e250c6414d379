"""Whoever stops the service must give it the time that it takes to end in order."""

from __future__ import annotations

from pathlib import Path

import pytest
from fastapi import FastAPI

from app.main import server_config
from app.settings import Settings
from app.telemetry.otlp import SHUTDOWN_SECONDS_MAX
from app.worker import LAST_SECONDS, RELEASE_SECONDS_MAX
from chaos.config import LabConfig
from chaos.domain.topology import embedded_topology
from chaos.stacks.embedded.daemon import Context, Daemon
from chaos.stacks.embedded.daemons import api, worker
from chaos.stacks.embedded.layout import Layout


@pytest.fixture
def daemons(tmp_path: Path) -> list[Daemon]:
    config = LabConfig(id="unit", state_root=tmp_path / "labs", cache_dir=tmp_path / "cache")
    context = Context(config, embedded_topology(config.id, 18000), Layout(config.state_dir), {})
    return [*api.daemons(context), *worker.daemons(context)]


def test_the_supervisor_of_the_lab_waits_for_the_drain_the_last_query_and_the_logs(
    daemons: list[Daemon],
) -> None:
    assert len(daemons) == 4
    for daemon in daemons:
        needed = (
            float(daemon.env["DCS_DRAIN_TIMEOUT_SECONDS"])
            + float(daemon.env["DCS_DATABASE_QUERY_DEADLINE_SECONDS"])
            + SHUTDOWN_SECONDS_MAX
        )
        assert daemon.stop_seconds > needed, daemon.name


def test_by_default_everything_together_ends_within_25_seconds() -> None:
    logs_and_traces = 2 * SHUTDOWN_SECONDS_MAX
    worker = Settings().drain_timeout_seconds + LAST_SECONDS + RELEASE_SECONDS_MAX + logs_and_traces
    assert worker < 24  # a busy machine needs a moment


def test_the_api_drains_no_longer_than_set() -> None:
    assert server_config(FastAPI(), Settings(drain_timeout_seconds=7.5)).timeout_graceful_shutdown == 8
