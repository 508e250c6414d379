"""The lab's cache of programs: entries appear whole, are checked on use, and are built by one at a time."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from chaos.errors import ToolchainError
from chaos.stacks.embedded.toolchain.catalogue import Bundle
from chaos.stacks.embedded.toolchain.model import NotHereError, Platform, find_version, parse_version

MANIFEST = "manifest.json"
_LOCK_POLL_SECONDS = 0.1
_CHUNK_BYTES = 1 << 20


@dataclass(frozen=True)
class Entry:
    """A folder of the cache that holds every program of a bundle."""

    directory: Path
    version: str
    source: str


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file, in hex."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while chunk := stream.read(_CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()


@contextlib.contextmanager
def file_lock(
    path: Path, timeout_seconds: float, on_wait: Callable[[], None] | None = None
) -> Iterator[None]:
    """Hold ``path`` exclusively; the kernel frees it when the holder dies."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        opened = path.open("a")
    except OSError as error:
        raise _unwritable(path.parent, error) from error
    with opened as stream:
        deadline = time.monotonic() + timeout_seconds
        told = False
        while True:
            try:
                fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError as error:
                if time.monotonic() > deadline:
                    msg = (
                        f"{path} is held by another process for more than {timeout_seconds:g} s. "
                        "End that process, then try again."
                    )
                    raise ToolchainError(msg) from error
                if on_wait is not None and not told:
                    told = True
                    on_wait()
                time.sleep(_LOCK_POLL_SECONDS)
        yield


def _unwritable(folder: Path, error: OSError) -> ToolchainError:
    return ToolchainError(
        f"The cache {folder} cannot be written: {error.strerror}. Set LAB_CACHE_DIR elsewhere."
    )


class ToolCache:
    """``<cache_dir>/tools/<bundle>-<version>-<os>-<machine>/`` with a manifest in each."""

    def __init__(self, cache_dir: Path, platform: Platform) -> None:
        self.root = cache_dir.absolute() / "tools"  # commands run elsewhere
        self._platform = platform

    def directory(self, name: str, version: str) -> Path:
        """Return where the entry of ``name`` at ``version`` belongs."""
        return self.root / f"{name}-{version}-{self._platform.tag}"

    @contextlib.contextmanager
    def lock(
        self, name: str, timeout_seconds: float, on_wait: Callable[[], None] | None = None
    ) -> Iterator[None]:
        """Keep two processes (or threads) from making the same entry."""
        with file_lock(self.root / f".{name}.lock", timeout_seconds, on_wait):
            yield

    def find(self, bundle: Bundle, *, full: bool = False) -> Entry:
        """Return a sound entry of ``bundle``, or raise NotHereError with what is wrong with what is there.

        The pinned version comes first. Packages of a distribution have versions of their own: for bundles
        that may come from one, any fitting version will do.
        """
        candidates = [self.directory(bundle.name, bundle.version)]
        if bundle.apt_package:
            others = self.root.glob(f"{bundle.name}-*-{self._platform.tag}")
            candidates += sorted(set(others) - set(candidates), reverse=True)
        faults = []
        for directory in candidates:
            if not directory.is_dir():
                continue
            try:
                return self._checked(bundle, directory, full=full)
            except NotHereError as error:
                faults.append(f"{directory} is {error}")
        raise NotHereError("; ".join(faults) or f"nothing in {self.root}")

    def discard_spoiled(self, bundle: Bundle) -> bool:
        """Remove the entry of ``bundle`` if a full check condemns it; tell whether it did."""
        try:
            entry = self.find(bundle)
            self._checked(bundle, entry.directory, full=True)
        except NotHereError as error:
            if "corrupt" not in str(error):
                return False
            for directory in self.root.glob(f"{bundle.name}-*-{self._platform.tag}"):
                shutil.rmtree(directory, ignore_errors=True)
            return True
        return False

    def _checked(self, bundle: Bundle, directory: Path, *, full: bool) -> Entry:
        try:
            manifest = json.loads((directory / MANIFEST).read_text())
            files, version, source = manifest["files"], str(manifest["version"]), str(manifest["source"])
            for program in bundle.programs:
                path, recorded = directory / program, files[program]
                state = path.stat()
                same = state.st_size == recorded["size"] and state.st_mtime_ns == recorded["mtime_ns"]
                # A copied cache has other times but the same bytes, so only the hash condemns it.
                if (full or not same) and sha256_of(path) != recorded["sha256"]:
                    raise NotHereError(f"corrupt: {program} is not what was recorded")
                if not os.access(path, os.X_OK):
                    raise NotHereError(f"corrupt: {program} is not executable")
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise NotHereError(f"corrupt: {type(error).__name__} {error}") from error
        plain = find_version(version)
        unfit = bundle.why_unfit(parse_version(plain)) if plain else "of unknown version"
        if unfit:
            raise NotHereError(unfit)
        return Entry(directory, version, source)

    def remember_missing(self, name: str, reason: str) -> None:
        """Write down that ``name`` could not be had, for the next start and for the doctor."""
        with contextlib.suppress(OSError):
            self._missing_note(name).write_text(json.dumps({"reason": reason, "unix": time.time()}))

    def forget_missing(self, name: str) -> None:
        """Forget what :meth:`remember_missing` wrote."""
        with contextlib.suppress(OSError):
            self._missing_note(name).unlink()

    def recently_missing(self, name: str, within_seconds: float) -> str | None:
        """Return why ``name`` could not be had, if that was found out not long ago."""
        try:
            note = json.loads(self._missing_note(name).read_text())
            age_seconds = time.time() - float(note["unix"])
            return str(note["reason"]) if 0 <= age_seconds < within_seconds else None
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def _missing_note(self, name: str) -> Path:
        return self.root / f".missing-{name}-{self._platform.tag}.json"

    @contextlib.contextmanager
    def staging(self, name: str) -> Iterator[Path]:
        """Yield an empty folder on the cache's file system; gone afterwards unless it was committed."""
        try:
            self.root.mkdir(parents=True, exist_ok=True)
            folder = Path(tempfile.mkdtemp(prefix=f".{name}-", dir=self.root))
        except OSError as error:
            raise _unwritable(self.root, error) from error
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def commit(self, name: str, version: str, source: str, folder: Path) -> Entry:
        """Record what is in ``folder`` and put it in place in one step, over any corrupt entry."""
        files = {}
        for path in sorted(folder.iterdir()):
            if path.is_file():
                path.chmod(0o755)
                state = path.stat()
                files[path.name] = {
                    "sha256": sha256_of(path),
                    "size": state.st_size,
                    "mtime_ns": state.st_mtime_ns,
                }
        manifest = {
            "tool": name,
            "version": version,
            "source": source,
            "created_unix": time.time(),
            "files": files,
        }
        (folder / MANIFEST).write_text(json.dumps(manifest, indent=2) + "\n")
        folder.chmod(0o755)
        target = self.directory(name, version)
        if target.exists():
            # A folder cannot replace a full one; whoever still runs the old program keeps its inode.
            with tempfile.TemporaryDirectory(prefix=".old-", dir=self.root) as old:
                target.rename(Path(old) / "entry")
                folder.rename(target)
        else:
            folder.rename(target)
        return Entry(target, version, source)
