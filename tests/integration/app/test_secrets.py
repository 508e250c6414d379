"""Secrets come from files, and leave them for nowhere that others can read."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from pathlib import Path

import pytest

from tests.support.service import ServiceProcess, Start
from tests.support.upstream import Mood, Upstream
from tests.support.valkey import ValkeyServer
from tests.support.waiting import eventually

CANARY = "canary-of-32-characters-or-more"
FILES = {
    "DCS_DATABASE_PASSWORD_FILE": "database",
    "DCS_REDIS_PASSWORD_FILE": "redis",
    "DCS_S3_ACCESS_KEY_FILE": "s3-access",
    "DCS_S3_SECRET_KEY_FILE": "s3-secret",
    "DCS_AVATARS_MODERATION_TOKEN_FILE": "moderation",
}


@pytest.fixture
def locked_valkey() -> Iterator[ValkeyServer]:
    """One that wants a password."""
    with closing(ValkeyServer()) as server:
        server.start("--requirepass", f"redis-{CANARY}")
        yield server


@pytest.fixture
def secrets(tmp_path: Path) -> Mapping[str, str]:
    """Settings that name files with secrets."""
    settings = {}
    for setting, name in FILES.items():
        (tmp_path / name).write_text(f"{name}-{CANARY}\n")
        settings[setting] = str(tmp_path / name)
    (tmp_path / "token").write_text(f"token-{CANARY}\n")
    tokens = f'{{"first": "{tmp_path / "token"}"}}'
    return settings | {"DCS_ACCESS_TOKEN_KEYS": tokens, "DCS_ACCESS_TOKEN_KEY": "first"}


def sees_redis(process: ServiceProcess) -> Callable[[], bool]:
    return lambda: process.metric("dcs_dependency_up", dependency="redis") == 1


def everything_shown_by(process: ServiceProcess) -> str:
    """Return what a process has in its environment and command line, has written, and answers."""
    proc = Path(f"/proc/{process.process.pid}")
    shown = [(proc / name).read_text() for name in ("environ", "cmdline")]
    return "\n".join([*shown, process.output(), process.get("/health").text, process.get("/metrics").text])


def test_no_secret_is_in_an_environment_a_log_line_or_an_answer(
    start: Start, secrets: Mapping[str, str], locked_valkey: ValkeyServer, upstream: Upstream
) -> None:
    settings = {**secrets, "DCS_REDIS_URL": locked_valkey.url, "DCS_S3_ENDPOINT": "http://127.0.0.1:9"}
    api = start("app.main", **settings)
    worker = start("app.worker", **settings, DCS_MAX_ATTEMPTS="1")
    for process in (api, worker):
        eventually(
            sees_redis(process),
            within_seconds=10,
            what="Redis lets it in",
        )
    token = eventually(
        lambda: api.post("/api/v1/access/token").json().get("access_token"),
        within_seconds=10,
        what="limits are counted in Redis, so that tokens are issued",
    )
    assert api.metric("dcs_rate_limit_degraded") == 0
    upstream.mood = Mood.ERROR
    api.trigger("api", {"endpoint": "evidence", "resource": "controls"})
    eventually(lambda: worker.events("job_failed"), within_seconds=15, what="something has gone wrong")
    upstream.mood = Mood.GOOD
    locked_valkey.stop()
    eventually(lambda: worker.events("redis_unavailable"), within_seconds=15, what="Redis is missed")
    for process in (api, worker):
        shown = everything_shown_by(process)
        assert CANARY not in shown
        assert token not in shown
