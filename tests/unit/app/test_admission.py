"""Who is let in, who waits and who is refused."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from types import SimpleNamespace

import anyio
import anyio.lowlevel
import pytest

from app.database.admission import Gate
from app.database.slots import DatabaseSlots
from app.errors import OverloadedError

PATIENCE_SECONDS = 0.2
ROUNDS, CALLERS = 24, 40


class Work:
    """Holds places until told to end, and counts how its callers fared."""

    def __init__(self, gate: Gate) -> None:
        self.gate = gate
        self.end = anyio.Event()
        self.held = 0
        self.done = 0
        self.refused = 0

    async def one(self) -> None:
        try:
            async with self.gate.hold():
                self.held += 1
                await self.end.wait()
                self.done += 1
        except OverloadedError:
            self.refused += 1


def scenario(act: Callable[[], Awaitable[None]]) -> None:
    async def main() -> None:
        with anyio.fail_after(10):
            await act()

    anyio.run(main)


@pytest.mark.parametrize("pause_seconds", [0.0, 0.02, 0.2])
def test_a_healthy_queue_refuses_nobody_however_long_it_is_and_though_all_pauses(
    monkeypatch: pytest.MonkeyPatch, pause_seconds: float
) -> None:
    now = 0.0
    # A clock of its own, so that nothing pauses but what is told to.
    monkeypatch.setattr("app.database.admission.time", SimpleNamespace(monotonic=lambda: now))

    async def act() -> None:
        nonlocal now
        gate = Gate("database", 2, 1.0, 200)
        begun, done = 0, 0

        async def quick() -> None:
            nonlocal begun, done, now
            async with gate.hold():
                begun += 1
                now += 0.001
                if begun == 10:
                    now += pause_seconds
                    for _ in range(10):
                        group.start_soon(quick)
                await anyio.lowlevel.checkpoint()
                done += 1

        async with anyio.create_task_group() as group:
            for _ in range(150):
                group.start_soon(quick)
        assert done == 160

    scenario(act)


def test_a_queue_that_turns_slow_is_soon_no_longer_than_can_be_served_in_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = 0.0
    monkeypatch.setattr("app.database.admission.time", SimpleNamespace(monotonic=lambda: now))
    turn = anyio.Event()
    served = refused = 0

    async def one(gate: Gate) -> None:
        nonlocal served, refused
        try:
            async with gate.hold():
                await turn.wait()
                served += 1
        except OverloadedError:
            refused += 1

    async def act() -> None:
        nonlocal now, turn
        gate = Gate("database", 5, 1.0, 200)
        waiting = []
        asked = 0
        async with anyio.create_task_group() as group:
            # 5 places, each held for 0.25 s: 20 turns in a second. Nobody gives up: that clock stands.
            for _ in range(ROUNDS):
                for _ in range(CALLERS):
                    group.start_soon(one, gate)
                asked += CALLERS
                await anyio.wait_all_tasks_blocked()
                waiting.append(asked - served - refused - 5)
                now += 0.25
                last, turn = turn, anyio.Event()
                last.set()
                await anyio.wait_all_tasks_blocked()
            assert served == ROUNDS * 5
            group.cancel_scope.cancel()
        assert max(waiting) <= 200
        assert all(10 <= length <= 30 for length in waiting[-8:]), waiting

    scenario(act)


def test_behind_work_that_does_not_end_the_queue_gets_shorter_and_everybody_gets_an_answer() -> None:
    async def act() -> None:
        gate = Gate("database", 2, PATIENCE_SECONDS, 100)
        work = Work(gate)
        async with anyio.create_task_group() as group:
            for _ in range(2):
                group.start_soon(work.one)
            await anyio.sleep(PATIENCE_SECONDS * 2 + 0.05)
            # Two places, each held for longer than two callers may wait: no turn can come in time.
            with pytest.raises(OverloadedError):
                async with gate.hold():
                    pass
            before = anyio.current_time()
            with pytest.raises(OverloadedError):
                async with gate.hold():
                    pass
            assert anyio.current_time() - before < PATIENCE_SECONDS / 2
            assert work.held == 2
            work.end.set()

    scenario(act)


def test_the_queue_has_a_longest_length_and_a_longest_wait() -> None:
    async def act() -> None:
        work = Work(Gate("database", 1, PATIENCE_SECONDS, 3))
        async with anyio.create_task_group() as group:
            for _ in range(10):
                group.start_soon(work.one)
            await anyio.wait_all_tasks_blocked()
            assert (work.held, work.refused) == (1, 6)
            await anyio.sleep(PATIENCE_SECONDS * 1.5)
            assert (work.held, work.refused) == (1, 9)
            work.end.set()
        assert work.done == 1

    scenario(act)


def test_after_a_stall_everybody_is_let_in_again_as_soon_as_places_are_free() -> None:
    async def act() -> None:
        gate = Gate("database", 2, PATIENCE_SECONDS, 100)
        stalled = Work(gate)
        async with anyio.create_task_group() as group:
            for _ in range(2):
                group.start_soon(stalled.one)
            await anyio.sleep(PATIENCE_SECONDS * 5)
            stalled.end.set()
        quick = Work(gate)
        quick.end.set()
        for _ in range(50):
            await quick.one()
        async with anyio.create_task_group() as group:
            for _ in range(50):
                group.start_soon(quick.one)
        assert (quick.done, quick.refused) == (100, 0)
        assert gate.expected_wait_seconds() < PATIENCE_SECONDS

    scenario(act)


def test_who_gives_up_waiting_takes_no_place_along() -> None:
    async def act() -> None:
        gate = Gate("database", 1, 5.0, 100)
        work = Work(gate)
        async with anyio.create_task_group() as group:
            group.start_soon(work.one)
            await anyio.wait_all_tasks_blocked()
            async with anyio.create_task_group() as impatient:
                for _ in range(3):
                    impatient.start_soon(work.one)
                await anyio.wait_all_tasks_blocked()
                impatient.cancel_scope.cancel()
            async with anyio.create_task_group() as late:
                late.start_soon(work.one)
                await anyio.wait_all_tasks_blocked()
                # Cancelled in the moment in which the place is handed over, before the task runs on.
                work.end.set()
                await anyio.lowlevel.cancel_shielded_checkpoint()
                late.cancel_scope.cancel()
        with anyio.fail_after(1):
            async with gate.hold():
                assert work.refused == 0

    scenario(act)


def test_a_place_that_is_handed_over_to_who_is_cancelled_is_not_lost() -> None:
    async def act() -> None:
        gate = Gate("database", 1, 5.0, 100)
        await gate.enter()
        waiter = asyncio.ensure_future(gate.enter())
        await anyio.lowlevel.checkpoint()
        gate.leave()
        waiter.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await waiter
        with anyio.fail_after(1):
            await gate.enter()

    scenario(act)


def test_checks_need_no_database_slot_and_are_bounded_too() -> None:
    async def act() -> None:
        slots = DatabaseSlots(1, PATIENCE_SECONDS, waiting_max=1)
        async with slots.hold():
            await slots.check(lambda: None)
            with pytest.raises(OverloadedError):
                await slots.run(lambda: None)

    scenario(act)
