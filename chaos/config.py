"""Settings of the lab, read once from the environment (``LAB_*``)."""

from __future__ import annotations

import hashlib
import os
import re
from pathlib import Path

from pydantic import Field, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

ROOT = Path(__file__).resolve().parent.parent
"""The checkout this lab runs from."""

CLOCK_SLACK_SECONDS = 5.0
"""Create times of processes are boot time plus ticks: they move when the wall clock is set."""

PORT_CLAIMS = "ports"
"""Beside the labs' state directories: the files that say which lab holds which port block."""

_LAB_ID = re.compile(r"[a-z0-9][a-z0-9-]{0,31}\Z")


def default_lab_id() -> str:
    """Return an id that is the same for every command run from this checkout."""
    return hashlib.sha256(str(ROOT).encode()).hexdigest()[:8]


def _home(variable: str, fallback: str) -> Path:
    # The XDG base directory specification says relative values are to be ignored.
    value = os.environ.get(variable, "")
    return Path(value) if value.startswith("/") else Path.home() / fallback


def default_state_root() -> Path:
    """Return where labs keep state. Root's home is often 0700, which PostgreSQL's user cannot enter."""
    if os.geteuid() == 0:
        return Path("/var/lib/firedrill")
    return _home("XDG_STATE_HOME", ".local/state") / "firedrill"


class LabConfig(BaseSettings):
    """All settings of one lab. Durations and sizes carry their unit in the name."""

    model_config = SettingsConfigDict(env_prefix="LAB_", frozen=True, extra="ignore")

    id: str = Field(default_factory=default_lab_id)
    state_root: Path = Field(default_factory=default_state_root)
    cache_dir: Path = Field(default_factory=lambda: _home("XDG_CACHE_HOME", ".cache") / "firedrill")
    observability_dir: Path = ROOT / "observability"
    scenarios_dir: Path = ROOT / "scenarios"
    port_base: int | None = Field(default=None, ge=1024, le=32600)
    disk_free_min_bytes: int = 2 * 1024**3
    up_timeout_seconds: float = 120.0
    heal_timeout_seconds: float = 60.0

    @field_validator("id")
    @classmethod
    def _id_is_a_slug(cls, value: str) -> str:
        if not _LAB_ID.match(value):
            msg = f"LAB_ID {value!r} must be 1 to 32 of a-z, 0-9 and '-'"
            raise ValueError(msg)
        if value == PORT_CLAIMS:
            msg = f"LAB_ID {value!r} is the name of the folder of port claims; choose another"
            raise ValueError(msg)
        return value

    @field_validator("state_root", "cache_dir", "observability_dir", "scenarios_dir")
    @classmethod
    def _is_absolute(cls, value: Path) -> Path:
        # Daemons run elsewhere, and processes are known by the very text of the state directory. Links
        # are kept: resolve() would rename labs that exist.
        return Path(os.path.abspath(value))  # noqa: PTH100 - unlike absolute() it removes ".."

    @property
    def state_dir(self) -> Path:
        """The one directory that belongs to this lab."""
        return self.state_root / self.id


def path_environment() -> dict[str, str]:
    """Return ``LAB_*`` variables by which a process in another directory finds this one's folders."""
    config = LabConfig()
    names = ("state_root", "cache_dir", "observability_dir", "scenarios_dir")
    return {f"LAB_{name.upper()}": str(getattr(config, name)) for name in names}
