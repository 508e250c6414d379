"""Secrets changed while callers call: none of their calls fails, and what was revoked is soon refused."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import httpx
import pytest

from app.access.directory import FRESH_SECONDS
from app.access.keys import Key
from app.access.principal import Scope
from app.access.repository import KeySpec
from tests.support.access import RATE_LIMIT_PER_MINUTE, admit
from tests.support.callers import Load
from tests.support.nginx import Nginx, nginx_before
from tests.support.postgres import PostgresServer
from tests.support.rolling import Rolling
from tests.support.service import ServiceProcess, Start
from tests.support.waiting import eventually

CLIENT = "rotating"
CALLS_EACH = 60
"""Of every situation; four callers make them in about a second."""
REVOKED_SECONDS_MAX = 5.0
"""What the API promises for a revoked key in every process."""


@pytest.fixture(autouse=True)
def _nothing_left_over(postgres: PostgresServer, database_name: str) -> Iterator[None]:
    yield
    postgres.execute("TRUNCATE jobs CASCADE", database_name)
    postgres.execute("DELETE FROM api_keys WHERE client_id = 'rotating'", database_name)


@pytest.fixture
def key(postgres: PostgresServer, database_name: str) -> Key:
    """A key as an operator makes it, except for a limit that a test does not reach."""
    key = Key.new()
    spec = KeySpec(frozenset(Scope), rate_limit_per_minute=RATE_LIMIT_PER_MINUTE, burst=RATE_LIMIT_PER_MINUTE)
    admit(postgres.port, database_name, CLIENT, key, spec)
    return key


def with_key(text: str) -> dict[str, str]:
    return {"X-API-Key": text}


def with_token(text: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {text}"}


def status_of(api: ServiceProcess, headers: dict[str, str]) -> int:
    return api.get("/api/v1/access/me", client=None, headers=headers).status_code


def refuses(api: ServiceProcess, headers: dict[str, str]) -> Callable[[], bool]:
    return lambda: status_of(api, headers) == 401


def test_a_key_is_rotated_under_load_and_no_call_fails(start: Start, key: Key) -> None:
    apis = [start("app.main", DCS_INSTANCE=name) for name in ("api-1", "api-2")]
    old = with_key(key.text)
    with Load([api.url for api in apis], old) as load:
        load.wait_for(CALLS_EACH)
        rotated = apis[0].post(f"/api/v1/access/keys/{key.key_id}/rotate", client=None, headers=old)
        assert rotated.status_code == 201, rotated.text
        new = with_key(rotated.json()["secret"])
        # Both are good for as long as the callers need, also when no process remembers the old one.
        forgotten_at = time.monotonic() + FRESH_SECONDS + 1
        while time.monotonic() < forgotten_at:
            load.wait_for(CALLS_EACH)
        load.headers = new
        load.wait_for(CALLS_EACH)
        revoked = apis[1].request("DELETE", f"/api/v1/access/keys/{key.key_id}", client=None, headers=new)
        assert revoked.status_code == 204, revoked.text
        since = time.monotonic()
        # The other process is the one that had nothing to do with it.
        for api in (apis[1], apis[0]):
            eventually(
                refuses(api, old),
                within_seconds=REVOKED_SECONDS_MAX,
                what=f"{api.url} refuses the revoked key",
            )
        revoked_within = time.monotonic() - since
        assert revoked_within < REVOKED_SECONDS_MAX
        load.wait_for(CALLS_EACH)
        assert [status_of(api, old) for api in apis] == [401, 401]
    outcome = load.outcome
    print(f"{outcome.calls} calls, refused everywhere after {revoked_within:.2f} s")
    assert outcome.failures == []
    assert all(outcome.answered_by[api.url] for api in apis)


@pytest.fixture
def rolling(service_settings: dict[str, str]) -> Iterator[Rolling]:
    with closing(Rolling(service_settings)) as rolling:
        yield rolling


def token_from(nginx: Nginx, key: Key) -> str:
    """Return a token as a caller gets one, who tries again while limits cannot be counted."""

    def issued() -> str | None:
        answer = httpx.post(f"{nginx.url}/api/v1/access/token", headers=with_key(key.text), timeout=10)
        return answer.json()["access_token"] if answer.status_code == 200 else None

    return eventually(issued, within_seconds=10, what="a token is issued")


@pytest.mark.full
@pytest.mark.timeout(300)
def test_the_secret_of_tokens_is_rotated_by_rolling_restarts_and_no_call_fails(
    rolling: Rolling, key: Key, tmp_path: Path
) -> None:
    old, new = tmp_path / "old", tmp_path / "new"
    old.write_text("an old secret of more than 32 characters\n")
    new.write_text("a new secret of more than 32 characters\n")
    only_old = f'{{"old": "{old}"}}'
    both = f'{{"old": "{old}", "new": "{new}"}}'
    only_new = f'{{"new": "{new}"}}'
    rolling.restart(DCS_ACCESS_TOKEN_KEYS=only_old, DCS_ACCESS_TOKEN_KEY="old")
    with nginx_before(rolling.ports, tmp_path / "nginx") as nginx:
        first = with_token(token_from(nginx, key))
        with Load([nginx.url], first) as load:
            load.wait_for(CALLS_EACH)
            # Every process believes the new secret before any process signs with it.
            rolling.restart(DCS_ACCESS_TOKEN_KEYS=both, DCS_ACCESS_TOKEN_KEY="old")
            load.wait_for(CALLS_EACH)
            rolling.restart(DCS_ACCESS_TOKEN_KEYS=both, DCS_ACCESS_TOKEN_KEY="new")
            load.wait_for(CALLS_EACH)
            second = with_token(token_from(nginx, key))
            assert [status_of(api, token) for api in rolling.apis for token in (first, second)] == [200] * 4
            load.headers = second
            load.wait_for(CALLS_EACH)
            # No token of the old secret is in use: it may go.
            rolling.restart(DCS_ACCESS_TOKEN_KEYS=only_new, DCS_ACCESS_TOKEN_KEY="new")
            load.wait_for(CALLS_EACH)
        print(f"{load.outcome.calls} calls, longest {load.outcome.longest_seconds:.2f} s")
        assert load.outcome.failures == []
        answers = [[status_of(api, token) for api in rolling.apis] for token in (first, second)]
        assert answers == [[401, 401], [200, 200]]
