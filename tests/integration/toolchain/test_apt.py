"""Debian's own tools against a package archive made here, so that no network decides the outcome."""

from __future__ import annotations

import hashlib
import os
import pwd
import shutil
import subprocess
from pathlib import Path

import pytest

from chaos.config import LabConfig
from chaos.errors import ToolchainError
from chaos.stacks.embedded.toolchain import ToolchainSettings, resolve, resolve_all
from tests.integration.toolchain.conftest import program

pytestmark = pytest.mark.skipif(
    shutil.which("apt-get") is None or shutil.which("dpkg-deb") is None, reason="no apt-get here (not Debian)"
)

PACKAGE = "prometheus-redis-exporter"
FROM_APT = ToolchainSettings(tool_sources="apt", apt_timeout_seconds=60)


def write_package(repository: Path, version: str) -> None:
    tree = repository / "tree"
    binary = tree / "usr" / "bin" / PACKAGE
    binary.parent.mkdir(parents=True)
    binary.write_bytes(program("redis_exporter", version))
    binary.chmod(0o755)
    (tree / "DEBIAN").mkdir()
    control = (
        f"Package: {PACKAGE}\nVersion: {version}-2+b4\nArchitecture: all\n"
        "Maintainer: Nobody <nobody@example.org>\nDescription: a test\n"
    )
    (tree / "DEBIAN" / "control").write_text(control)
    name = f"{PACKAGE}_{version}-2+b4_all.deb"
    subprocess.run(
        ["dpkg-deb", "--root-owner-group", "-b", str(tree), str(repository / name)],
        check=True, capture_output=True, timeout=60,
    )  # fmt: skip
    content = (repository / name).read_bytes()
    index = (
        f"{control}Filename: ./{name}\nSize: {len(content)}\nSHA256: {hashlib.sha256(content).hexdigest()}\n"
    )
    (repository / "Packages").write_text(index)


@pytest.fixture
def archive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An archive that apt reads instead of the machine's; apt's package lists are empty."""
    repository = tmp_path / "archive"
    repository.mkdir()
    write_package(repository, "1.45.0")
    (tmp_path / "sources.list").write_text(f"deb [trusted=yes] file:{repository} ./\n")
    for folder in ("lists/partial", "cache/archives/partial", "empty"):
        (tmp_path / "apt" / folder).mkdir(parents=True)
    settings = {
        "Dir::Etc::sourcelist": tmp_path / "sources.list",
        "Dir::Etc::sourceparts": tmp_path / "apt" / "empty",
        "Dir::State::lists": tmp_path / "apt" / "lists",
        "Dir::Cache": tmp_path / "apt" / "cache",
        "APT::Sandbox::User": pwd.getpwuid(os.geteuid()).pw_name,
    }
    configuration = tmp_path / "apt.conf"
    configuration.write_text("".join(f'{key} "{value}";\n' for key, value in settings.items()))
    monkeypatch.setenv("APT_CONFIG", str(configuration))
    return repository


def test_empty_package_lists_are_read_into_the_lab_s_cache_without_root(
    archive: Path, config: LabConfig, tmp_path: Path
) -> None:
    tool = resolve("redis_exporter", config, settings=FROM_APT)
    assert (tool.version, tool.source) == ("1.45.0", "apt, now cached")
    output = subprocess.run([str(tool.path)], check=True, capture_output=True, text=True, timeout=10).stdout
    assert output.startswith("redis_exporter, version 1.45.0")
    assert [path for path in (tmp_path / "apt" / "lists").iterdir() if path.is_file()] == []
    assert list((config.cache_dir / "apt" / "state" / "lists").glob("*Packages*"))


def test_a_cached_package_is_used_though_its_version_is_not_the_pinned_one(
    archive: Path, config: LabConfig
) -> None:
    resolve("redis_exporter", config, settings=FROM_APT)
    tool = resolve("redis_exporter", config, settings=ToolchainSettings(tool_sources="cache"))
    assert (tool.version, tool.source) == ("1.45.0", "cache (apt)")


def test_a_package_that_is_too_old_is_refused(archive: Path, config: LabConfig) -> None:
    shutil.rmtree(archive / "tree")
    for path in archive.glob("*.deb"):
        path.unlink()
    write_package(archive, "1.3.0")
    missing = resolve_all(["redis_exporter"], config, settings=FROM_APT).missing["redis_exporter"]
    assert "it has 1.3.0, older than 1.45" in missing.reason
    assert missing.cost == "RedisDown cannot be judged"


def test_a_tampered_package_is_refused(archive: Path, config: LabConfig) -> None:
    package = next(archive.glob("*.deb"))
    content = bytearray(package.read_bytes())
    content[-20] ^= 1
    package.write_bytes(bytes(content))
    with pytest.raises(ToolchainError, match="apt-get download"):
        resolve("redis_exporter", config, settings=FROM_APT)


def test_an_archive_that_is_away_is_a_reason(archive: Path, config: LabConfig) -> None:
    shutil.rmtree(archive)
    with pytest.raises(ToolchainError, match=r"redis_exporter could not be had \(.*apt-get"):
        resolve("redis_exporter", config, settings=FROM_APT)
