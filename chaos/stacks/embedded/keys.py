"""API keys of the lab's own clients: for the traffic one each, for people, probes and the ledger."""

from __future__ import annotations

import json
from pathlib import Path

from chaos.domain.clients import LANDERS, LEDGER, OPERATOR, PROBER, S3_EVENTS
from chaos.errors import StackError
from chaos.stacks.embedded.daemons.traffic import CLIENTS
from chaos.stacks.embedded.layout import Layout, write_durably
from chaos.traffic.mix import client_name

_ALL = ("jobs:read", "jobs:write", "ingest:read", "ingest:write", "avatars:read", "avatars:write")
_LEDGER_RATE_PER_MINUTE = 100_000
_SCOPES = {
    OPERATOR: (*_ALL, "admin"),
    PROBER: ("jobs:read", "jobs:write"),
    S3_EVENTS: ("ingest:write", "ingest:events"),
}


def names() -> list[str]:
    """Return whose keys there are."""
    return [
        *(client_name(number) for number in range(1, CLIENTS + 1)),
        OPERATOR,
        PROBER,
        S3_EVENTS,
        *LANDERS,
        *LEDGER,
    ]


def path(layout: Layout, name: str) -> Path:
    """Return the file with the key of a client."""
    return layout.keys / f"{name}.key"


def read(layout: Layout, name: str) -> str:
    """Return the key of a client."""
    try:
        return path(layout, name).read_text("utf-8").strip()
    except OSError as error:
        raise StackError(f"client {name!r} has no key: {error}. Run `lab up`.") from error


def all_there(layout: Layout) -> bool:
    """Say whether every client has a key."""
    return all(path(layout, name).exists() for name in names())


def write_wanted(layout: Layout) -> Path:
    """Write what ``app.access.cli provision`` is to make true, and return where."""
    unhindered = {"rate_limit_per_minute": _LEDGER_RATE_PER_MINUTE, "burst": _LEDGER_RATE_PER_MINUTE}
    wanted = [
        {"client": name, "file": str(path(layout, name)), "scopes": list(_SCOPES.get(name, _ALL))}
        | (unhindered if name in LEDGER else {})
        for name in names()
    ]
    file = layout.conf / "keys.json"
    write_durably(file, json.dumps(wanted, indent=1) + "\n")
    return file
