"""Zip archives that may not mean well: judged by their directory, then unpacked a little at a time."""

from __future__ import annotations

import stat
import struct
import zipfile
import zlib
from collections.abc import Iterator
from typing import BinaryIO

from app.sources import BYTES_MAX, SourceError, too_much

ENTRIES_MAX = 1000
DIRECTORY_BYTES_MAX = 512 * 1024
RATIO_MAX = 100
RATIO_FROM_BYTES = 1024**2
"""Below this much a high ratio harms nobody."""
CHUNK_BYTES = 64 * 1024
MEMBER_SUFFIXES = (".csv", ".jsonl")

_END = struct.Struct("<4s4H2LH")
_END_SIGNATURE = b"PK\x05\x06"
_LOCATOR_64_SIGNATURE = b"PK\x06\x07"
_LOCATOR_64_BYTES = 20
_LOCAL = struct.Struct("<4s5H3L2H")
_COMMENT_BYTES_MAX = 65535
_ENCRYPTED_FLAGS = 0x1 | 0x40 | 0x2000
_BROKEN = (zipfile.BadZipFile, zlib.error, struct.error, EOFError, NotImplementedError, RuntimeError)
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)


def members(file: BinaryIO) -> Iterator[tuple[str, bytes]]:
    """Yield name and content of every member in the order of the directory.

    Raises ``SourceError`` for anything that is not a plain archive of CSV and JSON Lines files.
    """
    try:
        _check_end(file)
        with zipfile.ZipFile(file) as archive:
            infos = _checked(archive, file)
            left_bytes = BYTES_MAX
            for info in infos:
                content = _content(archive, info, left_bytes)
                left_bytes -= len(content)
                yield info.filename, content
    except (*_BROKEN, ValueError, OverflowError) as exc:
        raise _malformed(f"is no zip archive that can be read: {exc}") from exc


def _malformed(what: str) -> SourceError:
    return SourceError("malformed", f"the file {what}", retryable=False)


def _check_end(file: BinaryIO) -> None:
    """Look at the record at the end before ``zipfile`` makes an object of every entry that it promises."""
    size = file.seek(0, 2)
    start = max(0, size - _END.size - _COMMENT_BYTES_MAX - _LOCATOR_64_BYTES)
    file.seek(start)
    tail = file.read()
    position = len(tail) - _END.size
    # As zipfile looks for it: without a comment at the very end, else the last one there is.
    if position < 0 or tail[position : position + 4] != _END_SIGNATURE or tail[-2:] != b"\0\0":
        position = tail.rfind(_END_SIGNATURE)
    if position < 0 or len(tail) - position < _END.size:
        raise _malformed("is no zip archive")
    _, _, _, _, entries, directory_bytes, _, _ = _END.unpack_from(tail, position)
    locator = tail[max(0, position - _LOCATOR_64_BYTES) : position]
    if locator.startswith(_LOCATOR_64_SIGNATURE):
        raise too_much("an archive without the 64-bit extension can hold")
    if entries > ENTRIES_MAX or directory_bytes > DIRECTORY_BYTES_MAX:
        raise too_much(f"{ENTRIES_MAX} archive members")


def _checked(archive: zipfile.ZipFile, file: BinaryIO) -> list[zipfile.ZipInfo]:
    infos = archive.infolist()
    if len(infos) > ENTRIES_MAX:
        raise too_much(f"{ENTRIES_MAX} archive members")
    for info in infos:
        _check_entry(info)
    names = [info.filename for info in infos]
    if len(set(names)) < len(names):
        raise _malformed("holds two members of one name")
    unpacked = sum(info.file_size for info in infos)
    if unpacked > BYTES_MAX:
        raise too_much(f"{BYTES_MAX} bytes")
    packed = sum(info.compress_size for info in infos)
    if unpacked > RATIO_FROM_BYTES and unpacked > RATIO_MAX * packed:
        raise too_much(f"{RATIO_MAX} times its packed size")
    _check_overlaps(infos, file, archive.start_dir)
    return [info for info in infos if not info.is_dir()]


def _check_entry(info: zipfile.ZipInfo) -> None:
    name = info.orig_filename
    shown = ascii(name[:100])
    parts = name.removesuffix("/").split("/")
    if "\0" in name or "\\" in name or ":" in parts[0] or any(part in {"", ".", ".."} for part in parts):
        raise _malformed(f"holds a member whose name leads elsewhere: {shown}")
    if info.flag_bits & _ENCRYPTED_FLAGS:
        raise _malformed(f"holds an encrypted member: {shown}")
    kind = stat.S_IFMT(info.external_attr >> 16)
    if kind not in {0, stat.S_IFREG, stat.S_IFDIR}:
        raise _malformed(f"holds a member that is a link or a device: {shown}")
    if info.is_dir():
        if info.file_size:
            raise _malformed(f"holds a folder with content: {shown}")
    elif not name.lower().endswith(MEMBER_SUFFIXES):
        raise _malformed(f"holds a member that is neither {' nor '.join(MEMBER_SUFFIXES)}: {shown}")
    if info.compress_type not in _METHODS:
        raise _malformed(f"holds a member that is packed by an unusual method: {shown}")


def _check_overlaps(infos: list[zipfile.ZipInfo], file: BinaryIO, directory_at: int) -> None:
    """Refuse entries that share bytes: so a small file promises the same large content many times."""
    end = 0
    for info in sorted(infos, key=lambda one: one.header_offset):
        file.seek(info.header_offset)
        header = _LOCAL.unpack(file.read(_LOCAL.size))
        if info.header_offset < end:
            raise _malformed("holds members that overlap")
        end = info.header_offset + _LOCAL.size + header[-2] + header[-1] + info.compress_size
    if end > directory_at:
        raise _malformed("holds members that overlap its directory")


def _content(archive: zipfile.ZipFile, info: zipfile.ZipInfo, left_bytes: int) -> bytes:
    body = bytearray()
    with archive.open(info) as member:
        while chunk := member.read(CHUNK_BYTES):
            body += chunk
            if len(body) > left_bytes:  # whatever the directory promised
                raise too_much(f"{BYTES_MAX} bytes")
    return bytes(body)
