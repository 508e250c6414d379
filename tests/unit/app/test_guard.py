"""What the SSRF guard allows and refuses, by name, by address and by what a name resolves to."""

from __future__ import annotations

import ipaddress
import json
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.net.addresses import IPAddress, private, special
from app.net.guard import Guard, ResolveError, TargetRefusedError
from app.settings import Settings
from chaos.config import LabConfig
from chaos.domain.topology import DIRECT_PORTS, MONITORING_PROXIES, embedded_topology
from chaos.stacks.embedded.daemon import Context
from chaos.stacks.embedded.daemons import _service
from chaos.stacks.embedded.layout import Layout

ANY_ADDRESS = "0.0.0.0"  # noqa: S104  never bound
ENTRIES = (
    "https://api.example.com:443",
    "https://xn--bcher-kva.example:443",
    "http://erp.corp.example:8080",
    "http://10.1.0.0/16:8080",
    "http://[fd00:1::]/48:8080",
    "http://192.168.7.7:9000",
    "http://8.8.4.0/24:80",
)
ALLOWED = [
    "https://api.example.com/v1/controls",
    "https://api.example.com:443/v1/controls?since=2026-01-01",
    "HTTPS://API.Example.COM/v1/controls",
    "https://api.example.com./v1",
    "https://xn--bcher-kva.example/",
    "http://erp.corp.example:8080",
    "http://10.1.2.3:8080/x",
    "http://[fd00:1::7]:8080/x",
    "http://[FD00:0001:0:0:0:0:0:7]:8080/x",
    "http://192.168.7.7:9000/",
    "http://8.8.4.4/",
]
REFUSED = [
    # another scheme, host or port than the entry's
    "http://api.example.com/",
    "https://api.example.com:8443/",
    "https://www.api.example.com/",
    "https://api.example.com.evil.example/",
    "https://apiXexample.com/",
    "http://10.2.0.1:8080/",
    "http://10.1.2.3:8081/",
    "http://10.1.2.3/",
    "https://10.1.2.3:8080/",
    "http://192.168.7.8:9000/",
    "http://8.8.8.8/",
    "ftp://api.example.com/",
    "file:///etc/passwd",
    "gopher://127.0.0.1:6379/_INFO",
    "unix:///run/x.sock",
    "http+unix://%2Frun%2Fx.sock/",
    # this machine and what is beside it
    "http://127.0.0.1/",
    "http://127.0.0.1:8080/",
    "http://127.1.2.3:8080/",
    "http://localhost:8080/",
    "http://localhost.:8080/",
    "http://0.0.0.0:8080/",
    "http://[::1]:8080/",
    "http://[::]:8080/",
    "http://169.254.169.254/latest/meta-data/",
    "http://169.254.7.7:8080/",
    "http://[fe80::1]:8080/",
    "http://[fe80::1%25eth0]:8080/",
    "http://[fd00:ec2::254]/latest/meta-data/",
    "http://metadata.google.internal/computeMetadata/v1/",
    "http://100.100.100.200/latest/meta-data/",
    "http://168.63.129.16/machine",
    "http://224.0.0.1:8080/",
    "http://255.255.255.255:8080/",
    # IPv4 in the clothes of IPv6
    "http://[::ffff:127.0.0.1]:8080/",
    "http://[::ffff:10.1.2.3]:8080/",
    "http://[::ffff:a01:203]:8080/",
    "http://[::127.0.0.1]:8080/",
    "http://[64:ff9b::7f00:1]:8080/",
    "http://[2002:7f00:1::]:8080/",
    # numbers that some parsers read as addresses
    "http://2130706433:8080/",
    "http://0x7f000001:8080/",
    "http://0x7f.0.0.1:8080/",
    "http://0177.0.0.1:8080/",
    "http://127.1:8080/",
    "http://127.0.0.1.:8080/",
    "http://10.1.02.3:8080/",
    "http://10.1.2.3.4:8080/",
    "http://010.1.2.3:8080/",
    "http://10.1.515:8080/",
    "http://example.0x1/",
    # what parsers disagree on
    "https://api.example.com@127.0.0.1/",
    "https://user:secret@api.example.com/",
    "https://api.example.com\\@127.0.0.1/",
    "https://api.example.com\\.evil.example/",
    "https://127.0.0.1#@api.example.com/",
    "https://127.0.0.1?@api.example.com/",
    "https://api.example.com:443:80/",
    "https://api.example.com:/x:y@127.0.0.1",
    "https://api.example.com:0/",
    "https://api.example.com:65979/",
    "https://api.example.com%2f@127.0.0.1/",
    "https://api%2eexample.com/",
    "https://api.example.com\t/",
    "https://api.example.com\r\nHost: 127.0.0.1/",
    " https://api.example.com/",
    "https:///api.example.com/",
    "https:api.example.com",
    "//api.example.com/",
    "https://",
    "https://.../",
    "https://api..example.com/",
    # names outside ASCII, and digits that become ASCII when folded
    "https://bücher.example/",
    "http://①⓪.1.2.3:8080/",
    "http://\uff11\uff10.1.2.3:8080/",  # full width
    "https://api\u3002example.com/",  # the ideographic full stop
    "https://\u0430pi.example.com/",  # a Cyrillic a
    "https://api.example.com/" + "x" * 3000,
]  # fmt: skip


def no_look_up(name: str, timeout_seconds: float) -> Sequence[IPAddress]:
    raise AssertionError(name)


@pytest.mark.parametrize("url", ALLOWED)
def test_what_an_entry_names_is_allowed(url: str) -> None:
    Guard(ENTRIES, resolver=no_look_up).check_url(url)


@pytest.mark.parametrize("url", REFUSED)
def test_everything_else_is_refused_without_a_look_up(url: str) -> None:
    with pytest.raises(TargetRefusedError):
        Guard(ENTRIES, resolver=no_look_up).check_url(url)


@pytest.mark.parametrize("url", [*ALLOWED, *REFUSED])
def test_without_entries_everything_is_refused(url: str) -> None:
    with pytest.raises(TargetRefusedError):
        Guard((), resolver=no_look_up).check_url(url)


def resolving(*answers: str) -> Guard:
    def look_up(name: str, timeout_seconds: float) -> Sequence[IPAddress]:
        return [ipaddress.ip_address(answer) for answer in answers]

    return Guard(ENTRIES, resolver=look_up)


@pytest.mark.parametrize(
    ("answers", "why"),
    [
        (["127.0.0.1"], "loopback"),
        (["93.184.216.34", "127.0.0.1"], "loopback"),
        (["2606:2800:220:1::1", "::1"], "loopback"),
        (["93.184.216.34", "169.254.169.254"], "metadata"),
        (["fe80::1"], "link-local"),
        (["::ffff:93.184.216.34"], "embedded"),
        (["64:ff9b::a00:1"], "embedded"),
        (["2002:a00:1::"], "embedded"),
        ([ANY_ADDRESS], "unspecified"),
        (["10.1.2.3"], "private"),
        (["93.184.216.34", "192.168.1.1"], "private"),
        (["fd12::1"], "private"),
        (["100.64.0.1"], "private"),
        (["198.18.0.1"], "reserved"),
    ],
)
def test_every_answer_for_a_name_must_be_allowed(answers: list[str], why: str) -> None:
    with pytest.raises(TargetRefusedError, match=why):
        resolving(*answers).resolve("https", "api.example.com", 443, timeout_seconds=1)


def test_a_name_may_lead_to_a_private_address_of_an_allowed_network() -> None:
    found = resolving("10.1.2.3").resolve("http", "erp.corp.example", 8080, timeout_seconds=1)
    assert found == [ipaddress.ip_address("10.1.2.3")]
    with pytest.raises(TargetRefusedError):
        resolving("10.2.2.3").resolve("http", "erp.corp.example", 8080, timeout_seconds=1)


def test_an_entry_for_the_single_address_allows_loopback_on_that_port_only() -> None:
    guard = Guard(["http://127.0.0.1:18052", "http://localhost:18052", "http://[::1]:18053"])
    assert guard.resolve("http", "127.0.0.1", 18052, timeout_seconds=1)
    for host, port in [("127.0.0.1", 18053), ("127.0.0.2", 18052), ("::1", 18052), (ANY_ADDRESS, 18052)]:
        with pytest.raises(TargetRefusedError):
            guard.resolve("http", host, port, timeout_seconds=1)


@pytest.mark.parametrize(
    ("network", "address"),
    [
        ("168.0.0.0/8", "168.63.129.16"),
        ("100.0.0.0/8", "100.100.100.200"),
        ("[fd00::]/32", "fd00:ec2::254"),
    ],
)
def test_an_entry_for_a_network_does_not_allow_what_is_special_in_it(network: str, address: str) -> None:
    guard = Guard([f"http://{network}:80"])
    with pytest.raises(TargetRefusedError, match="metadata"):
        guard.check("http", address, 80)
    single = f"[{address}]" if ":" in address else address
    Guard([f"http://{network}:80", f"http://{single}:80"]).check("http", address, 80)


def test_a_name_that_nobody_answers_for_is_no_refusal() -> None:
    with pytest.raises(ResolveError):
        resolving().resolve("https", "api.example.com", 443, timeout_seconds=1)


@pytest.mark.parametrize(
    "entry",
    [
        "https://api.example.com",
        "https://api.example.com/path:443",
        "https://user@api.example.com:443",
        "https://bücher.example:443",
        "https://0.0.0.0/0:443",
        "https://[::]/0:443",
        "http://127.0.0.0/8:80",
        "http://169.254.0.0/16:80",
        "http://10.1.2.3/16:80",
        "http://10.1.0.0/16",
        "http://0x7f.1:80",
        "http://host:0",
        "http://host:65536",
        "*://host:80",
        "http://*:80",
        "",
    ],
)
def test_an_entry_that_is_not_exact_is_refused_at_the_start(entry: str) -> None:
    with pytest.raises(ValueError, match=r"not|has|wide|bits|one by one"):
        Settings.model_validate({"sources_allow": [entry]})


def lab_guard(tmp_path: Path) -> Guard:
    config = LabConfig(id="guard", state_root=tmp_path / "labs", cache_dir=tmp_path / "cache")
    context = Context(config, embedded_topology(config.id, 18000), Layout(config.state_dir), {})
    return Guard(json.loads(_service.settings(context, "worker-1")["DCS_SOURCES_ALLOW"]))


def test_the_lab_allows_its_upstreams_and_no_other_port_of_this_machine(tmp_path: Path) -> None:
    guard = lab_guard(tmp_path)
    topology = embedded_topology("guard", 18000)
    guard.check("http", "127.0.0.1", topology.via("evidence-api").port)
    guard.check("postgresql", "127.0.0.1", topology.via("client-postgres").port)
    upstreams = {"evidence-api", "client-postgres", "s3", "moderation-api"}
    own = {18000 + offset for offset in DIRECT_PORTS.values()}
    own |= {18000 + offset for offset, _ in MONITORING_PROXIES.values()}
    own |= {proxy.listen.port for name, proxy in topology.service_proxies.items() if name not in upstreams}
    own |= {5432, 6379, 8474, 9090, 9093}  # where these are elsewhere
    for port in own:
        for host in ("127.0.0.1", "localhost", "::1", "::ffff:127.0.0.1", ANY_ADDRESS):
            for scheme in ("http", "https", "postgresql", "s3+http"):
                with pytest.raises(TargetRefusedError):
                    guard.check(scheme, host, port)
    # An allowed port is allowed for its own scheme.
    with pytest.raises(TargetRefusedError):
        guard.check("http", "127.0.0.1", topology.via("client-postgres").port)
    for host in ("169.254.169.254", "169.254.1.1", "fe80::1", "fd00:ec2::254", "10.0.0.1", "example.com"):
        for port in (80, topology.via("evidence-api").port):
            with pytest.raises(TargetRefusedError):
                guard.check("http", host, port)


@settings(deadline=None, max_examples=300)
@given(st.one_of(st.ip_addresses(v=4), st.ip_addresses(v=6)))
def test_no_address_beyond_the_public_internet_passes_for_public(address: IPAddress) -> None:
    if special(address) is None and not private(address):
        assert address.is_global
    if not address.is_global:
        with pytest.raises(TargetRefusedError):
            resolving(str(address)).resolve("https", "api.example.com", 443, timeout_seconds=1)


@settings(deadline=None, max_examples=300)
@given(
    st.text(max_size=40), st.sampled_from(["http://{}", "http://{}:8080/", "http://10.1.2.3:8080{}", "{}"])
)
def test_any_text_is_either_allowed_by_an_entry_or_refused(text: str, shape: str) -> None:
    try:
        target = Guard(ENTRIES, resolver=no_look_up).check_url(shape.format(text))
    except TargetRefusedError:
        return
    assert target.host in {"10.1.2.3", "192.168.7.7", "erp.corp.example"} or target.host.startswith("10.1.")
