"""The runbook's own commands, run while it is broken, lead to the cause; then it is mended."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from chaos.config import ROOT
from tests.support.lab import Lab, eventually

pytestmark = [pytest.mark.stack, pytest.mark.timeout(300)]

RUNBOOKS = ROOT / "docs" / "runbooks"
SHELL_SECONDS_MAX = 60.0
_BLOCK = re.compile(r"<!-- diagnosis: (?P<id>[a-z-]+) -->\n```sh\n(?P<commands>.*?)```", re.DOTALL)


def diagnosis(alert: str) -> dict[str, str]:
    """Return the commands of each step of a runbook."""
    text = (RUNBOOKS / f"{alert}.md").read_text(encoding="utf-8")
    return {match["id"]: match["commands"] for match in _BLOCK.finditer(text)}


@dataclass
class OnCall:
    """A person with a terminal: ``lab`` on the path, the service's address in ``API``."""

    lab: Lab
    tools: Path

    def runs(self, commands: str) -> str:
        env = self.lab.environment
        env["PATH"] = f"{self.tools}:{env['PATH']}"
        env["API"] = self.lab.stack.topology.address("nginx").url
        done = subprocess.run(
            ["sh", "-eu", "-c", commands],
            capture_output=True,
            text=True,
            env=env,
            cwd=ROOT,
            timeout=SHELL_SECONDS_MAX,
            check=False,
        )
        assert done.returncode == 0, f"{commands}\n{done.stdout}{done.stderr}"
        return done.stdout

    def goes_through(self, alert: str) -> dict[str, str]:
        """Run every step of a runbook and return what each showed."""
        return {step: self.runs(commands) for step, commands in diagnosis(alert).items()}


@pytest.fixture
def on_call(lab: Lab, tmp_path: Path) -> OnCall:
    tool = tmp_path / "lab"
    tool.write_text(f'#!/bin/sh\ncd "{ROOT}" && exec "{sys.executable}" -m chaos.cli "$@"\n')
    tool.chmod(0o755)
    return OnCall(lab, tmp_path)


@contextmanager
def broken(lab: Lab, variant: str) -> Iterator[str]:
    """Break it as ``make scenario-3`` does; mend it as ``make fix-3`` does, and see all green."""
    said = lab.ok("scenario", "3", "--variant", variant, "--hold", "10m")
    yield said
    fixed = lab.ok("fix", "3")
    assert "all green" in fixed
    assert lab.runs.active() is None
    assert not lab.runs.is_locked()


def firing(lab: Lab) -> set[str]:
    status = json.loads(lab.run("status", "--json").stdout)
    return {alert["name"] for alert in status["alerts"]}


@pytest.mark.full
def test_a_closed_path_is_found_by_the_runbook_and_mended(lab: Lab, on_call: OnCall) -> None:
    with broken(lab, "path-closed") as said:
        assert "PostgresUnreachable" in said
        assert "path-closed" not in said
        assert "network path" not in said
        assert "PostgresUnreachable" in firing(lab)
        shown = on_call.goes_through("PostgresUnreachable")
        port = lab.stack.topology.via("postgres").port
        assert "refused" in shown["reason"]
        assert "timeout" not in shown["reason"]
        addresses = re.findall(r'port="(\d+)"', shown["address"])
        assert set(addresses) == {str(port)}, "the address is as before"
        assert re.search(r"\b1\b", shown["server"]), "the exporter reaches the server"
        assert "listening on IPv4" in shown["listening"]
        assert "degraded" in shown["health"]
    assert firing(lab) == {"Watchdog"}


@pytest.mark.full
def test_a_wrong_port_shows_as_another_address(lab: Lab, on_call: OnCall) -> None:
    with broken(lab, "wrong-port"):
        shown = on_call.goes_through("PostgresUnreachable")
        wrong = lab.stack.topology.address("unused").port
        assert "refused" in shown["reason"]
        assert f'port="{wrong}"' in shown["address"]
        assert f"127.0.0.1:{wrong}" in shown["health"]


@pytest.mark.full
def test_a_database_on_its_socket_only_says_so_in_its_log(lab: Lab, on_call: OnCall) -> None:
    with broken(lab, "socket-only"):
        listening = diagnosis("PostgresUnreachable")["listening"]

        def newest_start_has_no_tcp() -> bool:
            lines = on_call.runs(listening).splitlines()
            return len(lines) > 1 and all("listening on Unix socket" in line for line in lines[-2:])

        # A start writes its TCP address before its socket: two sockets in a row are a start without TCP.
        eventually(newest_start_has_no_tcp, 20.0, "the server's newest start is in Loki")
        assert not re.search(r"\b1\b", on_call.runs(diagnosis("PostgresUnreachable")["server"]))


@pytest.mark.full
@pytest.mark.parametrize(
    ("variant", "alert", "reason"),
    [
        ("too-many-clients", "PostgresConnectionsExhausted", "too_many_clients"),
        ("packets-swallowed", "PostgresSlowOrSilent", "timeout"),
    ],
)
def test_a_look_alike_is_told_apart(lab: Lab, on_call: OnCall, variant: str, alert: str, reason: str) -> None:
    with broken(lab, variant) as said:
        assert alert in said
        assert "PostgresUnreachable" not in said
        shown = on_call.goes_through(alert)
        assert reason in "".join(shown.values())
