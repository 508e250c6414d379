from __future__ import annotations

import dataclasses
import os
import time
from pathlib import Path

import pytest

from chaos.stacks.embedded.toolchain.catalogue import BUNDLE_OF, Bundle
from chaos.stacks.embedded.toolchain.model import NotHereError
from chaos.stacks.embedded.toolchain.sources.base import Job
from chaos.stacks.embedded.toolchain.sources.path import PathSource
from tests.unit.toolchain.fakes import write_program


def test_a_fitting_version_on_path_is_taken(bundle: Bundle, job: Job, on_path: Path) -> None:
    write_program(on_path / "fakedaemon", "3.9.0")
    write_program(on_path / "fakectl", "3.9.0")
    found = PathSource().locate(bundle, job)
    assert found.version == "3.9.0"
    assert found.programs == {"fakedaemon": on_path / "fakedaemon", "fakectl": on_path / "fakectl"}


def test_a_folder_on_path_that_cannot_be_looked_into_is_passed_over(
    bundle: Bundle, job: Job, on_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Another user's folder answers "permission denied"; to root this name is as unreadable.
    monkeypatch.setenv("PATH", f"{'x' * 5000}:{os.environ['PATH']}")
    with pytest.raises(NotHereError, match=r"no .* on PATH"):
        PathSource().locate(bundle, job)


@pytest.mark.parametrize(
    ("version", "reason"), [("3.1.9", "older than 3.2"), ("4.0.0", "another major version than 3")]
)
def test_a_version_that_does_not_fit_is_refused_and_named(
    bundle: Bundle, job: Job, on_path: Path, version: str, reason: str
) -> None:
    write_program(on_path / "fakedaemon", version)
    write_program(on_path / "fakectl", version)
    with pytest.raises(NotHereError, match=f"fakedaemon is {version}, {reason}"):
        PathSource().locate(bundle, job)


def test_postgres_of_another_major_is_never_taken(job: Job, on_path: Path) -> None:
    postgres = dataclasses.replace(BUNDLE_OF["postgres"], directories=())
    for program in postgres.programs:
        write_program(on_path / program, "15.18")
    with pytest.raises(NotHereError, match=r"15\.18, older than 18"):
        PathSource().locate(postgres, job)


def test_a_later_folder_is_asked_when_the_first_does_not_fit(
    bundle: Bundle, job: Job, on_path: Path, tmp_path: Path
) -> None:
    write_program(on_path / "fakedaemon", "1.0.0")
    hidden = tmp_path / "hidden"
    for program in bundle.programs:
        write_program(hidden / program, "3.2.1")
    found = PathSource().locate(dataclasses.replace(bundle, directories=(str(hidden),)), job)
    assert found.programs["fakedaemon"] == hidden / "fakedaemon"


def test_a_distribution_s_own_name_is_known(job: Job, on_path: Path) -> None:
    write_program(on_path / "prometheus-redis-exporter", "1.45.0")
    found = PathSource().locate(BUNDLE_OF["redis_exporter"], job)
    assert found.programs["redis_exporter"].name == "prometheus-redis-exporter"


def test_companions_are_found_where_a_link_leads(
    bundle: Bundle, job: Job, on_path: Path, tmp_path: Path
) -> None:
    real = tmp_path / "lib"
    for program in bundle.programs:
        write_program(real / program, "3.3.3")
    (on_path / "fakedaemon").symlink_to(real / "fakedaemon")
    found = PathSource().locate(bundle, job)
    assert found.programs == {"fakedaemon": real / "fakedaemon", "fakectl": real / "fakectl"}


def test_a_missing_companion_is_named(bundle: Bundle, job: Job, on_path: Path) -> None:
    write_program(on_path / "fakedaemon", "3.3.3")
    with pytest.raises(NotHereError, match="fakectl is not beside it"):
        PathSource().locate(bundle, job)


def test_a_program_without_a_version_is_refused(bundle: Bundle, job: Job, on_path: Path) -> None:
    write_program(on_path / "fakedaemon", "unknown")
    with pytest.raises(NotHereError, match="does not tell its version"):
        PathSource().locate(bundle, job)


def test_a_program_that_hangs_is_given_up(bundle: Bundle, job: Job, on_path: Path) -> None:
    write_program(on_path / "fakedaemon", "3.3.3", body="sleep 60")
    settings = job.settings.model_copy(update={"probe_timeout_seconds": 0.3})
    started = time.monotonic()
    with pytest.raises(NotHereError, match=r"did not end within 0\.3 s"):
        PathSource().locate(bundle, dataclasses.replace(job, settings=settings))
    assert time.monotonic() - started < 10
