"""Debian's PostgreSQL, which has TLS: the installed one, or its package unpacked into the lab's cache."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

import pytest

from chaos.config import LabConfig
from chaos.stacks.embedded.toolchain.model import NotHereError
from chaos.stacks.embedded.toolchain.postgres import first_closed_directory
from chaos.stacks.embedded.toolchain.resolver import new_job
from chaos.stacks.embedded.toolchain.sources.apt import AptSource
from chaos.stacks.embedded.toolchain.sources.base import Job

# What Debian and Ubuntu call their PostgreSQL, by release.
_MAJORS = {"debian-12": "15", "debian-13": "17", "ubuntu-22.04": "14", "ubuntu-24.04": "16"}
# Libraries of the server that a small machine may lack, and the packages that have them.
_PACKAGES = {
    "libpq.so": "libpq5",
    "libicu": "libicu72",
    "libldap-2.5.so": "libldap-2.5-0",
    "liblber-2.5.so": "libldap-2.5-0",
    "libsasl2.so": "libsasl2-2",
    "libxml2.so": "libxml2",
    "libgssapi_krb5.so": "libgssapi-krb5-2",
    "libkrb5.so": "libkrb5-3",
    "libk5crypto.so": "libk5crypto3",
    "libkrb5support.so": "libkrb5support0",
    "libkeyutils.so": "libkeyutils1",
}
_ROUNDS_MAX = 4


@dataclass(frozen=True)
class Installed:
    """Where its programs are, and the libraries that are not the machine's."""

    programs: Path
    libraries: Path | None


def debian_postgres(*, installed_too: bool = True) -> Installed:
    """Return Debian's server, or skip the test that asks."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres")) if installed_too else []
    if found:
        return Installed(found[-1].parent, None)
    try:
        tree = _unpacked()
    except NotHereError as exc:
        reason = str(exc)
        pytest.skip(reason if "not Debian" in reason else f"Debian's PostgreSQL cannot be had: {reason}")
    programs = next(tree.glob("usr/lib/postgresql/*/bin"))
    return Installed(programs, next(tree.glob("usr/lib/*-linux-gnu"), None))


def _major() -> str:
    try:
        lines = Path("/etc/os-release").read_text().splitlines()
    except OSError:
        raise NotHereError("no apt-get here (not Debian)") from None
    said = {name: value.strip('"') for name, _, value in (line.partition("=") for line in lines)}
    release = f"{said.get('ID')}-{said.get('VERSION_ID')}"
    if release not in _MAJORS:
        raise NotHereError(f"which PostgreSQL {release} has is not known")
    return _MAJORS[release]


def _unpacked() -> Path:
    package = f"postgresql-{_major()}"
    job = new_job(LabConfig())
    # PostgreSQL's user must reach it, and a home folder is often closed to others.
    cache = job.config.cache_dir / "debian"
    cache.mkdir(parents=True, exist_ok=True)
    if os.geteuid() == 0 and first_closed_directory(cache) is not None:
        cache = Path(tempfile.gettempdir()) / "dcs-debian"
        cache.mkdir(mode=0o755, exist_ok=True)
        cache.chmod(0o755)
    with job.cache.lock(package, job.settings.lock_timeout_seconds):
        tree = cache / package
        if not tree.is_dir():
            _fetch(package, tree, job)
        return tree


def _fetch(package: str, tree: Path, job: Job) -> None:
    work = Path(tempfile.mkdtemp(dir=tree.parent))
    new = work / "tree"
    try:
        AptSource().unpack(package, new, work, job)
        for _ in range(_ROUNDS_MAX):
            missing = _missing(new)
            if not missing:
                break
            for name in sorted(missing):
                AptSource().unpack(name, new, work, job)
        new.chmod(0o755)
        new.rename(tree)
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _missing(tree: Path) -> set[str]:
    programs = next(tree.glob("usr/lib/postgresql/*/bin"))
    libraries = next(tree.glob("usr/lib/*-linux-gnu"), tree)
    told = subprocess.run(
        ["ldd", str(programs / "postgres"), str(programs / "initdb")],
        check=True,
        capture_output=True,
        text=True,
        env={"LD_LIBRARY_PATH": str(libraries), "PATH": "/usr/bin:/bin"},
    )
    packages = set()
    for soname in re.findall(r"(\S+) => not found", told.stdout):
        package = next((package for start, package in _PACKAGES.items() if soname.startswith(start)), None)
        if package is None:
            raise NotHereError(f"which package has {soname} is not known")
        packages.add(package)
    return packages
