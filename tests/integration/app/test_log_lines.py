"""What stands in log lines: the trace of whatever they are about, and every call of something outside."""

from __future__ import annotations

import contextlib
import json
import os
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.support.access import DEFAULT_CLIENT
from tests.support.postgres import PostgresServer
from tests.support.programs import running
from tests.support.seaweed import SeaweedServer
from tests.support.service import ServiceProcess, Start
from tests.support.upstream import Mood, Upstream
from tests.support.waiting import eventually

FILE = {"path": "acme/assets.csv"}
API = {"endpoint": "evidence", "resource": "controls", "page_size": 50}
DATABASE = {"database": "acme", "query": "open_findings"}


def lines(process: ServiceProcess) -> list[dict[str, Any]]:
    found = [json.loads(line) for line in process.output().splitlines()]
    assert all({"timestamp", "level", "event", "service", "instance"} <= set(line) for line in found)
    return found


def ended(api: ServiceProcess, job_id: str, status: str) -> None:
    eventually(
        lambda: api.get(f"/api/v1/jobs/status/{job_id}").json()["status"] == status,
        within_seconds=30,
        what=f"job {job_id} has {status}",
    )


def test_every_line_about_a_request_or_a_job_names_its_trace_and_every_call_is_a_line(
    start: Start, upstream: Upstream, postgres: PostgresServer
) -> None:
    api, worker = start("app.main"), start("app.worker", DCS_MAX_ATTEMPTS="2", DCS_INSTANCE="worker-1")
    for source_type, config in (("file", FILE), ("api", API), ("database", DATABASE)):
        ended(api, api.trigger(source_type, config).json()["job_id"], "succeeded")
    upstream.mood = Mood.ERROR
    failing = api.trigger("api", API).json()["job_id"]
    eventually(
        lambda: len([line for line in worker.events("job_retried") if line["job_id"] == failing]) == 1,
        within_seconds=15,
        what="the first attempt has failed",
    )
    upstream.mood = Mood.GOOD
    ended(api, failing, "succeeded")
    api.get("/api/v1/jobs/status/nonsense")
    api.get("/nowhere", client=None)
    eventually(
        lambda: len(worker.events("job_succeeded")) == 4, within_seconds=10, what="everything is written"
    )

    about = [line for one in (api, worker) for line in lines(one) if "job_id" in line or "request_id" in line]
    assert {"request_completed", "job_claimed", "job_succeeded", "job_retried"} <= {
        line["event"] for line in about
    }
    assert [line for line in about if len(line.get("trace_id", "")) != 32] == []
    # One trace for one job: from the request that submitted it to its end.
    assert len({line["trace_id"] for line in about if line.get("job_id") == failing}) == 1

    calls = worker.events("source_call_completed")
    seen = {(line["source_type"], line["target"], line["status"], line["attempt"]) for line in calls}
    server = f"{upstream.url}/v1/controls"
    assert seen == {
        ("file", "acme/assets.csv", None, 1),
        ("database", f"127.0.0.1:{postgres.port}/acme", None, 1),
        ("api", server, 200, 1),
        ("api", server, 500, 1),
        ("api", server, 200, 2),
    }
    assert all(line["duration_ms"] >= 0 for line in calls)


@pytest.mark.parametrize("log", ["a full disk", "a reader that has gone"])
def test_a_service_whose_log_cannot_be_written_serves_and_works(
    service_settings: dict[str, str], log: str
) -> None:
    with contextlib.ExitStack() as stack:
        if log == "a full disk":
            out = stack.enter_context(Path("/dev/full").open("wb")).fileno()
        else:
            reader, out = os.pipe()
            os.close(reader)
            stack.callback(os.close, out)
        api, worker = (
            stack.enter_context(closing(ServiceProcess(module, service_settings, stdout=out)))
            for module in ("app.main", "app.worker")
        )
        api.wait_until_live()
        accepted = api.trigger("file", FILE)
        assert accepted.status_code == 202
        ended(api, accepted.json()["job_id"], "succeeded")
        for process in (api, worker):
            assert process.metric("dcs_log_lines_lost_total") > 0
            assert process.terminate() == 0


def test_every_call_of_the_store_and_of_the_moderation_is_a_line_with_what_was_answered(
    start: Start, s3: SeaweedServer, tmp_path: Path
) -> None:
    s3.put(f"{DEFAULT_CLIENT}/lines.csv", "id\n1\n")
    with running("chaos.upstreams.moderation", log=tmp_path / "moderation.log") as moderation:
        settings = s3.settings() | {
            "DCS_AVATARS_MODERATION": "http",
            "DCS_AVATARS_MODERATION_URL": moderation.url,
            "DCS_SOURCES_ALLOW": json.dumps([moderation.url]),
        }
        api, worker = start("app.main", **settings), start("app.worker", **settings)
        ended(api, api.trigger("s3", {"key": "lines.csv"}).json()["job_id"], "succeeded")
        ended(api, api.trigger("s3", {"key": "missing.csv"}).json()["job_id"], "failed")
        for error_rate in (1, 0):
            httpx.put(f"{moderation.url}/admin/behaviour", json={"error_rate": error_rate}).raise_for_status()
            avatar = api.post("/api/v1/avatars", json={"prompt": f"a lighthouse {error_rate}"}).json()[
                "job_id"
            ]
            if error_rate:
                eventually(
                    lambda: worker.events("moderation_call_completed"), within_seconds=20, what="it is asked"
                )
        ended(api, avatar, "succeeded")
        calls = worker.events("object_store_called") + worker.events("moderation_call_completed")
    assert {(line["target"], line["status"]) for line in calls} >= {
        (f"{DEFAULT_CLIENT}/lines.csv", 200),
        (f"{DEFAULT_CLIENT}/missing.csv", 404),
        (f"{moderation.url}/v1/moderate", 500),
        (f"{moderation.url}/v1/moderate", 200),
    }
    assert [line for line in calls if not (line["attempt"] >= 1 and line["duration_ms"] >= 0)] == []
