from __future__ import annotations

import threading
from pathlib import Path

import pytest

from chaos.errors import DiskFullError, LabError
from chaos.ledger import history as module
from chaos.ledger.history import History, HistoryDamagedError, Type, read_history
from tests.support.waiting import eventually


def test_lines_come_back_in_order(tmp_path: Path) -> None:
    path = tmp_path / "history.jsonl"
    with History(path) as history:
        history.record(Type.INVOKE, "a", "submit", key="k1")
        history.record(Type.INFO, "a", "submit", durable=True, key="k1", why="ReadTimeout")
    entries = list(read_history(path))
    assert [(entry.seq, entry.type, entry.detail["key"]) for entry in entries] == [
        (0, Type.INVOKE, "k1"),
        (1, Type.INFO, "k1"),
    ]


def test_a_line_cut_short_by_a_crash_is_left_out(tmp_path: Path) -> None:
    path = tmp_path / "history.jsonl"
    with History(path) as history:
        for _ in range(3):
            history.record(Type.INVOKE, "a", "submit")
    path.write_bytes(path.read_bytes()[:-7])
    assert [entry.seq for entry in read_history(path)] == [0, 1]


@pytest.mark.parametrize("damage", [b"{nonsense}\n", b'{"seq":7}\n', b"\n"])
def test_a_damaged_line_in_the_middle_is_no_history(tmp_path: Path, damage: bytes) -> None:
    path = tmp_path / "history.jsonl"
    with History(path) as history:
        for _ in range(3):
            history.record(Type.INVOKE, "a", "submit")
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(lines[0] + damage + lines[2])
    with pytest.raises(HistoryDamagedError, match=":2 "):
        list(read_history(path))


def test_a_missing_line_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "history.jsonl"
    with History(path) as history:
        for _ in range(3):
            history.record(Type.INVOKE, "a", "submit")
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(lines[0] + lines[2])
    with pytest.raises(HistoryDamagedError, match="number 2 instead of 1"):
        list(read_history(path))


def test_many_writers_share_one_order(tmp_path: Path) -> None:
    path = tmp_path / "history.jsonl"
    with History(path) as history:
        threads = [
            threading.Thread(target=lambda: [history.record(Type.INVOKE, "a", "submit") for _ in range(200)])
            for _ in range(4)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert [entry.seq for entry in read_history(path)] == list(range(800))


def test_what_must_be_durable_is_synced_at_once_and_the_rest_soon(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[int] = []
    monkeypatch.setattr("chaos.ledger.history.os.fsync", synced.append)
    monkeypatch.setattr(module, "SYNC_INTERVAL_SECONDS", 60.0)
    with History(tmp_path / "later") as later:
        later.record(Type.INVOKE, "a", "submit")
        assert not synced
        later.record(Type.INVOKE, "nemesis", "inject", durable=True)
        assert len(synced) == 1
    monkeypatch.setattr(module, "SYNC_INTERVAL_SECONDS", 0.01)
    synced.clear()
    with History(tmp_path / "soon") as soon:
        soon.record(Type.INVOKE, "a", "submit")
        eventually(lambda: synced, within_seconds=5, what="it is on disk")


def test_a_disk_that_fails_is_told_to_whoever_records_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_fd: int) -> None:
        raise OSError(28, "No space left on device")

    history = History(tmp_path / "history.jsonl")
    with monkeypatch.context() as patched:
        patched.setattr("chaos.ledger.history.os.fsync", full)
        with pytest.raises(DiskFullError, match="No space left"):
            history.record(Type.INVOKE, "a", "submit", durable=True)
        with pytest.raises(DiskFullError, match="No space left"):
            history.record(Type.INVOKE, "a", "submit")
    history.close()


def test_what_cannot_be_recorded_must_not_be_done() -> None:
    with pytest.raises(DiskFullError, match="Nothing was done"):
        History(Path("/proc/nowhere/history.jsonl"))


def test_a_line_has_a_limit(tmp_path: Path) -> None:
    with History(tmp_path / "history.jsonl") as history, pytest.raises(LabError, match="bytes"):
        history.record(Type.INVOKE, "a", "submit", body="x" * module.LINE_BYTES_MAX)
