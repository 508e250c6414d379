from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from chaos.errors import DiskFullError, StackError
from chaos.stacks.embedded import layout as layout_module
from chaos.stacks.embedded.layout import (
    SOCKET_PATH_BYTES_MAX,
    Layout,
    env_lines,
    parse_env_lines,
    require_disk,
    tail,
    write_durably,
)


def _socket_bytes(layout: Layout) -> int:
    return len(os.fsencode(layout.postgres_sockets / ".s.PGSQL.65535.lock"))


def test_sockets_are_in_the_state_directory_while_their_path_is_short() -> None:
    assert Layout(Path("/var/lib/firedrill/abc")).run == Path("/var/lib/firedrill/abc/run")


@pytest.fixture
def real_base(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(layout_module, "SHORT_BASE", Path("/tmp"))  # noqa: S108 - nothing is made there


@pytest.mark.usefixtures("real_base")
def test_sockets_of_a_long_path_go_to_a_short_directory_of_their_own() -> None:
    one, other = Layout(Path("/x" * 60 + "/one")), Layout(Path("/x" * 60 + "/other"))
    assert one.run != other.run
    assert _socket_bytes(one) < SOCKET_PATH_BYTES_MAX
    assert len(os.fsencode(one.supervisor_socket)) < SOCKET_PATH_BYTES_MAX


@pytest.mark.usefixtures("real_base")
def test_umlauts_count_as_bytes() -> None:
    assert _socket_bytes(Layout(Path("/" + "ü" * 40))) < SOCKET_PATH_BYTES_MAX


def test_others_may_pass_through_but_not_read_secrets(layout: Layout) -> None:
    assert stat.S_IMODE(layout.data.stat().st_mode) == 0o755
    assert stat.S_IMODE(layout.secrets.stat().st_mode) == 0o700


def test_a_short_directory_that_is_a_link_is_refused(tmp_path: Path) -> None:
    layout = Layout(tmp_path / "x")
    layout.root.mkdir()
    (tmp_path / "elsewhere").mkdir()
    layout.run.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(StackError, match="not a directory of this user"):
        layout.create()


def test_disk_that_is_too_small_is_named_with_the_remedy(tmp_path: Path) -> None:
    with pytest.raises(DiskFullError, match="LAB_STATE_ROOT"):
        require_disk(tmp_path / "not" / "there", 2**60)
    require_disk(tmp_path / "not" / "there", 1)


def test_a_durable_write_replaces_and_leaves_no_other_file(tmp_path: Path) -> None:
    path = tmp_path / "file"
    write_durably(path, "one")
    write_durably(path, "two", mode=0o600)
    assert path.read_text() == "two"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert list(tmp_path.iterdir()) == [path]


def test_a_durable_write_that_fails_leaves_the_old_content(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "file"
    write_durably(path, "one")

    def no_space(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", no_space)
    with pytest.raises(OSError, match="No space"):
        write_durably(path, "two")
    assert path.read_text() == "one"
    assert list(tmp_path.iterdir()) == [path]


def test_tail_reads_the_end_and_nothing_of_what_is_not_there(tmp_path: Path) -> None:
    log = tmp_path / "x.log"
    log.write_text("".join(f"line {n}\n" for n in range(100_000)))
    assert tail(log, 2) == ["line 99998", "line 99999"]
    assert tail(tmp_path / "none.log", 2) == []


def test_environment_lines_come_back_as_they_were() -> None:
    env = {"A": "x=y", "B": "", "C": 'sp ace "q"'}
    assert parse_env_lines(env_lines(env)) == env
