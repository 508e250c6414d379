"""Who holds a program's port: its own process, a child of it, or a stranger."""

from __future__ import annotations

import os
import select
import subprocess
import sys
from collections.abc import Callable, Iterator

import pytest

from chaos.config import LabConfig
from chaos.stacks.embedded.daemon import Daemon
from chaos.stacks.embedded.identity import marker_environment
from chaos.stacks.embedded.stack import EmbeddedStack
from chaos.stacks.embedded.supervisor import RUNNING, STOPPED, ProcessInfo, Supervisor

START_SECONDS_MAX = 20.0

_LISTEN = (
    "import socket; s = socket.create_server(('127.0.0.1', 0)); "
    "print(s.getsockname()[1], flush=True); input()"
)
_BELOW = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {_LISTEN!r}])"

Start = Callable[..., tuple[int, int]]


@pytest.fixture
def start(config: LabConfig) -> Iterator[Start]:
    """Start a listener, below another process or alone; return the first one's pid and the port."""
    begun: list[subprocess.Popen[str]] = []

    def run(code: str = _LISTEN, *, marked: bool = True) -> tuple[int, int]:
        marker = marker_environment(config.id, config.state_dir) if marked else {}
        process = subprocess.Popen(
            [sys.executable, "-c", code], env={"PATH": os.environ["PATH"]} | marker,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        begun.append(process)
        assert process.stdout is not None
        assert select.select([process.stdout], [], [], START_SECONDS_MAX)[0], "the listener did not start"
        return process.pid, int(process.stdout.readline())

    yield run
    for process in begun:
        process.communicate("\n", timeout=10)  # both end with their standard input


class _Knows(Supervisor):
    """A supervisord with one program."""

    known: int | None = None

    def infos(self) -> dict[str, ProcessInfo]:
        return {"toxiproxy-service": self.info("toxiproxy-service")}

    def info(self, name: str) -> ProcessInfo:
        return ProcessInfo(name, RUNNING if self.known else STOPPED, self.known, 1, 1, 0, "")


def _listens(config: LabConfig, monkeypatch: pytest.MonkeyPatch, pid: int | None, port: int) -> bool:
    stack = EmbeddedStack(config)
    daemon = Daemon("toxiproxy-service", ["x"], lambda: None, port=port)
    monkeypatch.setattr(EmbeddedStack, "daemons", lambda _: (daemon,))
    supervisor = _Knows(stack.layout)
    supervisor.known = pid
    stack.supervisor = supervisor
    return stack.listens("toxiproxy-service")


@pytest.mark.parametrize("code", [_LISTEN, _BELOW], ids=["itself", "its child"])
def test_a_program_listens_itself_or_through_a_child(
    config: LabConfig, monkeypatch: pytest.MonkeyPatch, start: Start, code: str
) -> None:
    pid, port = start(code)
    assert _listens(config, monkeypatch, pid, port)
    assert not _listens(config, monkeypatch, pid, port + 1)


def test_a_stranger_on_the_port_is_not_the_program(
    config: LabConfig, monkeypatch: pytest.MonkeyPatch, start: Start
) -> None:
    ours, _ = start()
    _, taken = start()
    assert not _listens(config, monkeypatch, ours, taken)
    assert not _listens(config, monkeypatch, None, taken)
    unmarked, port = start(marked=False)
    assert not _listens(config, monkeypatch, unmarked, port)
