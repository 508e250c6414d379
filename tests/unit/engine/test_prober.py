from __future__ import annotations

import pytest

from chaos.engine.prober import FaultNotLiveError, Prober, first_failure
from chaos.ports import ProbeResult
from tests.support.fakes import START_UNIX, FakeDataPath
from tests.support.world import World

REASONS = ("refused",)


def results(*pairs: tuple[float, str]) -> list[ProbeResult]:
    return [ProbeResult(at, ok=reason == "ok", reason=reason) for at, reason in pairs]


def test_the_first_attempt_of_the_lasting_failure_counts() -> None:
    found = first_failure(
        results(
            (0.0, "ok"), (0.1, "refused"), (0.2, "ok"), (0.3, "refused"), (0.5, "refused"), (0.7, "refused")
        ),
        REASONS,
        intermittent=False,
    )
    assert found is not None
    assert found.at_unix == 0.3


def test_a_blip_is_no_fault() -> None:
    assert first_failure(results((0.0, "refused")), REASONS, intermittent=False) is None
    assert first_failure(results((0.0, "ok"), (0.1, "refused")), REASONS, intermittent=True) is None


def test_one_restart_is_no_loop() -> None:
    once = results((0.0, "ok"), (0.1, "refused"), (0.2, "refused"), (0.3, "refused"), (0.4, "ok"))
    assert first_failure(once, REASONS, intermittent=True) is None


def test_one_attempt_that_hung_is_enough() -> None:
    hung = [ProbeResult(0.0, ok=False, reason="timeout", took_seconds=2.0)]
    found = first_failure(hung, ("timeout",), intermittent=False)
    assert found is hung[0]


def test_a_data_path_that_cannot_be_tried_is_an_error() -> None:
    world = World()

    class Broken(FakeDataPath):
        def probe(self) -> ProbeResult:
            raise ValueError("no settings")

    prober = Prober(Broken(world.proxies, world.clock), world.clock)
    with prober, pytest.raises(FaultNotLiveError, match="could not be tried: no settings"):
        prober.wait_live(START_UNIX, REASONS, intermittent=False)


def test_failing_for_another_reason_is_not_this_fault() -> None:
    found = first_failure(results((0.0, "timeout"), (1.0, "timeout")), REASONS, intermittent=False)
    assert found is None


def test_an_intermittent_fault_may_work_in_between() -> None:
    found = first_failure(
        results((0.1, "refused"), (0.2, "ok"), (0.3, "refused"), (0.4, "ok"), (0.5, "refused"), (0.6, "ok")),
        REASONS,
        intermittent=True,
    )
    assert found is not None
    assert found.at_unix == 0.1


def test_a_no_op_fault_is_an_error_that_says_so() -> None:
    world = World()
    prober = Prober(FakeDataPath(world.proxies, world.clock), world.clock)
    with prober, pytest.raises(FaultNotLiveError, match="no-op"):
        prober.wait_live(START_UNIX, REASONS, intermittent=False)
