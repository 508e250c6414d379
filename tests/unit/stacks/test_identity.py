from __future__ import annotations

import json
import os
import shutil
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from chaos.config import ROOT, LabConfig
from chaos.domain.topology import embedded_topology
from chaos.errors import PortTakenError, StackError, UsageError
from chaos.stacks.embedded import identity
from chaos.stacks.embedded import layout as layout_module
from chaos.stacks.embedded.layout import Layout
from chaos.stacks.embedded.stack import EmbeddedStack


def _lab(config: LabConfig, lab_id: str, port_base: int | None = None) -> LabConfig:
    return config.model_copy(update={"id": lab_id, "port_base": port_base})


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        yield server


def test_every_preferred_block_is_outside_the_kernel_s_own_range() -> None:
    bases = {identity.preferred_block(f"lab-{n}") for n in range(2000)}
    assert len(bases) == identity.BLOCKS
    assert all(18000 <= base <= 31900 and base % 100 == 0 for base in bases)


def test_a_lab_keeps_its_block(config: LabConfig) -> None:
    first = identity.establish(config)
    assert identity.establish(config) == first
    assert identity.load(Layout(config.state_dir)) == first


def test_reading_allocates_nothing(config: LabConfig) -> None:
    assert identity.load(Layout(config.state_dir)) is None
    assert not config.state_root.exists()


def test_two_labs_that_want_the_same_block_get_different_ones(
    config: LabConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(identity, "preferred_block", lambda _: 27000)
    bases = {identity.establish(_lab(config, name)).port_base for name in ("one", "two", "three")}
    assert len(bases) == 3


def test_a_block_with_a_taken_port_is_passed_over(
    config: LabConfig, listener: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    port = listener.getsockname()[1]
    monkeypatch.setattr(
        identity, "taken", lambda ports: [p for p in ports if 27000 <= p < 27100 or p == port]
    )
    monkeypatch.setattr(identity, "preferred_block", lambda _: 27000)
    assert identity.establish(config).port_base == 27100
    assert not (config.state_root / "ports" / "27000").exists(), "a block that is not used is given back"


def test_the_claim_of_a_lab_that_is_gone_is_taken_over(config: LabConfig) -> None:
    gone = _lab(config, "gone", 27000)
    identity.establish(gone)
    with pytest.raises(PortTakenError, match="belong to lab 'gone'"):
        identity.establish(_lab(config, "next", 27000))
    shutil.rmtree(gone.state_dir)
    assert identity.establish(_lab(config, "next", 27000)).port_base == 27000


def test_another_base_moves_the_lab_and_gives_the_old_block_back(config: LabConfig) -> None:
    created = identity.establish(_lab(config, "unit", 27000)).created_unix
    moved = identity.establish(_lab(config, "unit", 27300))
    assert (moved.port_base, moved.created_unix) == (27300, created)
    assert not (config.state_root / "ports" / "27000").exists()


@pytest.fixture
def supervisord(config: LabConfig, monkeypatch: pytest.MonkeyPatch) -> Iterator[socket.socket]:
    """What holds the socket of a lab's supervisord; it need not answer."""
    with tempfile.TemporaryDirectory(prefix="fd", dir="/tmp") as short, socket.socket(socket.AF_UNIX) as held:
        monkeypatch.setattr(layout_module, "SHORT_BASE", Path(short))  # pytest's own paths are too long
        layout = Layout(config.state_dir)
        layout.create()
        held.bind(str(layout.supervisor_socket))
        held.listen()
        yield held


def test_the_base_does_not_change_while_the_stack_runs(config: LabConfig, supervisord: socket.socket) -> None:
    known = identity.establish(_lab(config, "unit", 27000))
    with pytest.raises(UsageError, match=r"LAB_PORT_BASE 27000, not 27300.*`lab down`"):
        identity.establish(_lab(config, "unit", 27300))
    assert identity.establish(config) == known
    assert not (config.state_root / "ports" / "27300").exists()
    supervisord.close()
    assert identity.establish(_lab(config, "unit", 27300)).port_base == 27300


def test_strays_are_ended_by_what_ran_whatever_base_is_wanted(
    config: LabConfig, supervisord: socket.socket
) -> None:
    identity.establish(_lab(config, "unit", 27000))
    assert supervisord.fileno() >= 0
    assert EmbeddedStack(_lab(config, "unit", 27300)).end_strays() == []


def test_another_checkout_takes_a_lab_over_only_when_it_is_down(
    config: LabConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    identity.establish(config)
    monkeypatch.setattr(identity, "ROOT", Path("/another/checkout"))
    with pytest.raises(UsageError, match=f"runs from {ROOT}, not from /another/checkout"):
        identity.take_over(config, running=True)
    identity.take_over(config, running=False)
    assert identity.establish(config).checkout == "/another/checkout"
    identity.take_over(config, running=True)


def test_a_damaged_identity_says_what_to_do(config: LabConfig) -> None:
    layout = Layout(config.state_dir)
    layout.create()
    layout.lab_json.write_text(json.dumps({"lab_id": "unit"}))
    with pytest.raises(StackError, match="Remove it"):
        identity.establish(config)


def test_a_taken_port_names_its_owner(listener: socket.socket) -> None:
    port = listener.getsockname()[1]
    topology = embedded_topology("unit", port)  # nginx is the first of a block
    with pytest.raises(PortTakenError) as caught:
        identity.require_free(topology)
    assert f"port {port} (nginx)" in str(caught.value)
    assert f"pid {os.getpid()}: " in str(caught.value)
    assert "LAB_PORT_BASE" in str(caught.value)


def test_what_must_stay_unused_is_no_port_of_the_stack() -> None:
    ports = identity.ports_of(embedded_topology("unit", 18000))
    assert 18099 not in ports.values()
    assert len(set(ports.values())) == len(ports)
