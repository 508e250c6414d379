"""Settings of the ``sources`` slice, part of ``app.settings.Settings``."""

from __future__ import annotations

from pathlib import Path

from pydantic import field_validator
from pydantic_settings import BaseSettings

from app.net.targets import parse_entry


class SourcesSettings(BaseSettings):
    """Declared here, read there."""

    sources_allow: list[str] = []
    """JSON list of all that may be connected to: ``scheme://host:port`` or ``scheme://network/bits:port``."""

    sources_ca_file: Path | None = None
    """PEM file with further authorities that certificates of sources may come from."""

    @field_validator("sources_allow")
    @classmethod
    def _entries(cls, entries: list[str]) -> list[str]:
        for entry in entries:
            parse_entry(entry)
        return entries
