from __future__ import annotations

import subprocess
import sys

import pytest

from chaos.config import ROOT
from chaos.errors import StackError
from chaos.stacks.embedded import boot
from chaos.stacks.embedded.boot import start_order
from chaos.stacks.embedded.daemon import DATABASES, LANDING, REDIS_IDENTITY, Context, Daemon
from chaos.stacks.embedded.daemons import all_daemons
from chaos.stacks.embedded.layout import Layout
from chaos.stacks.embedded.supervisor import (
    BACKOFF,
    FATAL,
    RUNNING,
    STARTING,
    STOPPED,
    ProcessInfo,
    Supervisor,
)


def test_what_needs_nothing_comes_first_and_together() -> None:
    needs = {"a": (), "b": ("a",), "c": (), "d": ("b", "c")}
    assert start_order(needs) == [["a", "c"], ["b"], ["d"]]


def test_a_circle_is_named() -> None:
    with pytest.raises(StackError, match=r"wait for each other: a, b"):
        start_order({"a": ("b",), "b": ("a",), "c": ()})


def test_a_need_that_is_nowhere_is_named() -> None:
    with pytest.raises(StackError, match=r"waits for ghost"):
        start_order({"a": ("ghost",)})


def test_the_real_daemons_have_an_order(context: Context) -> None:
    daemons = {daemon.name: daemon.after for daemon in all_daemons(context)}
    waves = start_order(
        daemons | {DATABASES: ("postgres",), REDIS_IDENTITY: ("redis",), LANDING: ("seaweedfs",)}
    )
    place = {name: number for number, wave in enumerate(waves) for name in wave}
    assert place["postgres"] < place[DATABASES] < place["api-1"] < place["nginx"] < place["traffic"]
    assert place["worker-2"] < place["prometheus"], "or every start would leave alerts pending"


class _ScriptedSupervisor(Supervisor):
    """Answers with one list of states after the other, as supervisord would over time."""

    def __init__(self, layout: Layout, states: list[dict[str, str]]) -> None:
        super().__init__(layout)
        self._states = states
        self._looks = 0
        self.started: list[str] = []

    def start(self, name: str) -> None:
        self.started.append(name)

    def infos(self) -> dict[str, ProcessInfo]:
        states = self._states[min(self._looks, len(self._states) - 1)]
        self._looks += 1
        return {
            name: ProcessInfo(name, state, 7, self._looks, self._looks, 3, "Exited too quickly")
            for name, state in states.items()
        }


def _bring_up(
    layout: Layout, daemons: list[Daemon], states: list[dict[str, str]], seconds: float = 5
) -> list[str]:
    supervisor = _ScriptedSupervisor(layout, states)
    boot.bring_up(daemons, [], supervisor, layout, timeout_seconds=seconds, progress=lambda _: None)
    return supervisor.started


def test_a_daemon_starts_when_what_it_needs_serves_and_not_before(layout: Layout) -> None:
    answers = iter(["not yet", "not yet", None])
    asked: list[str] = []

    def first_ready() -> str | None:
        asked.append("first")
        return next(answers)

    def second_ready() -> None:
        asked.append("second")

    daemons = [
        Daemon("second", ["x"], second_ready, after=("first",)),
        Daemon("first", ["x"], first_ready),
    ]
    states = [{"first": STARTING, "second": STOPPED}] * 4 + [{"first": RUNNING, "second": RUNNING}]
    assert _bring_up(layout, daemons, states) == ["first", "second"]
    assert asked == ["first", "first", "first", "second"]


def test_a_daemon_that_dies_twice_is_named_with_its_last_lines(layout: Layout) -> None:
    (layout.logs / "thing.log").write_text("".join(f"line {n}\n" for n in range(30)) + "FATAL: no luck\n")
    with pytest.raises(StackError) as caught:
        _bring_up(layout, [Daemon("thing", ["x"], lambda: "refused")], [{"thing": BACKOFF}])
    message = str(caught.value)
    assert message.startswith("thing does not start")
    assert message.endswith("FATAL: no luck")
    assert message.count("\n") == boot.LOG_LINES
    assert "line 15\n" not in message


def test_a_daemon_that_serves_and_then_dies_is_not_up(layout: Layout) -> None:
    states = [{"thing": STARTING}, {"thing": STARTING}, {"thing": STARTING}, {"thing": FATAL}]
    with pytest.raises(StackError, match="thing does not start"):
        _bring_up(layout, [Daemon("thing", ["x"], lambda: None)], states)


def test_a_daemon_that_never_serves_says_why_and_for_whom_others_wait(layout: Layout) -> None:
    daemons = [
        Daemon("first", ["x"], lambda: "answers 503"),
        Daemon("second", ["x"], lambda: None, after=("first",)),
    ]
    with pytest.raises(StackError) as caught:
        _bring_up(layout, daemons, [{"first": RUNNING, "second": STOPPED}], seconds=0.4)
    assert "first: answers 503" in str(caught.value)
    assert "second: waits for first" in str(caught.value)


def test_a_need_outside_of_what_is_started_is_taken_as_met(layout: Layout) -> None:
    daemon = Daemon("api-1", ["x"], lambda: None, after=("postgres",))
    assert _bring_up(layout, [daemon], [{"api-1": RUNNING}]) == ["api-1"]


def test_a_daemon_that_supervisord_does_not_know_is_named(layout: Layout) -> None:
    with pytest.raises(StackError, match="does not know newcomer"):
        _bring_up(layout, [Daemon("newcomer", ["x"], lambda: None)], [{"other": RUNNING}])


_STUCK = """
import threading
from pathlib import Path
from chaos.stacks.embedded import boot
from chaos.stacks.embedded.boot import Step
from chaos.stacks.embedded.layout import Layout
from chaos.stacks.embedded.supervisor import Supervisor

Supervisor.infos = lambda _: {}
layout = Layout(Path("."))
stuck = [Step("stuck", (), threading.Event().wait)]
try:
    boot.bring_up([], stuck, Supervisor(layout), layout, timeout_seconds=0.2, progress=print)
except Exception as error:
    print(error)
"""


def test_a_stuck_probe_keeps_no_process_from_ending() -> None:
    done = subprocess.run(
        [sys.executable, "-c", _STUCK], cwd=ROOT, capture_output=True, text=True, timeout=20, check=True
    )
    assert "stuck: has not answered yet" in done.stdout
