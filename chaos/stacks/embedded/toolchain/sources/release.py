"""Release archives, taken only when they match the checksum file the project publishes beside them."""

from __future__ import annotations

import hashlib
import re
import tarfile
import time
import zipfile
from pathlib import Path, PurePosixPath

import httpx

from chaos.stacks.embedded.toolchain.catalogue import Bundle, Release, fill
from chaos.stacks.embedded.toolchain.model import NotHereError
from chaos.stacks.embedded.toolchain.sources.base import Job

_CHECKSUM_LINE = re.compile(r"^([0-9a-fA-F]{64})[ \t]+\*?(?:\./)?(\S.*?)\s*$", re.MULTILINE)
_CHECKSUMS_LIMIT_BYTES = 1 << 20
_ARCHIVE_LIMIT_BYTES = 600 << 20
_MEMBER_LIMIT_BYTES = 600 << 20
_CHUNK_BYTES = 1 << 18
_MEGABYTE = 1e6


class ReleaseSource:
    """HTTPS, one archive per bundle or one per program, as the project publishes them."""

    name = "release"

    def fetch(self, bundle: Bundle, into: Path, job: Job) -> str:
        """Download, check, unpack. A checksum that is missing or differs refuses the archive."""
        release = bundle.release
        if release is None:
            raise NotHereError("the project publishes no archive that the lab uses")
        mirror = job.settings.release_base_url.rstrip("/")
        base = f"{mirror}/{release.repository}/releases/download/v{bundle.version}"
        timeout = httpx.Timeout(
            job.settings.release_read_timeout_seconds, connect=job.settings.release_connect_timeout_seconds
        )
        deadline = time.monotonic() + job.settings.release_timeout_seconds
        try:
            with httpx.Client(
                timeout=timeout,
                follow_redirects=True,
                headers={"User-Agent": "firedrill", "Accept-Encoding": "identity"},
            ) as client:
                job.say(f"asking {httpx.URL(base).host} for its release")
                sums = self._checksums(client, f"{base}/{release.checksums}", deadline)
                self._programs(client, bundle, release, base, sums, into, deadline, job)
        except httpx.HTTPError as error:
            raise NotHereError(f"{base}: {str(error) or type(error).__name__}") from error
        return bundle.version

    def _programs(  # noqa: PLR0917 -- one call, all of it needed
        self,
        client: httpx.Client,
        bundle: Bundle,
        release: Release,
        base: str,
        sums: dict[str, str],
        into: Path,
        deadline: float,
        job: Job,
    ) -> None:
        fetched: dict[str, Path] = {}
        for program in bundle.programs:
            name = fill(release.archive, bundle, program, job.platform)
            if name not in fetched:
                expected = sums.get(name)
                if expected is None:
                    raise NotHereError(f"{base}/{release.checksums} has no checksum of {name}; not taken")
                fetched[name] = into / f"archive-{len(fetched)}"
                actual = self._download(client, f"{base}/{name}", fetched[name], deadline, job)
                if actual != expected:
                    raise NotHereError(
                        f"{name} has SHA-256 {actual}, the project publishes {expected}; not taken"
                    )
            member = fill(release.member, bundle, program, job.platform)
            _unpack(fetched[name], name, member, into / program)
        for archive in fetched.values():
            archive.unlink()

    @staticmethod
    def _checksums(client: httpx.Client, url: str, deadline: float) -> dict[str, str]:
        body = bytearray()
        with client.stream("GET", url) as response:
            response.raise_for_status()
            for chunk in response.iter_bytes(_CHUNK_BYTES):
                body += chunk
                if len(body) > _CHECKSUMS_LIMIT_BYTES or time.monotonic() > deadline:
                    raise NotHereError(f"{url} is no checksum file: too long")
        found = _CHECKSUM_LINE.findall(body.decode("utf-8", "replace"))
        if not found:
            raise NotHereError(f"{url} holds no SHA-256 checksum; nothing is taken without one")
        return {PurePosixPath(name).name: digest.lower() for digest, name in found}

    @staticmethod
    def _download(client: httpx.Client, url: str, target: Path, deadline: float, job: Job) -> str:
        digest, done, told = hashlib.sha256(), 0, 0.0
        with client.stream("GET", url) as response, target.open("wb") as stream:
            response.raise_for_status()
            length = response.headers.get("Content-Length", "")
            whole = f" of {int(length) / _MEGABYTE:.0f}" if length.isdigit() else ""
            for chunk in response.iter_raw(_CHUNK_BYTES):
                stream.write(chunk)
                digest.update(chunk)
                done += len(chunk)
                now = time.monotonic()
                if job.cancelled.is_set() or now > deadline or done > _ARCHIVE_LIMIT_BYTES:
                    raise NotHereError(
                        f"{url}: interrupted, too slow or too long after {done / _MEGABYTE:.0f} MB"
                    )
                if now - told >= 1:
                    told = now
                    job.say(f"downloading {url.rsplit('/', 1)[1]}: {done / _MEGABYTE:.0f}{whole} MB")
        return digest.hexdigest()


def _unpack(archive: Path, name: str, member: str, target: Path) -> None:
    """Copy one named file out of the archive; names inside it decide nothing about where it goes."""
    try:
        if name.endswith(".zip"):
            with zipfile.ZipFile(archive) as zipped:
                info = zipped.getinfo(member)
                if info.file_size > _MEMBER_LIMIT_BYTES:
                    raise NotHereError(f"{member} in {name} is too large")
                with zipped.open(info) as source:
                    _copy(source.read, target)
        else:
            with tarfile.open(archive, "r:*") as tar:
                entry = tar.getmember(member)
                source_file = tar.extractfile(entry) if entry.isfile() else None
                if source_file is None or entry.size > _MEMBER_LIMIT_BYTES:
                    raise NotHereError(f"{member} in {name} is no file of a sensible size")
                _copy(source_file.read, target)
    except KeyError as error:
        raise NotHereError(f"{name} has no {member} in it") from error
    except (tarfile.TarError, zipfile.BadZipFile, EOFError) as error:
        raise NotHereError(f"{name} cannot be unpacked: {error}") from error


def _copy(read: object, target: Path) -> None:
    with target.open("wb") as stream:
        while chunk := read(_CHUNK_BYTES):  # type: ignore[operator]
            stream.write(chunk)
