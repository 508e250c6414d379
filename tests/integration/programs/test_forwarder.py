from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest

from tests.support.programs import Program, eventually, let_pass, running
from tests.support.programs_daemons import Loki, cpu_seconds
from tests.support.programs_stub import stub_service

ARRIVAL_MAX_SECONDS = 2.0


@pytest.fixture(scope="module")
def loki(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Loki]:
    server = Loki(tmp_path_factory.mktemp("loki"))
    server.start()
    try:
        yield server
    finally:
        server.stop()


@pytest.fixture
def logs(tmp_path: Path) -> Path:
    directory = tmp_path / "logs"
    directory.mkdir()
    return directory


@pytest.fixture
def environment() -> str:
    """Return a lab id of this test's own, so that tests share one Loki."""
    return f"lab-{uuid4().hex[:8]}"


@pytest.fixture
def forwarder(loki: Loki, logs: Path, environment: str, tmp_path: Path) -> Iterator[Program]:
    (logs / "redis.log").write_text("old line, from before the forwarder\n")
    arguments = ["--logs-dir", str(logs), "--endpoint", loki.otlp, "--environment", environment]
    with running("chaos.forwarder", *arguments, log=tmp_path / "forwarder.log") as program:
        yield program


def append(path: Path, *lines: str) -> None:
    with path.open("a") as file:
        file.writelines(f"{line}\n" for line in lines)


def arrive(loki: Loki, query: str, lines: list[str], within_seconds: float = ARRIVAL_MAX_SECONDS) -> None:
    """Assert that exactly these lines come to be there, in this order."""
    seen: list[str] = []

    def complete() -> bool:
        seen[:] = loki.lines(query)
        return len(seen) >= len(lines)

    with contextlib.suppress(AssertionError):  # the comparison below says more
        eventually(complete, within_seconds, f"{len(lines)} lines of {query}")
    assert seen == lines


def test_lines_arrive_in_time_with_the_labels_of_their_program(
    loki: Loki, forwarder: Program, logs: Path, environment: str
) -> None:
    append(logs / "postgres.log", "2026-01-02 03:04:05.678 UTC [42] FATAL:  sorry, too many clients already")
    append(logs / "prometheus.log", 'time=2026-01-02T03:04:05Z level=WARN source=main.go:1 msg="a \\"b\\" c"')
    append(logs / "nginx-access.log", '{"level":"info","msg":"GET /","status":200}')
    append(logs / "nginx.log", "2026/01/02 03:04:05 [error] 7#7: *1 connect() failed")

    own = f'deployment_environment_name="{environment}"'
    arrive(loki, f'{{service_name="prometheus",{own}}}', [(logs / "prometheus.log").read_text().strip()])
    (stream,) = eventually(
        lambda: loki.streams(f'{{service_name="postgres",{own}}}'),
        ARRIVAL_MAX_SECONDS,
        "the line of postgres",
    )
    expected = {
        "service_name": "postgres",
        "service_namespace": "stack",
        "service_instance_id": "postgres",
        "deployment_environment_name": environment,
        "level": "fatal",
        "msg": "sorry, too many clients already",
        "log_file_name": "postgres.log",
    }
    assert stream["stream"].items() >= expected.items()
    nginx = eventually(
        lambda: s if len(s := loki.streams(f'{{service_name="nginx",{own}}}')) == 2 else None,
        ARRIVAL_MAX_SECONDS,
        "both logs of nginx",
    )
    by_file = {item["stream"]["log_file_name"]: item["stream"]["level"] for item in nginx}
    assert by_file == {"nginx-access.log": "info", "nginx.log": "error"}
    assert len(loki.lines(f'{{service_name="nginx",{own}}} | level="error"')) == 1
    assert forwarder.metric("lab_forwarder_lines_total", program="nginx", outcome="shipped") == 2


def test_what_was_there_before_is_not_sent_again_and_what_appears_later_is_sent_whole(
    loki: Loki, forwarder: Program, logs: Path, environment: str
) -> None:
    append(logs / "redis.log", "new line")
    (logs / "loki.new").write_text("first\nsecond\n")
    (logs / "loki.new").rename(logs / "loki.log")  # appears with content in it

    own = f'deployment_environment_name="{environment}"'
    arrive(loki, f'{{service_name="loki",{own}}}', ["first", "second"])
    arrive(loki, f'{{service_name="redis",{own}}}', ["new line"])


def test_rotation_and_truncation_lose_and_repeat_nothing(
    loki: Loki, forwarder: Program, logs: Path, environment: str
) -> None:
    log, query = logs / "postgres.log", f'{{deployment_environment_name="{environment}"}}'
    before = [f"before {number}" for number in range(300)]
    append(log, "first")
    arrive(loki, query, ["first"])  # it is followed now; what comes and goes between two polls is not
    with log.open("a") as file:
        file.writelines(f"{line}\n" for line in before)
        file.flush()
        log.rename(logs / "postgres.log.1")
        file.write("written after the rename\n")
    append(log, "in the new file")
    expected = [
        "first",
        *(f"before {number}" for number in range(300)),
        "written after the rename",
        "in the new file",
    ]
    arrive(loki, query, expected)

    log.write_text("")
    let_pass(0.5)  # two polls: truncation is seen by size, so it must be seen before new lines come
    append(log, "after truncation")
    arrive(loki, query, [*expected, "after truncation"])


def test_a_line_is_sent_when_it_is_complete_and_a_huge_one_is_cut(
    loki: Loki, forwarder: Program, logs: Path, environment: str
) -> None:
    query = f'{{deployment_environment_name="{environment}"}}'
    with (logs / "redis.log").open("a") as file:
        file.write("half a ")
        file.flush()
        let_pass(0.6)
        assert loki.lines(query) == []
        file.write("line\n" + "x" * 300_000 + "\nafter\n")
    arrive(loki, query, ["half a line", "x" * 8192, "after"])


def test_bytes_that_are_not_text_are_sent_as_well_as_can_be(
    loki: Loki, forwarder: Program, logs: Path, environment: str
) -> None:
    with (logs / "redis.log").open("ab") as file:
        file.write(b"caf\xe9 \x00 {\n{broken json\n\n   \n")
    query = f'{{deployment_environment_name="{environment}"}}'
    arrive(loki, query, ["caf\ufffd \x00 {", "{broken json"])


def test_a_flood_is_capped_counted_and_over(
    loki: Loki, forwarder: Program, logs: Path, environment: str
) -> None:
    append(logs / "redis.log", *(f"flood {number}" for number in range(5_000)))
    lines = "lab_forwarder_lines_total"
    eventually(lambda: forwarder.metric(lines, program="redis") == 5_000, 5, "every line is accounted for")
    assert forwarder.metric(lines, program="redis", outcome="shipped") >= 1_000
    assert forwarder.metric(lines, program="redis", outcome="dropped_rate") >= 3_000

    append(logs / "postgres.log", "another program is not affected")
    query = f'{{service_name="postgres",deployment_environment_name="{environment}"}}'
    arrive(loki, query, ["another program is not affected"])


@pytest.mark.full
def test_while_loki_is_away_lines_wait_and_the_forwarder_does_not_spin(
    logs: Path, environment: str, tmp_path: Path
) -> None:
    directory = tmp_path / "loki"
    directory.mkdir()
    own = Loki(directory)
    arguments = ["--logs-dir", str(logs), "--endpoint", own.otlp, "--environment", environment]
    with running("chaos.forwarder", *arguments, log=tmp_path / "log") as program:
        append(logs / "redis.log", "while it was away")
        eventually(lambda: program.events("export_failing"), 5, "the failure is told")
        before, started = cpu_seconds(program.process.pid), time.monotonic()
        let_pass(2)
        used = cpu_seconds(program.process.pid) - before
        assert used / (time.monotonic() - started) < 0.1
        assert len(program.events("export_failing")) == 1
        own.start()
        try:
            append(logs / "redis.log", "and after")
            query = f'{{deployment_environment_name="{environment}"}}'
            arrive(own, query, ["while it was away", "and after"], within_seconds=5)
            eventually(lambda: program.events("export_recovered"), 2, "the recovery is told")
            assert program.metric("lab_forwarder_lines_total", outcome="dropped_export") == 0
        finally:
            own.stop()


def test_last_lines_are_sent_when_it_is_told_to_stop(
    loki: Loki, forwarder: Program, logs: Path, environment: str
) -> None:
    append(logs / "redis.log", "famous last words")
    assert forwarder.stop() == 0
    arrive(loki, f'{{deployment_environment_name="{environment}"}}', ["famous last words"])


def test_sigterm_ends_it_in_time_while_the_receiver_hangs(logs: Path, tmp_path: Path) -> None:
    with stub_service() as stub:
        stub.mode = "hang"
        arguments = ["--logs-dir", str(logs), "--endpoint", f"{stub.url}/otlp/v1/logs"]
        with running("chaos.forwarder", *arguments, log=tmp_path / "log") as program:
            append(logs / "redis.log", "one")
            eventually(lambda: stub.in_flight, 5, "an export in flight")
            assert program.stop() == 0
