from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from chaos.config import ROOT, LabConfig
from chaos.errors import ToolchainError
from chaos.stacks.embedded.toolchain import resolver
from chaos.stacks.embedded.toolchain.cache import Entry
from chaos.stacks.embedded.toolchain.catalogue import Bundle
from chaos.stacks.embedded.toolchain.model import Attempt, NotHereError
from chaos.stacks.embedded.toolchain.sources.base import Job
from tests.unit.toolchain.fakes import FakeFetcher, write_program


def put(job: Job, bundle: Bundle) -> Entry:
    with job.cache.staging(bundle.name) as folder:
        for program in bundle.programs:
            write_program(folder / program, bundle.version)
        return job.cache.commit(bundle.name, bundle.version, "test", folder)


def test_what_was_committed_is_found_and_staging_leaves_nothing(bundle: Bundle, job: Job) -> None:
    entry = put(job, bundle)
    assert job.cache.find(bundle, full=True) == entry
    assert [path.name for path in job.cache.root.iterdir()] == [entry.directory.name]


def test_an_interrupted_build_leaves_no_entry(bundle: Bundle, job: Job) -> None:
    def interrupted() -> None:
        with job.cache.staging(bundle.name) as folder:
            write_program(folder / "fakedaemon", "3.4.5")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert list(job.cache.root.iterdir()) == []


def test_a_cut_off_program_is_corrupt(bundle: Bundle, job: Job) -> None:
    entry = put(job, bundle)
    (entry.directory / "fakectl").write_text("#!/bin/sh\n")
    with pytest.raises(NotHereError, match="corrupt: fakectl is not what was recorded"):
        job.cache.find(bundle)


def test_other_bytes_of_the_same_size_and_time_are_found_by_the_full_check(bundle: Bundle, job: Job) -> None:
    entry = put(job, bundle)
    path = entry.directory / "fakedaemon"
    before = path.stat()
    content = bytearray(path.read_bytes())
    content[-3] ^= 1
    path.write_bytes(bytes(content))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert job.cache.find(bundle) == entry
    with pytest.raises(NotHereError, match="corrupt"):
        job.cache.find(bundle, full=True)


def test_a_copied_cache_with_other_times_is_still_good(bundle: Bundle, job: Job) -> None:
    entry = put(job, bundle)
    os.utime(entry.directory / "fakedaemon", (1, 1))
    assert job.cache.find(bundle) == entry


def test_a_broken_manifest_is_corrupt(bundle: Bundle, job: Job) -> None:
    entry = put(job, bundle)
    (entry.directory / "manifest.json").write_text("{")
    with pytest.raises(NotHereError, match="corrupt"):
        job.cache.find(bundle)


def test_a_corrupt_entry_is_rebuilt(
    bundle: Bundle, job: Job, on_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    entry = put(job, bundle)
    (entry.directory / "fakedaemon").write_text("")
    fetcher = FakeFetcher("go")
    monkeypatch.setattr(resolver, "FETCHERS", (fetcher,))
    attempts: list[Attempt] = []
    assert resolver.locate(bundle, job, attempts) is None
    assert any("corrupt" in attempt.reason for attempt in attempts)
    found = resolver.fetch(bundle, job, attempts)
    assert found is not None
    assert fetcher.fetched == ["daemon"]
    assert job.cache.find(bundle, full=True).directory == entry.directory


_RESOLVE = """
import sys, time, pathlib
sys.path.insert(0, {root!r})
from tests.unit.toolchain.fakes import FakeFetcher
from chaos.config import LabConfig
from chaos.stacks.embedded.toolchain import resolver
from chaos.stacks.embedded.toolchain.catalogue import Bundle

class Slow(FakeFetcher):
    def fetch(self, bundle, into, job):
        with pathlib.Path({count!r}).open("a") as stream:
            stream.write("built\\n")
        time.sleep(0.5)  # a build takes its time
        return super().fetch(bundle, into, job)

resolver.FETCHERS = (Slow("go"),)
bundle = Bundle(name="daemon", version="3.4.5", programs=("fakedaemon", "fakectl"), minimum=(3, 2))
job = resolver.new_job(LabConfig(id="t", cache_dir={cache!r}, state_root={cache!r}))
assert resolver.fetch(bundle, job, []) is not None
"""


def test_processes_that_want_the_same_tool_build_it_once(tmp_path: Path, job: Job) -> None:
    count = tmp_path / "count"
    script = _RESOLVE.format(root=str(ROOT), count=str(count), cache=str(job.config.cache_dir))
    processes = [subprocess.Popen([sys.executable, "-c", script]) for _ in range(2)]
    assert [process.wait(60) for process in processes] == [0, 0]
    assert count.read_text().splitlines() == ["built"]


def test_a_lock_that_is_held_too_long_is_an_error_that_says_so(job: Job) -> None:
    waits: list[None] = []
    with job.cache.lock("daemon", 1):
        started = time.monotonic()
        with (
            pytest.raises(ToolchainError, match=r"held by another process .* End that process"),
            job.cache.lock("daemon", 0.3, lambda: waits.append(None)),
        ):
            pass
    assert time.monotonic() - started < 5
    assert len(waits) == 1


def test_a_cache_that_cannot_be_written_says_what_to_do(tmp_path: Path, bundle: Bundle) -> None:
    (tmp_path / "file").write_text("")
    config = LabConfig(id="t", cache_dir=tmp_path / "file", state_root=tmp_path)
    cache = resolver.new_job(config).cache
    with pytest.raises(ToolchainError, match="LAB_CACHE_DIR"), cache.staging(bundle.name):
        pass
    with pytest.raises(ToolchainError, match="LAB_CACHE_DIR"), cache.lock(bundle.name, 1):
        pass
