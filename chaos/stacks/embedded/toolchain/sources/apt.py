"""Debian packages, downloaded and unpacked into the cache without root; nothing is installed."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Sequence
from pathlib import Path

from chaos.stacks.embedded.toolchain.catalogue import Bundle
from chaos.stacks.embedded.toolchain.commands import Finished, run
from chaos.stacks.embedded.toolchain.model import NotHereError, find_version
from chaos.stacks.embedded.toolchain.sources.base import Job

_QUICK = ("-o", "Acquire::Retries=1", "-o", "Acquire::http::Timeout=15", "-o", "Acquire::https::Timeout=15")
_ONE_UPDATE = threading.Lock()


class AptSource:
    """``apt-get download`` and ``dpkg -x``."""

    name = "apt"

    def fetch(self, bundle: Bundle, into: Path, job: Job) -> str:
        """Put the package's program in ``into``; its version is the distribution's."""
        package = bundle.apt_package
        if package is None:
            raise NotHereError("no Debian package of a fitting version")
        work = into / "apt"
        work.mkdir()
        told = self.unpack(package, work / "tree", work, job)
        version = find_version(told)
        if version is None:
            raise NotHereError(f"{package} has no version that can be read: {told}")
        program = bundle.programs[0]
        (work / "tree" / "usr" / "bin" / package).rename(into / program)
        shutil.rmtree(work)
        return version

    def unpack(self, package: str, tree: Path, work: Path, job: Job) -> str:
        """Unpack a package below ``tree``; return its version as Debian writes it."""
        if shutil.which("apt-get") is None or shutil.which("dpkg-deb") is None:
            raise NotHereError("no apt-get here (not Debian)")
        archive = self._download(package, work, job)
        self._must(["dpkg-deb", "-x", str(archive), str(tree)], work, job)
        told = self._must(["dpkg-deb", "-f", str(archive), "Version"], work, job)
        archive.unlink()
        return told.text

    def _download(self, package: str, work: Path, job: Job) -> Path:
        job.say(f"downloading the Debian package {package}")
        first = self._apt([*_QUICK, "download", package], work, job)
        if first.code != 0:
            # No package lists, or too old ones: keep our own, where no root is needed.
            options = self._own_lists(job)
            second = self._apt([*_QUICK, *options, "download", package], work, job)
            if second.code != 0:
                raise NotHereError(f"apt-get download {package}: {second.text}")
        archive = next(work.glob("*.deb"), None)
        if archive is None:
            raise NotHereError(f"apt-get download {package} left no package")
        return archive

    def _own_lists(self, job: Job) -> list[str]:
        home = job.cache.root.parent / "apt"
        options = []
        for key, folder in (("State", "state"), ("State::lists", "state/lists"), ("Cache", "cache")):
            (home / folder / "partial").mkdir(parents=True, exist_ok=True)
            options += ["-o", f"Dir::{key}={home / folder}"]
        (home / "cache" / "archives" / "partial").mkdir(parents=True, exist_ok=True)
        options += ["-o", "Dir::State::status=/var/lib/dpkg/status"]
        with _ONE_UPDATE, job.cache.lock("apt", job.settings.lock_timeout_seconds):
            job.say("reading Debian's package lists (into the lab's cache)")
            finished = self._apt([*_QUICK, *options, "update"], home, job)
        if finished.code != 0:
            raise NotHereError(f"apt-get update: {finished.text}")
        return options

    @staticmethod
    def _apt(arguments: Sequence[str], work: Path, job: Job) -> Finished:
        return run(
            ["apt-get", "-q", *arguments],
            timeout_seconds=job.settings.apt_timeout_seconds,
            cancelled=job.cancelled,
            cwd=work,
            env={"LC_ALL": "C", "DEBIAN_FRONTEND": "noninteractive"},
        )

    @staticmethod
    def _must(argv: Sequence[str], work: Path, job: Job) -> Finished:
        limit = job.settings.apt_timeout_seconds
        finished = run(argv, timeout_seconds=limit, cancelled=job.cancelled, cwd=work)
        if finished.code != 0:
            raise NotHereError(f"{argv[0]}: {finished.text}")
        return finished
