"""Health checks and metrics. None of them touches a dependency, so none can hang with one."""

from __future__ import annotations

import time

from fastapi import APIRouter, Request, Response
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from app import __version__
from app.health.probe import DependencyProbe
from app.health.schemas import Dependency, Health, Liveness, Readiness
from app.telemetry import tally
from app.telemetry.logging import tell_now

router = APIRouter(tags=["operations"])


def _health(probe: DependencyProbe, instance: str) -> Health:
    now = time.monotonic()
    dependencies = {
        name: Dependency(
            status="down" if finding.reason else "up",
            reason=finding.reason,
            target=probe.targets[name],
            checked_seconds_ago=round(now - finding.checked_at, 3),
        )
        for name, finding in sorted(probe.findings.items())
    }
    degraded = any(dependency.status == "down" for dependency in dependencies.values())
    return Health(
        status="degraded" if degraded else "ok",
        version=__version__,
        instance=instance,
        dependencies=dependencies,
    )


@router.get("/health")
async def health(request: Request) -> Health:
    """Answer 200 while this process serves, and list what it needs as last probed."""
    return _health(request.app.state.probe, request.app.state.settings.instance)


@router.get("/health/live")
async def live() -> Liveness:
    """Answer while the process lives."""
    return Liveness()


@router.get("/health/ready", responses={503: {"model": Readiness}})
async def ready(request: Request, response: Response) -> Readiness:
    """Answer 503 only while starting, draining or unmigrated; never because something shared is down."""
    state, probe = request.app.state, request.app.state.probe
    readiness = Readiness(status="ready")
    if state.draining.is_set():
        readiness = Readiness(status="draining")
    elif not probe.started:
        readiness = Readiness(status="starting")
    elif probe.unmigrated:
        readiness = Readiness(status="unmigrated")
    if readiness.status != "ready":
        response.status_code = 503
    return readiness


@router.get("/metrics", include_in_schema=False)
async def metrics() -> Response:
    """Return all metrics in the text format."""
    tell_now()
    tally.settle()
    return Response(generate_latest(), media_type=CONTENT_TYPE_LATEST)
