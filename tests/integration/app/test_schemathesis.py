"""Schemathesis against the OpenAPI document of a running API: whatever is sent, the answer is as documented.

It runs as a program of its own: its reports have lines to repeat a failure with.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import defaultdict
from contextlib import closing
from pathlib import Path

import pytest

from tests.support.access import key_of
from tests.support.schemathesis_hooks import KEY_ID_VARIABLE
from tests.support.seaweed import SeaweedServer
from tests.support.service import ROOT, ServiceProcess
from tests.support.waiting import eventually

HERE = Path(__file__).parent
DAY = "2026-11-21"
CLIENT = "globex"  # no other test of this module's database speaks for it
RUN_SECONDS_MAX = 110
LONG_RUN_SECONDS_MAX = 1200
MUCH = str(10**6)
GOOD_IN_ANY_RUN = frozenset(
    {
        "DELETE /api/v1/access/keys/{key_id}",
        "GET /api/v1/access/keys",
        "GET /api/v1/avatars/{job_id}",
        "GET /api/v1/jobs",
        "GET /api/v1/jobs/result/{job_id}",
        "GET /api/v1/jobs/status/{job_id}",
        "GET /api/v1/jobs/{job_id}/audit",
        "GET /api/v1/jobs/{job_id}/events",
        "GET /api/v1/populate/days",
        "GET /api/v1/populate/files/{file_id}",
        "POST /api/v1/access/keys",
        "POST /api/v1/access/token",
        "POST /api/v1/avatars",
        "POST /api/v1/jobs/trigger",
        "POST /api/v1/populate",
        "POST /api/v1/populate/events",
    }
)
"""Operations that answer 2xx in the shortest run: else nobody would notice if all were 401."""


@pytest.fixture(scope="module")
def service_settings(
    service_settings: dict[str, str], s3: SeaweedServer, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, str]:
    """Everything that the service has is on, and nobody is refused for asking often."""
    secret = tmp_path_factory.mktemp("tokens") / "secret"
    secret.write_text("s" * 40)
    return (
        service_settings
        | s3.settings()
        | {
            "DCS_ACCESS_TOKEN_KEYS": json.dumps({"t1": str(secret)}),
            "DCS_ACCESS_TOKEN_KEY": "t1",
            "DCS_ACCESS_FAILURES_PER_MINUTE": MUCH,
            "DCS_ACCESS_ANONYMOUS_RATE_LIMIT_PER_MINUTE": MUCH,
            "DCS_ACCESS_BURST": MUCH,
            "DCS_DATABASE_QUERY_DEADLINE_SECONDS": "3",  # the machine is busy: this is no test of speed
            "DCS_LEASE_SECONDS": "10",
        }
    )


@pytest.fixture
def landed(api: ServiceProcess, worker: ServiceProcess, s3: SeaweedServer) -> None:
    """There is a file, on the day that the document has for an example."""
    s3.put_csv(f"{CLIENT}/{DAY}/findings.csv", ["1,x", "2,y"])
    assert api.post("/api/v1/populate", json={"day": DAY}, client=CLIENT).status_code == 202

    def loaded() -> bool:
        files = api.get("/api/v1/populate/files", client=CLIENT).json()["files"]
        return bool(files) and files[0]["status"] == "loaded"

    eventually(loaded, within_seconds=30, what="the file is loaded")


def schemathesis(
    api: ServiceProcess,
    *,
    phases: str,
    examples: int,
    folder: Path,
    key: bool = True,
    seed: int | None = 1,
    seconds: float = RUN_SECONDS_MAX,
) -> None:
    """Run it; fail with what it found. Without a seed every run looks elsewhere."""
    config = HERE / ("schemathesis.toml" if key else "schemathesis_keyless.toml")
    command = [sys.executable, "-m", "schemathesis.cli", "--config-file", str(config), "run"]
    command += [f"{api.url}/openapi.json", "--checks", "all", "--phases", phases]
    command += ["--max-examples", str(examples), "--generation-database", "none", "--no-color"]
    command += ["--continue-on-failure", "--warnings", "off", "--request-timeout", "20"]
    command += [] if seed is None else ["--seed", str(seed)]
    environment = {
        "PYTHONPATH": str(ROOT),
        "PYTHONWARNINGS": "ignore",
        "SCHEMATHESIS_HOOKS": "tests.support.schemathesis_hooks",
        "TEST_KEY": key_of(CLIENT).text,
        KEY_ID_VARIABLE: key_of(CLIENT).key_id,
    }
    done = subprocess.run(
        command,
        cwd=folder,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=seconds,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-15_000:] + done.stderr[-3000:]
    assert "0 selected" not in done.stdout


def statuses(api: ServiceProcess) -> dict[str, set[int]]:
    """Return how each operation was answered since the process began."""
    found: dict[str, set[int]] = defaultdict(set)
    for line in api.events("request_completed"):
        found[f"{line['method']} {line['route']}"].add(line["status"])
    return found


def good(api: ServiceProcess) -> set[str]:
    return {name for name, answers in statuses(api).items() if any(200 <= one < 300 for one in answers)}


def assert_nothing_broke(*processes: ServiceProcess) -> None:
    for process in processes:
        assert process.process.poll() is None, process.output()
        assert process.events("request_failed") == []
        assert process.events("job_attempt_crashed") == []
        if process.events("request_completed"):
            broken = {one for answers in statuses(process).values() for one in answers if one >= 500}
            assert broken == set()


def test_whatever_a_client_sends_is_answered_as_documented(
    api: ServiceProcess, worker: ServiceProcess, landed: None, tmp_path: Path
) -> None:
    schemathesis(api, phases="examples,coverage", examples=1, folder=tmp_path)
    assert_nothing_broke(api, worker)
    assert good(api) >= GOOD_IN_ANY_RUN


def test_whatever_is_sent_without_a_key_is_answered_as_documented(
    service_settings: dict[str, str], tmp_path: Path
) -> None:
    with closing(ServiceProcess("app.main", service_settings)) as api:
        api.wait_until_live()
        schemathesis(api, phases="fuzzing", examples=5, key=False, folder=tmp_path)
        assert_nothing_broke(api)
        answers = {status for name, found in statuses(api).items() for status in found if "/api/" in name}
    assert answers <= {401}


@pytest.mark.full
@pytest.mark.timeout(LONG_RUN_SECONDS_MAX + 60)
def test_the_same_with_many_more_requests_and_with_sequences_of_them(
    api: ServiceProcess, worker: ServiceProcess, landed: None, tmp_path: Path
) -> None:
    schemathesis(
        api,
        phases="fuzzing,stateful",
        examples=150,
        folder=tmp_path,
        seed=None,
        seconds=LONG_RUN_SECONDS_MAX,
    )
    assert_nothing_broke(api, worker)
    assert good(api) >= GOOD_IN_ANY_RUN
