from __future__ import annotations

from collections import Counter

import pytest

from chaos.traffic.load import outcome_of
from chaos.traffic.mix import JOBS_REMEMBERED, Ask, Client


def settled(seed: int = 1, number: int = 1) -> Client:
    """Return a client that knows a running and a finished job, as in steady state."""
    client = Client(number, 20, seed)
    trigger = Ask("trigger", body={})
    for job in ("job-1", "job-2"):
        client.learn(trigger, 202, {"job_id": job, "status": "queued"})
    client.learn(Ask("status", job_id="job-1"), 200, {"status": "succeeded"})
    return client


def test_the_steady_mix_is_about_40_40_20_and_some_avatars() -> None:
    client = settled()
    kinds = Counter(client.next().kind for _ in range(5_000))
    assert kinds["trigger"] == pytest.approx(2_000, rel=0.1)
    assert kinds["status"] == pytest.approx(2_000, rel=0.1)
    assert kinds["result"] == pytest.approx(1_000, rel=0.1)
    assert 60 < kinds["avatar"] < 140


def kinds_of(client: Client) -> set[str]:
    return {client.next().kind for _ in range(300)}


def test_a_client_without_jobs_can_only_trigger_and_each_source_has_its_share() -> None:
    client = Client(1, 20, 1)
    asks = [client.next() for _ in range(300)]
    assert {ask.kind for ask in asks} == {"trigger", "avatar"}
    sources = Counter(ask.body["source_type"] for ask in asks if ask.kind == "trigger" and ask.body)
    assert set(sources) == {"file", "api", "database"}
    assert min(sources.values()) > 70


def test_answers_do_not_shift_the_sequence_of_a_seed() -> None:
    forgetful, knowing = Client(1, 20, 1), settled()
    pairs = [(forgetful.next(), knowing.next()) for _ in range(200)]
    assert all(mine == theirs for mine, theirs in pairs if theirs.kind == "trigger")


def test_phases_spread_all_clients_evenly_in_an_order_of_the_seed() -> None:
    phases = [Client(number, 20, 1).phase for number in range(1, 21)]
    assert sorted(phases) == [number / 20 for number in range(20)]
    assert phases != [Client(number, 20, 2).phase for number in range(1, 21)]


def test_a_job_the_service_forgot_is_not_asked_for_again() -> None:
    client = settled()
    client.learn(Ask("status", job_id="job-2"), 404, {})
    client.learn(Ask("result", job_id="job-1"), 404, {})
    assert kinds_of(client) == {"trigger", "avatar"}


@pytest.mark.parametrize("job_id", ["../../health", "", "a b", "x" * 65, 7, None, "a\n"])
def test_a_job_id_that_could_leave_its_path_is_not_used(job_id: object) -> None:
    client = Client(1, 20, 1)
    client.learn(Ask("trigger", body={}), 202, {"job_id": job_id})
    assert kinds_of(client) == {"trigger", "avatar"}


def test_old_jobs_are_forgotten() -> None:
    client = Client(1, 20, 1)
    for number in range(JOBS_REMEMBERED + 5):
        client.learn(Ask("trigger", body={}), 202, {"job_id": f"job-{number}"})
    asked = {ask.job_id for ask in (client.next() for _ in range(2_000)) if ask.job_id}
    assert asked == {f"job-{number}" for number in range(5, JOBS_REMEMBERED + 5)}


def test_asks_name_their_request() -> None:
    assert (Ask("trigger").method, Ask("trigger").path) == ("POST", "/api/v1/jobs/trigger")
    assert (Ask("avatar").method, Ask("avatar").path) == ("POST", "/api/v1/avatars")
    assert (Ask("result", "j").method, Ask("result", "j").path) == ("GET", "/api/v1/jobs/result/j")


@pytest.mark.parametrize(
    ("status", "outcome"), [(200, "ok"), (202, "ok"), (404, "http_4xx"), (409, "http_4xx"), (503, "http_5xx")]
)
def test_outcomes(status: int, outcome: str) -> None:
    assert outcome_of(status) == outcome
