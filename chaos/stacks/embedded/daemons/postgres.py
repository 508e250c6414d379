"""PostgreSQL: the service's database and a client's."""

from __future__ import annotations

import os
import pwd
from pathlib import Path

from chaos.stacks.embedded.daemon import Context, Daemon
from chaos.stacks.embedded.layout import Layout
from chaos.stacks.embedded.readiness import postgres_selects

# Settings stand in a file: what the command line sets, ALTER SYSTEM could not change, and faults use it.
_CONF = """\
# Rendered by the lab. postgresql.auto.conf is read after this file and is empty at the baseline.
data_directory = '{data}'
hba_file = '{hba}'
ident_file = '{ident}'
external_pid_file = ''
listen_addresses = '{host}'
port = {port}
unix_socket_directories = '{sockets}'
unix_socket_permissions = 0700
max_connections = 60
superuser_reserved_connections = 3
reserved_connections = 3
fsync = on
shared_buffers = 32MB
work_mem = 2MB
maintenance_work_mem = 16MB
wal_buffers = 1MB
min_wal_size = 32MB
max_wal_size = 128MB
max_worker_processes = 4
max_parallel_workers = 0
autovacuum_max_workers = 1
io_method = sync
dynamic_shared_memory_type = posix
jit = off
password_encryption = scram-sha-256
lc_messages = 'C'
timezone = 'UTC'
log_timezone = 'UTC'
log_destination = 'stderr'
logging_collector = off
log_line_prefix = '%m [%p] %q%u@%d '
log_connections = ''
log_checkpoints = off
idle_in_transaction_session_timeout = 30s
"""

_HBA = """\
# The superuser comes in by the socket only, as the user who runs this lab; the others by TCP and password.
local all postgres peer map=lab
host  all postgres 127.0.0.1/32 reject
host  all all      127.0.0.1/32 scram-sha-256
"""


def data_directory(layout: Layout) -> Path:
    """Return PGDATA; its parent is the program's working directory."""
    return layout.data / "postgres" / "pgdata"


def daemons(context: Context) -> list[Daemon]:
    """Return PostgreSQL."""
    layout, address = context.layout, context.topology.address("postgres")
    own = pwd.getpwuid(os.geteuid()).pw_name
    names = dict.fromkeys([own, context.account or own])
    conf = _CONF.format(
        data=_quoted(data_directory(layout)),
        hba=_quoted(layout.conf / "pg_hba.conf"),
        ident=_quoted(layout.conf / "pg_ident.conf"),
        sockets=_quoted(layout.postgres_sockets),
        host=address.host,
        port=address.port,
    )
    return [
        Daemon(
            name="postgres",
            command=[
                str(context.tool("postgres")),
                "-D", str(data_directory(layout)),
                "-c", f"config_file={layout.conf / 'postgresql.conf'}",
            ],
            env={"LC_ALL": "C", "TZ": "UTC"},
            files={
                "postgresql.conf": conf,
                "pg_hba.conf": _HBA,
                "pg_ident.conf": "".join(f'lab "{name}" postgres\n' for name in names),
            },
            ready=postgres_selects(address, "probe", context.secret("probe"), "postgres"),
            port=address.port,
            user=context.account,
            stop_signal="INT",  # fast: sessions are ended, then a checkpoint is written
            stop_seconds=15,
        )
    ]  # fmt: skip


def _quoted(path: Path) -> str:
    return str(path).replace("'", "''")
