"""Whatever kills a drill, nothing stays broken."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from typing import Any

import httpx
import pytest

from chaos.adapters.guardian import find_process
from chaos.domain.journal import Phase, ProcessRef
from tests.support.lab import Lab, eventually

pytestmark = [pytest.mark.stack, pytest.mark.timeout(300)]

PHASE_SECONDS_MAX = 120.0
HEALED_SECONDS_MAX = 60.0
ENDED_SECONDS_MAX = 90.0


@pytest.fixture(scope="module")
def before(shared: Lab) -> dict[str, Any]:
    """The baseline of the stack, before anything is broken."""
    shared.ok("up")
    shared.ok("heal")
    return shared.baseline()


def reach(lab: Lab, drill: subprocess.Popen[str], phase: Phase, known: set[str]) -> None:
    """Wait until the drill's own journal has reached a phase."""

    def reached() -> bool:
        names = {path.name for path in (lab.config.state_dir / "runs").glob("*")} - known
        assert drill.poll() is None or phase is Phase.CLOSED, drill.communicate()[0]
        return bool(names) and phase in lab.phases()

    eventually(reached, PHASE_SECONDS_MAX, f"phase {phase}")


def begin(lab: Lab, phase: Phase, *arguments: str) -> subprocess.Popen[str]:
    """Start a drill and return once it is in a phase."""
    known = {path.name for path in (lab.config.state_dir / "runs").glob("*")}
    drill = lab.start("drill", "3", *arguments)
    try:
        reach(lab, drill, phase, known)
    except BaseException:
        drill.kill()
        print(drill.communicate()[0])
        raise
    return drill


def kill_guardian(lab: Lab) -> None:
    active = lab.runs.active()
    assert active is not None
    guardian = find_process(active.guardian)
    assert guardian is not None
    guardian.kill()


def assert_as_before(lab: Lab, before: dict[str, Any]) -> None:
    """Heal, then see that nothing differs from the baseline and nobody is left."""
    active = lab.runs.active()
    if active is None or not active.held:  # a hold is what `heal` ends; anything else ends by itself
        eventually(lambda: not lab.runs.is_locked(), HEALED_SECONDS_MAX, "the lab's lock is free")
    healed = lab.run("heal")
    assert healed.returncode == 0, healed.stdout + healed.stderr
    assert lab.left_over(before) == []
    assert lab.runs.active() is None
    operators = lab.wired.operators
    assert {alert.name for alert in operators.metrics.active_alerts()} <= {"Watchdog"}
    assert set(operators.data_path.service_reasons().values()) == {None}


def end(drill: subprocess.Popen[str]) -> str:
    """Wait for a drill that was killed or ends by itself, and return what it said."""
    said, _ = drill.communicate(timeout=ENDED_SECONDS_MAX)
    return said


@pytest.mark.parametrize(
    "phase",
    [
        pytest.param(Phase.PLANNED, marks=pytest.mark.full),
        pytest.param(Phase.STEADY, marks=pytest.mark.full),
        pytest.param(Phase.INJECTING, marks=pytest.mark.full),
        Phase.JUDGING,
        pytest.param(Phase.REMEDYING, marks=pytest.mark.full),
        pytest.param(Phase.RECOVERING, marks=pytest.mark.full),
        pytest.param(Phase.CLOSED, marks=pytest.mark.full),
    ],
)
def test_a_drill_killed_in_any_phase_is_healed_by_its_guardian(
    lab: Lab, before: dict[str, Any], phase: Phase
) -> None:
    drill = begin(lab, phase)
    drill.kill()
    end(drill)
    assert_as_before(lab, before)
    assert lab.phases()[-1] is Phase.CLOSED


@pytest.mark.full
def test_a_drill_killed_while_it_heals_is_healed_by_its_guardian(lab: Lab, before: dict[str, Any]) -> None:
    drill = begin(lab, Phase.JUDGING)
    drill.send_signal(signal.SIGINT)
    eventually(lambda: Phase.HEALING in lab.phases(), HEALED_SECONDS_MAX, "healing has begun")
    drill.kill()
    end(drill)
    assert_as_before(lab, before)


@pytest.mark.full
@pytest.mark.parametrize("phase", [Phase.INJECTING, Phase.JUDGING])
def test_drill_and_guardian_killed_together_leave_it_to_heal(
    lab: Lab, before: dict[str, Any], phase: Phase
) -> None:
    drill = begin(lab, phase)
    if phase is Phase.JUDGING:
        assert lab.wired.operators.service_proxies.leftovers()
    kill_guardian(lab)
    drill.kill()
    end(drill)
    assert lab.runs.active() is not None
    assert_as_before(lab, before)


@pytest.mark.full
def test_the_next_drill_heals_what_a_dead_one_left(lab: Lab, before: dict[str, Any]) -> None:
    drill = begin(lab, Phase.JUDGING)
    kill_guardian(lab)
    drill.kill()
    end(drill)
    code, _, said = lab.drill_json()
    assert code == 0, said
    assert "was never closed: healing first" in said
    assert_as_before(lab, before)


@pytest.mark.full
def test_a_drill_without_its_guardian_stops_and_heals(lab: Lab, before: dict[str, Any]) -> None:
    drill = begin(lab, Phase.JUDGING)
    kill_guardian(lab)
    said = end(drill)
    assert drill.returncode == 3, said
    assert "guardian has ended" in said
    assert_as_before(lab, before)


def test_ctrl_c_three_times_in_a_row_heals_and_exits_130(lab: Lab, before: dict[str, Any]) -> None:
    drill = begin(lab, Phase.JUDGING)
    for _ in range(3):
        drill.send_signal(signal.SIGINT)
        time.sleep(0.2)  # three signals at once would be one
    said = end(drill)
    assert drill.returncode == 130, said
    assert said.count("healing") >= 2
    assert_as_before(lab, before)


@pytest.mark.full
def test_a_bad_deployment_is_rolled_back_when_the_drill_dies(lab: Lab, before: dict[str, Any]) -> None:
    drill = begin(lab, Phase.JUDGING, "--variant", "wrong-port")
    drill.kill()
    end(drill)
    assert_as_before(lab, before)


@pytest.mark.full
def test_a_database_that_is_only_on_its_socket_is_healed_without_any_record(
    lab: Lab, before: dict[str, Any]
) -> None:
    drill = begin(lab, Phase.JUDGING, "--variant", "socket-only")
    kill_guardian(lab)
    drill.kill()
    end(drill)
    (lab.config.state_dir / "active.json").unlink()
    assert_as_before(lab, before)


def test_a_hung_toxiproxy_is_restarted(lab: Lab, before: dict[str, Any]) -> None:
    operators = lab.wired.operators
    operators.service_proxies.disable("postgres")
    lab.stack.signal("toxiproxy-service", signal.SIGSTOP)
    assert_as_before(lab, before)


def test_a_held_scenario_refuses_others_by_name_and_ends_with_heal(lab: Lab, before: dict[str, Any]) -> None:
    said = lab.ok("scenario", "3", "--variant", "packets-swallowed", "--hold", "5m")
    assert "swallow" not in said
    for arguments in (("drill", "3"), ("scenario", "3"), ("up",)):
        refused = lab.run(*arguments)
        assert refused.returncode == 3, refused.stdout
        assert "03-connection-refused" in refused.stderr
        assert "make fix-3" in refused.stderr
        assert "swallow" not in refused.stderr
    status = lab.ok("status")
    assert "swallow" not in status
    assert "03-connection-refused" in status
    assert "packets-swallowed" in lab.ok("status", "--reveal")
    assert_as_before(lab, before)


@pytest.mark.full
def test_a_hold_whose_process_manager_is_gone_ends_with_heal(lab: Lab, before: dict[str, Any]) -> None:
    lab.ok("scenario", "3", "--hold", "5m")
    pid = lab.stack.supervisor.pid()
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    healed = lab.run("heal")
    assert healed.returncode == 0, healed.stdout + healed.stderr
    assert not lab.runs.is_locked()
    assert lab.processes() == []
    lab.ok("up")
    assert lab.left_over(before) == []


@pytest.mark.full
def test_a_hold_ends_by_itself(lab: Lab, before: dict[str, Any]) -> None:
    lab.ok("scenario", "3", "--hold", "2s")
    eventually(lambda: not lab.runs.is_locked(), HEALED_SECONDS_MAX, "the guardian has let go")
    assert lab.left_over(before) == []
    assert_as_before(lab, before)


@pytest.mark.full
def test_a_second_drill_is_refused_while_one_runs(lab: Lab, before: dict[str, Any]) -> None:
    drill = begin(lab, Phase.STEADY)
    refused = lab.run("drill", "3")
    assert refused.returncode == 3
    assert "is running" in refused.stderr
    said = end(drill)
    assert drill.returncode == 0, said
    assert_as_before(lab, before)


def test_a_guardian_of_another_process_is_not_mistaken_for_ours() -> None:
    assert find_process(ProcessRef(os.getpid(), 1.0)) is None


def test_silences_are_ended(lab: Lab, before: dict[str, Any]) -> None:
    silence(lab)
    assert lab.left_over(before, 0.0) != []
    assert_as_before(lab, before)


def silence(lab: Lab) -> None:
    now = time.time()

    def stamp(unix: float) -> str:
        return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(unix))

    matcher = {"name": "alertname", "value": "PostgresUnreachable", "isRegex": False, "isEqual": True}
    body = {
        "matchers": [matcher],
        "startsAt": stamp(now),
        "endsAt": stamp(now + 600),
        "createdBy": "somebody",
        "comment": "too loud",
    }
    url = lab.stack.topology.address("alertmanager").url
    httpx.post(f"{url}/api/v2/silences", json=body, timeout=5, trust_env=False).raise_for_status()


@pytest.mark.full
def test_up_heals_what_a_dead_run_left(lab: Lab, before: dict[str, Any]) -> None:
    drill = begin(lab, Phase.JUDGING, "--variant", "socket-only")
    kill_guardian(lab)
    drill.kill()
    end(drill)
    lab.ok("up")
    assert lab.left_over(before) == []
    assert lab.runs.active() is None
