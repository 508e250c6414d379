"""The connection that counts: what its URL says of passwords, databases and certificates is so."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator, Iterator
from contextlib import closing
from pathlib import Path

import pytest
import redis

from app.access.gcra import LUA
from app.access.redis_link import RedisLink
from tests.support.certificates import Authority
from tests.support.ports import free_port
from tests.support.valkey import ValkeyServer

PASSWORD = "p@ss/word"
QUOTED = "p%40ss%2Fword"
BUDGET_SECONDS = 1.0
# One a minute, ten at once. What was counted is forgotten after as long: it has to be looked at before that.
INTERVAL_US, TOLERANCE_US = b"60000000", b"600000000"


@pytest.fixture(scope="module")
def guarded() -> Iterator[ValkeyServer]:
    """A server that wants a password."""
    with closing(ValkeyServer()) as server:
        server.start("--requirepass", PASSWORD, "--user", "dcs", "on", f">{PASSWORD}", "~*", "+@all")
        yield server


@contextlib.asynccontextmanager
async def linked(url: str) -> AsyncIterator[RedisLink]:
    link = RedisLink(url, budget_seconds=BUDGET_SECONDS, script=LUA)
    await link.start()
    try:
        yield link
    finally:
        await link.stop()


@contextlib.asynccontextmanager
async def tls_before(port: int, certificate: Path, key: Path) -> AsyncIterator[int]:
    """Take TLS off connections and pass them on, as a proxy before a Redis does. Yields its port."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate, key)

    talks: list[asyncio.Task[None] | None] = []

    async def pipe(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(65_536):
                writer.write(data)
                await writer.drain()
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        talks.append(asyncio.current_task())
        behind_reader, behind_writer = await asyncio.open_connection("127.0.0.1", port)
        await asyncio.gather(pipe(reader, behind_writer), pipe(behind_reader, writer))

    own = free_port()
    async with await asyncio.start_server(talk, "127.0.0.1", own, ssl=context):
        yield own
        async with asyncio.timeout(BUDGET_SECONDS):
            await asyncio.gather(*filter(None, talks))


async def counted(link: RedisLink, key: bytes) -> bool:
    reply = await link.run_script(key, INTERVAL_US, TOLERANCE_US)
    return isinstance(reply, list) and reply[0] == 1


@pytest.mark.parametrize("who", [f":{QUOTED}", f"dcs:{QUOTED}"], ids=["password", "user and password"])
def test_it_says_who_it_is_and_uses_its_own_database(guarded: ValkeyServer, who: str) -> None:
    async def run() -> None:
        async with linked(f"redis://{who}@127.0.0.1:{guarded.port}/3") as link:
            assert await counted(link, b"mine")

    asyncio.run(run())
    with redis.Redis(port=guarded.port, password=PASSWORD, db=3) as client:
        client.delete("mine")
        asyncio.run(run())
        assert client.exists("mine")
    with redis.Redis(port=guarded.port, password=PASSWORD, db=0) as client:
        assert not client.exists("mine")


@pytest.mark.parametrize("who", ["", ":wrong@", f"nobody:{QUOTED}@"], ids=["nobody", "wrong", "unknown"])
def test_who_is_not_let_in_has_no_connection(guarded: ValkeyServer, who: str) -> None:
    async def run() -> None:
        async with linked(f"redis://{who}127.0.0.1:{guarded.port}/0") as link:
            assert not link.available
            with pytest.raises(redis.ConnectionError):
                await counted(link, b"mine")

    asyncio.run(run())


def test_an_authority_of_one_s_own_is_trusted_if_the_url_names_it(
    valkey: ValkeyServer, tmp_path: Path
) -> None:
    authority = Authority(tmp_path)
    localhost = authority.issue("localhost")

    async def run(option: str, host: str = "localhost") -> bool:
        async with (
            tls_before(valkey.port, localhost.certificate, localhost.key) as port,
            linked(f"rediss://{host}:{port}/0{option}") as link,
        ):
            return link.available and await counted(link, b"by-tls")

    named = f"?ssl_ca_certs={authority.certificate}"
    assert asyncio.run(run(named))
    assert not asyncio.run(run("")), "nobody knows this authority"
    assert not asyncio.run(run(named, "127.0.0.1")), "the certificate is another host's"
    assert asyncio.run(run(f"{named}&ssl_check_hostname=false", "127.0.0.1"))
    assert asyncio.run(run("?ssl_cert_reqs=none&ssl_check_hostname=false"))
