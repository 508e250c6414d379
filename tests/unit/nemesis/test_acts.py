"""Each injection: recorded before it is done, proven before it counts, and over when it returns."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from chaos.domain.journal import Phase
from chaos.engine.nemesis.acts import NotProvenError
from chaos.engine.nemesis.schedule import Step
from chaos.engine.nemesis.table import EVENT_MISHAPS, MISHAPS, TOXICS, Cell
from chaos.errors import DiskFullError
from tests.support.nemesis import LIVE, Bench

ATTRIBUTES: dict[str, dict[str, int]] = {
    "latency": {"latency": 600, "jitter": 100},
    "bandwidth": {"rate": 8},
    "slow_close": {"delay": 1_000},
    "timeout": {"timeout": 0},
    "reset_peer": {"timeout": 0},
    "slicer": {"average_size": 256, "size_variation": 32, "delay": 20_000},
    "limit_data": {"bytes": 1_500},
    "down": {},
}


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    bench = Bench(tmp_path)
    bench.stopping.set()  # nothing is held: the tests do not wait
    yield bench
    bench.history.close()


def step(fault: str, target: str) -> Step:
    return Step(
        cell=Cell(fault, target),
        stream="downstream" if fault in ATTRIBUTES else "",
        attributes=ATTRIBUTES.get(fault, {}),
        hold_seconds=0.0,
        gap_seconds=0.0,
        required=True,
    )


@pytest.mark.parametrize("fault", ["down", *TOXICS])
def test_a_path_is_impaired_proven_and_healed(bench: Bench, fault: str) -> None:
    bench.nemesis.inject(step(fault, "redis"))
    assert bench.world.proxies.leftovers() == []
    told = [(entry.type, entry.act) for entry in bench.told()]
    assert told == [("invoke", "inject"), ("info", "live"), ("ok", "inject")]
    assert bench.journal.entries == [(Phase.INJECTING, f"{fault}:redis")]


@pytest.mark.parametrize("fault", ["down", *TOXICS])
def test_a_fault_that_does_not_show_counts_for_nothing_and_is_healed(bench: Bench, fault: str) -> None:
    bench.world.proxies.deaf = True
    with pytest.raises(NotProvenError, match="does not show"):
        bench.nemesis.inject(step(fault, "redis"))
    assert bench.world.proxies.leftovers() == []
    assert [entry.type for entry in bench.told()] == ["invoke", "fail"]


def test_a_path_that_looks_broken_without_the_fault_proves_nothing(bench: Bench) -> None:
    bench.paths.sluggish = True
    with pytest.raises(NotProvenError, match="looks so without the fault"):
        bench.nemesis.inject(step("bandwidth", "redis"))
    assert not any(entry.act == "live" for entry in bench.told())


def test_what_cannot_be_recorded_is_not_done(bench: Bench) -> None:
    bench.journal.full = True
    with pytest.raises(DiskFullError):
        bench.nemesis.inject(step("kill", "worker-1"))
    assert bench.processes.signals == []
    assert bench.told() == []


def test_a_kill_is_proven_by_another_process(bench: Bench) -> None:
    bench.nemesis.inject(step("kill", "worker-1"))
    assert bench.processes.signals == [("worker-1", signal.SIGKILL)]
    assert bench.world.stack.states["worker-1"] == "RUNNING"


def test_a_program_that_outlives_its_kill_is_no_injection(bench: Bench) -> None:
    bench.processes.immortal = True
    with pytest.raises(NotProvenError, match="no other process came"):
        bench.nemesis.inject(step("kill", "worker-1"))


def test_a_redis_that_was_killed_gets_its_marker_back(bench: Bench) -> None:
    bench.cache.marker = None
    bench.nemesis.inject(step("kill", "redis"))
    assert bench.cache.marker == "test"


def test_a_paused_program_sleeps_and_wakes(bench: Bench) -> None:
    bench.nemesis.inject(step("pause", "worker-1"))
    assert bench.processes.signals == [("worker-1", signal.SIGSTOP), ("worker-1", signal.SIGCONT)]
    assert bench.processes.stopped == set()


def test_a_program_that_does_not_sleep_is_no_injection_and_is_woken_all_the_same(bench: Bench) -> None:
    bench.processes.sleepless = True
    with pytest.raises(NotProvenError, match="was not stopped"):
        bench.nemesis.inject(step("pause", "worker-1"))
    assert bench.processes.signals[-1] == ("worker-1", signal.SIGCONT)


def test_a_redis_of_somebody_else_is_never_flushed(bench: Bench) -> None:
    for marker in (None, "another-lab"):
        bench.cache.marker = marker
        with pytest.raises(NotProvenError, match="left alone"):
            bench.nemesis.inject(step("flushall", "redis"))
    assert bench.cache.flushed == 0
    assert bench.cache.marker == "another-lab"


def test_a_flushed_redis_is_marked_again(bench: Bench) -> None:
    bench.nemesis.inject(step("flushall", "redis"))
    assert bench.cache.flushed == 1
    assert bench.cache.marker == "test"


def test_a_redis_that_keeps_everything_was_not_flushed(bench: Bench) -> None:
    bench.cache.deaf = True
    with pytest.raises(NotProvenError, match="still holds"):
        bench.nemesis.inject(step("flushall", "redis"))


def test_a_rolling_restart_that_restarts_nothing_is_no_injection(bench: Bench) -> None:
    with pytest.raises(NotProvenError, match="api-1 was not restarted"):
        bench.nemesis.inject(step("rolling-restart", "service"))


@pytest.mark.parametrize("fault", MISHAPS)
def test_an_upstream_misbehaves_and_is_reset(bench: Bench, fault: str) -> None:
    bench.nemesis.inject(step(fault, "moderation-api"))
    assert [(entry.type, entry.act) for entry in bench.told()][1] == ("info", "live")
    assert bench.upstreams.behaviour == {}


@pytest.mark.parametrize("fault", MISHAPS)
def test_an_upstream_that_goes_on_as_before_is_no_injection(bench: Bench, fault: str) -> None:
    bench.upstreams.deaf = True
    with pytest.raises(NotProvenError, match="does not show"):
        bench.nemesis.inject(step(fault, "moderation-api"))


def test_every_toxic_has_a_look() -> None:
    assert set(LIVE) == set(TOXICS)


@pytest.mark.parametrize("fault", EVENT_MISHAPS)
def test_events_go_wrong_until_the_step_is_over(bench: Bench, fault: str) -> None:
    bench.nemesis.inject(step(fault, "s3-events"))
    assert [(entry.type, entry.act) for entry in bench.told()][1] == ("info", "live")
    assert bench.upstreams.behaviour == {}


@pytest.mark.parametrize("fault", EVENT_MISHAPS)
def test_events_that_do_not_go_wrong_count_for_nothing(bench: Bench, fault: str) -> None:
    bench.upstreams.deaf = True
    with pytest.raises(NotProvenError, match="does not show"):
        bench.nemesis.inject(step(fault, "s3-events"))
    assert not any(entry.act == "live" for entry in bench.told())
