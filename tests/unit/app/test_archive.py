"""Zips: those that are plain are read, and no other costs more than a look."""

from __future__ import annotations

import contextlib
import io
import stat
import struct
import time
import tracemalloc
import zipfile
from collections.abc import Mapping
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.sources import BYTES_MAX, RECORDS_MAX, SourceError
from app.sources.archive import DIRECTORY_BYTES_MAX, ENTRIES_MAX
from app.sources.file import FileConfig, FileSource

CSV = b"id,name\n1,gateway\n"
PEAK_BYTES_MAX = 3 * BYTES_MAX
CENTRAL_SIGNATURE, LOCAL_SIGNATURE = b"PK\x01\x02", b"PK\x03\x04"


def zipped(members: Mapping[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def collect(root: Path, content: bytes) -> list[dict[str, object]]:
    (root / "x.zip").write_bytes(content)
    return [dict(record) for record in FileSource(root).collect(FileConfig(path="x.zip"))]


def failure(root: Path, content: bytes) -> SourceError:
    """Collect in vain, within little time and memory."""
    started = time.monotonic()
    tracemalloc.start()
    try:
        with pytest.raises(SourceError) as failed:
            collect(root, content)
        _, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak_bytes < PEAK_BYTES_MAX
    assert time.monotonic() - started < 10
    assert not failed.value.retryable
    return failed.value


def with_entry(**changes: object) -> bytes:
    """Return an archive of one entry that was made in an unusual way."""
    info = zipfile.ZipInfo("x.csv")
    for name, value in changes.items():
        setattr(info, name, value)
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr(info, CSV)
    return buffer.getvalue()


def renamed(before: bytes, after: bytes) -> bytes:
    """Return an archive whose member has a name that ``zipfile`` would not write."""
    assert len(before) == len(after)
    return zipped({before.decode(): CSV}).replace(before, after)


def flagged(flag: int) -> bytes:
    content = bytearray(zipped({"x.csv": CSV}))
    for signature, offset in ((LOCAL_SIGNATURE, 6), (CENTRAL_SIGNATURE, 8)):
        position = content.find(signature) + offset
        content[position : position + 2] = struct.pack("<H", flag)
    return bytes(content)


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_the_records_of_all_members_are_collected(tmp_path: Path, method: int) -> None:
    content = zipped({"a.csv": b"\xef\xbb\xbf" + CSV, "in/b.jsonl": b'{"id": 2}\n', "in/": b""}, method)
    assert collect(tmp_path, content) == [{"id": "1", "name": "gateway"}, {"id": 2}]


def test_an_archive_of_nothing_has_no_records(tmp_path: Path) -> None:
    assert collect(tmp_path, zipped({})) == []


def test_an_archive_may_have_a_comment(tmp_path: Path) -> None:
    buffer = io.BytesIO(zipped({"a.csv": CSV}))
    with zipfile.ZipFile(buffer, "a") as archive:
        archive.comment = b"made by hand"
    assert len(collect(tmp_path, buffer.getvalue())) == 1


REFUSED = [
    ("up", zipped({"../x.csv": CSV}), "leads elsewhere"),
    ("up inside", zipped({"a/../../x.csv": CSV}), "leads elsewhere"),
    ("absolute", zipped({"/etc/x.csv": CSV}), "leads elsewhere"),
    ("drive", zipped({"C:/x.csv": CSV}), "leads elsewhere"),
    ("backslash", renamed(b"..|x.csv", b"..\\x.csv"), "leads elsewhere"),
    ("nul", renamed(b"x.csv|.csv", b"x.csv\0.csv"), "leads elsewhere"),
    ("empty part", zipped({"a//x.csv": CSV}), "leads elsewhere"),
    ("link", with_entry(external_attr=(stat.S_IFLNK | 0o777) << 16), "a link or a device"),
    ("pipe", with_entry(external_attr=(stat.S_IFIFO | 0o666) << 16), "a link or a device"),
    ("device", with_entry(external_attr=(stat.S_IFCHR | 0o666) << 16), "a link or a device"),
    ("encrypted", flagged(0x1), "encrypted"),
    ("strongly encrypted", flagged(0x41), "encrypted"),
    ("masked directory", flagged(0x2000), "encrypted"),
    ("zip in zip", zipped({"x.zip": zipped({"x.csv": CSV})}), "neither"),
    ("program", zipped({"x.csv": CSV, "run.sh": b"id"}), "neither"),
    ("bzip2", zipped({"x.csv": CSV}, zipfile.ZIP_BZIP2), "unusual method"),
    ("lzma", zipped({"x.csv": CSV}, zipfile.ZIP_LZMA), "unusual method"),
    ("folder with content", zipped({"x/": CSV}), "folder with content"),
    ("no zip", CSV, "no zip"),
    ("nothing", b"", "no zip"),
    ("end alone", b"PK\x05\x06", "no zip"),
    ("cut short", zipped({"x.csv": CSV})[:-4], "zip"),
    ("bad csv", zipped({"x.csv": b"a,b\n1\n"}), "fields"),
]


@pytest.mark.parametrize(
    ("content", "why"), [case[1:] for case in REFUSED], ids=[case[0] for case in REFUSED]
)
def test_what_is_not_plain_is_refused(tmp_path: Path, content: bytes, why: str) -> None:
    failed = failure(tmp_path, content)
    assert failed.reason == "malformed"
    assert why in str(failed)


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_two_members_of_one_name_are_refused(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("x.csv", CSV)
        archive.writestr("x.csv", CSV)
    assert "one name" in str(failure(tmp_path, buffer.getvalue()))


def test_a_member_that_is_not_utf8_is_named(tmp_path: Path) -> None:
    failed = failure(tmp_path, zipped({"x.csv": CSV, "latin.csv": b"a\n\xff\n"}))
    assert (failed.reason, "latin.csv" in str(failed)) == ("not_utf8", True)


def test_many_members_together_have_one_limit_of_rows(tmp_path: Path) -> None:
    lines = b"{}\n" * (RECORDS_MAX // 4)
    assert len(collect(tmp_path, zipped({f"{n}.jsonl": lines for n in range(4)}))) == RECORDS_MAX
    assert failure(tmp_path, zipped({f"{n}.jsonl": lines for n in range(5)})).reason == "too_much"


def test_too_many_members_are_refused(tmp_path: Path) -> None:
    content = zipped({f"{n}.jsonl": b"" for n in range(ENTRIES_MAX + 1)})
    assert failure(tmp_path, content).reason == "too_much"


def test_a_number_of_members_that_is_a_lie_is_counted(tmp_path: Path) -> None:
    content = bytearray(zipped({f"{n}.jsonl": b"" for n in range(ENTRIES_MAX + 1)}))
    position = content.rfind(b"PK\x05\x06")
    content[position + 8 : position + 12] = struct.pack("<HH", 1, 1)
    assert failure(tmp_path, bytes(content)).reason == "too_much"


def test_a_directory_that_fills_the_file_is_not_read(tmp_path: Path) -> None:
    entry = CENTRAL_SIGNATURE + bytes(24) + struct.pack("<HHH", 0, 0, 0) + bytes(12)
    directory = entry * (BYTES_MAX // len(entry) - 10)
    end = b"PK\x05\x06" + struct.pack("<4H2LH", 0, 0, 9, 9, len(directory), 0, 0)
    assert len(directory) > DIRECTORY_BYTES_MAX
    assert failure(tmp_path, directory + end).reason == "too_much"


def test_the_64_bit_extension_is_not_followed(tmp_path: Path) -> None:
    content = zipped({"x.csv": CSV})
    position = content.rfind(b"PK\x05\x06")
    locator = b"PK\x06\x07" + struct.pack("<LQL", 0, 0, 1)
    assert failure(tmp_path, content[:position] + locator + content[position:]).reason == "too_much"


def test_a_small_file_that_unpacks_to_a_large_one_is_refused(tmp_path: Path) -> None:
    bomb = zipped({"x.csv": b"a\n" + b"0" * (BYTES_MAX - 10)})
    assert len(bomb) < 20_000
    assert "packed size" in str(failure(tmp_path, bomb))
    many = zipped({f"{n}.csv": b"0" * (BYTES_MAX // 2) for n in range(3)})
    assert failure(tmp_path, many).reason == "too_much"


@pytest.mark.parametrize("said", [1, 100, 1000_000])
def test_a_size_that_is_a_lie_does_not_help(tmp_path: Path, said: int) -> None:
    bomb = bytearray(zipped({"x.csv": b"0" * (BYTES_MAX * 2)}))
    for signature, offset in ((LOCAL_SIGNATURE, 22), (CENTRAL_SIGNATURE, 24)):
        position = bomb.find(signature) + offset
        bomb[position : position + 4] = struct.pack("<L", said)
    failure(tmp_path, bytes(bomb))


def test_entries_that_share_one_content_are_refused(tmp_path: Path) -> None:
    # Each promises the same 30 KB, so the archive is small and its content as large as one likes.
    one = zipped({"00.csv": b"a\n" + b"0\n" * 15_000})
    start = one.find(CENTRAL_SIGNATURE)
    end = one.rfind(b"PK\x05\x06")
    entry = one[start:end]
    directory = b"".join(entry.replace(b"00.csv", f"{n:02}.csv".encode()) for n in range(30))
    closing = b"PK\x05\x06" + struct.pack("<4H2LH", 0, 0, 30, 30, len(directory), start, 0)
    assert "overlap" in str(failure(tmp_path, one[:start] + directory + closing))


def test_an_entry_that_reaches_into_the_next_is_refused(tmp_path: Path) -> None:
    content = bytearray(zipped({"a.csv": CSV, "b.csv": CSV}, zipfile.ZIP_STORED))
    position = content.find(CENTRAL_SIGNATURE)
    content[position + 20 : position + 28] = struct.pack("<LL", 60, 60)
    assert "overlap" in str(failure(tmp_path, bytes(content)))


@settings(deadline=None, max_examples=200)
@given(st.lists(st.tuples(st.integers(0, 400), st.integers(0, 255)), min_size=1, max_size=6))
def test_whatever_is_wrong_with_an_archive_it_is_said(
    tmp_path_factory: pytest.TempPathFactory, changes: list[tuple[int, int]]
) -> None:
    content = bytearray(zipped({"a.csv": CSV * 4, "in/b.jsonl": b'{"id": 2}\n'}))
    for position, value in changes:
        content[position % len(content)] = value
    with contextlib.suppress(SourceError):
        collect(tmp_path_factory.getbasetemp(), bytes(content))
