"""Answers about jobs that succeeded come from the cache, to those who may have them."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from contextlib import closing
from uuid import UUID, uuid4

import pytest

from app.cache.cache import Cache, Lifetime
from app.cache.entry import CacheArea, CacheKey
from app.cache.settings import CacheSettings
from app.errors import JobNotFoundError
from app.jobs.caching import FinishedJobs
from app.jobs.schemas import JobResult
from app.models import JobState
from tests.support.service import ServiceProcess, Start
from tests.support.tcp import PathState, TcpForwarder
from tests.support.valkey import ValkeyServer
from tests.support.waiting import eventually

JOB = uuid4()


def answer(state: JobState, job_id: UUID = JOB) -> JobResult:
    return JobResult(
        job_id=job_id, status=state, record_count=1, error=None, records=[{"n": 2**70}], next_after=None
    )


@pytest.fixture
def cache(valkey: ValkeyServer) -> Iterator[Cache]:
    with closing(Cache(valkey.url, CacheSettings(cache_timeout_seconds=5))) as cache:
        yield cache


@pytest.mark.parametrize(
    ("state", "loads"), [(JobState.SUCCEEDED, 1), (JobState.FAILED, 2), (JobState.DEAD, 2)]
)
def test_only_what_can_never_change_is_kept(cache: Cache, state: JobState, loads: int) -> None:
    asked: list[JobResult] = []
    job_id = uuid4()

    def load() -> JobResult:
        asked.append(answer(state, job_id))
        return asked[-1]

    finished = FinishedJobs(cache, 60)
    assert [finished.result(job_id, "acme", (-1, 100), load) for _ in range(2)] == [asked[0]] * 2
    assert len(asked) == loads


def test_an_answer_about_another_job_is_not_believed(cache: Cache) -> None:
    key = CacheKey(CacheArea.RESULT, "acme", (str(JOB), "-1", "100"))
    cache.put(key, answer(JobState.SUCCEEDED, uuid4()).model_dump_json().encode(), Lifetime(60))
    right = answer(JobState.SUCCEEDED)
    assert FinishedJobs(cache, 60).result(JOB, "acme", (-1, 100), lambda: right) == right


def test_with_no_time_nothing_is_kept(cache: Cache) -> None:
    asked: list[int] = []

    def load() -> JobResult:
        asked.append(1)
        return answer(JobState.SUCCEEDED)

    for _ in range(2):
        FinishedJobs(cache, 0).result(JOB, "acme", (-1, 1), load)
    assert len(asked) == 2


def test_what_one_client_was_told_another_is_not(cache: Cache) -> None:
    def load() -> JobResult:
        raise JobNotFoundError

    finished, job_id = FinishedJobs(cache, 60), uuid4()
    finished.result(job_id, "acme", (-1, 1), lambda: answer(JobState.SUCCEEDED, job_id))
    with pytest.raises(JobNotFoundError):
        finished.result(job_id, "other", (-1, 1), load)


def succeeded(api: ServiceProcess, path: str) -> bool:
    return bool(api.get(path).json()["status"] == "succeeded")


def test_results_are_read_while_the_database_is_away(
    start: Start, worker: ServiceProcess, service_settings: dict[str, str]
) -> None:
    with TcpForwarder(("127.0.0.1", int(service_settings["DCS_DATABASE_PORT"]))) as path:
        api = start("app.main", DCS_DATABASE_PORT=str(path.port))
        ids = [api.trigger("file", {"path": "acme/assets.csv"}).json()["job_id"] for _ in range(2)]
        for job_id in ids:
            done = functools.partial(succeeded, api, f"/api/v1/jobs/status/{job_id}")
            eventually(done, within_seconds=20, what="the job is done")
        known, unknown = ids
        before = api.get(f"/api/v1/jobs/result/{known}").raise_for_status().json()
        path.set_state(PathState.REFUSE)
        during = api.get(f"/api/v1/jobs/result/{known}")
        assert (during.status_code, during.json()) == (200, before)
        assert api.get(f"/api/v1/jobs/status/{known}").status_code == 200
        # What nobody had asked for before, and what another client asks for, needs the database.
        assert api.get(f"/api/v1/jobs/result/{unknown}").status_code == 503
        assert api.metric("dcs_cache_requests_total", area="result", outcome="hit") == 1
