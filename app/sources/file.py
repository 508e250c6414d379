"""The ``file`` source: CSV, JSON Lines and zips of them under one directory, and nothing outside it."""

from __future__ import annotations

import codecs
import csv
import errno
import io
import os
import re
import stat
from pathlib import Path
from typing import BinaryIO

import orjson
from pydantic import BaseModel, ConfigDict, Field

from app.progress import UNWATCHED, Progress
from app.sources import (
    BYTES_MAX,
    RECORDS_MAX,
    Record,
    SourceError,
    SourceRefusedError,
    SourceType,
    archive,
    source_call,
    too_much,
)

_EVENT = "source_path_refused"
_SUFFIXES = (".csv", ".jsonl", ".zip")
_UTF_16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
_FIELD = "path"
CHUNK_BYTES = 1024**2
_CLIENT = re.compile(r"[a-z0-9-]{1,64}")


class FileConfig(BaseModel):
    """Which file to read."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    path: str = Field(
        min_length=1,
        max_length=1000,
        description="Path of a .csv, .jsonl or .zip file, relative to the configured root. A zip may hold "
        ".csv and .jsonl files; the records of all are collected.",
        examples=["acme/assets.csv"],
    )


def _refused(message: str) -> SourceRefusedError:
    return SourceRefusedError(_FIELD, message, event=_EVENT)


def _components(path: str) -> list[str]:
    if "\0" in path or "\\" in path:
        raise _refused("must not contain NUL or a backslash")
    if path.startswith("/"):
        raise _refused("must be relative")
    parts = path.split("/")
    if any(part in ("", ".", "..") for part in parts):
        raise _refused("must not contain empty, '.' or '..' components")
    if not path.lower().endswith(_SUFFIXES):
        raise _refused(f"must end in {' or '.join(_SUFFIXES)}")
    return parts


class FileSource:
    """Opens each component of the path by itself and follows no link, so that no race leads outside.

    ``by_client``: paths begin in the folder below the root that has the client's name.
    """

    def __init__(self, root: Path | None, *, by_client: bool = False) -> None:
        self._root = root
        self._by_client = by_client

    def check(self, config: FileConfig, *, client_id: str = "") -> None:
        """Refuse what is outside the root. A file that does not exist yet is no reason to refuse."""
        try:
            os.close(self._open(config.path, client_id))
        except SourceError:
            return

    def collect(
        self, config: FileConfig, *, client_id: str = "", progress: Progress = UNWATCHED
    ) -> list[Record]:
        """Return the rows of the file."""
        with (
            source_call(SourceType.FILE, config.path) as call,
            os.fdopen(self._open(config.path, client_id), "rb") as file,
        ):
            content = _content(file, progress)
            if config.path.lower().endswith(".zip"):
                records = unzipped(content, config.path)
            else:
                records = parsed(config.path, content)
            call.records = len(records)
            return records

    def _folder(self, client_id: str) -> list[str]:
        if not self._by_client:
            return []
        if not _CLIENT.fullmatch(client_id):
            raise _refused("is of no client")
        return [client_id]

    def _open(self, path: str, client_id: str) -> int:
        if self._root is None:
            raise _refused("no file root is configured")
        folder = self._folder(client_id)
        parts = [*folder, *_components(path)]
        try:
            top = self._root.resolve().joinpath(*folder)  # no link, or it is refused below
            inside = self._root.joinpath(*parts).resolve().is_relative_to(top)
        except (OSError, RuntimeError) as exc:  # RuntimeError: links in a circle
            raise _refused("cannot be followed to a file") from exc
        if not inside:
            raise _refused("leads outside the root")
        try:
            directory = os.open(self._root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError as exc:
            raise SourceError("root_unreadable", f"the file root: {exc.strerror}", retryable=True) from exc
        try:
            for part in parts[:-1]:
                inner = _open_at(directory, part, os.O_DIRECTORY, path)
                os.close(directory)
                directory = inner
            # O_NONBLOCK: opening a FIFO must not wait for its writer.
            file = _open_at(directory, parts[-1], os.O_NONBLOCK, path)
        finally:
            os.close(directory)
        if not stat.S_ISREG(os.fstat(file).st_mode):
            os.close(file)
            raise _refused("is not a regular file")
        return file


def _content(file: BinaryIO, progress: Progress) -> bytes:
    content = bytearray()
    progress.check()
    while chunk := file.read(CHUNK_BYTES):
        content += chunk
        if len(content) > BYTES_MAX:
            raise too_much(f"{BYTES_MAX} bytes")
        progress.report(len(content), max(len(content), os.fstat(file.fileno()).st_size))
        progress.check()
    return bytes(content)


def _open_at(directory: int, name: str, flags: int, path: str) -> int:
    try:
        return os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | flags, dir_fd=directory)
    except FileNotFoundError as exc:
        raise SourceError("not_found", f"there is no file {path}", retryable=False) from exc
    except OSError as exc:
        if exc.errno in (errno.ELOOP, errno.ENOTDIR, errno.ENXIO, errno.ENAMETOOLONG):
            raise _refused("is a link, or a component of it is not a directory") from exc
        raise SourceError("unreadable", f"{path}: {exc.strerror}", retryable=False) from exc


def unzipped(content: bytes, path: str) -> list[Record]:
    """Return the rows of all files in an archive. Raises ``SourceError``."""
    # From memory: nobody can change it between the look at its directory and its unpacking.
    records: list[Record] = []
    for name, member in archive.members(io.BytesIO(content)):
        records += parsed(f"{path}/{name}", member)
        if len(records) > RECORDS_MAX:
            raise too_much(f"{RECORDS_MAX} rows")
    return records


def parsed(path: str, content: bytes) -> list[Record]:
    """Return the rows of a CSV or JSON Lines file. Raises ``SourceError``."""
    if content.startswith(_UTF_16):
        raise SourceError("not_utf8", f"{path} is UTF-16; save it as UTF-8", retryable=False)
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as exc:
        raise SourceError("not_utf8", f"{path} is not UTF-8 at byte {exc.start}", retryable=False) from exc
    return _csv(text) if path.lower().endswith(".csv") else _jsonl(text)


def _csv(content: str) -> list[Record]:
    reader = csv.DictReader(io.StringIO(content, newline=""), strict=True)
    records: list[Record] = []
    try:
        names = reader.fieldnames or ()
        if len(set(names)) < len(names):  # of columns with one name only the last would be kept
            raise SourceError("malformed", "line 1 has the same column name twice", retryable=False)
        for row in reader:
            if None in row or None in row.values():
                message = f"line {reader.line_num} does not have {len(reader.fieldnames or ())} fields"
                raise SourceError("malformed", message, retryable=False)
            records.append(row)
            if len(records) > RECORDS_MAX:
                raise too_much(f"{RECORDS_MAX} rows")
    except csv.Error as exc:
        raise SourceError("malformed", f"line {reader.line_num}: {exc}", retryable=False) from exc
    return records


def _jsonl(content: str) -> list[Record]:
    records: list[Record] = []
    for number, line in enumerate(content.split("\n"), start=1):
        if not line.strip():
            continue
        try:
            value = orjson.loads(line)
        except orjson.JSONDecodeError as exc:
            raise SourceError("malformed", f"line {number}: {exc}", retryable=False) from exc
        if not isinstance(value, dict):
            raise SourceError("malformed", f"line {number} is not an object", retryable=False)
        records.append(value)
        if len(records) > RECORDS_MAX:
            raise too_much(f"{RECORDS_MAX} lines")
    return records
