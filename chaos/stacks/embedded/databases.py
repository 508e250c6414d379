"""PostgreSQL's data: the cluster, its roles and databases, a client's tables, the service's schema."""

from __future__ import annotations

import hashlib
import os
import pwd
import secrets
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg2
from psycopg2 import sql
from psycopg2.extensions import connection as Connection  # noqa: N812 - the library's own name is lower case

from chaos.config import ROOT
from chaos.errors import StackError
from chaos.stacks.embedded.daemon import Context, python
from chaos.stacks.embedded.daemons._service import environment
from chaos.stacks.embedded.daemons.postgres import data_directory
from chaos.stacks.embedded.layout import Layout, tail, write_durably

ROLES = ("dcs", "client_acme_ro", "exporter", "reporting", "probe")
"""Roles with a password file. The superuser has none: it comes in by the socket only."""

INITDB_TIMEOUT_SECONDS = 60.0
MIGRATE_TIMEOUT_SECONDS = 60.0
STATEMENT_TIMEOUT_MS = 20_000
LOG_LINES = 15

_SEED = Path(__file__).parent / "seed"


def make_secrets(layout: Layout) -> None:
    """Give every role a password of its own, once per lab."""
    for role in ROLES:
        path = layout.secrets / f"{role}.password"
        if not path.exists():
            write_durably(path, secrets.token_urlsafe(24) + "\n", mode=0o600)


def admin_dsn(layout: Layout, port: int) -> dict[str, Any]:
    """Return libpq keywords of the superuser over the unix socket."""
    return {"host": str(layout.postgres_sockets), "port": port, "user": "postgres", "dbname": "postgres"}


def prepare_cluster(context: Context) -> None:
    """Create the data directory if there is none; an interrupted attempt leaves nothing behind."""
    layout, home = context.layout, context.layout.data / "postgres"
    for directory, mode in ((layout.postgres_sockets, 0o700), (home, 0o750)):
        directory.mkdir(exist_ok=True)
        directory.chmod(mode)
        _own(directory, context.account)
    target = data_directory(layout)
    if (target / "PG_VERSION").exists():
        return
    fresh = target.with_name("pgdata.new")
    shutil.rmtree(fresh, ignore_errors=True)
    command = [
        str(context.tool("initdb")), "-D", str(fresh), "-U", "postgres", "--no-sync", "--locale=C",
        "--encoding=UTF8", "--auth-local=peer", "--auth-host=scram-sha-256",
    ]  # fmt: skip
    _run(command, context, "initdb", INITDB_TIMEOUT_SECONDS)
    password = context.secret("probe").read_text("utf-8").strip()
    # The readiness probe logs in by TCP like everybody else, so its role must be there from the first start.
    single = [str(context.tool("postgres")), "--single", "-D", str(fresh), "postgres"]
    statement = f"CREATE ROLE probe LOGIN PASSWORD '{password}' CONNECTION LIMIT 3\n"
    _run(single, context, "postgres --single", INITDB_TIMEOUT_SECONDS, statement)
    fresh.rename(target)


def _own(path: Path, account: str | None) -> None:
    if account is not None:
        owner = pwd.getpwnam(account)
        os.chown(path, owner.pw_uid, owner.pw_gid)


def _run(command: list[str], context: Context, what: str, timeout_seconds: float, text: str = "") -> None:
    account = context.account
    try:
        done = subprocess.run(
            command, input=text, capture_output=True, text=True, timeout=timeout_seconds, check=False,
            user=account, group=None if account is None else pwd.getpwnam(account).pw_gid,
            extra_groups=None if account is None else [], cwd="/",
            env={"PATH": "/usr/bin:/bin", "LC_ALL": "C", "TZ": "UTC"},
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired) as error:
        raise StackError(f"{what} did not work: {error}. Run `lab doctor`.") from error
    if done.returncode != 0:
        lines = (done.stdout + done.stderr).splitlines()[-LOG_LINES:]
        raise StackError(f"{what} ended with {done.returncode}:\n" + "\n".join(lines))


def prepare_databases(context: Context) -> None:
    """Bring roles, databases, seed and schema to what this checkout wants. Quick when they are there."""
    wanted = _digest()
    with _connected(context, "postgres") as link, link.cursor() as cursor:
        cursor.execute(
            "CREATE TABLE IF NOT EXISTS lab_identity (lab_id text PRIMARY KEY, prepared text NOT NULL)"
        )
        cursor.execute("SELECT lab_id, prepared FROM lab_identity")
        rows = cursor.fetchall()
        if rows == [(context.config.id, wanted)]:
            return
        if rows and rows[0][0] != context.config.id:
            raise StackError(
                f"this PostgreSQL belongs to lab {rows[0][0]!r}. Remove {context.layout.data}/postgres."
            )
        _create_roles(cursor, context)
        for name, owner in (("dcs", "dcs"), ("acme", "postgres")):
            cursor.execute("SELECT 1 FROM pg_database WHERE datname = %s", (name,))
            if cursor.fetchone() is None:
                cursor.execute(
                    sql.SQL("CREATE DATABASE {} OWNER {}").format(sql.Identifier(name), sql.Identifier(owner))
                )
    with _connected(context, "acme") as link, link.cursor() as cursor:
        cursor.execute((_SEED / "acme.sql").read_text("utf-8"))
    _migrate(context)
    # Written last: whatever was interrupted is done again.
    with _connected(context, "postgres") as link, link.cursor() as cursor:
        cursor.execute(
            "INSERT INTO lab_identity VALUES (%s, %s) "
            "ON CONFLICT (lab_id) DO UPDATE SET prepared = excluded.prepared",
            (context.config.id, wanted),
        )


def _create_roles(cursor: Any, context: Context) -> None:
    grants: Mapping[str, str] = {"exporter": "pg_monitor, pg_use_reserved_connections"}
    for role in ROLES:
        name = sql.Identifier(role)
        cursor.execute("SELECT 1 FROM pg_roles WHERE rolname = %s", (role,))
        if cursor.fetchone() is None:
            cursor.execute(sql.SQL("CREATE ROLE {} LOGIN").format(name))
        password = context.secret(role).read_text("utf-8").strip()
        cursor.execute(sql.SQL("ALTER ROLE {} LOGIN PASSWORD %s").format(name), (password,))
        if role in grants:
            cursor.execute(sql.SQL("GRANT " + grants[role] + " TO {}").format(name))


@contextmanager
def _connected(context: Context, database: str) -> Iterator[Connection]:
    dsn = admin_dsn(context.layout, context.port("postgres")) | {"dbname": database}
    try:
        link = psycopg2.connect(
            **dsn, connect_timeout=3, application_name="lab-setup",
            options=f"-c statement_timeout={STATEMENT_TIMEOUT_MS}",
        )  # fmt: skip
    except psycopg2.Error as error:
        raise StackError(
            f"the superuser cannot reach PostgreSQL: {error}. Run `lab logs postgres`."
        ) from error
    try:
        link.autocommit = True
        yield link
    except psycopg2.Error as error:
        raise StackError(f"PostgreSQL refused its set-up: {error}. Run `lab logs postgres`.") from error
    finally:
        link.close()


def _migrate(context: Context) -> None:
    log = context.layout.logs / "migrate.log"
    direct = context.topology.address("postgres")  # set-up does not depend on the paths that faults close
    env = environment(context, "api-1") | {
        "DCS_DATABASE_HOST": direct.host,
        "DCS_DATABASE_PORT": str(direct.port),
        "PATH": os.environ.get("PATH", "/usr/bin:/bin"),
    }
    env.pop("DCS_OTLP_LOGS_ENDPOINT")
    with log.open("ab") as stream:
        try:
            code = subprocess.run(
                python("app.migrate"), env=env, cwd=context.layout.data, stdin=subprocess.DEVNULL,
                stdout=stream, stderr=stream, timeout=MIGRATE_TIMEOUT_SECONDS, check=False,
            ).returncode  # fmt: skip
        except subprocess.TimeoutExpired:
            code = -1
    if code != 0:
        raise StackError(f"the service's migration failed ({code}):\n" + "\n".join(tail(log, LOG_LINES)))


def _digest() -> str:
    digest = hashlib.sha256()
    sources = [Path(__file__), _SEED / "acme.sql", ROOT / "app" / "migrate.py"]
    sources += sorted((ROOT / "app" / "migrations").rglob("*.py"))
    for path in sources:
        digest.update(path.read_bytes())
    return digest.hexdigest()


def seed_files(layout: Layout) -> None:
    """Put a client's files where the ``file`` source reads them; same content on every machine."""
    acme = layout.files / "acme"
    acme.mkdir(exist_ok=True)
    kinds = ("laptop", "server", "router", "printer", "phone")
    rows = ["asset_id,hostname,kind,owner,encrypted,last_seen"]
    rows += [
        f"A-{n:04d},{kinds[n % 5]}-{n:04d}.acme.example,{kinds[n % 5]},team-{n % 7},"
        f"{'true' if n % 6 else 'false'},2026-{n % 12 + 1:02d}-{n % 28 + 1:02d}"
        for n in range(1, 201)
    ]
    _write_once(acme / "assets.csv", "\n".join(rows) + "\n")
    for name, events in (("access-log", ("login", "logout", "denied")), ("trainings", ("passed", "missed"))):
        lines = [
            f'{{"id": "{name}-{n:04d}", "person": "p{n % 40:03d}", "event": "{events[n % len(events)]}", '
            f'"at": "2026-{n % 12 + 1:02d}-{n % 28 + 1:02d}T{n % 24:02d}:00:00Z"}}'
            for n in range(1, 201)
        ]
        _write_once(acme / f"{name}.jsonl", "\n".join(lines) + "\n")


def _write_once(path: Path, text: str) -> None:
    if not path.exists() or path.read_text("utf-8") != text:
        write_durably(path, text)
