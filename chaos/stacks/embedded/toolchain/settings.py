"""Settings of the toolchain, read from ``LAB_*`` like the lab's own."""

from __future__ import annotations

from pydantic import Field, ValidationError, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from chaos.errors import UsageError

ALL_SOURCES = ("path", "cache", "wheel", "apt", "release", "go")


class ToolchainSettings(BaseSettings):
    """Where programs may come from, and how long each step may take."""

    model_config = SettingsConfigDict(env_prefix="LAB_", frozen=True, extra="ignore")

    tool_sources: str = Field(
        default=",".join(ALL_SOURCES),
        description="Sources that may be asked, comma separated; their order is fixed.",
    )
    release_base_url: str = Field(
        default="https://github.com",
        description="Where release archives are; a mirror keeps OWNER/REPOSITORY/releases/download/…",
    )
    probe_timeout_seconds: float = 10.0
    release_connect_timeout_seconds: float = 3.0  # a closed network must fall through quickly
    release_read_timeout_seconds: float = 30.0
    release_timeout_seconds: float = 900.0
    apt_timeout_seconds: float = 180.0
    go_install_timeout_seconds: float = 300.0
    go_build_timeout_seconds: float = 2400.0
    missing_retry_seconds: float = Field(
        default=600.0,
        description="An optional tool that could not be had is not tried again for so long.",
    )
    lock_timeout_seconds: float = 2700.0  # longer than the longest build another process may be at

    @field_validator("tool_sources")
    @classmethod
    def _known(cls, value: str) -> str:
        unknown = [name for name in value.split(",") if name.strip() not in ALL_SOURCES]
        if unknown:
            msg = f"LAB_TOOL_SOURCES names {unknown}; choose from {', '.join(ALL_SOURCES)}"
            raise ValueError(msg)
        return value

    @classmethod
    def load(cls) -> ToolchainSettings:
        """Return the settings of the environment, or say which of them is wrong."""
        try:
            return cls()
        except ValidationError as error:
            wrong = "; ".join(f"LAB_{str(e['loc'][0]).upper()}: {e['msg']}" for e in error.errors())
            raise UsageError(f"Settings of the toolchain are wrong: {wrong}") from error

    def allows(self, source: str) -> bool:
        """Tell whether ``source`` may be asked."""
        return source in {name.strip() for name in self.tool_sources.split(",")}
