"""Keys from the command line, as an operator makes them."""

from __future__ import annotations

import itertools
import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson
import pytest
import structlog

from app.access.cli import main
from app.access.keys import Key, Peppers
from tests.support.ports import free_port
from tests.support.postgres import PostgresServer
from tests.support.service import ROOT, service_environment

SECONDS_MAX = 60.0
_numbers = itertools.count(1)


@dataclass(frozen=True)
class Done:
    code: int
    out: str
    err: str

    def json(self) -> Any:
        assert self.code == 0, self.err
        return json.loads(self.out)


Cli = Callable[..., Done]


@pytest.fixture
def cli(
    service_settings: dict[str, str], monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> Iterator[Cli]:
    """Return a function that does what the program does, in this process; ``DCS_`` settings by name."""
    logging = structlog.get_config()
    monkeypatch.setattr("app.access.cli.configure_logging", log_as_json)

    def run(*arguments: object, **settings: str) -> Done:
        with monkeypatch.context() as changed:
            for name, value in (service_settings | settings).items():
                changed.setenv(name, value)
            capfd.readouterr()
            try:
                code = main(list(map(str, arguments)))
            except SystemExit as exc:  # as argparse ends
                code = int(str(exc.code))
        return Done(code, *capfd.readouterr())

    yield run
    structlog.configure(**logging)


def log_as_json(**_: str) -> None:
    # The program's own is made for a process that ends: it also changes what others log.
    structlog.configure(
        processors=[structlog.processors.JSONRenderer(orjson.dumps)],
        logger_factory=structlog.BytesLoggerFactory(sys.stderr.buffer),
    )


@pytest.fixture
def client(cli: Cli) -> str:
    name = f"by-cli-{next(_numbers)}"
    assert cli("client", "create", name).json() == {"client_id": name, "created": True}
    return name


@pytest.fixture
def pepper(tmp_path: Path) -> dict[str, str]:
    (tmp_path / "pepper").write_text("a pepper of some length\n")
    return {"DCS_ACCESS_PEPPER_FILE": str(tmp_path / "pepper")}


def stored(postgres: PostgresServer, database: str, client: str) -> dict[str, tuple[str, list[str], bool]]:
    query = (
        f"SELECT key_id, secret_hash, scopes, revoked_at IS NULL FROM api_keys WHERE client_id = '{client}'"  # noqa: S608
    )
    rows: list[Any] = postgres.rows(query, database)
    return {key_id: (secret_hash, scopes, active) for key_id, secret_hash, scopes, active in rows}


def test_the_program_is_run_as_a_module(service_settings: dict[str, str]) -> None:
    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "app.access.cli", *arguments]
        environment = service_environment(service_settings)
        return subprocess.run(
            command,
            cwd=ROOT,
            env=environment,
            capture_output=True,
            text=True,
            timeout=SECONDS_MAX,
            check=False,
        )

    made = run("key", "create", "--client", "acme-corp")
    assert made.returncode == 0, made.stderr
    key = Key.parse(json.loads(made.stdout)["secret"])
    assert key is not None
    # The answer and the log do not mix, and only one of them has the secret.
    line = json.loads(made.stderr)
    assert (line["event"], line["client_id"], line["key_id"]) == (
        "access_key_created",
        "acme-corp",
        key.key_id,
    )
    assert (line["service"], line["level"]) == ("access-cli", "info")
    assert key.secret not in made.stderr
    third = run("key", "create", "--client", "acme-corp")
    assert (third.returncode, third.stdout, third.stderr.count("\n")) == (1, "", 1)


def test_a_client_is_created_once(cli: Cli, client: str) -> None:
    assert cli("client", "create", client).json() == {"client_id": client, "created": False}
    assert client in cli("client", "list").json()["clients"]


def test_a_key_is_shown_once_and_stored_as_a_hash(
    cli: Cli, client: str, postgres: PostgresServer, database_name: str
) -> None:
    options = ["--scope", "jobs:read", "--scope", "admin", "--rate-limit-per-minute", 7, "--burst", 3]
    options += ["--allow-ip", "192.0.2.0/24", "--expires-in", "90d"]
    made = cli("key", "create", "--client", client, *options)
    shown = made.json()
    key = Key.parse(shown["secret"])
    assert key is not None
    assert shown["key_id"] == key.key_id
    assert (sorted(shown["scopes"]), shown["burst"]) == (["admin", "jobs:read"], 3)
    assert (shown["rate_limit_per_minute"], shown["ip_allowlist"]) == (7, ["192.0.2.0/24"])
    assert shown["active"]
    assert shown["expires_at"] > shown["created_at"]
    (secret_hash, _, _), *others = stored(postgres, database_name, client).values()
    assert not others
    assert Peppers().matches(key, secret_hash)
    listed = cli("key", "list", "--client", client)
    assert [one["key_id"] for one in listed.json()["keys"]] == [key.key_id]
    for text in (made.err, listed.out, listed.err):
        assert key.secret not in text


def test_a_key_goes_to_a_file_that_only_its_owner_reads(cli: Cli, client: str, tmp_path: Path) -> None:
    file = tmp_path / "key"
    made = cli("key", "create", "--client", client, "--output-file", file)
    assert made.json()["secret_file"] == str(file)
    assert not {"admin", "ingest:events"} & set(made.json()["scopes"]), "those are asked for by name"
    key = Key.parse(file.read_text().strip())
    assert key is not None
    assert key.secret not in made.out
    assert file.stat().st_mode & 0o777 == 0o600
    # A second key would overwrite the first: it is not made.
    again = cli("key", "create", "--client", client, "--output-file", file)
    assert (again.code, again.err) == (2, f"{file} exists. Name another file.\n")
    assert len(cli("key", "list", "--client", client).json()["keys"]) == 1


def test_a_key_gives_way_to_its_successor(cli: Cli, client: str) -> None:
    old = cli("key", "create", "--client", client, "--burst", 5).json()
    new = cli("key", "rotate", old["key_id"], "--overlap", "1h").json()
    assert (new["scopes"], new["burst"], new["expires_at"]) == (old["scopes"], 5, None)
    listed = {one["key_id"]: one for one in cli("key", "list", "--client", client).json()["keys"]}
    assert listed[old["key_id"]]["active"]
    assert listed[old["key_id"]]["expires_at"] is not None
    third = cli("key", "create", "--client", client)
    assert third.code == 1
    assert "two active keys" in third.err
    assert cli("key", "revoke", old["key_id"]).json() == {"key_id": old["key_id"], "revoked": True}
    assert cli("key", "revoke", old["key_id"]).code == 0, "harmless"
    ended = cli("key", "rotate", old["key_id"])
    assert ended.code == 1
    assert "cannot be rotated" in ended.err


def test_a_key_that_must_sign_needs_a_pepper(cli: Cli, client: str, pepper: dict[str, str]) -> None:
    create = ("key", "create", "--client", client, "--signing-required")
    without = cli(*create)
    assert without.code == 1
    assert "DCS_ACCESS_PEPPER_FILE" in without.err
    made = cli(*create, **pepper).json()
    assert len(made["signing_secret"]) == 64
    assert made["signing_secret"] not in cli("key", "list", "--client", client, **pepper).out


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ("", "COMMAND"),
        ("client create UPPER", "not 1 to 64 of"),
        ("key create", "--client"),
        ("key create --client x --scope root", "'root' is none of jobs:read, jobs:write"),
        ("key create --client x --burst 0", "not from 1 to"),
        ("key create --client x --allow-ip 10.0.0.1/8", "10.0.0.1/8 has host bits set"),
        ("key create --client x --allow-ip here", "'here' does not appear to be"),
        ("key create --client x --burst many", "'many' is not from 1 to"),
        ("key create --client x --burst -1", "'-1' is not from 1 to"),
        ("key create --client x --expires-in 90", "no duration"),
        ("key create --client x --expires-in 99999d", "no duration"),
    ],
)
def test_what_makes_no_sense_is_exit_code_2(cli: Cli, arguments: str, told: str) -> None:
    done = cli(*arguments.split())
    assert (done.code, done.out) == (2, "")
    assert told in done.err


def test_what_cannot_be_done_is_exit_code_1(cli: Cli) -> None:
    for arguments, told in (
        (("key", "create", "--client", "nobody"), "client create"),
        (("key", "rotate", "a" * 16), "No key"),
        (("key", "revoke", "a" * 16), "No key"),
        (("provision", "/nowhere.json"), "No such file"),
    ):
        done = cli(*arguments)
        assert (done.code, done.out) == (1, ""), done
        assert told in done.err
    down = cli("client", "list", DCS_DATABASE_PORT=str(free_port()))
    assert (down.code, down.out) == (1, "")


# ---- provision -----------------------------------------------------------------------------


def wanted(client: str, file: Path, **more: Any) -> dict[str, Any]:
    return {"client": client, "file": str(file), "scopes": ["jobs:read"]} | more


def provision(cli: Cli, directory: Path, *keys: dict[str, Any]) -> Done:
    (directory / "keys.json").write_text(json.dumps(keys))
    return cli("provision", directory / "keys.json")


def test_the_keys_of_a_file_are_made_once_and_made_true(
    cli: Cli, tmp_path: Path, postgres: PostgresServer, database_name: str
) -> None:
    client, file = f"provisioned-{next(_numbers)}", tmp_path / "key"
    assert provision(cli, tmp_path, wanted(client, file)).json() == {"provisioned": 1}
    assert file.stat().st_mode & 0o777 == 0o600
    text = file.read_text()
    again = provision(cli, tmp_path, wanted(client, file))
    assert again.json() == {"provisioned": 1}
    assert (file.read_text(), again.err) == (text, "")
    # What the file says of the key is so, also when it says something new.
    assert provision(cli, tmp_path, wanted(client, file, scopes=["jobs:read", "jobs:write"])).code == 0
    [(_, scopes, active)] = stored(postgres, database_name, client).values()
    assert (sorted(scopes), active) == (["jobs:read", "jobs:write"], True)
    assert file.read_text() == text
    # A key that is no good any more gives way to a new one.
    assert cli("key", "revoke", text.split("_")[1]).code == 0
    assert provision(cli, tmp_path, wanted(client, file)).code == 0
    assert file.read_text() != text
    assert sorted(active for _, _, active in stored(postgres, database_name, client).values()) == [
        False,
        True,
    ]


def test_a_key_whose_pepper_is_gone_is_told_of_and_stays(
    cli: Cli, tmp_path: Path, pepper: dict[str, str], postgres: PostgresServer, database_name: str
) -> None:
    client, file = f"provisioned-{next(_numbers)}", tmp_path / "key"
    (tmp_path / "keys.json").write_text(json.dumps([wanted(client, file)]))
    assert cli("provision", tmp_path / "keys.json", **pepper).code == 0
    text = file.read_text()
    without = cli("provision", tmp_path / "keys.json")
    assert (without.code, without.out) == (1, "")
    assert "DCS_ACCESS_PEPPER_FILE" in without.err
    assert file.read_text() == text
    assert [active for _, _, active in stored(postgres, database_name, client).values()] == [True]


def test_a_file_that_cannot_be_made_true_changes_nothing(
    cli: Cli, client: str, tmp_path: Path, postgres: PostgresServer, database_name: str
) -> None:
    files = [tmp_path / f"key-{n}" for n in range(3)]
    (tmp_path / "damaged").write_text("not a key\n")
    for keys, told in (
        ([wanted(client, tmp_path / "damaged")], "holds no key"),
        ([wanted(client, files[0], scopes=["root"])], "scopes"),
        ([wanted(client, files[0], extra=1)], "extra"),
        ([wanted(client, files[0], ip_allowlist=["nowhere"])], "ip_allowlist"),
        # The third would revoke the first, time and again.
        ([wanted(client, file) for file in files], "at most two"),
        ([wanted(client, files[0]), wanted("another", files[0])], "named twice"),
    ):
        done = provision(cli, tmp_path, *keys)
        assert (done.code, done.out) == (2, ""), done
        assert told in done.err
    assert stored(postgres, database_name, client) == {}
    assert not any(file.exists() for file in files)


def test_a_key_of_another_client_is_not_taken_over(
    cli: Cli, tmp_path: Path, postgres: PostgresServer, database_name: str
) -> None:
    owner, other = (f"provisioned-{next(_numbers)}" for _ in range(2))
    assert provision(cli, tmp_path, wanted(owner, tmp_path / "key")).code == 0
    done = provision(cli, tmp_path, wanted(other, tmp_path / "key"))
    assert (done.code, done.out) == (2, "")
    assert "another client" in done.err
    assert list(stored(postgres, database_name, other)) == []
    assert [active for _, _, active in stored(postgres, database_name, owner).values()] == [True]
