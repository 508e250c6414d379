from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from app.net.breaker import Breaker, BreakerOpenError, BreakerState


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def breaker(clock: Clock, seen: list[BreakerState] | None = None) -> Breaker:
    shown = seen if seen is not None else []
    return Breaker(failures_max=3, open_seconds=5, open_seconds_max=12, on_change=shown.append, clock=clock)


def fail(one: Breaker, times: int) -> None:
    for _ in range(times):
        one.admit()
        one.failed()


def refused(one: Breaker) -> float:
    with pytest.raises(BreakerOpenError) as error:
        one.admit()
    return error.value.retry_after_seconds


def test_it_opens_after_so_many_failures_in_a_row_and_no_others(clock: Clock) -> None:
    one = breaker(clock)
    for _ in range(5):
        fail(one, 2)
        one.admit()
        one.succeeded()
    states = [one.state]
    fail(one, 3)
    assert [*states, one.state] == [BreakerState.CLOSED, BreakerState.OPEN]
    assert 5 <= refused(one) <= 6.25  # spread, so that not all come back at once


def test_when_its_time_is_over_one_tries_for_all(clock: Clock) -> None:
    seen: list[BreakerState] = []
    one = breaker(clock, seen)
    fail(one, 3)
    clock.now += 5
    one.admit()
    assert one.state is BreakerState.HALF_OPEN
    assert refused(one) > 0
    one.succeeded()
    one.admit()
    one.admit()
    assert seen == [BreakerState.CLOSED, BreakerState.OPEN, BreakerState.HALF_OPEN, BreakerState.CLOSED]


def test_each_try_that_fails_doubles_the_time_up_to_a_maximum(clock: Clock) -> None:
    one = breaker(clock)
    fail(one, 3)
    for seconds in (5, 10, 12, 12):
        clock.now += seconds - 0.1
        refused(one)
        clock.now += 0.1
        fail(one, 1)
    clock.now += 12
    one.admit()
    one.succeeded()
    fail(one, 3)
    assert refused(one) <= 6.25  # as at first


def test_a_try_that_never_ends_does_not_keep_the_others_out(clock: Clock) -> None:
    one = breaker(clock)
    fail(one, 3)
    clock.now += 5
    one.admit()
    refused(one)
    clock.now += 5
    one.admit()


def test_failures_that_began_before_it_opened_change_nothing(clock: Clock) -> None:
    one = breaker(clock)
    for _ in range(6):
        one.admit()
    for _ in range(6):
        one.failed()
    clock.now += 5
    one.admit()
    assert one.state is BreakerState.HALF_OPEN


def test_of_many_threads_one_tries(clock: Clock) -> None:
    one = breaker(clock)
    fail(one, 3)
    clock.now += 5
    together = threading.Barrier(16)

    def attempt(_: int) -> bool:
        together.wait(5)
        try:
            one.admit()
        except BreakerOpenError:
            return False
        return True

    with ThreadPoolExecutor(16) as pool:
        assert sum(pool.map(attempt, range(16))) == 1
