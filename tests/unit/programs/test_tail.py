from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from chaos.forwarder.positions import load, save
from chaos.forwarder.tail import BACKLOG_BYTES_MAX, BEGINNING, LINE_MAX_BYTES, POLL_BYTES_MAX, Position, Tail


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "daemon.log"


@pytest.fixture
def tail(log: Path) -> Iterator[Tail]:
    followed = Tail(log)
    followed.start_at_end()
    yield followed
    followed.close()


def write(log: Path, text: str) -> None:
    with log.open("a") as file:
        file.write(text)


def test_a_file_that_is_not_there_yet_is_read_from_its_beginning(tail: Tail, log: Path) -> None:
    assert tail.poll() == []
    write(log, "one\ntwo\n")
    assert tail.poll() == [b"one", b"two"]
    assert tail.poll() == []


def test_what_was_there_at_the_start_is_skipped(log: Path) -> None:
    write(log, "old\n")
    tail = Tail(log)
    tail.start_at_end()
    write(log, "new\n")
    assert tail.poll() == [b"new"]
    tail.close()


def test_a_renamed_file_is_followed_until_its_successor_is_there(tail: Tail, log: Path) -> None:
    write(log, "one\n")
    assert tail.poll() == [b"one"]
    moved = log.with_suffix(".log.1")
    log.rename(moved)
    write(moved, "two\n")
    assert tail.poll() == [b"two"]
    write(moved, "three\nunfinished")
    write(log, "four\n")
    assert tail.poll() == [b"three", b"unfinished", b"four"]


def test_a_file_larger_than_one_poll_is_read_to_its_end_before_its_successor(tail: Tail, log: Path) -> None:
    write(log, "start\n")
    assert tail.poll() == [b"start"]
    old = [f"{number:09d}" for number in range(3 * POLL_BYTES_MAX // 10)]
    write(log, "".join(f"{line}\n" for line in old))
    log.rename(log.with_suffix(".log.1"))
    write(log, "successor\n")
    polls = [tail.poll() for _ in range(5)]
    assert max(sum(len(line) + 1 for line in lines) for lines in polls) <= POLL_BYTES_MAX + 100
    assert [line for lines in polls for line in lines] == [*(line.encode() for line in old), b"successor"]


def test_truncation_starts_over(tail: Tail, log: Path) -> None:
    write(log, "a long line before\nhalf")
    assert tail.poll() == [b"a long line before"]
    os.truncate(log, 0)
    write(log, "after\n")
    assert tail.poll() == [b"after"]


def test_a_deleted_file_is_let_go_and_found_again(tail: Tail, log: Path) -> None:
    write(log, "one\n")
    tail.poll()
    write(log, "two\n")
    assert is_open(log)
    log.unlink()
    assert tail.poll() == [b"two"]
    assert tail.poll() == []
    assert not is_open(log)
    write(log, "three\n")
    assert tail.poll() == [b"three"]


def is_open(path: Path) -> bool:
    found = []
    for descriptor in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(OSError):  # the listing's own is gone by now
            found.append(str(descriptor.readlink()))
    return any(target.startswith(str(path)) for target in found)


def test_a_line_in_parts_is_one_line_and_an_endless_one_is_cut_once(tail: Tail, log: Path) -> None:
    write(log, "ha")
    assert tail.poll() == []
    write(log, "lf\n")
    assert tail.poll() == [b"half"]
    write(log, "x" * (LINE_MAX_BYTES + 1))
    assert tail.poll() == [b"x" * LINE_MAX_BYTES]
    write(log, "y" * (2 * LINE_MAX_BYTES))
    assert tail.poll() == []
    write(log, "end\nnext\n")
    assert tail.poll() == [b"next"]


@pytest.mark.parametrize("kind", ["directory", "fifo"])
def test_what_is_not_a_file_is_passed_over(tail: Tail, log: Path, kind: str) -> None:
    if kind == "directory":
        log.mkdir()
    else:
        os.mkfifo(log)
    assert tail.poll() == []


def test_reading_goes_on_at_the_position_that_was_kept(log: Path) -> None:
    log.write_bytes(b"one\ntwo\nhal")
    first = Tail(log)
    first.resume(BEGINNING)
    assert first.poll() == [b"one", b"two"]
    kept = first.position()
    first.close()
    assert kept is not None
    with log.open("ab") as file:
        file.write(b"f\nthree\n")
    second = Tail(log)
    second.resume(kept)
    assert second.poll() == [b"half", b"three"]
    second.close()


def test_a_file_replaced_since_the_position_was_kept_is_read_from_its_beginning(log: Path) -> None:
    log.write_bytes(b"old\n")
    first = Tail(log)
    first.resume(BEGINNING)
    first.poll()
    kept = first.position()
    first.close()
    assert kept is not None
    log.rename(log.with_suffix(".1"))
    log.write_bytes(b"new and longer\n")
    second = Tail(log)
    second.resume(kept)
    assert second.poll() == [b"new and longer"]
    second.close()


def test_a_long_backlog_is_cut_at_its_old_end(log: Path) -> None:
    lines = BACKLOG_BYTES_MAX // 8 + 100
    log.write_bytes(b"".join(b"%07d\n" % number for number in range(lines)))
    tail = Tail(log)
    tail.resume(BEGINNING)
    found = tail.poll()
    tail.close()
    assert found[-1] == b"%07d" % (lines - 1)
    assert BACKLOG_BYTES_MAX // 8 - 2 <= len(found) <= BACKLOG_BYTES_MAX // 8


def test_positions_are_kept_and_a_spoiled_file_is_as_none(tmp_path: Path) -> None:
    path = tmp_path / "positions.json"
    assert load(path) == {}
    save(path, {"a.log": Position((1, 2), 3)})
    assert load(path) == {"a.log": Position((1, 2), 3)}
    for spoiled in ("", "[]", '{"a.log": 3}', '{"a.log": {"inode": 1}}'):
        path.write_text(spoiled)
        assert load(path) == {}
