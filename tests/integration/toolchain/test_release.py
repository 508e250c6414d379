from __future__ import annotations

import socket
import subprocess
import time
from pathlib import Path

import pytest

from chaos.config import LabConfig
from chaos.errors import ToolchainError
from chaos.stacks.embedded.toolchain import Progress, ToolchainSettings, resolve, resolve_all
from chaos.stacks.embedded.toolchain.catalogue import BUNDLE_OF, fill
from chaos.stacks.embedded.toolchain.model import this_platform
from tests.integration.toolchain.conftest import Mirror, program, tar_gz, zip_of

PLATFORM = this_platform()
ALERTMANAGER = BUNDLE_OF["alertmanager"]
FOLDER = f"alertmanager-{ALERTMANAGER.version}.{PLATFORM.os}-{PLATFORM.go_arch}"
ARCHIVE = f"{FOLDER}.tar.gz"


def from_release(url: str) -> ToolchainSettings:
    return ToolchainSettings(tool_sources="release", release_base_url=url, release_connect_timeout_seconds=2)


def alertmanager_archive() -> bytes:
    return tar_gz(
        {
            f"{FOLDER}/alertmanager": program("alertmanager", ALERTMANAGER.version),
            f"{FOLDER}/amtool": program("amtool", ALERTMANAGER.version),
            f"{FOLDER}/LICENSE": b"words\n",
        }
    )


def cached(config: LabConfig) -> list[str]:
    root = config.cache_dir / "tools"
    return sorted(path.name for path in root.iterdir() if path.is_dir())


def refusal(config: LabConfig, mirror: Mirror) -> str:
    with pytest.raises(ToolchainError) as caught:
        resolve("alertmanager", config, settings=from_release(mirror.url))
    assert cached(config) == [], "what was refused must not stay in the cache"
    return str(caught.value)


def test_an_archive_that_matches_its_checksum_is_cached_and_runs(config: LabConfig, mirror: Mirror) -> None:
    mirror.publish("prometheus/alertmanager", ALERTMANAGER.version, {ARCHIVE: alertmanager_archive()})
    told: list[Progress] = []
    resolution = resolve_all(["alertmanager", "amtool"], config, told.append, from_release(mirror.url))
    for name in ("alertmanager", "amtool"):
        output = subprocess.run(
            [str(resolution[name].path), "--version"], check=True, capture_output=True, text=True, timeout=10
        ).stdout
        assert output.startswith(f"{name}, version {ALERTMANAGER.version}")
    assert resolution["amtool"].source == "release, now cached"
    assert [path.rsplit("/", 1)[1] for path in mirror.asked] == ["sha256sums.txt", ARCHIVE]
    assert any("downloading" in progress.message for progress in told)
    assert cached(config) == [f"alertmanager-{ALERTMANAGER.version}-{PLATFORM.tag}"]


def test_a_redirect_as_github_sends_it_is_followed(config: LabConfig, mirror: Mirror) -> None:
    mirror.publish("prometheus/alertmanager", ALERTMANAGER.version, {ARCHIVE: alertmanager_archive()})
    tool = resolve("alertmanager", config, settings=from_release(mirror.url + "/moved/"))
    assert tool.version == ALERTMANAGER.version


def test_an_archive_with_another_checksum_is_refused(config: LabConfig, mirror: Mirror) -> None:
    files = {ARCHIVE: alertmanager_archive()}
    mirror.publish("prometheus/alertmanager", ALERTMANAGER.version, files, lies={ARCHIVE: "0" * 64})
    message = refusal(config, mirror)
    assert f"the project publishes {'0' * 64}; not taken" in message


def test_an_archive_that_the_checksum_file_does_not_name_is_refused(
    config: LabConfig, mirror: Mirror
) -> None:
    files = {ARCHIVE: alertmanager_archive(), "other.tar.gz": b"x"}
    mirror.publish("prometheus/alertmanager", ALERTMANAGER.version, files, lies={ARCHIVE: ""})
    assert f"has no checksum of {ARCHIVE}; not taken" in refusal(config, mirror)
    assert not any(path.endswith(ARCHIVE) for path in mirror.asked)


def test_without_a_checksum_file_nothing_is_even_downloaded(config: LabConfig, mirror: Mirror) -> None:
    files = {ARCHIVE: alertmanager_archive()}
    mirror.publish("prometheus/alertmanager", ALERTMANAGER.version, files, checksums=None)
    assert "404" in refusal(config, mirror)
    assert not any(path.endswith(ARCHIVE) for path in mirror.asked)


def test_a_checksum_file_without_checksums_is_refused(config: LabConfig, mirror: Mirror) -> None:
    mirror.publish("prometheus/alertmanager", ALERTMANAGER.version, {"sha256sums.txt": b""}, lies={})
    folder = mirror.root / "prometheus/alertmanager/releases/download" / f"v{ALERTMANAGER.version}"
    (folder / "sha256sums.txt").write_text("<html>Please log in to the hotel's network</html>")
    assert "holds no SHA-256 checksum" in refusal(config, mirror)


def test_an_archive_without_the_program_is_refused(config: LabConfig, mirror: Mirror) -> None:
    archive = tar_gz({f"{FOLDER}/alertmanager": program("alertmanager", ALERTMANAGER.version)})
    mirror.publish("prometheus/alertmanager", ALERTMANAGER.version, {ARCHIVE: archive})
    assert f"{ARCHIVE} has no {FOLDER}/amtool in it" in refusal(config, mirror)


def test_a_damaged_archive_with_a_true_checksum_is_refused(config: LabConfig, mirror: Mirror) -> None:
    mirror.publish("prometheus/alertmanager", ALERTMANAGER.version, {ARCHIVE: alertmanager_archive()[:200]})
    assert "cannot be unpacked" in refusal(config, mirror)


def test_a_program_that_does_not_run_here_is_refused(config: LabConfig, mirror: Mirror) -> None:
    archive = tar_gz({f"{FOLDER}/alertmanager": b"\x7fELF of another machine", f"{FOLDER}/amtool": b""})
    mirror.publish("prometheus/alertmanager", ALERTMANAGER.version, {ARCHIVE: archive})
    assert "release: " in refusal(config, mirror)


def test_names_inside_an_archive_never_decide_where_it_goes(
    config: LabConfig, mirror: Mirror, tmp_path: Path
) -> None:
    archive = tar_gz(
        {
            f"{FOLDER}/alertmanager": program("alertmanager", ALERTMANAGER.version),
            f"{FOLDER}/amtool": program("amtool", ALERTMANAGER.version),
            "../../../escaped": b"x",
        }
    )
    mirror.publish("prometheus/alertmanager", ALERTMANAGER.version, {ARCHIVE: archive})
    resolve("alertmanager", config, settings=from_release(mirror.url))
    assert list(tmp_path.rglob("escaped")) == []


def test_one_zip_per_program_as_loki_publishes_them(config: LabConfig, mirror: Mirror) -> None:
    loki = BUNDLE_OF["loki"]
    assert loki.release is not None
    files = {}
    for name in loki.programs:
        member = fill(loki.release.member, loki, name, PLATFORM)
        files[f"{member}.zip"] = zip_of({member: program(name, loki.version)})
    mirror.publish("grafana/loki", loki.version, files, checksums="SHA256SUMS")
    resolution = resolve_all(["loki", "logcli"], config, settings=from_release(mirror.url))
    assert {tool.version for tool in resolution.tools.values()} == {loki.version}


def test_toxiproxy_s_archive_has_no_folder(config: LabConfig, mirror: Mirror) -> None:
    toxiproxy = BUNDLE_OF["toxiproxy-server"]
    assert toxiproxy.release is not None
    name = fill(toxiproxy.release.archive, toxiproxy, "toxiproxy-server", PLATFORM)
    archive = tar_gz({"toxiproxy-server": program("toxiproxy-server", "2.5.0"), "toxiproxy-cli": b""})
    mirror.publish("Shopify/toxiproxy", toxiproxy.version, {name: archive}, checksums="checksums.txt")
    assert resolve("toxiproxy-server", config, settings=from_release(mirror.url)).version == "2.5.0"


def test_a_closed_network_falls_through_quickly(config: LabConfig) -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))  # bound but not listening: refused
        settings = from_release(f"http://127.0.0.1:{silent.getsockname()[1]}")
        started = time.monotonic()
        with pytest.raises(ToolchainError, match=r"release: http://127\.0\.0\.1"):
            resolve("alertmanager", config, settings=settings)
        assert time.monotonic() - started < 10


def test_a_server_that_never_answers_is_given_up(config: LabConfig) -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        settings = from_release(url).model_copy(update={"release_read_timeout_seconds": 0.5})
        started = time.monotonic()
        with pytest.raises(ToolchainError, match=r"release: .*(timed out|ReadTimeout)"):
            resolve("alertmanager", config, settings=settings)
        assert time.monotonic() - started < 20


def test_a_spoiled_entry_is_replaced_by_a_sound_one(config: LabConfig, mirror: Mirror) -> None:
    mirror.publish("prometheus/alertmanager", ALERTMANAGER.version, {ARCHIVE: alertmanager_archive()})
    settings = from_release(mirror.url).model_copy(update={"tool_sources": "cache,release"})
    path = resolve("alertmanager", config, settings=settings).path
    path.write_bytes(b"")
    again = resolve("alertmanager", config, settings=settings)
    assert (again.path, again.source) == (path, "release, now cached")
    assert path.stat().st_size > 0
