from __future__ import annotations

import errno
import io
import json
import threading
import time

import pytest

from app.telemetry.lines import LineWriter, encoded
from app.telemetry.metrics import runtime
from tests.support.waiting import eventually


class Stream(io.BytesIO):
    """Counts how often it was written to."""

    writes = 0

    def write(self, text: object) -> int:
        self.writes += 1
        return super().write(text)  # type: ignore[arg-type]


def test_a_single_line_is_there_at_once_and_a_warning_always_is() -> None:
    stream = Stream()
    lines = LineWriter(stream, bytes)
    lines.info(b"1")
    assert stream.getvalue() == b"1\n"
    lines.info(b"2")
    lines.warning(b"3")
    assert stream.getvalue() == b"1\n2\n3\n"


def test_many_lines_are_written_together_soon_whole_and_in_order() -> None:
    stream = Stream()
    lines = LineWriter(stream, bytes)

    def work(thread: int) -> None:
        for number in range(500):
            lines.info(b"%d %d" % (thread, number))

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    eventually(lambda: stream.getvalue().count(b"\n") == 2000, within_seconds=5, what="all lines")
    for who in range(4):
        own = [line for line in stream.getvalue().splitlines() if line.startswith(b"%d " % who)]
        assert own == [b"%d %d" % (who, number) for number in range(500)]
    assert stream.writes < 1000


def test_what_waits_is_written_at_the_end() -> None:
    stream = Stream()
    lines = LineWriter(stream, bytes)
    for number in range(3):
        lines.info(b"%d" % number)
    lines.flush()
    assert stream.getvalue() == b"0\n1\n2\n"


def test_a_closed_stream_does_not_end_the_thread() -> None:
    stream = Stream()
    lines = LineWriter(stream, bytes)
    lines.info(b"1")
    lines.info(b"2")
    stream.close()
    assert lines._thread is not None
    eventually(lambda: not lines._waiting, within_seconds=5, what="it was tried")
    assert lines._thread.is_alive()


def test_one_of_which_no_line_can_be_made_is_counted_and_the_others_are_written() -> None:
    def line(item: int) -> bytes:
        return b"%d" % (6 // item)

    stream = Stream()
    lines: LineWriter[int] = LineWriter(stream, line)
    before = runtime.LOG_LINES_LOST._value.get()
    lines.info(1)
    for item in (2, 0, 3):
        lines.info(item)
    lines.flush()
    assert stream.getvalue() == b"6\n3\n2\n"
    assert runtime.LOG_LINES_LOST._value.get() == before + 1


def test_nobody_waits_for_a_stream_that_is_slow() -> None:
    class Slow(Stream):
        def write(self, text: object) -> int:
            if self.writes:
                time.sleep(0.5)
            return super().write(text)

    stream = Slow()
    lines: LineWriter[bytes] = LineWriter(stream, bytes)
    lines.info(b"0")
    longest = 0.0
    for number in range(1, 100):
        began = time.monotonic()
        lines.info(b"%d" % number)
        longest = max(longest, time.monotonic() - began)
        time.sleep(0.005)
    assert longest < 0.25
    lines.flush()
    assert stream.getvalue().splitlines() == [b"%d" % number for number in range(100)]


def test_a_line_that_comes_while_others_are_written_is_not_forgotten() -> None:
    class Interrupted(Stream):
        def write(self, text: object) -> int:
            if self.writes == 1:
                lines.info(b"meanwhile")  # and nothing follows that could take it along
            return super().write(text)

    stream = Interrupted()
    lines: LineWriter[bytes] = LineWriter(stream, bytes)
    lines.info(b"1")
    lines.info(b"2")
    eventually(lambda: stream.getvalue() == b"1\n2\nmeanwhile\n", within_seconds=5, what="all lines")


class Stalled(Stream):
    """Nobody reads, until they do."""

    def __init__(self) -> None:
        super().__init__()
        self.go_on = threading.Event()

    def write(self, text: object) -> int:
        if self.writes:
            assert self.go_on.wait(20)
        return super().write(text)


def test_while_nobody_reads_lines_are_made_and_kept_and_nobody_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.telemetry.lines.MADE_LINES_MAX", 4000)
    stream, made = Stalled(), []

    def line(item: bytes) -> bytes:
        made.append(item)
        return item

    lines: LineWriter[bytes] = LineWriter(stream, line)
    before = runtime.LOG_LINES_LOST._value.get()
    lines.info(b"0")
    lines.info(b"1")
    eventually(lambda: lines._writing._thread, within_seconds=5, what="the thread writes, in vain")
    began = time.monotonic()
    for number in range(2, 6000):
        lines.info(b"%d" % number)
    lines.make()
    assert time.monotonic() - began < 5
    assert len(made) == 6000
    stream.go_on.set()
    lines.flush()
    told = stream.getvalue().splitlines()
    assert told == [b"%d" % number for number in range(len(told))]
    assert 4000 <= len(told) < 6000
    assert runtime.LOG_LINES_LOST._value.get() == before + 6000 - len(told)


@pytest.mark.parametrize("where", ["make", "write"])
def test_what_is_said_by_what_makes_or_writes_lines_waits_for_its_turn(where: str) -> None:
    class Said(Stream):
        def write(self, text: object) -> int:
            if where == "write" and not self.writes:
                lines.warning(b"of a finalizer")
            return super().write(text)

    def line(item: bytes) -> bytes:
        if where == "make" and item == b"1":
            lines.warning(b"of a finalizer")
        return item

    stream = Said()
    lines: LineWriter[bytes] = LineWriter(stream, line)
    thread = threading.Thread(target=lines.info, args=(b"1",), daemon=True)
    thread.start()
    thread.join(5)
    assert not thread.is_alive()  # it would wait for itself
    eventually(lambda: stream.getvalue() == b"1\nof a finalizer\n", within_seconds=5, what="both lines")


@pytest.mark.parametrize("value", ["\ud800", {"\ud800": 1}, [10**30], {"at": object()}])
def test_no_value_is_too_odd_for_a_line(value: object) -> None:
    assert json.loads(encoded({"event": value}))


def test_a_log_that_cannot_be_written_fails_nobody_and_is_counted() -> None:
    class Full(io.BytesIO):
        def write(self, text: object) -> int:
            raise OSError(errno.ENOSPC, "No space left on device")

    lines = LineWriter(Full(), bytes)
    before = runtime.LOG_LINES_LOST._value.get()
    lines.info(b"1")
    lines.warning(b"2")
    lines.flush()
    assert runtime.LOG_LINES_LOST._value.get() == before + 2
