"""The script that counts in Redis, against the same in Python: two words for one rule."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Iterator
from typing import Any

import pytest
import redis

from app.access.gcra import LUA, Decision, Rate, decide
from app.access.redis_link import RedisLink
from tests.support.valkey import ValkeyServer

CALLERS = 4
STEPS = 300
# The script asks the server for the time, and nobody can set that: here it is told. Keys stay: the server
# would end them by its own clock.
CLOCK, LIFE = "redis.call('TIME')", ", 'PX', math.ceil(ahead / 1000)"
TOLD = LUA.replace(CLOCK, "{ARGV[3], ARGV[4]}").replace(LIFE, "")


@pytest.fixture
def server(valkey: ValkeyServer) -> Iterator[redis.Redis]:
    with redis.Redis(port=valkey.port) as client:
        client.flushall()
        yield client


@pytest.mark.parametrize("seed", range(6))
def test_both_decide_alike_on_the_same_arrivals(server: redis.Redis, seed: int) -> None:
    assert CLOCK in LUA
    assert LIFE in LUA
    script = server.register_script(TOLD)
    rng = random.Random(seed)  # noqa: S311
    rates = [Rate(rng.choice((1, 7, 100, 6_000)), rng.choice((1, 3, 20, 500))) for _ in range(CALLERS)]
    expected_us: dict[int, int] = {}
    now_us = time.time_ns() // 1_000
    allowed = 0
    for _ in range(STEPS):
        caller = rng.randrange(CALLERS)
        rate = rates[caller]
        # Mostly forward, and sometimes back, as clocks are set.
        now_us += int(rng.expovariate(1.0) * rate.interval_us * rng.choice((0, 0.1, 0.6, 2)))
        now_us -= rng.choice((0,) * 30 + (rate.interval_us, 10 * rate.tolerance_us))
        expected_us[caller], pure = decide(expected_us.get(caller), now_us, rate)
        arguments = [rate.interval_us, rate.tolerance_us, now_us // 1_000_000, now_us % 1_000_000]
        reply: Any = script(keys=[f"dcs:rate:{caller}"], args=arguments)
        assert Decision.of(rate, allowed=reply[0] == 1, ahead_us=reply[1]) == pure
        if pure.allowed:
            assert server.get(f"dcs:rate:{caller}") == str(expected_us[caller]).encode()
        allowed += pure.allowed
    assert STEPS // 10 < allowed < STEPS


def test_a_key_goes_when_its_caller_has_its_whole_burst_again(server: redis.Redis) -> None:
    script = server.register_script(LUA)
    rate = Rate(per_minute=60_000, burst=100)
    arguments = [rate.interval_us, rate.tolerance_us]
    assert [script(keys=["dcs:rate:x"], args=arguments)[0] for _ in range(50)] == [1] * 50
    assert server.pttl("dcs:rate:x") <= 50
    time.sleep(0.06)
    assert server.exists("dcs:rate:x") == 0
    assert script(keys=["dcs:rate:x"], args=arguments) == [1, rate.interval_us]


def test_the_script_is_sent_again_to_a_server_that_forgot_it(
    valkey: ValkeyServer, server: redis.Redis
) -> None:
    async def run() -> list[Any]:
        link = RedisLink(valkey.url, budget_seconds=1.0, script=LUA)
        await link.start()
        try:
            first = await link.run_script(b"dcs:rate:y", b"1000000", b"2000000")
            server.script_flush()
            return [first, *[await link.run_script(b"dcs:rate:y", b"1000000", b"2000000") for _ in range(2)]]
        finally:
            await link.stop()

    replies = asyncio.run(run())
    assert [allowed for allowed, _ in replies] == [1, 1, 0]


def test_answers_come_to_those_who_asked(valkey: ValkeyServer) -> None:
    """Hundreds at once, of all sizes, some of whom do not wait for theirs."""

    async def run() -> None:
        link = RedisLink(valkey.url, budget_seconds=1.0, script=LUA)
        await link.start()
        try:
            values = [b"%d-" % n + b"v" * (n * 97 % 5_000) for n in range(400)]
            tasks = [asyncio.create_task(link.command(b"ECHO", value)) for value in values]
            await asyncio.sleep(0)
            for task in tasks[::7]:
                task.cancel()
            replies = await asyncio.gather(*tasks, return_exceptions=True)
            for n, (value, reply) in enumerate(zip(values, replies, strict=True)):
                assert isinstance(reply, asyncio.CancelledError) if n % 7 == 0 else reply == value
            with pytest.raises(redis.ResponseError):
                await link.command(b"NOTHING")
            assert await link.command(b"ECHO", b"still there") == b"still there"
        finally:
            await link.stop()

    asyncio.run(run())
