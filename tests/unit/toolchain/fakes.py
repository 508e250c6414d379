from __future__ import annotations

from pathlib import Path

from chaos.stacks.embedded.toolchain.catalogue import Bundle
from chaos.stacks.embedded.toolchain.model import NotHereError
from chaos.stacks.embedded.toolchain.sources.base import Job


def write_program(path: Path, version: str, body: str = "") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{body}\necho '{path.name} version {version}'\n")
    path.chmod(0o755)
    return path


class FakeFetcher:
    """A fetch source that makes programs, or has a reason not to."""

    def __init__(self, name: str, version: str = "3.4.5", refusal: str = "") -> None:
        self.name = name
        self.version = version
        self.refusal = refusal
        self.fetched: list[str] = []

    def fetch(self, bundle: Bundle, into: Path, job: Job) -> str:
        self.fetched.append(bundle.name)
        job.say(f"{self.name} is at it")
        if self.refusal:
            raise NotHereError(self.refusal)
        for program in bundle.programs:
            write_program(into / program, self.version)
        return self.version
