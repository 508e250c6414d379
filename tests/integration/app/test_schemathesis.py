"""Schemathesis against the OpenAPI document of a running API: whatever is sent, the answer is as documented.

It runs as a program of its own: its reports have lines to repeat a failure with.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.access import headers_of
from tests.support.service import ServiceProcess

CONFIG = Path(__file__).with_name("schemathesis.toml")
CLIENT = "globex"  # no other test of this module's database speaks for it
RUN_SECONDS_MAX = 110


def schemathesis(
    api: ServiceProcess, *, phases: str, examples: int, client: str | None = CLIENT, folder: Path
) -> None:
    """Run it; fail with what it found."""
    command = [sys.executable, "-m", "schemathesis.cli", "--config-file", str(CONFIG), "run"]
    command += [f"{api.url}/openapi.json", "--checks", "all", "--phases", phases]
    command += ["--max-examples", str(examples), "--generation-database", "none", "--no-color"]
    command += ["--continue-on-failure", "--warnings", "off", "--request-timeout", "20"]
    for name, value in headers_of(client).items():
        command += ["--header", f"{name}: {value}"]
    done = subprocess.run(
        command,
        cwd=folder,
        env={**os.environ, "PYTHONWARNINGS": "ignore"},
        capture_output=True,
        text=True,
        timeout=RUN_SECONDS_MAX * 8,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-15_000:] + done.stderr[-3000:]
    assert "0 selected" not in done.stdout


def test_whatever_a_client_sends_is_answered_as_documented(
    api: ServiceProcess, worker: ServiceProcess, tmp_path: Path
) -> None:
    schemathesis(api, phases="examples,coverage", examples=1, folder=tmp_path)
    assert api.events("request_failed") == []
    assert worker.events("job_attempt_crashed") == []


def test_whatever_is_sent_without_a_key_is_answered_as_documented(
    api: ServiceProcess, tmp_path: Path
) -> None:
    schemathesis(api, phases="fuzzing", examples=5, client=None, folder=tmp_path)
    assert api.events("request_failed") == []


@pytest.mark.full
@pytest.mark.timeout(RUN_SECONDS_MAX * 9)
def test_the_same_with_many_more_requests_and_with_sequences_of_them(
    api: ServiceProcess, worker: ServiceProcess, tmp_path: Path
) -> None:
    schemathesis(api, phases="fuzzing,stateful", examples=150, folder=tmp_path)
    assert api.events("request_failed") == []
    assert worker.events("job_attempt_crashed") == []
    for process in (api, worker):
        assert process.process.poll() is None, process.output()
