"""Tokens whose signature is good and whose content is not: somebody else may hold a secret, too."""

from __future__ import annotations

import hmac
import json
import time
from base64 import urlsafe_b64encode
from pathlib import Path
from typing import Any

import pytest

from app.access.errors import CredentialInvalidError
from app.access.settings import AccessSettings
from app.access.tokens import AUDIENCE, ISSUER, TYPE, Tokens

SECRET = "a secret of thirty-two characters"
NOW = int(time.time())
CLAIMS: dict[str, Any] = {
    "iss": ISSUER, "aud": AUDIENCE, "sub": "acme", "key": "abcdefghijklmnop", "scope": "jobs:read",
    "iat": NOW, "nbf": NOW, "exp": NOW + 3000, "jti": "1",
}  # fmt: skip


def part(value: bytes) -> str:
    return urlsafe_b64encode(value).decode().rstrip("=")


def signed(payload: bytes, **header: Any) -> str:
    """Return a token that libraries would refuse to make."""
    named = {"alg": "HS256", "typ": TYPE, "kid": "k1"} | header
    text = f"{part(json.dumps(named).encode())}.{part(payload)}"
    return f"{text}.{part(hmac.digest(SECRET.encode(), text.encode(), 'sha256'))}"


@pytest.fixture
def tokens(tmp_path: Path) -> Tokens:
    (tmp_path / "k1").write_text(SECRET)
    return Tokens(AccessSettings(access_token_keys={"k1": tmp_path / "k1"}, access_token_key="k1"))


def test_what_these_tests_sign_is_believed(tokens: Tokens) -> None:
    assert tokens.read(signed(json.dumps(CLAIMS).encode())).client_id == "acme"


@pytest.mark.parametrize("name", ["exp", "iat", "nbf"])
@pytest.mark.parametrize(
    "value",
    ["1", str(NOW + 3000), True, 1.5, [NOW], {}, float("inf"), float("nan"), 10**400, "x"],
    ids=repr,
)
def test_a_time_that_is_no_whole_number_of_seconds_is_refused(tokens: Tokens, name: str, value: Any) -> None:
    with pytest.raises(CredentialInvalidError):
        tokens.read(signed(json.dumps(CLAIMS | {name: value}).encode()))


@pytest.mark.parametrize("name", ["iss", "aud", "jti", "sub", "key", "scope"])
@pytest.mark.parametrize("value", [7, None, True, ["x"], {"a": 1}], ids=repr)
def test_text_that_is_something_else_is_refused(tokens: Tokens, name: str, value: Any) -> None:
    with pytest.raises(CredentialInvalidError):
        tokens.read(signed(json.dumps(CLAIMS | {name: value}).encode()))


@pytest.mark.parametrize(
    "key", ["", "a\0b", "\ud800", "../keys", "K" * 16, "a" * 15, "a" * 16 + "\n"], ids=repr
)
def test_what_is_no_id_of_a_key_reaches_no_query(tokens: Tokens, key: str) -> None:
    with pytest.raises(CredentialInvalidError):
        tokens.read(signed(json.dumps(CLAIMS | {"key": key}).encode()))


@pytest.mark.parametrize("payload", [b"", b"null", b"[]", b'"x"', b"1", b"{", b"\xff", b"[" * 500])
def test_a_content_that_is_no_object_is_refused(tokens: Tokens, payload: bytes) -> None:
    with pytest.raises(CredentialInvalidError):
        tokens.read(signed(payload))


@pytest.mark.parametrize(
    "header", [{"kid": ["k1"]}, {"kid": {}}, {"kid": None}, {"typ": ["at+jwt"]}, {"alg": ["HS256"]},
               {"crit": ["x"]}, {"b64": False, "crit": ["b64"]}, {"alg": None}], ids=repr,
)  # fmt: skip
def test_a_header_of_another_shape_is_refused(tokens: Tokens, header: dict[str, Any]) -> None:
    with pytest.raises(CredentialInvalidError):
        tokens.read(signed(json.dumps(CLAIMS).encode(), **header))
