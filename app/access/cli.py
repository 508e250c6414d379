"""Clients and keys from the command line: ``python -m app.access.cli``. It reads the service's settings."""

from __future__ import annotations

import argparse
import ipaddress
import os
import re
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, field_validator

from app import __version__
from app.access.errors import KeyInactiveError
from app.access.keys import Key, PepperMissingError, Peppers
from app.access.principal import CLIENT_ID_PATTERN, OPERATOR_SCOPES, Scope
from app.access.repository import KeyInfo, KeySpec
from app.access.schemas import LIFETIME_SECONDS_MAX
from app.access.service import ACTIVE_KEYS_MAX, IssuedKey, KeyService
from app.database.engine import ConnectOptions, Database
from app.errors import DcsError
from app.settings import Settings
from app.telemetry.logging import configure_logging

RATE_LIMIT_MAX = 1_000_000
PROVISIONED_MAX = 1_000
BY_NAME = OPERATOR_SCOPES | {Scope.ADMIN}
"""What a key has only if it is asked for."""
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}


class ProvisionedKey(BaseModel):
    """A key that shall exist, and the file it is in or goes to."""

    model_config = ConfigDict(extra="forbid")

    client: str = Field(pattern=CLIENT_ID_PATTERN)
    file: Path
    scopes: list[Scope] = Field(min_length=1)
    rate_limit_per_minute: int | None = Field(default=None, ge=1, le=RATE_LIMIT_MAX)
    burst: int | None = Field(default=None, ge=1, le=RATE_LIMIT_MAX)
    ip_allowlist: list[str] = []
    signing_required: bool = False

    @field_validator("ip_allowlist")
    @classmethod
    def _networks(cls, value: list[str]) -> list[str]:
        return [_network(one) for one in value]

    @property
    def spec(self) -> KeySpec:
        """What the key may do."""
        return KeySpec(
            scopes=frozenset(self.scopes),
            rate_limit_per_minute=self.rate_limit_per_minute,
            burst=self.burst,
            ip_allowlist=tuple(self.ip_allowlist),
            signing_required=self.signing_required,
        )


class UsageError(Exception):
    """What was asked for cannot be done as it was asked."""


def _network(value: str) -> str:
    return str(ipaddress.ip_network(value))


def _allowed(value: str) -> str:
    try:
        return _network(value)
    except ValueError as exc:  # argparse would name this function, and not say why
        raise argparse.ArgumentTypeError(str(exc)) from exc


def _scope(value: str) -> Scope:
    if value not in list(Scope):
        msg = f"{value!r} is none of {', '.join(Scope)}"
        raise argparse.ArgumentTypeError(msg)
    return Scope(value)


def _client_id(value: str) -> str:
    if not re.fullmatch(CLIENT_ID_PATTERN, value):
        msg = f"{value!r} is not 1 to 64 of a-z, 0-9 and -"
        raise argparse.ArgumentTypeError(msg)
    return value


def _rate(value: str) -> int:
    number = int(value) if re.fullmatch(r"\d{1,9}", value) else 0
    if not 1 <= number <= RATE_LIMIT_MAX:
        msg = f"{value!r} is not from 1 to {RATE_LIMIT_MAX}"
        raise argparse.ArgumentTypeError(msg)
    return number


def _duration(value: str) -> int:
    found = re.fullmatch(r"(\d{1,9})([smhd])", value)
    seconds = int(found[1]) * _UNITS[found[2]] if found else 0
    if not 1 <= seconds <= LIFETIME_SECONDS_MAX:
        msg = f"{value!r} is no duration such as 90d, 12h, 30m or 60s"
        raise argparse.ArgumentTypeError(msg)
    return seconds


def write_secret(path: Path, text: str) -> None:
    """Write a file that only its owner can read; an existing one is refused."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "w") as stream:
        stream.write(text + "\n")


def _say(value: object) -> None:
    sys.stdout.buffer.write(orjson.dumps(value, option=orjson.OPT_INDENT_2) + b"\n")
    sys.stdout.buffer.flush()


def _shown(info: KeyInfo) -> dict[str, Any]:
    return {
        "key_id": info.key_id,
        "client_id": info.client_id,
        "scopes": info.scopes,
        "rate_limit_per_minute": info.rate_limit_per_minute,
        "burst": info.burst,
        "ip_allowlist": info.ip_allowlist,
        "signing_required": info.signing_required,
        "active": info.active,
        "created_at": info.created_at,
        "expires_at": info.expires_at,
        "revoked_at": info.revoked_at,
        "last_used_at": info.last_used_at,
    }


def _hand_over(issued: IssuedKey, output_file: Path | None) -> None:
    shown = _shown(issued.info)
    if issued.signing_secret:
        shown["signing_secret"] = issued.signing_secret
    if output_file is None:
        shown["secret"] = issued.text
    else:
        write_secret(output_file, issued.text)
        shown["secret_file"] = str(output_file)
    _say(shown)


def _free(output_file: Path | None) -> None:
    # Before the key is made: one whose secret can be written nowhere would be lost.
    if output_file is not None and output_file.exists():
        msg = f"{output_file} exists. Name another file."
        raise UsageError(msg)


def _client_create(keys: KeyService, options: argparse.Namespace) -> None:
    _say({"client_id": options.id, "created": keys.create_client(options.id)})


def _client_list(keys: KeyService, _options: argparse.Namespace) -> None:
    _say({"clients": keys.clients()})


def _key_create(keys: KeyService, options: argparse.Namespace) -> None:
    _free(options.output_file)
    spec = KeySpec(
        scopes=frozenset(options.scope or frozenset(Scope) - BY_NAME),
        rate_limit_per_minute=options.rate_limit_per_minute,
        burst=options.burst,
        ip_allowlist=tuple(options.allow_ip or ()),
        signing_required=options.signing_required,
        lifetime_seconds=options.expires_in,
    )
    _hand_over(keys.create(options.client, spec), options.output_file)


def _key_list(keys: KeyService, options: argparse.Namespace) -> None:
    _say({"keys": [_shown(info) for info in keys.keys_of(options.client)]})


def _key_rotate(keys: KeyService, options: argparse.Namespace) -> None:
    _free(options.output_file)
    owner = keys.owner(options.key_id)
    _hand_over(keys.rotate(owner, options.key_id, overlap_seconds=options.overlap), options.output_file)


def _key_revoke(keys: KeyService, options: argparse.Namespace) -> None:
    keys.revoke(keys.owner(options.key_id), options.key_id)
    _say({"key_id": options.key_id, "revoked": True})


def _provision(keys: KeyService, options: argparse.Namespace) -> None:
    wanted = TypeAdapter(list[ProvisionedKey]).validate_json(options.file.read_bytes())
    if len(wanted) > PROVISIONED_MAX:
        msg = f"{options.file} lists {len(wanted)} keys, and {PROVISIONED_MAX} is the most. Split it."
        raise UsageError(msg)
    _check_can_be_true(wanted)
    for one in wanted:
        try:
            _admit(keys, one)
        except KeyInactiveError:
            # The file holds a key that is no good any more: it gives way to a new one.
            one.file.unlink()
            _admit(keys, one)
    _say({"provisioned": len(wanted)})


def _check_can_be_true(wanted: list[ProvisionedKey]) -> None:
    files = Counter(one.file.absolute() for one in wanted)
    clients = Counter(one.client for one in wanted)
    for file, times in files.items():
        if times > 1:
            msg = f"{file} is named twice. A key has one client: name another file."
            raise UsageError(msg)
    for client, number in clients.items():
        if number > ACTIVE_KEYS_MAX:
            # The third would revoke the others, time and again.
            msg = f"{client} has {number} keys, and at most two can be active. Take some out."
            raise UsageError(msg)


def _admit(keys: KeyService, wanted: ProvisionedKey) -> None:
    # The file first: a key that the database knows and nobody holds would be of no use.
    if not wanted.file.exists():
        write_secret(wanted.file, Key.new().text)
    key = Key.parse(wanted.file.read_text().strip())
    if key is None:
        msg = f"{wanted.file} holds no key. Remove it, then try again."
        raise UsageError(msg)
    keys.admit(wanted.client, key, wanted.spec)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("app.access.cli", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    client = commands.add_parser("client", help="clients").add_subparsers(required=True, metavar="ACT")
    create = client.add_parser("create", help="create a client; harmless when it exists")
    create.add_argument("id", type=_client_id)
    create.set_defaults(act=_client_create)
    client.add_parser("list", help="list all clients").set_defaults(act=_client_list)

    key = commands.add_parser("key", help="keys").add_subparsers(required=True, metavar="ACT")
    create = key.add_parser("create", help="make a key; its secret is shown this once")
    create.add_argument("--client", type=_client_id, required=True)
    create.add_argument(
        "--scope",
        type=_scope,
        action="append",
        metavar="SCOPE",
        help=f"{', '.join(Scope)}; as often as needed. Default: all but admin and ingest:events",
    )
    create.add_argument("--rate-limit-per-minute", type=_rate, help="default: the service's")
    create.add_argument("--burst", type=_rate, help="default: the service's")
    create.add_argument(
        "--allow-ip", type=_allowed, action="append", metavar="CIDR", help="default: from anywhere"
    )
    create.add_argument("--signing-required", action="store_true", help="requests must be signed")
    create.add_argument("--expires-in", type=_duration, metavar="90d", help="default: never")
    create.add_argument("--output-file", type=Path, help="write the secret there (0600) and do not show it")
    create.set_defaults(act=_key_create)
    listing = key.add_parser("list", help="list a client's keys, without secrets")
    listing.add_argument("--client", type=_client_id, required=True)
    listing.set_defaults(act=_key_list)
    rotate = key.add_parser("rotate", help="make a successor that may do the same")
    rotate.add_argument("key_id")
    rotate.add_argument("--overlap", type=_duration, metavar="24h", help="the old key ends then")
    rotate.add_argument("--output-file", type=Path)
    rotate.set_defaults(act=_key_rotate)
    revoke = key.add_parser("revoke", help="end a key for good")
    revoke.add_argument("key_id")
    revoke.set_defaults(act=_key_revoke)

    provision = commands.add_parser("provision", help="make the keys of a JSON file true, as often as asked")
    provision.add_argument("file", type=Path)
    provision.set_defaults(act=_provision)
    return parser


def main(arguments: list[str] | None = None) -> int:
    """Do one thing; exit code 1 when it cannot be done, 2 when it makes no sense."""
    options = _parser().parse_args(arguments)
    act: Callable[[KeyService, argparse.Namespace], None] = options.act
    settings = Settings()
    configure_logging(
        service="access-cli",
        instance=settings.instance,
        environment=settings.environment,
        version=__version__,
        stream=sys.stderr.buffer,
    )
    database = Database(
        settings.database,
        ConnectOptions(
            f"{settings.instance}-access-cli",
            connect_timeout=settings.database_connect_timeout_seconds,
            query_deadline=settings.database_query_deadline_seconds,
        ),
        pool_size=1,
        pool_timeout_seconds=settings.database_pool_timeout_seconds,
    )
    try:
        act(KeyService(database, Peppers.read(settings.access_pepper_file)), options)
    except PepperMissingError:
        print("DCS_ACCESS_PEPPER_FILE does not have the pepper that this key needs", file=sys.stderr)
        return 1
    except (DcsError, OSError) as error:
        print(error, file=sys.stderr)
        return 1
    except (UsageError, ValidationError, ValueError) as error:
        print(error, file=sys.stderr)
        return 2
    finally:
        database.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
