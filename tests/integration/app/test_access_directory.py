"""Looking keys up: what is odd about one key, or in the way of writing, keeps no other from being known."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Awaitable, Callable
from contextlib import closing

import psycopg2
import pytest

from app.access.directory import FRESH_SECONDS, HOLD_OFF_SECONDS, KeyDirectory
from app.access.keys import Key
from app.access.principal import Scope
from app.access.repository import KeyRecord, KeySpec
from app.database.engine import Database
from app.errors import DatabaseUnavailableError
from tests.support.access import admit
from tests.support.postgres import PostgresServer

LOOK_UP_SECONDS_MAX = 1.0  # what a request waits at most
Ask = Callable[[KeyDirectory], Awaitable[None]]


@pytest.fixture
def key_ids(postgres: PostgresServer, database_name: str) -> list[str]:
    """Three keys of three clients."""
    made = []
    for _ in range(3):
        key = Key.new()
        admit(postgres.port, database_name, f"by-id-{secrets.token_hex(4)}", key, KeySpec(frozenset(Scope)))
        made.append(key.key_id)
    return made


@pytest.fixture
def ask(database: Database) -> Callable[[Ask], None]:
    """Return a function that runs something with a directory of its own."""

    def run(what: Ask) -> None:
        async def with_directory() -> None:
            directory = KeyDirectory(database.connector, grace_seconds=0.0)
            try:
                await what(directory)
            finally:
                directory.close()

        asyncio.run(with_directory())

    return run


def used_at(postgres: PostgresServer, database: str, key_id: str) -> object:
    query = f"SELECT last_used_at FROM api_keys WHERE key_id = '{key_id}'"  # noqa: S608  of this test's own
    return postgres.rows(query, database)[0][0]


async def found(directory: KeyDirectory, key_id: str) -> KeyRecord | None:
    """Look a key up as a request does, which notes its use."""
    began = time.monotonic()
    record = await directory.find(key_id)
    assert time.monotonic() - began < LOOK_UP_SECONDS_MAX
    if record is not None and record.use_unnoted:
        directory.note_use(key_id)
    return record


def test_a_key_whose_networks_cannot_be_read_opens_nothing_and_the_others_do(
    ask: Callable[[Ask], None],
    postgres: PostgresServer,
    database_name: str,
    key_ids: list[str],
    capfd: pytest.CaptureFixture[str],
) -> None:
    odd, *good = key_ids
    change = f"UPDATE api_keys SET ip_allowlist = '{{the office}}' WHERE key_id = '{odd}'"  # noqa: S608
    postgres.execute(change, database_name)

    async def look(directory: KeyDirectory) -> None:
        records = await asyncio.gather(*(found(directory, key_id) for key_id in key_ids))
        assert [record and record.key_id for record in records] == [None, *good]

    ask(look)
    assert odd in capfd.readouterr().out, "whoever runs the service is told which key it is"


def test_an_id_that_no_query_can_hold_is_forgotten(ask: Callable[[Ask], None], key_ids: list[str]) -> None:
    async def look(directory: KeyDirectory) -> None:
        with pytest.raises((DatabaseUnavailableError, ValueError)):
            await directory.find("a\0b")
        await asyncio.sleep(HOLD_OFF_SECONDS + 0.1)
        for key_id in key_ids:
            assert await found(directory, key_id) is not None

    ask(look)


@pytest.mark.parametrize(
    "lock", ["SELECT FROM api_keys WHERE key_id = %s FOR UPDATE", "LOCK TABLE api_keys IN EXCLUSIVE MODE"]
)
def test_a_lock_that_somebody_holds_keeps_nobody_from_being_known(
    ask: Callable[[Ask], None], postgres: PostgresServer, database_name: str, key_ids: list[str], lock: str
) -> None:
    async def look(directory: KeyDirectory) -> None:
        # Once to learn that the uses are not noted, once more when that has to be written.
        for _ in range(2):
            for key_id in key_ids:
                assert await found(directory, key_id) is not None
            await asyncio.sleep(FRESH_SECONDS + 0.1)
        for key_id in key_ids:
            assert await found(directory, key_id) is not None

    with (
        closing(
            psycopg2.connect(host="127.0.0.1", port=postgres.port, dbname=database_name, user="dcs")
        ) as other,
        other.cursor() as cursor,
    ):
        cursor.execute(lock, (key_ids[0],))
        ask(look)
        assert used_at(postgres, database_name, key_ids[0]) is None
        if "FOR UPDATE" in lock:
            assert used_at(postgres, database_name, key_ids[1]) is not None


def test_a_database_that_takes_no_writes_still_knows_keys(
    ask: Callable[[Ask], None], postgres: PostgresServer, database_name: str, key_ids: list[str]
) -> None:
    async def look(directory: KeyDirectory) -> None:
        for key_id in key_ids:
            assert await found(directory, key_id) is not None
        await asyncio.sleep(FRESH_SECONDS + 0.1)
        for key_id in key_ids:
            assert await found(directory, key_id) is not None

    postgres.execute(f"ALTER DATABASE {database_name} SET default_transaction_read_only = on")
    try:
        ask(look)
    finally:
        postgres.execute(f"ALTER DATABASE {database_name} RESET default_transaction_read_only")
