"""A stack that runs does not depend on what the working tree has become meanwhile."""

from __future__ import annotations

import shutil
import xmlrpc.client
from dataclasses import replace
from pathlib import Path

import pytest

from chaos.config import ROOT, LabConfig
from chaos.errors import LabError, StackError, UsageError
from chaos.stacks.embedded import assembly, identity, launcher, mending
from chaos.stacks.embedded.daemon import Daemon
from chaos.stacks.embedded.layout import Layout
from chaos.stacks.embedded.lifecycle import quiet
from chaos.stacks.embedded.stack import EmbeddedStack
from chaos.stacks.embedded.supervisor import ProcessInfo, Supervisor
from chaos.stacks.rendering import OBSERVABILITY

INVALID = "groups: [\n"


class _Answering(Supervisor):
    """A supervisord that answers, and that nobody may end."""

    def alive(self) -> bool:
        return True

    def infos(self) -> dict[str, ProcessInfo]:
        return {}

    def shut_down(self, timeout_seconds: float) -> bool:
        raise AssertionError(f"the stack was stopped, {timeout_seconds} s")


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    source = tmp_path / "observability"
    shutil.copytree(OBSERVABILITY, source)
    return source


@pytest.fixture
def running(config: LabConfig, tree: Path) -> EmbeddedStack:
    """What a start leaves on disk, with a supervisord that is none."""
    stack = EmbeddedStack(config.model_copy(update={"observability_dir": tree}))
    identity.establish(stack.config)
    tools = dict.fromkeys((*assembly.TOOL_OF_DAEMON.values(), *assembly.COMPANIONS), "/bin/true")
    started = assembly.Started("", tools, {}, resend_delay=assembly.resend_delay(tree))
    started.save(stack.layout)
    context = stack._life.context
    replace(started, digest=assembly.digest(context, tree)).save(stack.layout)
    launcher.render(stack.layout, [Daemon(name, ["x"], lambda: None) for name in ("api-1", "prometheus")])
    stack.supervisor = _Answering(stack.layout)
    stack._life = replace(stack._life, supervisor=stack.supervisor)
    stack.layout.supervisor_socket.touch()
    return stack


def _break(tree: Path) -> Path:
    rules = sorted((tree / "prometheus" / "rules").glob("*.yml"))[1]
    rules.write_text(INVALID)
    return rules


def test_an_invalid_rule_file_changes_nothing_of_what_runs(running: EmbeddedStack, tree: Path) -> None:
    before = [(daemon.name, tuple(daemon.command)) for daemon in running.daemons()]
    settings = running.service_settings()
    assert running.is_current()
    _break(tree)
    assert [(daemon.name, tuple(daemon.command)) for daemon in running.daemons()] == before
    assert running.service_settings() == settings
    assert [program.name for program in running.programs()] == ["api-1", "prometheus"]
    assert not running.is_current()


def test_prometheus_keeps_the_resend_delay_of_its_start(running: EmbeddedStack, tree: Path) -> None:
    delay = assembly.resend_delay(tree)
    assert delay != "1m"
    prometheus = next(daemon for daemon in running.daemons() if daemon.name == "prometheus")
    assert f"--rules.alert.resend-delay={delay}" in prometheus.command


def test_up_names_the_invalid_file_and_leaves_the_running_stack_alone(
    running: EmbeddedStack, tree: Path
) -> None:
    broken = _break(tree)
    with pytest.raises(LabError, match="is invalid") as caught:
        running.up()
    assert str(broken) in str(caught.value)


def test_up_from_another_checkout_leaves_the_running_stack_alone(
    running: EmbeddedStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(identity, "ROOT", Path("/another/checkout"))
    with pytest.raises(UsageError, match=f"runs from {ROOT}"):
        running.up()


def test_a_folder_without_rules_is_told_as_well(running: EmbeddedStack, tree: Path) -> None:
    shutil.rmtree(tree)
    assert not running.is_current()
    assert running.daemons()
    with pytest.raises(LabError, match=str(tree)):
        running.up(quiet)


def test_a_daemon_that_the_checkout_gained_is_none_of_the_running_stack(running: EmbeddedStack) -> None:
    assert {daemon.name for daemon in running.daemons()} == {"api-1", "prometheus"}
    (Layout(running.config.state_dir).programs / "reporting.sh").touch()
    assert {daemon.name for daemon in running.daemons()} == {"api-1", "prometheus", "reporting"}
    assert mending._unexpected(running) == [], "supervisord knows none of them"


def test_a_fault_of_supervisord_is_an_error_of_the_stack(
    layout: Layout, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise xmlrpc.client.Fault(6, "SHUTDOWN_STATE")

    supervisor = Supervisor(layout)
    monkeypatch.setattr(supervisor, "call", refuse)
    with pytest.raises(StackError, match="SHUTDOWN_STATE"):
        supervisor.infos()
    with pytest.raises(StackError, match="SHUTDOWN_STATE"):
        supervisor.info("redis")
