from __future__ import annotations

import re

import pytest

from chaos.stacks.embedded.toolchain.catalogue import ALL_TOOLS, BUNDLES, GO_MODULES, Bundle, fill
from chaos.stacks.embedded.toolchain.model import Platform, find_version, parse_version

BUILT = [bundle for bundle in BUNDLES if bundle.go]


def test_every_program_has_one_bundle() -> None:
    programs = [program for bundle in BUNDLES for program in bundle.programs]
    assert sorted(programs) == sorted(set(programs)) == sorted(ALL_TOOLS)


@pytest.mark.parametrize("bundle", BUNDLES, ids=lambda bundle: bundle.name)
def test_the_pinned_version_fits_its_own_rule_and_has_a_source(bundle: Bundle) -> None:
    assert bundle.why_unfit(tuple(int(part) for part in bundle.version.split("."))) is None
    assert bundle.wheel or bundle.release or bundle.go


@pytest.mark.parametrize("bundle", BUILT, ids=lambda bundle: bundle.name)
def test_a_go_module_pins_the_version_and_builds_every_program(bundle: Bundle) -> None:
    assert bundle.go is not None
    text = (bundle.go.directory / "go.mod").read_text()
    # Prometheus 3.x.y is Go module v0.3xx.y.
    major, minor, patch = bundle.version.split(".")
    module_version = f"v0.{major}{minor}.{patch}" if bundle.name == "prometheus" else f"v{bundle.version}"
    pinned = re.search(
        rf"^(?:require)?\s*(\S*/{bundle.name}(?:/v\d+)?) {re.escape(module_version)}", text, re.MULTILINE
    )
    assert pinned, f"{bundle.name} {module_version} is not in go.mod"
    tools = re.findall(rf"^(?:tool)?\s+({re.escape(pinned.group(1))}\S*)$", text, re.MULTILINE)
    built = {tool.rsplit("/", 1)[1] for tool in tools}
    assert built == {bundle.go.built_as.get(program, program) for program in bundle.programs}
    assert f"{pinned.group(1)} {module_version} h1:" in (bundle.go.directory / "go.sum").read_text()


def test_no_module_is_left_that_nothing_builds() -> None:
    assert {path.name for path in GO_MODULES.iterdir()} == {bundle.go.module for bundle in BUILT if bundle.go}


@pytest.mark.parametrize(
    ("text", "version"),
    [
        ("postgres (PostgreSQL) 18.6", "18.6"),
        ("Valkey server v=9.1.2 sha=00000000:0", "9.1.2"),
        ("nginx version: nginx/1.31.3", "1.31.3"),
        ("toxiproxy-server version 2.5.0", "2.5.0"),
        ("prometheus, version 3.13.5 (branch: , revision: unknown)", "3.13.5"),
        ("postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)", "15.18"),
        ("prometheus, version  (branch: , revision: unknown)", None),
    ],
)
def test_versions_as_the_daemons_print_them(text: str, version: str | None) -> None:
    assert find_version(text) == version


def test_versions_compare_as_numbers() -> None:
    assert parse_version("3.13.5") > parse_version("3.5")


def test_archive_names_are_those_of_the_projects() -> None:
    arm = Platform("linux", "aarch64")
    names = {
        bundle.name: fill(bundle.release.archive, bundle, bundle.programs[-1], arm)
        for bundle in BUNDLES
        if bundle.release
    }
    assert names["prometheus"] == "prometheus-3.13.5.linux-arm64.tar.gz"
    assert names["loki"] == "logcli-linux-arm64.zip"
    assert names["toxiproxy"] == "toxiproxy_2.5.0_linux_arm64.tar.gz"
    assert names["redis_exporter"] == "redis_exporter-v1.74.0.linux-arm64.tar.gz"
