"""Programs the machine already has, when their version fits the lab's configuration."""

from __future__ import annotations

import os
from pathlib import Path

from chaos.stacks.embedded.toolchain.catalogue import Bundle
from chaos.stacks.embedded.toolchain.model import NotHereError, parse_version
from chaos.stacks.embedded.toolchain.sources.base import Found, Job, probe_version


class PathSource:
    """``PATH``, then the folders where distributions hide what is not on it."""

    name = "path"

    def locate(self, bundle: Bundle, job: Job) -> Found:
        """Return the first candidate that fits; PostgreSQL of another major is never taken silently."""
        refused: list[str] = []
        seen: set[Path] = set()
        for directory in self._directories(bundle):
            main = self._program(bundle, bundle.programs[0], directory)
            if main is None or main.resolve() in seen:
                continue
            seen.add(main.resolve())
            try:
                return self._fitting(bundle, main, job)
            except NotHereError as error:
                refused.append(str(error))
        raise NotHereError("; ".join(refused) or f"no {bundle.programs[0]} on PATH")

    @staticmethod
    def _directories(bundle: Bundle) -> list[Path]:
        # get_exec_path reads PATH as the kernel's callers do, empty entries included.
        return [Path(entry) for entry in os.get_exec_path() if entry] + [Path(d) for d in bundle.directories]

    @staticmethod
    def _program(bundle: Bundle, program: str, directory: Path) -> Path | None:
        for name in (program, *bundle.other_names.get(program, ())):
            candidate = directory / name
            # PATH may name folders that are closed to this user: Path.is_file would raise there.
            if os.path.isfile(candidate) and os.access(candidate, os.X_OK):  # noqa: PTH113
                return candidate
        return None

    def _fitting(self, bundle: Bundle, main: Path, job: Job) -> Found:
        version = probe_version(main, bundle.version_flag, job)
        unfit = bundle.why_unfit(parse_version(version))
        if unfit:
            raise NotHereError(f"{main} is {version}, {unfit}")
        programs = {bundle.programs[0]: main}
        # Links such as Debian's lead to the folder where the companions are.
        for program in bundle.programs[1:]:
            for directory in (main.parent, main.resolve().parent):
                found = self._program(bundle, program, directory)
                if found is not None:
                    programs[program] = found
                    break
            else:
                raise NotHereError(f"{main} is {version}, but {program} is not beside it")
        if len(programs) > 1 and any(path.parent != main.parent for path in programs.values()):
            programs[bundle.programs[0]] = main.resolve()
        return Found(version, f"PATH ({main.parent})", programs)
