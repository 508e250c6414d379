"""The code of the release before this one, from the history of this repository."""

from __future__ import annotations

import io
import subprocess
import sys
import tarfile
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.support.service import ROOT, service_environment

COMMIT = "fecc961"
"""Move it with every release: what is deployed when the new one comes."""
REVISION = "0001"
"""The newest of its schema."""


def unpack(folder: Path) -> Path:
    """Put the service of that release into a folder; skip the test where there is no history."""
    command = ["git", "archive", COMMIT, "app"]
    try:
        packed = subprocess.run(command, cwd=ROOT, capture_output=True, check=True, timeout=60).stdout
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("this checkout has no history: the release before is not in it")
    with tarfile.open(fileobj=io.BytesIO(packed)) as archive:
        archive.extractall(folder, filter="data")
    return folder


def migrate(root: Path, settings: Mapping[str, str]) -> None:
    """Migrate with the code in a folder, as an operator does."""
    subprocess.run(
        [sys.executable, "-m", "app.migrate"],
        cwd=root,
        env=service_environment(settings),
        check=True,
        timeout=110,
        capture_output=True,
    )
