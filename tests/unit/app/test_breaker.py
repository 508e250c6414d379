"""The breaker before what may not answer."""

from __future__ import annotations

import pytest

from app.net.breaker import Breaker, BreakerOpenError, BreakerState


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def states() -> list[BreakerState]:
    return []


@pytest.fixture
def breaker(clock: Clock, states: list[BreakerState]) -> Breaker:
    return Breaker(failures_max=3, open_seconds=10, on_change=states.append, clock=clock)


def state(breaker: Breaker) -> str:
    return breaker.state.name


def fail(breaker: Breaker) -> None:
    breaker.admit()
    breaker.failed()


def test_it_opens_after_failures_in_a_row_only(breaker: Breaker) -> None:
    for _ in range(5):
        fail(breaker)
        fail(breaker)
        breaker.admit()
        breaker.succeeded()
    assert state(breaker) == "CLOSED"
    for _ in range(3):
        fail(breaker)
    assert state(breaker) == "OPEN"
    with pytest.raises(BreakerOpenError) as refused:
        breaker.admit()
    assert 10 <= refused.value.retry_after_seconds <= 12.5


def test_one_call_at_a_time_finds_out_whether_it_works_again(
    breaker: Breaker, clock: Clock, states: list[BreakerState]
) -> None:
    for _ in range(3):
        fail(breaker)
    clock.now += 10
    breaker.admit()
    assert state(breaker) == "HALF_OPEN"
    with pytest.raises(BreakerOpenError):
        breaker.admit()
    breaker.failed()
    assert state(breaker) == "OPEN"
    with pytest.raises(BreakerOpenError):
        breaker.admit()
    clock.now += 20  # twice as long after a try that failed
    breaker.admit()
    breaker.succeeded()
    breaker.admit()
    assert states == [
        BreakerState.CLOSED,
        BreakerState.OPEN,
        BreakerState.HALF_OPEN,
        BreakerState.OPEN,
        BreakerState.HALF_OPEN,
        BreakerState.CLOSED,
    ]


def test_a_pause_is_kept_in_full(breaker: Breaker, clock: Clock) -> None:
    breaker.admit()
    breaker.pause(30)
    clock.now += 29
    with pytest.raises(BreakerOpenError) as refused:
        breaker.admit()
    assert 1 <= refused.value.retry_after_seconds <= 1.25
    clock.now += 1
    breaker.admit()
