from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from chaos.adapters.toxiproxy import ToxiproxyServer
from chaos.config import LabConfig
from chaos.domain.topology import Address, Proxy
from chaos.errors import AdapterError
from chaos.stacks.embedded.toolchain import resolve
from tests.support.ports import free_port

READY_SECONDS_MAX = 10.0


class Echo(threading.Thread):
    """A TCP server that sends back what it gets."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address = Address("127.0.0.1", self._listener.getsockname()[1])

    def run(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    @staticmethod
    def _serve(connection: socket.socket) -> None:
        with connection:
            while data := connection.recv(1024):
                connection.sendall(data)

    def close(self) -> None:
        self._listener.close()


class RealToxiproxy:
    """A Toxiproxy process started from a file of proxies, as the stack starts it."""

    def __init__(self, folder: Path, upstream: Address) -> None:
        self.proxy = Proxy("echo", Address("127.0.0.1", free_port()), upstream)
        self.admin = Address("127.0.0.1", free_port())
        self._config = folder / "proxies.json"
        listed = {
            "name": "echo",
            "listen": str(self.proxy.listen),
            "upstream": str(upstream),
            "enabled": True,
        }
        self._config.write_text(json.dumps([listed]), encoding="utf-8")
        self._program = str(resolve("toxiproxy-server", LabConfig()).path)
        self.restarts = 0
        self.process = self._start()
        self.server = ToxiproxyServer("toxiproxy", self.admin, {"echo": self.proxy}, self.restart)

    def _start(self) -> subprocess.Popen[bytes]:
        command = [self._program, "-host", self.admin.host, "-port", str(self.admin.port)]
        process = subprocess.Popen(
            [*command, "-config", str(self._config), "-proxy-metrics"],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        deadline = time.monotonic() + READY_SECONDS_MAX
        while not talks(self.proxy.listen):
            assert time.monotonic() < deadline, "toxiproxy did not start"
        return process

    def restart(self) -> None:
        self.restarts += 1
        self.process.kill()
        self.process.wait(10)
        self.process = self._start()

    def close(self) -> None:
        self.process.kill()
        self.process.wait(10)


def talks(address: Address, wait_seconds_max: float = 0.5) -> bool:
    """Return whether a byte comes back."""
    try:
        with socket.create_connection((address.host, address.port), timeout=wait_seconds_max) as link:
            link.sendall(b"x")
            return link.recv(1) == b"x"
    except OSError:
        return False


@pytest.fixture
def real(tmp_path: Path) -> Iterator[RealToxiproxy]:
    echo = Echo()
    echo.start()
    proxy = RealToxiproxy(tmp_path, echo.address)
    yield proxy
    proxy.close()
    echo.close()


def test_disable_refuses_and_enable_opens(real: RealToxiproxy) -> None:
    real.server.disable("echo")
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((real.proxy.listen.host, real.proxy.listen.port), timeout=1)
    assert [str(left) for left in real.server.leftovers()] == [
        "toxiproxy proxy echo enabled: expected True, found False"
    ]
    real.server.enable("echo")
    assert talks(real.proxy.listen)
    assert real.server.leftovers() == []


def test_a_toxic_meets_new_connections_and_cuts_the_old(real: RealToxiproxy) -> None:
    with socket.create_connection((real.proxy.listen.host, real.proxy.listen.port), timeout=2) as old:
        old.sendall(b"x")
        assert old.recv(1) == b"x"
        real.server.add_toxic("echo", "timeout", "downstream", {"timeout": 0})
        assert old.recv(1) == b""
    assert not talks(real.proxy.listen)
    real.server.clear_toxics("echo")
    assert talks(real.proxy.listen)


def test_an_unknown_proxy_is_named_with_those_there_are(real: RealToxiproxy) -> None:
    with pytest.raises(AdapterError, match="has no proxy 'postgres'; it has echo"):
        real.server.disable("postgres")


def test_a_refused_toxic_is_an_error(real: RealToxiproxy) -> None:
    with pytest.raises(AdapterError, match="refused POST"):
        real.server.add_toxic("echo", "earthquake", "downstream", {})


def test_a_stray_proxy_and_a_missing_one_are_left_over_and_healed(real: RealToxiproxy) -> None:
    stray = {
        "name": "stray",
        "listen": f"127.0.0.1:{free_port()}",
        "upstream": "127.0.0.1:1",
        "enabled": True,
    }
    real.server._call("POST", "/proxies", stray)
    real.server._call("DELETE", "/proxies/echo")
    assert {left.what for left in real.server.leftovers()} == {
        "toxiproxy proxy stray",
        "toxiproxy proxy echo",
    }
    assert real.server.heal() == ["toxiproxy: reset", "toxiproxy: created its proxies anew"]
    assert real.server.leftovers() == []
    assert talks(real.proxy.listen)


def test_healing_what_is_well_does_nothing(real: RealToxiproxy) -> None:
    assert real.server.heal() == []
    assert real.restarts == 0


def test_a_hung_server_is_restarted(real: RealToxiproxy) -> None:
    real.server.disable("echo")
    os.kill(real.process.pid, signal.SIGSTOP)
    with pytest.raises(AdapterError, match="does not answer within 2 s"):
        real.server.leftovers()
    assert real.server.heal() == ["toxiproxy: restarted"]
    assert real.restarts == 1
    assert talks(real.proxy.listen)


def test_a_proxy_of_the_environment_is_not_asked(
    real: RealToxiproxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    for variable in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(variable, f"http://127.0.0.1:{free_port()}")  # nobody listens there
    for variable in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(variable, raising=False)
    real.server.disable("echo")
    assert real.server.heal() == ["toxiproxy: reset"]
    assert real.server.leftovers() == []


def test_a_stranger_on_the_port_is_not_written_to(real: RealToxiproxy) -> None:
    real.server.disable("echo")
    before = real.server.leftovers()
    asked: list[str] = []
    other = ToxiproxyServer(
        "toxiproxy", real.admin, {"echo": real.proxy}, lambda: asked.append("restart"), lambda: False
    )
    with pytest.raises(AdapterError, match="another process listens on"):
        other.heal()
    assert asked == ["restart"]
    assert real.server.leftovers() == before


def test_a_server_that_is_ours_again_after_its_restart_is_healed(real: RealToxiproxy) -> None:
    real.server.disable("echo")
    healer = ToxiproxyServer(
        "toxiproxy", real.admin, {"echo": real.proxy}, real.restart, lambda: real.restarts > 0
    )
    assert healer.heal() == ["toxiproxy: restarted"]
    assert real.server.leftovers() == []


def test_a_proxy_that_nobody_takes_is_idle(real: RealToxiproxy) -> None:
    unused = Proxy("unused", Address("127.0.0.1", free_port()), real.proxy.upstream)
    server = ToxiproxyServer("toxiproxy", real.admin, {"echo": real.proxy, "unused": unused}, real.restart)
    server._call(
        "POST", "/proxies", {"name": "unused", "listen": str(unused.listen), "upstream": "127.0.0.1:1"}
    )
    assert talks(real.proxy.listen)
    assert server.idle() == ["unused"]
    with socket.create_connection((unused.listen.host, unused.listen.port), timeout=2):
        assert server.idle() == []


class _Broken(BaseHTTPRequestHandler):
    """Answers 500 to every write, and holds what it held."""

    def do_GET(self) -> None:
        held = {"echo": {"name": "echo", "listen": "127.0.0.1:1", "upstream": "127.0.0.1:2", "enabled": True}}
        self._answer(200, held | {"echo": held["echo"] | {"toxics": []}})

    def do_POST(self) -> None:
        self._answer(500, {"error": "boom"})

    def _answer(self, status: int, body: object) -> None:
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 the base class names it so
        """Say nothing."""


def test_a_500_is_an_error_although_the_client_library_takes_it_for_success() -> None:
    web = ThreadingHTTPServer(("127.0.0.1", 0), _Broken)
    threading.Thread(target=web.serve_forever, daemon=True).start()
    try:
        proxy = Proxy("echo", Address("127.0.0.1", 1), Address("127.0.0.1", 2))
        server = ToxiproxyServer(
            "toxiproxy", Address("127.0.0.1", web.server_port), {"echo": proxy}, lambda: None
        )
        with pytest.raises(AdapterError, match="answered 500"):
            server.disable("echo")
    finally:
        web.shutdown()
        web.server_close()


def test_two_servers_in_one_process_are_kept_apart(tmp_path: Path) -> None:
    echo = Echo()
    echo.start()
    folders = [tmp_path / "a", tmp_path / "b"]
    for folder in folders:
        folder.mkdir()
    first, second = (RealToxiproxy(folder, echo.address) for folder in folders)
    try:
        first.server.disable("echo")
        assert second.server.leftovers() == []
        assert talks(second.proxy.listen)
        assert not talks(first.proxy.listen)
    finally:
        for proxy in (first, second):
            proxy.close()
        echo.close()
