"""The cache is never wrong: with Redis there, away, silent, emptied or poisoned."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import pytest
import redis

from app.cache.cache import Cache, Codec, Lifetime
from app.cache.entry import CacheArea, CacheKey, pack, unpack
from app.cache.settings import CacheSettings
from app.telemetry.metrics import cache as metrics
from tests.support.tcp import PathState, TcpForwarder
from tests.support.valkey import ValkeyServer
from tests.support.waiting import eventually

MINUTE = Lifetime(60)


def text_codec() -> Codec[str]:
    return Codec(encode=lambda value: value.encode(), decode=lambda body: body.decode())


TEXT = text_codec()


class AwayError(Exception):
    pass


@pytest.fixture
def server(valkey: ValkeyServer) -> Iterator[redis.Redis]:
    with closing(redis.Redis.from_url(valkey.url)) as client:
        client.flushall()
        yield client


@pytest.fixture
def cache(server: redis.Redis, valkey: ValkeyServer) -> Iterator[Cache]:
    # Patient, for a machine that also does other things: the time-outs have tests of their own.
    with closing(Cache(valkey.url, CacheSettings(cache_timeout_seconds=5, cache_wait_seconds=10))) as cache:
        yield cache


@pytest.fixture
def path(server: redis.Redis, valkey: ValkeyServer) -> Iterator[TcpForwarder]:
    with TcpForwarder(("127.0.0.1", valkey.port)) as forwarder:
        yield forwarder


def key(*parts: str, client: str = "acme") -> CacheKey:
    return CacheKey(CacheArea.RESULT, client, parts or ("job",))


def counted(outcome: str) -> float:
    return float(metrics.REQUESTS.labels("result", outcome)._value.get())


class Load:
    """Counts what it is asked for."""

    def __init__(self, answer: Callable[[], str] = lambda: "value") -> None:
        self.calls = 0
        self._answer = answer

    def __call__(self) -> str:
        self.calls += 1
        return self._answer()


def test_a_value_is_loaded_once_and_then_read(cache: Cache) -> None:
    load, hits = Load(), counted("hit")
    assert [cache.get_or_load(key(), load, TEXT, MINUTE) for _ in range(3)] == ["value"] * 3
    assert (load.calls, counted("hit") - hits) == (1, 2)


def test_clients_and_parts_share_nothing(cache: Cache) -> None:
    cache.put(key("job", "1"), b"mine", MINUTE)
    for other in (key("job", "1", client="other"), key("job1"), key("job", "2"), key("jo", "b1")):
        assert cache.get(other) is None
    assert cache.get(CacheKey(CacheArea.STATUS, "acme", ("job", "1"))) is None
    assert cache.get(key("job", "1")) == b"mine"


def test_a_value_ends_with_its_time(cache: Cache) -> None:
    cache.put(key(), b"value", Lifetime(0.15))
    assert cache.get(key()) == b"value"
    eventually(lambda: cache.get(key()) is None, within_seconds=5, what="it is gone")


def test_what_the_codec_will_not_keep_is_loaded_each_time(cache: Cache) -> None:
    load = Load()
    shy: Codec[str] = Codec(encode=lambda _: None, decode=lambda body: body.decode())
    for _ in range(2):
        cache.get_or_load(key(), load, shy, MINUTE)
    assert load.calls == 2


def test_a_value_that_is_too_large_is_not_kept(valkey: ValkeyServer, server: redis.Redis) -> None:
    with closing(Cache(valkey.url, CacheSettings(cache_entry_bytes_max=10))) as cache:
        cache.put(key(), b"x" * 11, MINUTE)
        assert cache.get(key()) is None
        cache.put(key(), b"x" * 10, MINUTE)
        assert cache.get(key()) == b"x" * 10


def test_of_many_readers_one_loads(cache: Cache) -> None:
    released = threading.Event()

    def slowly() -> str:
        assert released.wait(10)
        return "value"

    load = Load(slowly)
    with ThreadPoolExecutor(12) as pool:
        readers = [pool.submit(cache.get_or_load, key(), load, TEXT, MINUTE) for _ in range(12)]
        eventually(lambda: load.calls, within_seconds=5, what="one loads")
        released.set()
        assert [reader.result(10) for reader in readers] == ["value"] * 12
    assert load.calls == 1


def test_who_comes_to_its_turn_late_looks_again(cache: Cache, monkeypatch: pytest.MonkeyPatch) -> None:
    load, read = Load(), Cache._read
    looked = iter([True])

    def outrun(one: Cache, of: CacheKey) -> object:
        found = read(one, of)
        if next(looked, False):  # between our look and our turn another reader comes and goes
            one.put(of, b"another's", MINUTE)
        return found

    monkeypatch.setattr(Cache, "_read", outrun)
    assert cache.get_or_load(key(), load, TEXT, MINUTE) == "another's"
    assert load.calls == 0


def test_a_reader_does_not_wait_for_ever_for_another(cache: Cache, valkey: ValkeyServer) -> None:
    released, load = threading.Event(), Load()
    impatient = Cache(valkey.url, CacheSettings(cache_timeout_seconds=5, cache_wait_seconds=0.5))
    with ThreadPoolExecutor(1) as pool, closing(impatient):
        slow = pool.submit(
            cache.get_or_load, key(), lambda: "slow" if released.wait(10) else "", TEXT, MINUTE
        )
        eventually(lambda: bool(cache._redis.exists(key().name + ":lock")), within_seconds=5, what="the lock")
        started = time.monotonic()
        assert impatient.get_or_load(key(), load, TEXT, MINUTE) == "value"
        assert 0.4 < time.monotonic() - started < 5
        released.set()
        assert slow.result(10) == "slow"


def test_when_loading_fails_the_next_reader_does_not_wait(cache: Cache) -> None:
    def fail() -> str:
        raise AwayError

    for _ in range(2):
        started = time.monotonic()
        with pytest.raises(AwayError):
            cache.get_or_load(key(), fail, TEXT, MINUTE)
        assert time.monotonic() - started < 5


def test_while_one_renews_a_value_the_others_get_the_old_one(cache: Cache) -> None:
    old = Lifetime(0, 60)  # stale from the start
    cache.put(key(), b"old", old)
    released = threading.Event()
    with ThreadPoolExecutor(1) as pool:
        renewing = pool.submit(
            cache.get_or_load, key(), lambda: "new" if released.wait(10) else "", TEXT, old
        )
        eventually(lambda: bool(cache._redis.exists(key().name + ":lock")), within_seconds=5, what="the lock")
        started, stale = time.monotonic(), counted("stale")
        assert cache.get_or_load(key(), Load(), TEXT, old) == "old"
        assert time.monotonic() - started < 5
        assert counted("stale") == stale + 1
        released.set()
        assert renewing.result(10) == "new"
    assert cache.get(key()) == b"new"


def test_an_old_value_is_better_than_none(cache: Cache) -> None:
    cache.put(key(), b"old", Lifetime(0, 60))

    def away() -> str:
        raise AwayError

    assert cache.get_or_load(key(), away, TEXT, Lifetime(0, 60), stale_if=(AwayError,)) == "old"
    with pytest.raises(AwayError):
        cache.get_or_load(key(), away, TEXT, Lifetime(0, 60))


@pytest.mark.parametrize("state", [PathState.REFUSE, PathState.CLOSE, PathState.BLACK_HOLE])
def test_without_redis_every_read_loads_and_soon_without_delay(path: TcpForwarder, state: PathState) -> None:
    with closing(Cache(f"redis://127.0.0.1:{path.port}/0", CacheSettings())) as cache:
        cache.put(key(), b"old", MINUTE)
        path.set_state(state)
        load = Load()
        started = time.monotonic()
        for number in range(1, 51):
            assert cache.get_or_load(key(), load, TEXT, MINUTE) == "value"
            assert load.calls == number
            assert cache.get(key()) is None
            cache.put(key(), b"new", MINUTE)
            cache.forget(key())
        # 200 calls: three time-outs of 0.1 s, then the breaker, which tries again once a second.
        assert time.monotonic() - started < 1.5
        path.set_state(PathState.PASS)
        eventually(
            lambda: cache.get(key()) == b"old",
            within_seconds=15,
            what="the cache is used again",
        )


def test_an_emptied_redis_costs_one_load(cache: Cache, server: redis.Redis) -> None:
    load = Load()
    cache.get_or_load(key(), load, TEXT, MINUTE)
    server.flushall()
    assert [cache.get_or_load(key(), load, TEXT, MINUTE) for _ in range(2)] == ["value"] * 2
    assert load.calls == 2


@pytest.mark.parametrize(
    "poison",
    [
        b"",
        b"garbage",
        b"\x00" * 100,
        pack(key(), b"value")[:-1],
        pack(key(), b"value") + b"x",
        b"dcs0" + pack(key(), b"value")[4:],
        pack(key(client="other"), b"another client's"),
        pack(key(), b"\xff\xfe no text"),  # written by us, and not what the codec reads
    ],
)
def test_what_was_not_written_here_is_a_miss(cache: Cache, server: redis.Redis, poison: bytes) -> None:
    server.set(key().name, poison, ex=60)
    load = Load()
    assert cache.get_or_load(key(), load, TEXT, MINUTE) == "value"
    assert cache.get_or_load(key(), load, TEXT, MINUTE) == "value"
    assert load.calls == 1


def test_a_key_of_another_type_is_a_miss(cache: Cache, server: redis.Redis) -> None:
    server.rpush(key().name, "x")
    assert cache.get_or_load(key(), Load(), TEXT, MINUTE) == "value"


def test_a_slow_reader_does_not_take_the_lock_of_another(cache: Cache, server: redis.Redis) -> None:
    def lock_is_lost() -> str:
        server.set(key().name + ":lock", "another's", px=60_000)
        return "value"

    cache.get_or_load(key(), lock_is_lost, TEXT, MINUTE)
    assert server.get(key().name + ":lock") == b"another's"


def test_a_packed_value_is_read_back_under_its_own_key_only() -> None:
    assert unpack(key(), pack(key(), b"x")) == b"x"
    assert unpack(key("other"), pack(key(), b"x")) is None
    assert unpack(key(), "text") is None
