from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.programs import ROOT, Program, eventually, let_pass, running
from tests.support.programs_daemons import cpu_seconds
from tests.support.programs_stub import Seen, Stub, stub_service

CLIENTS = 20


@pytest.fixture
def stub() -> Iterator[Stub]:
    with stub_service() as service:
        yield service


@pytest.fixture(scope="module", autouse=True)
def keys_dir(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A key for each client, which names it."""
    directory = tmp_path_factory.mktemp("keys")
    for number in range(1, CLIENTS + 1):
        (directory / f"client-{number:02d}.key").write_text(f"key of client-{number:02d}\n")
    KEYS[:] = ["--keys-dir", str(directory)]
    yield
    KEYS.clear()


KEYS: list[str] = []


def traffic(stub: Stub, *more: str) -> list[str]:
    return ["--target", stub.url, "--clients", str(CLIENTS), "--seed", "3", *KEYS, *more]


def count(program: Program, **labels: str) -> float:
    return program.metric("lab_traffic_requests_total", **labels)


def test_the_load_is_steady_mixed_and_cheap(stub: Stub, tmp_path: Path) -> None:
    with running("chaos.traffic", *traffic(stub), log=tmp_path / "log") as program:
        eventually(lambda: len(stub.requests) >= CLIENTS, 5, "one round of every client")
        cpu_before, at_before = cpu_seconds(program.process.pid), time.monotonic()
        first = len(stub.requests)
        let_pass(4)
        seconds = time.monotonic() - at_before
        window = stub.requests[first:]
        cpu_share = (cpu_seconds(program.process.pid) - cpu_before) / seconds
        assert count(program, outcome="ok") >= len(window)
        assert count(program, outcome="error") == 0
        skipped = program.metric("lab_traffic_skipped_total")

    rate = (len(window) + skipped) / seconds
    assert 19 <= rate <= 21
    assert cpu_share < 0.15  # 4 % on an idle machine
    per_client = Counter(seen.client for seen in window)
    assert set(per_client) == {f"client-{number:02d}" for number in range(1, CLIENTS + 1)}
    assert max(per_client.values()) <= 5
    kinds = Counter(seen.path.split("/")[4] for seen in window if "/jobs/" in seen.path)
    assert {"trigger", "status", "result"} == set(kinds)
    assert len(window) - kinds.total() < 0.15 * len(window), "few are for avatars"
    assert kinds["trigger"] < 0.65 * len(window)


def test_the_three_sources_are_triggered_with_valid_bodies(stub: Stub, tmp_path: Path) -> None:
    def bodies() -> list[dict[str, object]]:
        return [json.loads(seen.body) for seen in list(stub.requests) if "trigger" in seen.path]

    with running("chaos.traffic", *traffic(stub), log=tmp_path / "log"):
        eventually(
            lambda: {body["source_type"] for body in bodies()} == {"api", "file", "database"}, 5, "all"
        )
    by_type = {str(body["source_type"]): body["config"] for body in bodies()}
    assert by_type["file"] == {"path": "acme/assets.csv"}
    assert by_type["api"] == {"endpoint": "evidence", "resource": "controls", "page_size": 50}
    assert by_type["database"] == {
        "database": "acme",
        "query": "open_findings",
        "params": {"min_severity": 3},
    }


def test_clients_ask_only_for_their_own_jobs(stub: Stub, tmp_path: Path) -> None:
    with running("chaos.traffic", *traffic(stub, "--rate-each", "3"), log=tmp_path / "log"):
        eventually(lambda: sum("/result/" in seen.path for seen in list(stub.requests)) > 10, 10, "results")
    asked = [seen for seen in stub.requests if seen.method == "GET"]
    assert {stub.owners[seen.path.rsplit("/", 1)[1]] == seen.client for seen in asked} == {True}
    assert len(set(stub.owners.values())) == CLIENTS


def test_the_schedule_of_a_seed_is_the_same_again(tmp_path: Path) -> None:
    def first_round(seed: str, run: str) -> list[tuple[str, str, bytes]]:
        with (
            stub_service() as stub,
            running("chaos.traffic", "--target", stub.url, "--seed", seed, *KEYS, log=tmp_path / run),
        ):
            eventually(lambda: len(stub.requests) >= CLIENTS, 5, "one round")
            return [(seen.client, seen.path, seen.body) for seen in stub.requests[:CLIENTS]]

    once, again, other = first_round("3", "1"), first_round("3", "2"), first_round("4", "3")
    assert sorted(once) == sorted(again)
    assert sorted(once) != sorted(other)


def test_outcomes_are_counted_by_kind_of_failure(stub: Stub, tmp_path: Path) -> None:
    with running("chaos.traffic", *traffic(stub), log=tmp_path / "log") as program:
        eventually(lambda: count(program, kind="result", outcome="ok"), 10, "a result")
        stub.mode = "forgetful"
        eventually(lambda: count(program, kind="status", outcome="http_4xx"), 5, "a 404")
        stub.mode = "unavailable"
        eventually(lambda: count(program, kind="trigger", outcome="http_5xx"), 5, "a 503")
        before = count(program, outcome="ok")
        stub.mode = "ok"
        eventually(lambda: count(program, outcome="ok") > before, 5, "recovery")
        assert count(program, outcome="error") == 0
        assert program.metric("lab_traffic_request_duration_seconds_count") >= before


def test_a_target_that_refuses_is_an_error_and_the_load_goes_on(tmp_path: Path) -> None:
    with stub_service() as gone:
        target = gone.url
    arguments = ["--target", target, "--rate-each", "3", *KEYS]
    with running("chaos.traffic", *arguments, log=tmp_path / "log") as program:
        eventually(lambda: count(program, outcome="error") >= 2 * CLIENTS, 10, "two rounds of errors")
        assert len(program.events("request_failed")) <= 4  # at most one a second, or the log is the incident


def test_a_hanging_target_never_piles_up(stub: Stub, tmp_path: Path) -> None:
    stub.mode = "hang"
    bounds = ["--concurrency-max", "5", "--deadline-seconds", "1"]
    with running("chaos.traffic", *traffic(stub, *bounds), log=tmp_path / "log") as program:
        skipped = "lab_traffic_skipped_total"
        eventually(lambda: program.metric(skipped, reason="busy") > CLIENTS, 10, "skipped ticks")
        eventually(lambda: count(program, outcome="error") >= 10, 10, "requests past their deadline")
        assert program.metric("lab_traffic_requests_in_flight") <= 5
        assert len(stub.requests) <= count(program) + 5
        stub.mode = "ok"
        stub.release.set()
        eventually(lambda: count(program, outcome="ok") > CLIENTS, 10, "recovery")


def test_sigterm_ends_it_in_time_with_requests_in_flight(stub: Stub, tmp_path: Path) -> None:
    stub.mode = "hang"
    with running("chaos.traffic", *traffic(stub), log=tmp_path / "log") as program:
        eventually(lambda: stub.in_flight > 5, 10, "requests in flight")
        assert program.stop() == 0


@pytest.mark.full
def test_ticks_missed_while_stopped_are_skipped_not_caught_up(stub: Stub, tmp_path: Path) -> None:
    with running("chaos.traffic", *traffic(stub), log=tmp_path / "log") as program:
        eventually(lambda: len(stub.requests) >= CLIENTS, 5, "one round")
        program.process.send_signal(signal.SIGSTOP)
        let_pass(3)
        resumed = time.monotonic()
        program.process.send_signal(signal.SIGCONT)
        eventually(lambda: since(stub, resumed, 10) >= CLIENTS, 5, "load after it")
        let_pass(max(0.0, resumed + 1 - time.monotonic()))
        # One late tick for each client at most, beside the steady 20 a second.
        assert since(stub, resumed, 1) <= 2 * CLIENTS + 2
        late = program.metric("lab_traffic_skipped_total", reason="late")
        assert CLIENTS <= late <= 3 * CLIENTS


def since(stub: Stub, moment: float, seconds: float) -> int:
    def within(seen: Seen) -> bool:
        return moment <= seen.moment < moment + seconds

    return sum(within(seen) for seen in list(stub.requests))


@pytest.mark.parametrize(
    "bad",
    [
        ["--target", "nginx"],
        ["--target", "http://x/path"],
        ["--target", "http://x", "--clients", "0"],
        ["--target", "http://x", "--rate-each", "0"],
        ["--target", "http://x", "--rate-each", "nan"],
        ["--target", "http://x", "--keys-dir", "/nowhere"],
    ],
)
def test_bad_options_are_refused(bad: list[str]) -> None:
    command = [sys.executable, "-m", "chaos.traffic", "--port", "0", *KEYS, *bad]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=20, check=False)
    assert done.returncode == 2
    assert "error: argument" in done.stderr
