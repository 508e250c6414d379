"""Keys, tokens, signatures, addresses: what is believed, and everything else that is not."""

from __future__ import annotations

import ipaddress
import json
import random
import time
from base64 import urlsafe_b64encode
from pathlib import Path
from typing import Any

import jwt
import pytest

from app.access import signing
from app.access.address import TrustedProxies, bucket
from app.access.errors import CredentialInvalidError, SignatureInvalidError
from app.access.gcra import LocalCounts, Rate
from app.access.keys import Key, PepperMissingError, Peppers
from app.access.principal import Scope
from app.access.settings import AccessSettings
from app.access.tokens import ALGORITHM, AUDIENCE, ISSUER, TYPE, Tokens

SECRET = "a secret of thirty-two characters"


# ---- keys ----------------------------------------------------------------------------------


def test_a_key_is_read_as_it_was_written() -> None:
    key = Key.new()
    assert Key.parse(key.text) == key
    assert key.secret not in repr(key)


@pytest.mark.parametrize("change", range(0, 94, 3))
def test_a_typing_error_is_no_key(change: int) -> None:
    text = Key.new().text
    other = "0" if text[change] != "0" else "1"
    assert Key.parse(text[:change] + other + text[change + 1 :]) is None


@pytest.mark.parametrize("around", [" {}", "{} ", "{}\n", "{}x", "\0{}"])
def test_nothing_stands_around_a_key(around: str) -> None:
    assert Key.parse(around.format(Key.new().text)) is None


def test_peppers_are_changed_without_changing_keys() -> None:
    key, old, new = Key.new(), b"the old pepper 1234", b"the new pepper 1234"
    stored = Peppers(old).hash(key)
    assert Peppers(new, old).matches(key, stored)
    assert not Peppers(new, old).matches(Key(key.key_id, "0" * 64), stored)
    with pytest.raises(PepperMissingError):
        Peppers(new).matches(key, stored)
    assert key.secret not in stored


def test_the_hash_of_one_key_does_not_prove_another() -> None:
    first, second = Key.new(), Key.new()
    for peppers in (Peppers(), Peppers(b"a pepper of some length")):
        assert not peppers.matches(Key(second.key_id, first.secret), peppers.hash(first))


def test_a_pepper_that_is_too_short_is_refused(tmp_path: Path) -> None:
    (tmp_path / "pepper").write_text("short\n")
    with pytest.raises(ValueError, match="at least 16 characters"):
        Peppers.read(tmp_path / "pepper")


# ---- tokens --------------------------------------------------------------------------------


def tokens(tmp_path: Path, current: str = "k1", **secrets: str) -> Tokens:
    paths = {}
    for name, secret in (secrets or {"k1": SECRET}).items():
        paths[name] = tmp_path / name
        paths[name].write_text(secret + "\n")
    return Tokens(AccessSettings(access_token_keys=paths, access_token_key=current))


def claims(**changes: Any) -> dict[str, Any]:
    now = int(time.time())
    good = {
        "iss": ISSUER, "aud": AUDIENCE, "sub": "acme", "key": "abcdefghijklmnop", "scope": "jobs:read",
        "iat": now, "nbf": now, "exp": now + 3000, "jti": "1",
    }  # fmt: skip
    return {name: value for name, value in (good | changes).items() if value is not None}


def forged(body: dict[str, Any], *, secret: str = SECRET, algorithm: str = ALGORITHM, **header: Any) -> str:
    headers = {"typ": TYPE, "kid": "k1"} | header
    return jwt.encode(body, secret, algorithm=algorithm, headers=headers)


def test_a_token_says_what_was_put_into_it(tmp_path: Path) -> None:
    made = tokens(tmp_path)
    text = made.issue(client_id="acme", key_id="k" * 16, scopes={Scope.JOBS_READ}, lifetime_seconds=60)
    read = made.read(text)
    assert (read.client_id, read.key_id, set(read.scopes)) == ("acme", "k" * 16, {Scope.JOBS_READ})


def test_a_scope_that_nobody_knows_opens_nothing(tmp_path: Path) -> None:
    assert tokens(tmp_path).read(forged(claims(scope="jobs:read root"))).scopes == {Scope.JOBS_READ}


NOW = int(time.time())


@pytest.mark.parametrize(
    "changes",
    [
        *({name: None} for name in ("exp", "iat", "nbf", "iss", "aud", "sub", "jti", "key", "scope")),
        {"iss": "somebody"},
        {"aud": "another-api"},
        {"exp": NOW - 60, "iat": NOW - 120, "nbf": NOW - 120},
        {"nbf": NOW + 3000, "exp": NOW + 3060},
        {"exp": NOW + 7200},
        {"sub": 7},
        {"key": ["a"]},
        {"scope": ["jobs:read"]},
    ],
    ids=str,
)
def test_claims_that_are_not_as_they_are_issued_are_refused(tmp_path: Path, changes: dict[str, Any]) -> None:
    with pytest.raises(CredentialInvalidError):
        tokens(tmp_path).read(forged(claims(**changes)))


@pytest.mark.parametrize(
    "header",
    [{"typ": "JWT"}, {"typ": None}, {"kid": "k2"}, {"kid": "../k1"}, {"kid": "/etc/passwd"}, {"kid": ""}],
    ids=str,
)
def test_a_header_that_is_not_ours_is_refused(tmp_path: Path, header: dict[str, Any]) -> None:
    with pytest.raises(CredentialInvalidError):
        tokens(tmp_path).read(forged(claims(), **header))


def _raw(header: dict[str, Any], body: dict[str, Any], signature: str = "") -> str:
    parts = [urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=") for part in (header, body)]
    return ".".join([*parts, signature])


@pytest.mark.parametrize(
    "text",
    [
        _raw({"alg": "none", "typ": TYPE, "kid": "k1"}, claims()),
        _raw({"alg": "None", "typ": TYPE, "kid": "k1"}, claims()),
        _raw({"alg": "RS256", "typ": TYPE, "kid": "k1"}, claims(), "AAAA"),
        _raw({"alg": "HS256", "typ": TYPE, "kid": 1}, claims(), "AAAA"),
        forged(claims(), algorithm="HS384", secret=SECRET * 2),
        forged(claims(), secret="another secret of 32 characters!!"),
        forged(claims())[:-2],
        "a.b",
        "",
        "." * 10,
        forged(claims(jti="x" * 3000)),
    ],
)
def test_what_is_not_signed_by_us_is_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(CredentialInvalidError):
        tokens(tmp_path).read(text)


def test_secrets_are_changed_without_ending_tokens(tmp_path: Path) -> None:
    old = tokens(tmp_path, "k1", k1=SECRET).issue(
        client_id="acme", key_id="k" * 16, scopes={Scope.ADMIN}, lifetime_seconds=60
    )
    both = tokens(tmp_path, "k2", k1=SECRET, k2="the next secret of 32 characters!")
    assert both.read(old).client_id == "acme"
    new = both.issue(client_id="acme", key_id="k" * 16, scopes={Scope.ADMIN}, lifetime_seconds=60)
    assert jwt.get_unverified_header(new)["kid"] == "k2"
    with pytest.raises(CredentialInvalidError):
        tokens(tmp_path, "k2", k2="the next secret of 32 characters!").read(old)


def test_a_secret_that_is_too_short_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="at least 32 characters"):
        tokens(tmp_path, "k1", k1="short")


# ---- signatures ----------------------------------------------------------------------------


def signed(**changes: Any) -> dict[str, Any]:
    return {
        "method": "POST", "target": "/api/v1/jobs/trigger?x=1", "body": b"{}",
        "timestamp": str(int(time.time())), "nonce": "n" * 16,
    } | changes  # fmt: skip


def headers_of_signature(request: dict[str, Any]) -> dict[str, str]:
    signature = signing.sign("secret", **request)
    return {
        "x-timestamp": request["timestamp"],
        "x-nonce": request["nonce"],
        "x-signature": f"v1={signature}",
    }


def test_a_signed_request_is_believed_and_a_changed_one_is_not() -> None:
    request = signed()
    found = signing.parts(headers_of_signature(request))
    good = {"method": request["method"], "target": request["target"], "body": request["body"]}
    signing.check(found, "secret", **good)
    for change in ({"method": "PUT"}, {"target": "/api/v1/jobs/trigger?x=2"}, {"body": b"[]"}):
        with pytest.raises(SignatureInvalidError):
            signing.check(found, "secret", **(good | change))
    with pytest.raises(SignatureInvalidError):
        signing.check(found, "another", **good)


@pytest.mark.parametrize("seconds", [-301, 301, -86_400])
def test_a_clock_that_is_far_off_is_told_so(seconds: int) -> None:
    with pytest.raises(SignatureInvalidError, match="clock"):
        signing.parts(headers_of_signature(signed(timestamp=str(int(time.time()) + seconds))))


@pytest.mark.parametrize("name", ["x-timestamp", "x-nonce", "x-signature"])
def test_no_part_of_a_signature_may_be_missing(name: str) -> None:
    headers = headers_of_signature(signed())
    with pytest.raises(SignatureInvalidError):
        signing.parts({key: value for key, value in headers.items() if key != name})


# ---- addresses -----------------------------------------------------------------------------


def scope(peer: str, *forwarded: str) -> dict[str, Any]:
    return {"client": (peer, 1), "headers": [(b"x-forwarded-for", one.encode()) for one in forwarded]}


PROXIES = TrustedProxies([ipaddress.ip_network("10.0.0.0/8")])


@pytest.mark.parametrize(
    ("peer", "forwarded", "client"),
    [
        ("203.0.113.9", (), "203.0.113.9"),
        ("203.0.113.9", ("198.51.100.1",), "203.0.113.9"),  # nobody's proxy
        ("10.0.0.1", ("198.51.100.1",), "198.51.100.1"),
        ("10.0.0.1", ("6.6.6.6, 198.51.100.1",), "198.51.100.1"),  # the caller wrote the first
        ("10.0.0.1", ("6.6.6.6", "198.51.100.1, 10.0.0.2"), "198.51.100.1"),
        ("10.0.0.1", ("rubbish",), "10.0.0.1"),
        ("10.0.0.1", ("6.6.6.6, rubbish",), "10.0.0.1"),
        ("::ffff:10.0.0.1", ("198.51.100.1",), "198.51.100.1"),
        ("10.0.0.1", ("::ffff:198.51.100.1",), "198.51.100.1"),
        ("10.0.0.1", (), "10.0.0.1"),
    ],
)
def test_only_a_trusted_proxy_is_believed(peer: str, forwarded: tuple[str, ...], client: str) -> None:
    assert str(PROXIES.client(scope(peer, *forwarded))) == client


def test_who_has_no_proxy_believes_nobody() -> None:
    assert str(TrustedProxies([]).client(scope("10.0.0.1", "6.6.6.6"))) == "10.0.0.1"


def test_a_customer_s_ipv6_network_is_one_caller() -> None:
    one, other, foreign = map(ipaddress.ip_address, ("2001:db8::1", "2001:db8::ffff:1", "2001:db8:0:1::1"))
    assert bucket(one) == bucket(other) != bucket(foreign)


# ---- rates ---------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(8))
def test_in_no_window_do_more_get_through_than_burst_and_rate_allow(seed: int) -> None:
    rng = random.Random(seed)  # noqa: S311
    rate = Rate(per_minute=rng.choice((7, 100, 600)), burst=rng.choice((1, 5, 20)))
    counts, now, let_through = LocalCounts(), 0, []
    for _ in range(1500):
        now += int(rng.expovariate(1.0) * rate.interval_us * rng.choice((0.05, 0.5, 3)))
        if counts.take(b"caller", now, rate).allowed:
            let_through.append(now)
    for first, began in enumerate(let_through):
        for last in range(first, min(first + 200, len(let_through))):
            window_us = let_through[last] - began
            assert last - first + 1 <= rate.burst + window_us / rate.interval_us + 1e-9


def test_who_waits_as_long_as_told_is_let_through_and_not_sooner() -> None:
    rate, counts = Rate(per_minute=60, burst=3), LocalCounts()
    assert [counts.take(b"caller", 0, rate).allowed for _ in range(4)] == [True, True, True, False]
    refused = counts.take(b"caller", 0, rate)
    assert not counts.take(b"caller", refused.retry_after_us - 1, rate).allowed
    assert counts.take(b"caller", refused.retry_after_us, rate).allowed
    assert refused.retry_after_seconds == 1


def test_a_caller_that_is_forgotten_was_the_one_unseen_for_longest() -> None:
    rate, counts = Rate(per_minute=1, burst=1), LocalCounts(callers_max=2)
    for caller in (b"a", b"b", b"c"):
        assert counts.take(caller, 0, rate).allowed
    assert not counts.take(b"c", 0, rate).allowed
    assert counts.take(b"a", 0, rate).allowed
