"""Real processes, with and without the marker."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from chaos.stacks.embedded import orphans, processes
from chaos.stacks.embedded.identity import MARKER, MARKER_STATE_DIR, ROLE
from chaos.stacks.embedded.layout import Layout

# Forked twice, as orphans are: no parent of this test's stands above them.
_DETACH = """
import os, subprocess, sys
no = subprocess.DEVNULL
child = subprocess.Popen(sys.argv[2:], cwd=sys.argv[1], start_new_session=True, stdout=no, stderr=no)
print(child.pid)
"""
_WAIT = [sys.executable, "-c", "import time; time.sleep(60)"]
_STUBBORN = [sys.executable, "-c", "import signal, time; signal.signal(15, signal.SIG_IGN); time.sleep(60)"]

Spawn = Callable[..., psutil.Process]


@pytest.fixture
def spawn(layout: Layout) -> Iterator[Spawn]:
    spawned: list[psutil.Process] = []

    def start(
        env: dict[str, str], cwd: Path | None = None, command: list[str] | None = None
    ) -> psutil.Process:
        done = subprocess.run(
            [sys.executable, "-c", _DETACH, str(cwd or "/"), *(command or _WAIT)],
            env={"PATH": os.environ["PATH"], **env}, capture_output=True, text=True, timeout=20, check=True,
        )  # fmt: skip
        process = psutil.Process(int(done.stdout))
        spawned.append(process)
        return process

    yield start
    for process in spawned:
        if processes.send(process, signal.SIGKILL):
            processes.wait_gone([process], 5)


def _marker(layout: Layout) -> dict[str, str]:
    return {MARKER: "unit", MARKER_STATE_DIR: str(layout.root)}


def _found(layout: Layout, created_unix: float = 0.0) -> set[int]:
    return {process.pid for process in orphans.unsupervised("unit", layout.root, created_unix, None)}


def test_a_marked_process_is_found_and_others_are_not(layout: Layout, spawn: Spawn) -> None:
    ours = spawn(_marker(layout))
    spawn({})
    spawn(_marker(layout) | {MARKER: "other"})
    spawn(_marker(layout) | {MARKER_STATE_DIR: "/elsewhere"})
    assert _found(layout) == {ours.pid}


@pytest.mark.parametrize("role", ["guardian", "runner"])
def test_who_judges_or_heals_is_no_orphan(layout: Layout, spawn: Spawn, role: str) -> None:
    spawn(_marker(layout) | {ROLE: role})
    assert _found(layout) == set()


def test_a_person_in_the_state_directory_is_left_alone(layout: Layout, spawn: Spawn) -> None:
    spawn({}, cwd=layout.data)
    assert _found(layout) == set()


def test_a_program_that_overwrites_its_environment_is_known_by_its_directory(
    layout: Layout, spawn: Spawn, tmp_path: Path
) -> None:
    nginx = tmp_path / "nginx"
    nginx.symlink_to(sys.executable)  # exe() follows it, so this one is not nginx
    copied = tmp_path / "bin" / "nginx"
    copied.parent.mkdir()
    copied.write_bytes(Path("/bin/sleep").resolve().read_bytes())
    copied.chmod(0o755)
    inside = spawn({}, cwd=layout.data, command=[str(copied), "60"])
    spawn({}, cwd=tmp_path, command=[str(copied), "60"])
    assert _found(layout) == {inside.pid}


def test_what_is_older_than_the_lab_is_not_its_own(layout: Layout, spawn: Spawn) -> None:
    spawn(_marker(layout))
    assert _found(layout, created_unix=time.time() + 3600) == set()


def test_this_process_and_its_ancestors_are_never_found(layout: Layout, tmp_path: Path) -> None:
    script = (
        "import sys; from pathlib import Path; from chaos.stacks.embedded import orphans;"
        "print(orphans.unsupervised('unit', Path(sys.argv[1]), 0.0, None))"
    )
    done = subprocess.run(
        ["/bin/sh", "-c", '"$0" -c "$1" "$2"; true', sys.executable, script, str(layout.root)],
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(Path.cwd()), **_marker(layout)},
        capture_output=True, text=True, timeout=20, check=True,
    )  # fmt: skip
    assert done.stdout == "[]\n"


def test_the_tree_of_a_living_supervisor_is_not_stray(layout: Layout, spawn: Spawn) -> None:
    kept, stray = spawn(_marker(layout)), spawn(_marker(layout))
    found = orphans.unsupervised("unit", layout.root, 0.0, kept.pid)
    assert [process.pid for process in found] == [stray.pid]


def test_one_of_the_family_that_ends_while_it_is_looked_for_is_no_stray(
    layout: Layout, spawn: Spawn, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept, member, stray = (spawn(_marker(layout)) for _ in range(3))
    looked = processes.tree

    def tree(pid: int) -> list[int]:
        if pid == kept.pid and processes.send(member, signal.SIGKILL):
            processes.wait_gone([member], 5)
        return looked(pid)

    monkeypatch.setattr(processes, "tree", tree)
    found = orphans.unsupervised("unit", layout.root, 0.0, kept.pid)
    assert [process.pid for process in found] == [stray.pid]


def _ignores_sigterm(pid: int) -> bool:
    fields = dict(line.split(":\t", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    return bool(int(fields["SigIgn"], 16) & 1 << signal.SIGTERM - 1)


def test_ending_also_ends_who_is_stopped_and_who_will_not(layout: Layout, spawn: Spawn) -> None:
    stopped, stubborn = spawn(_marker(layout)), spawn(_marker(layout), command=_STUBBORN)
    processes.send(stopped, signal.SIGSTOP)
    deadline = time.monotonic() + 5
    while not _ignores_sigterm(stubborn.pid):
        assert time.monotonic() < deadline, "it never came to ignore SIGTERM"
        time.sleep(0.02)
    names = orphans.end([stopped, stubborn], grace_seconds=1.0)
    assert len(names) == 2
    assert not processes.is_live(stopped)
    assert not processes.is_live(stubborn)


def test_a_process_that_is_gone_is_not_signalled(spawn: Spawn) -> None:
    process = spawn({})
    assert processes.send(process, signal.SIGKILL)
    assert processes.wait_gone([process], 5) == []
    assert not processes.send(process, signal.SIGTERM)
