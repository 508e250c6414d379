"""Where the embedded stack's programs come from: asked in order, checked, cached."""

from __future__ import annotations

from chaos.errors import ToolchainError
from chaos.stacks.embedded.toolchain.catalogue import ALL_TOOLS, BUNDLES
from chaos.stacks.embedded.toolchain.console import console_report
from chaos.stacks.embedded.toolchain.model import (
    Attempt,
    Missing,
    Progress,
    Report,
    Resolution,
    Tool,
    ignore_progress,
)
from chaos.stacks.embedded.toolchain.postgres import first_closed_directory, postgres_runtime, postgres_user
from chaos.stacks.embedded.toolchain.resolver import resolve, resolve_all
from chaos.stacks.embedded.toolchain.settings import ToolchainSettings

__all__ = [
    "ALL_TOOLS",
    "BUNDLES",
    "Attempt",
    "Missing",
    "Progress",
    "Report",
    "Resolution",
    "Tool",
    "ToolchainError",
    "ToolchainSettings",
    "console_report",
    "first_closed_directory",
    "ignore_progress",
    "postgres_runtime",
    "postgres_user",
    "resolve",
    "resolve_all",
]
