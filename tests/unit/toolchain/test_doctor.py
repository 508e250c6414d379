from __future__ import annotations

import contextlib
import json
import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

from chaos.cli.doctor import command
from chaos.config import LabConfig
from chaos.stacks.embedded.doctor import Check, examine
from chaos.stacks.embedded.toolchain.catalogue import BUNDLE_OF
from chaos.stacks.embedded.toolchain.inspection import discard_spoiled
from chaos.stacks.embedded.toolchain.sources.base import Job
from tests.unit.toolchain.fakes import write_program


def check(config: LabConfig, name: str) -> Check:
    return next(check for check in examine(config).checks if check.name == name)


@contextlib.contextmanager
def listening_at_a_block() -> Iterator[int]:
    """Something of somebody else's, on a port that could be the first of a block."""
    for base in range(20000, 32600, 100):
        with socket.socket() as listener, contextlib.suppress(OSError):
            listener.bind(("127.0.0.1", base))
            listener.listen()
            yield base
            return
    pytest.fail("no free port below 32600")


def test_a_healthy_machine_has_no_failed_check(config: LabConfig) -> None:
    report = examine(config)
    failed = [c for c in report.checks if c.status == "fail" and not c.name.startswith("postgres user")]
    assert failed == []
    assert {"python", "platform", "disk for state", "ports", "tool loki"} <= {c.name for c in report.checks}


def test_a_taken_port_of_this_lab_names_its_owner(config: LabConfig) -> None:
    with listening_at_a_block() as base:
        found = check(config.model_copy(update={"port_base": base}), "ports")
    assert found.status == "fail"
    assert f"{base} (nginx) by pid {os.getpid()}" in found.detail
    assert "LAB_PORT_BASE" in found.remedy


def test_a_spoiled_program_in_the_cache_is_found_by_its_hash(config: LabConfig, job: Job) -> None:
    bundle = BUNDLE_OF["loki"]
    with job.cache.staging("loki") as folder:
        for program in bundle.programs:
            write_program(folder / program, bundle.version)
        entry = job.cache.commit("loki", bundle.version, "test", folder)
    assert check(config, "tool loki").status == "ok"
    path = entry.directory / "loki"
    before = path.stat()
    content = bytearray(path.read_bytes())
    content[-2] ^= 1
    path.write_bytes(bytes(content))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    found = check(config, "tool loki")
    assert found.status == "fail"
    assert "corrupt: loki is not what was recorded" in found.detail
    assert discard_spoiled(config) == ["loki"]
    assert not path.exists()
    assert discard_spoiled(config) == []


def test_a_cut_off_program_is_got_anew_at_the_next_start(config: LabConfig, job: Job) -> None:
    bundle = BUNDLE_OF["loki"]
    with job.cache.staging("loki") as folder:
        for program in bundle.programs:
            write_program(folder / program, bundle.version)
        entry = job.cache.commit("loki", bundle.version, "test", folder)
    (entry.directory / "loki").write_text("")
    found = check(config, "tool loki")
    assert found.status == "warn"
    assert "corrupt" in found.detail
    assert "the next start gets it" in found.remedy


def test_an_exporter_that_could_not_be_had_is_named_with_its_cost(config: LabConfig, job: Job) -> None:
    job.cache.root.mkdir(parents=True)
    job.cache.remember_missing("redis_exporter", "apt: closed; release: closed")
    found = check(config, "tool redis_exporter")
    if found.status == "ok":  # the machine has one on PATH
        assert "PATH" in found.detail
        return
    assert found.status == "warn"
    assert "apt: closed; release: closed" in found.detail
    assert "RedisDown cannot be judged" in found.detail


def test_too_little_disk_fails_and_says_which_setting(config: LabConfig) -> None:
    found = check(config.model_copy(update={"disk_free_min_bytes": 1 << 60}), "disk for state")
    assert (found.status, "LAB_STATE_ROOT" in found.remedy) == ("fail", True)


def test_a_state_root_that_cannot_be_written_fails(config: LabConfig, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")  # root may write into any folder, but not below a file
    found = check(config.model_copy(update={"state_root": tmp_path / "file" / "state"}), "state directory")
    assert (found.status, found.remedy) == ("fail", "Set LAB_STATE_ROOT.")


def test_the_command_prints_json_and_fails_when_a_check_does(
    config: LabConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LAB_ID", config.id)
    monkeypatch.setenv("LAB_STATE_ROOT", str(config.state_root))
    monkeypatch.setenv("LAB_CACHE_DIR", str(config.cache_dir))
    monkeypatch.setenv("LAB_DISK_FREE_MIN_BYTES", str(1 << 60))
    outcome = CliRunner().invoke(command, ["--json"])
    report = json.loads(outcome.stdout)
    assert (outcome.exit_code, report["status"]) == (3, "fail")
    plain = CliRunner().invoke(command, [])
    assert "fail  disk for state" in plain.stdout
