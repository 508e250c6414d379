"""No socket is ever opened to an address that the guard refuses."""

from __future__ import annotations

import ipaddress
import itertools
import socket
import ssl
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from app.net.addresses import IPAddress
from app.net.guard import Guard, ResolveError, TargetRefusedError
from app.net.http import guarded_client, trusting
from app.net.resolver import SystemResolver
from app.sources import SourceError, SourceRefusedError
from app.sources.api import ApiConfig, ApiLimits, ApiSource
from app.sources.database import DatabaseConfig, DatabaseSource
from tests.support.certificates import Authority
from tests.support.databases import target
from tests.support.scripted import Answer, Scripted, scripted
from tests.support.tcp import TcpForwarder

NAME = "api.client.test"
PUBLIC = "93.184.216.34"


class Wire:
    """Every ``connect`` of this process by Python. To addresses beyond this machine it is refused."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.opened: list[str] = []
        self.looked_up: list[str] = []
        connect, getaddrinfo = socket.socket.connect, socket.getaddrinfo

        def recording(one: socket.socket, address: tuple[str, int]) -> None:
            self.opened.append(address[0])
            if not ipaddress.ip_address(address[0]).is_loopback:
                raise ConnectionRefusedError("not from a test")
            connect(one, address)

        def recording_look_up(host: str, *arguments: object, **named: object) -> object:
            self.looked_up.append(host)
            return getaddrinfo(host, *arguments, **named)  # type: ignore[arg-type]

        monkeypatch.setattr(socket.socket, "connect", recording)
        monkeypatch.setattr(socket, "getaddrinfo", recording_look_up)


@pytest.fixture
def wire(monkeypatch: pytest.MonkeyPatch) -> Wire:
    return Wire(monkeypatch)


@pytest.fixture(scope="module")
def server() -> Iterator[Scripted]:
    with scripted() as server:
        yield server


class Flipping:
    """Answers with one address after the other."""

    def __init__(self, *answers: Sequence[str]) -> None:
        self.calls = 0
        self._answers = itertools.cycle(answers)

    def __call__(self, name: str, timeout_seconds: float) -> Sequence[IPAddress]:
        self.calls += 1
        return [ipaddress.ip_address(one) for one in next(self._answers)]


def fetch(guard: Guard, url: str, context: ssl.SSLContext | None = None) -> httpx.Response:
    with guarded_client(guard, timeout_seconds=5, context=context) as client:
        return client.get(url)


def test_a_name_that_changes_its_mind_reaches_nothing_inside(wire: Wire, server: Scripted) -> None:
    resolver = Flipping([PUBLIC], ["127.0.0.1"], ["::1"], ["169.254.169.254"], ["10.0.0.1"], [PUBLIC, "::1"])
    guard = Guard([f"http://{NAME}:{server.port}"], resolver=resolver)
    before = server.connections
    with guarded_client(guard, timeout_seconds=2) as client:
        for _ in range(18):
            with pytest.raises((TargetRefusedError, httpx.ConnectError)):
                client.get(f"http://{NAME}:{server.port}/")
    assert resolver.calls == 18  # one look-up a connection: what was checked is what was used
    assert set(wire.opened) == {PUBLIC}
    assert NAME not in wire.looked_up
    assert server.connections == before


def test_a_job_whose_name_was_rebound_is_refused_when_it_runs(wire: Wire, server: Scripted) -> None:
    guard = Guard([f"http://{NAME}:{server.port}"], resolver=Flipping(["127.0.0.1"]))
    source = ApiSource({}, guard, ApiLimits(2))
    config = ApiConfig(url=f"http://{NAME}:{server.port}/v1/controls")
    source.check(config)  # nothing is wrong with the name
    with pytest.raises(SourceRefusedError) as refused:
        source.collect(config)
    assert (refused.value.field, refused.value.event) == ("url", "source_target_refused")
    assert wire.opened == []


def test_one_bad_answer_among_good_ones_is_enough(wire: Wire, server: Scripted) -> None:
    entries = [f"http://{NAME}:{server.port}", server.url]
    for answers in (["127.0.0.1", "127.0.0.2"], ["127.0.0.1", "fe80::1"], ["127.0.0.1", "10.9.8.7"]):
        with pytest.raises(TargetRefusedError):
            fetch(Guard(entries, resolver=Flipping(answers)), f"http://{NAME}:{server.port}/")
    assert wire.opened == []
    answer = fetch(Guard(entries, resolver=Flipping(["127.0.0.1"])), f"http://{NAME}:{server.port}/x")
    assert answer.status_code == 200
    assert server.asked[-1].headers["host"] == f"{NAME}:{server.port}"


@settings(deadline=None, max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.one_of(
        st.ip_addresses(v=4),
        st.ip_addresses(v=6),
        st.ip_addresses(v=4, network="127.0.0.0/8"),
        st.ip_addresses(v=4, network="169.254.0.0/16"),
        st.ip_addresses(v=6, network="::ffff:0:0/96"),
        st.ip_addresses(v=6, network="fe80::/10"),
    ),
    st.sampled_from(["by name", "by address"]),
    st.sampled_from([80, 5432, 6379, 8474]),
)
def test_no_socket_is_opened_to_a_refused_address(
    wire: Wire, address: IPAddress, way: str, port: int
) -> None:
    guard = Guard(
        [f"http://{NAME}:80", "http://10.0.0.0/8:80", "http://1.0.0.0/8:6379"],
        resolver=Flipping([str(address)]),
    )
    ten = port == 80 and address in ipaddress.ip_network("10.0.0.0/8")
    one = port == 6379 and address in ipaddress.ip_network("1.0.0.0/8") and way == "by address"
    public = port == 80 and address.is_global and way == "by name"
    wire.opened.clear()
    host = NAME if way == "by name" else str(address)
    shown = f"[{host}]" if ":" in host else host
    # What is allowed fails too: nothing beyond this machine answers a test.
    with pytest.raises((TargetRefusedError, httpx.ConnectError)):
        fetch(guard, f"http://{shown}:{port}/", ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT))
    with pytest.raises((TargetRefusedError, ConnectionRefusedError)):
        guard.connect("http", host, port, timeout_seconds=2)
    if not (ten or one or public):
        assert wire.opened == []
    else:
        assert set(wire.opened) <= {str(address)}


def test_a_redirect_leads_nowhere(wire: Wire, server: Scripted) -> None:
    where = "http://169.254.169.254/latest/meta-data/"
    server.answer = lambda _: Answer(302, headers={"Location": where})
    try:
        source = ApiSource({}, Guard([server.url]), ApiLimits(2))
        with pytest.raises(SourceError) as failed:
            source.collect(ApiConfig(url=f"{server.url}/v1/controls"))
    finally:
        server.answer = lambda _: Answer()
    assert (failed.value.reason, failed.value.retryable) == ("http_302", False)
    assert "redirects are not followed" in str(failed.value)
    assert wire.opened == ["127.0.0.1"]


def test_a_proxy_of_the_environment_is_not_used(server: Scripted, monkeypatch: pytest.MonkeyPatch) -> None:
    with TcpForwarder(("127.0.0.1", server.port)) as proxy:
        for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{proxy.port}")
        assert fetch(Guard([server.url]), f"{server.url}/").status_code == 200
        assert proxy.connections_seen == 0


def test_tls_verifies_the_name_at_the_address_that_was_checked(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    with scripted(certificate=authority.issue(NAME)) as server:
        entries = [f"https://{name}:{server.port}" for name in (NAME, "other.client.test", "127.0.0.1")]
        guard = Guard(entries, resolver=Flipping(["127.0.0.1"]))
        trusted = trusting(authority.certificate)
        assert fetch(guard, f"https://{NAME}:{server.port}/", trusted).status_code == 200
        for host in ("other.client.test", "127.0.0.1"):
            with pytest.raises(httpx.ConnectError, match="certificate verify failed"):
                fetch(guard, f"https://{host}:{server.port}/", trusted)
        with pytest.raises(httpx.ConnectError, match="certificate verify failed"):
            fetch(guard, f"https://{NAME}:{server.port}/", trusting(None))


def test_a_database_is_reached_by_the_address_that_was_checked() -> None:
    # libpq looks names up by itself, out of sight of Python: only a listener can tell.
    with TcpForwarder(("127.0.0.1", 9)) as listener:
        for name, answers in (("localhost", ["10.0.0.1"]), ("localhost", ["127.0.0.1", "::1"])):
            source = DatabaseSource(
                {"acme": target(listener.port, "acme", "reader", host=name)},
                guard=Guard([f"postgresql://localhost:{listener.port}"], resolver=Flipping(answers)),
                application_name="test",
                connect_timeout_seconds=2,
                query_deadline_seconds=2,
            )
            with pytest.raises(SourceRefusedError) as refused:
                source.collect(DatabaseConfig(database="acme", query="open_findings"))
            assert refused.value.field == "database"
        assert listener.connections_seen == 0


def test_a_look_up_ends_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    released = threading.Event()

    def slow(*_: object, **__: object) -> list[object]:
        released.wait(20)
        return []

    monkeypatch.setattr(socket, "getaddrinfo", slow)
    resolver = SystemResolver()
    started = time.monotonic()
    try:
        for _ in range(12):  # more than may be under way at once
            with pytest.raises(ResolveError) as late:
                resolver("slow.test", 0.05)
            assert late.value.timed_out
        assert time.monotonic() - started < 5
    finally:
        released.set()


def test_the_machines_own_names_are_found() -> None:
    found = {str(address) for address in SystemResolver()("localhost", 5)}
    assert found
    assert found <= {"127.0.0.1", "::1"}
    with pytest.raises(ResolveError):
        SystemResolver()("no-such-name.invalid", 10)


def test_a_socket_of_the_guard_is_connected(server: Scripted) -> None:
    with closing(Guard([server.url]).connect("http", "127.0.0.1", server.port, timeout_seconds=2)) as one:
        assert one.getpeername() == ("127.0.0.1", server.port)
        assert one.gettimeout() == 2
