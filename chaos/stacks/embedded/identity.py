"""Who a lab is: its id, the port block that belongs to it, and the marker its processes carry."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import socket
import time
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import psutil

from chaos.config import PORT_CLAIMS, ROOT, LabConfig
from chaos.domain.topology import (
    DIRECT_PORTS,
    MONITORING_PROXIES,
    PORTS_PER_BLOCK,
    SERVICE_PROXIES,
    Topology,
    embedded_topology,
)
from chaos.errors import PortTakenError, StackError, UsageError
from chaos.stacks.embedded.layout import Layout, write_durably

HOST = "127.0.0.1"
FIRST_BLOCK = 18000
BLOCKS = 140
"""Blocks end at 31999: ports from 32768 on are handed out by the kernel to any outgoing connection."""

_CONNECT_SECONDS_MAX = 1.0

MARKER = "FIREDRILL_LAB_ID"
MARKER_STATE_DIR = "FIREDRILL_STATE_DIR"
ROLE = "FIREDRILL_ROLE"
"""Set on the processes that judge or heal a run; they are never orphans."""


@dataclass(frozen=True)
class Identity:
    """What ``lab.json`` holds."""

    lab_id: str
    checkout: str
    port_base: int
    created_unix: float


def marker_environment(lab_id: str, state_dir: Path) -> dict[str, str]:
    """Return the environment that every process of a lab carries."""
    return {MARKER: lab_id, MARKER_STATE_DIR: str(state_dir)}


def load(layout: Layout) -> Identity | None:
    """Return the identity of the lab whose state is here, or None when there is none yet."""
    try:
        values = json.loads(layout.lab_json.read_text("utf-8"))
        return Identity(
            str(values["lab_id"]), str(values["checkout"]),
            int(values["port_base"]), float(values["created_unix"]),
        )  # fmt: skip
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError) as error:
        raise StackError(f"{layout.lab_json} cannot be read ({error}). Remove it, then `lab up`.") from error


def establish(config: LabConfig) -> Identity:
    """Return the lab's identity; on first use claim a free port block and write it down.

    Raises UsageError when another block is wanted than the one in which the stack runs.
    """
    layout = Layout(config.state_dir)
    known = load(layout)
    if known is not None and config.port_base in (None, known.port_base):
        return known
    if known is not None and supervisor_listens(layout):
        raise UsageError(
            f"lab {config.id!r} runs with LAB_PORT_BASE {known.port_base}, not {config.port_base}. "
            "Unset it, or move the lab: `lab down` first."
        )
    layout.create()
    wanted = config.port_base
    claims = config.state_root / PORT_CLAIMS
    claims.mkdir(parents=True, exist_ok=True)
    if wanted is not None:
        if not _claim(claims, wanted, config):
            raise PortTakenError(
                f"ports {wanted} to {wanted + PORTS_PER_BLOCK - 1} belong to lab "
                f"{_holder(claims / str(wanted))!r}. Choose another LAB_PORT_BASE."
            )
        base = wanted
    else:
        base = _first_free_block(claims, config)
    if known is not None:
        release(config, known.port_base)
    created = known.created_unix if known else time.time()
    return _save(layout, Identity(config.id, str(ROOT), base, created))


def _save(layout: Layout, identity: Identity) -> Identity:
    write_durably(layout.lab_json, json.dumps(asdict(identity), indent=2) + "\n")
    return identity


def take_over(config: LabConfig, *, running: bool) -> None:
    """Make the lab this checkout's; raises UsageError while another checkout's stack runs."""
    known = establish(config)
    if known.checkout == str(ROOT):
        return
    if running:
        raise UsageError(
            f"lab {config.id!r} runs from {known.checkout}, not from {ROOT}. "
            "Run `lab down` there, or choose another LAB_ID."
        )
    _save(Layout(config.state_dir), replace(known, checkout=str(ROOT)))


def supervisor_listens(layout: Layout) -> bool:
    """Say whether a supervisord holds this lab's socket, a hung one included."""
    with socket.socket(socket.AF_UNIX) as link:
        link.settimeout(_CONNECT_SECONDS_MAX)
        try:
            link.connect(str(layout.supervisor_socket))
        except TimeoutError:  # a full queue is somebody's
            return True
        except OSError:
            return False
        return True


def release(config: LabConfig, port_base: int) -> None:
    """Give a port block back, if this lab holds it."""
    claim = config.state_root / PORT_CLAIMS / str(port_base)
    if _holder(claim) == config.id:
        claim.unlink(missing_ok=True)


def preferred_block(lab_id: str) -> int:
    """Return the first port of the block this id would like, the same on every machine."""
    digest = hashlib.sha256(lab_id.encode()).digest()
    return FIRST_BLOCK + int.from_bytes(digest[:4], "big") % BLOCKS * PORTS_PER_BLOCK


def _first_free_block(claims: Path, config: LabConfig) -> int:
    start = (preferred_block(config.id) - FIRST_BLOCK) // PORTS_PER_BLOCK
    for step in range(BLOCKS):
        base = FIRST_BLOCK + (start + step) % BLOCKS * PORTS_PER_BLOCK
        if not _claim(claims, base, config):
            continue
        if not taken(ports_of(embedded_topology(config.id, base)).values()):
            return base
        release(config, base)
    raise PortTakenError(
        f"none of the {BLOCKS} port blocks from {FIRST_BLOCK} on is free. Set LAB_PORT_BASE."
    )


def _claim(claims: Path, base: int, config: LabConfig) -> bool:
    # The state directory exists before the claim, so a claim without one is a leftover.
    path = claims / str(base)
    for _attempt in range(2):
        try:
            with path.open("x", encoding="utf-8") as stream:
                stream.write(config.id + "\n")
        except FileExistsError:
            holder = _holder(path)
            if holder == config.id:
                return True
            if holder and (config.state_root / holder).is_dir():
                return False
            path.unlink(missing_ok=True)
        else:
            return True
    return False


def _holder(claim: Path) -> str:
    with contextlib.suppress(OSError):
        return claim.read_text("utf-8").strip()
    return ""


def ports_of(topology: Topology) -> Mapping[str, int]:
    """Return every port a stack listens on, by name; what must stay unused is not among them."""
    ports = {name: topology.address(name).port for name in DIRECT_PORTS if name != "unused"}
    ports |= {f"proxy {name}": topology.via(name).port for name in SERVICE_PROXIES}
    return ports | {f"proxy {name}": topology.monitored_via(name).port for name in MONITORING_PROXIES}


def taken(ports: Iterable[int]) -> list[int]:
    """Return those of ``ports`` that something listens on."""
    return [port for port in ports if not _can_bind(port)]


def _can_bind(port: int) -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        # As the daemons do it: a connection that is only waiting to be forgotten is no obstacle.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError as error:
            return error.errno != errno.EADDRINUSE
        return True


def require_free(topology: Topology) -> None:
    """Raise with the owner's pid and command when a port of this stack is taken by anybody."""
    names = {port: name for name, port in ports_of(topology).items()}
    blocked = taken(names)
    if not blocked:
        return
    port = blocked[0]
    others = f" (and {len(blocked) - 1} more of this block)" if len(blocked) > 1 else ""
    raise PortTakenError(
        f"port {port} ({names[port]}){others} is taken by {owner_of(port)}. "
        "End it, or choose another block with LAB_PORT_BASE."
    )


def owner_of(port: int) -> str:
    """Return who listens on ``port``, as far as this user may see it."""
    try:
        connections = psutil.net_connections(kind="tcp")
    except (psutil.AccessDenied, OSError):
        return "a process this user may not see"
    for connection in connections:
        if connection.status != psutil.CONN_LISTEN or not connection.pid:
            continue
        if tuple(connection.laddr)[1:2] == (port,):
            with contextlib.suppress(psutil.Error):
                command = " ".join(psutil.Process(connection.pid).cmdline())
                return f"pid {connection.pid}: {command[:200]}"
            return f"pid {connection.pid}"
    return f"a process this user (uid {os.geteuid()}) may not see"
