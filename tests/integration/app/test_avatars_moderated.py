"""Avatars whose moderation is another program that goes wrong: a worker's side of it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from app.database.engine import Database
from app.ingest.listing import Spec
from tests.support.avatars import PATH, ended, post, request
from tests.support.postgres import PostgresServer
from tests.support.programs import HTTP, Program, running
from tests.support.queue import insert
from tests.support.service import ServiceProcess
from tests.support.upstream import Mood, Upstream
from tests.support.waiting import eventually

SLOW_SECONDS = 10
QUEUED_AVATARS = 30
FILE_JOBS = 20
FILE_JOBS_SECONDS_MAX = 8.0
"""For all of them, on a machine that does other things too; alone they take about a second."""


@pytest.fixture(scope="module")
def moderation(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Program]:
    log = tmp_path_factory.mktemp("moderation") / "log"
    arguments = ("--behaviour", json.dumps({"latency_median_ms": 5}))
    with running("chaos.upstreams.moderation", *arguments, log=log) as program:
        yield program


@pytest.fixture
def behave(moderation: Program) -> Iterator[Callable[..., None]]:
    def behave(**behaviour: Any) -> None:
        assert HTTP.put(f"{moderation.url}/admin/behaviour", json=behaviour).status_code == 200

    yield behave
    HTTP.delete(f"{moderation.url}/admin/behaviour")


@pytest.fixture(scope="module")
def http_settings(service_settings: dict[str, str], moderation: Program) -> dict[str, str]:
    """Of a worker that has this program moderate."""
    return {
        **service_settings,
        "DCS_AVATARS_MODERATION": "http",
        "DCS_AVATARS_MODERATION_URL": moderation.url,
        "DCS_AVATARS_MODERATION_TIMEOUT_SECONDS": "2",
        "DCS_AVATARS_BREAKER_OPEN_SECONDS": "0.5",
        "DCS_SOURCES_ALLOW": json.dumps([moderation.url]),
    }


@pytest.fixture(scope="module")
def asking(http_settings: dict[str, str]) -> Iterator[ServiceProcess]:
    """A worker that has this program moderate."""
    with closing(ServiceProcess("app.worker", http_settings)) as process:
        process.wait_until_live()
        yield process


@pytest.fixture(scope="module")
def impatient(service_settings: dict[str, str]) -> Iterator[ServiceProcess]:
    """An API whose avatars are tried twice."""
    settings = {**service_settings, "DCS_AVATARS_MAX_ATTEMPTS": "2"}
    with closing(ServiceProcess("app.main", settings)) as process:
        process.wait_until_live()
        yield process


def test_it_moderates_by_api_and_says_so(
    api: ServiceProcess, asking: ServiceProcess, moderation: Program
) -> None:
    good = post(api, json={"prompt": "a lighthouse"}).json()["job_id"]
    bad = post(api, json={"prompt": "a beheaded corpse"}).json()["job_id"]
    assert ended(api, good)["status"] == "ready"
    rejected = ended(api, bad)
    assert (rejected["status"], rejected["rejection"]["category"]) == ("rejected", "violence")
    assert asking.metric("dcs_moderation_requests_total", outcome="ok") == 2
    assert asking.metric("dcs_moderation_request_duration_seconds_count") >= 2
    assert asking.metric("dcs_avatars_rejected_total", category="violence") == 1
    line = [line for line in asking.events("moderation_call_completed") if line["job_id"] == good][-1]
    assert line["outcome"] == "ok"
    assert line["attempt"] >= 1
    assert line["target"] == f"{moderation.url}/v1/moderate"


@pytest.mark.parametrize(
    ("behaviour", "reason"),
    [
        ({"error_rate": 1}, "server_error"),
        ({"garbage_rate": 1}, "invalid_response"),
        ({"hang_rate": 1}, "timeout"),
    ],
)
def test_without_an_answer_there_is_never_an_image_and_with_one_there_is(  # noqa: PLR0917  fixtures
    api: ServiceProcess,
    impatient: ServiceProcess,
    asking: ServiceProcess,
    behave: Callable[..., None],
    behaviour: dict[str, Any],
    reason: str,
) -> None:
    ended_failed = asking.metric("dcs_avatars_total", outcome="failed")
    behave(**behaviour)
    doomed = post(impatient, json={"prompt": f"a fox {reason}"}).json()["job_id"]
    waiting = post(api, json={"prompt": f"an owl {reason}"}).json()["job_id"]
    failed = ended(impatient, doomed)
    assert (failed["status"], failed["attempt"]) == ("failed", 2)
    assert failed["error"]["reason"] == f"moderation_{reason}"
    assert request(impatient, "GET", f"{PATH}/{doomed}/image").status_code == 404
    assert asking.metric("dcs_avatars_total", outcome="failed") == ended_failed + 1
    queued = request(api, "GET", f"{PATH}/{waiting}").json()
    assert queued["status"] in ("queued", "moderating")
    unfinished = request(api, "GET", f"{PATH}/{waiting}/image")
    assert (unfinished.status_code, unfinished.headers["retry-after"]) == (409, "1")
    behave()
    assert ended(api, waiting)["status"] == "ready"
    assert asking.metric("dcs_moderation_breaker_state") == 0


def test_it_comes_back_when_it_was_asked_to_and_not_before(
    api: ServiceProcess, asking: ServiceProcess, moderation: Program, behave: Callable[..., None]
) -> None:
    behave(rate_limit_rate=1, retry_after_seconds=3)
    limited = moderation.metric("lab_upstream_requests_total", status="429")
    held_back = asking.metric("dcs_moderation_requests_total", outcome="breaker_open")
    ids = [post(api, json={"prompt": f"fox {n}"}).json()["job_id"] for n in range(5)]
    eventually(
        lambda: asking.metric("dcs_moderation_requests_total", outcome="breaker_open") >= held_back + 2,
        within_seconds=10,
        what="the others are held back",
    )
    behave()
    assert {ended(api, job_id)["status"] for job_id in ids} == {"ready"}
    assert moderation.metric("lab_upstream_requests_total", status="429") == limited + 1


def test_one_that_was_cancelled_while_nobody_answered_has_no_image(
    api: ServiceProcess, asking: ServiceProcess, behave: Callable[..., None]
) -> None:
    behave(hang_rate=1)
    job_id = post(api, json={"prompt": "a crane"}).json()["job_id"]
    assert api.post(f"/api/v1/jobs/{job_id}/cancel").is_success
    status = ended(api, job_id)
    assert (status["status"], status["error"]["reason"]) == ("failed", "cancelled")


def test_what_was_answered_is_not_asked_again_when_the_job_runs_again(
    api: ServiceProcess, asking: ServiceProcess, postgres: PostgresServer, database_name: str
) -> None:
    job_id = post(api, json={"prompt": "a heron"}).json()["job_id"]
    assert ended(api, job_id)["status"] == "ready"
    calls = asking.metric("dcs_moderation_requests_total", outcome="ok")
    reused = asking.metric("dcs_avatars_verdicts_reused_total")
    # As a worker leaves them that dies between the verdict and the image.
    postgres.execute(
        f"UPDATE avatars SET stage = 'generating', image = NULL, svg = NULL WHERE job_id = '{job_id}'; "  # noqa: S608
        f"UPDATE jobs SET state = 'queued', finished_at = NULL, run_at = now() WHERE id = '{job_id}'",
        database_name,
    )
    again = ended(api, job_id)
    assert (again["status"], again["attempt"]) == ("ready", 2)
    assert asking.metric("dcs_moderation_requests_total", outcome="ok") == calls
    assert asking.metric("dcs_avatars_verdicts_reused_total") == reused


def test_an_answer_that_helps_nobody_ends_it_at_once(
    api: ServiceProcess, asking: ServiceProcess, http_settings: dict[str, str]
) -> None:
    asking.terminate()
    url = f"{http_settings['DCS_AVATARS_MODERATION_URL']}/nowhere"
    with closing(ServiceProcess("app.worker", {**http_settings, "DCS_AVATARS_MODERATION_URL": url})) as lost:
        lost.wait_until_live()
        status = ended(api, post(api, json={"prompt": "a stork"}).json()["job_id"])
        assert (status["status"], status["attempt"]) == ("failed", 1)
        assert status["error"]["reason"] == "moderation_client_error"
        assert lost.metric("dcs_moderation_requests_total", outcome="client_error") == 1


def test_a_slow_moderation_and_a_slow_store_leave_a_thread_to_others(  # noqa: PLR0917  fixtures
    api: ServiceProcess,
    http_settings: dict[str, str],
    behave: Callable[..., None],
    upstream: Upstream,
    database: Database,
    tmp_path: Path,
) -> None:
    behave(slow_rate=1, slow_seconds=SLOW_SECONDS)
    (tmp_path / "key").write_text("any")
    spec = Spec(client_id="acme", prefix="acme/")
    avatar = post(api, json={"prompt": "a slow one"}).json()["job_id"]
    listing = insert(database, kind="ingest_list", config={"spec": spec.as_config(), "cause": "manual"})
    settings = {
        **http_settings,
        "DCS_WORKER_THREADS": "2",
        "DCS_AVATARS_MODERATION_TIMEOUT_SECONDS": "15",
        "DCS_DRAIN_TIMEOUT_SECONDS": "0.5",
        "DCS_INGEST_BUCKET": "landing",
        "DCS_S3_ENDPOINT": upstream.url,
        "DCS_S3_ACCESS_KEY_FILE": str(tmp_path / "key"),
        "DCS_S3_SECRET_KEY_FILE": str(tmp_path / "key"),
        "DCS_S3_READ_TIMEOUT_SECONDS": "30",
    }
    upstream.hold()

    def running() -> list[str]:
        jobs = api.get("/api/v1/jobs", params={"status": "running"}).json()["jobs"]
        return [job["job_id"] for job in jobs if job["job_id"] in {avatar, str(listing)}]

    with closing(ServiceProcess("app.worker", settings)) as worker:
        worker.wait_until_live()
        eventually(running, within_seconds=10, what="one of the two runs")
        file = api.trigger("file", {"path": "acme/assets.csv"}).json()["job_id"]
        eventually(
            lambda: api.get(f"/api/v1/jobs/status/{file}").json()["status"] == "succeeded",
            within_seconds=SLOW_SECONDS - 2,
            what="a file job runs beside them",
        )
        assert len(running()) == 1
    upstream.mood = Mood.ERROR  # no listing of a bucket, either
    upstream.released.set()


def test_answers_of_ten_seconds_starve_nobody(
    api: ServiceProcess, http_settings: dict[str, str], behave: Callable[..., None]
) -> None:
    behave(slow_rate=1, slow_seconds=SLOW_SECONDS)
    settings = {
        **http_settings,
        "DCS_WORKER_THREADS": "3",
        "DCS_AVATARS_CONCURRENCY_MAX": "2",
        "DCS_AVATARS_MODERATION_TIMEOUT_SECONDS": "15",
        "DCS_DRAIN_TIMEOUT_SECONDS": "0.5",
    }
    avatars = [post(api, json={"prompt": f"slow {n}"}).json()["job_id"] for n in range(QUEUED_AVATARS)]

    def statuses() -> list[str]:
        page = request(api, "GET", PATH, params={"limit": "100"}).json()["avatars"]
        return [one["status"] for one in page if one["job_id"] in avatars]

    with closing(ServiceProcess("app.worker", settings)) as worker:
        worker.wait_until_live()
        eventually(
            lambda: statuses().count("moderating") >= 2, within_seconds=10, what="two are being moderated"
        )
        assert statuses().count("moderating") == 2
        files = [api.trigger("file", {"path": "acme/assets.csv"}).json()["job_id"] for _ in range(FILE_JOBS)]

        def all_done() -> bool:
            assert statuses().count("moderating") <= 2, "the bulkhead holds"
            answers = [api.get(f"/api/v1/jobs/status/{job_id}").json()["status"] for job_id in files]
            return set(answers) == {"succeeded"}

        eventually(all_done, within_seconds=FILE_JOBS_SECONDS_MAX, what="file jobs run beside avatars")
        assert statuses().count("queued") > QUEUED_AVATARS / 2, "avatars wait as long as ever"
