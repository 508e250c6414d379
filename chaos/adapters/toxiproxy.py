"""One Toxiproxy server, through toxiproxy-python, with what that client lacks.

The client knows one server per process, has no time-out and takes HTTP 500 for success, so every
call here sets the server under a lock, limits the wait, checks the status and reads the write back.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from typing import Any

import psutil
import requests
from toxiproxy.api import APIConsumer
from toxiproxy.exceptions import InvalidToxic, NotFound, ProxyExists
from toxiproxy.server import Toxiproxy

from chaos.domain.topology import Address, Proxy
from chaos.errors import AdapterError
from chaos.ports import Leftover

REQUEST_TIMEOUT_SECONDS = 2.0
_NO_PROXY = {"http": None, "https": None, "all": None}
"""A None outdoes the environment's HTTP_PROXY and ALL_PROXY: nothing stands between us and this machine."""
_HTTP_ERROR_MIN = 300
_ONE_SERVER_AT_A_TIME = threading.Lock()
_IN_USE = frozenset(
    {psutil.CONN_ESTABLISHED, psutil.CONN_TIME_WAIT, psutil.CONN_CLOSE_WAIT, psutil.CONN_FIN_WAIT2}
)


class ToxiproxyServer:
    """A Toxiproxy and the proxies it should hold.

    ``restart`` kills the process and starts it anew: its toxics live in memory only, so this is
    the last rung of :meth:`heal`. ``is_ours`` proves that what listens is this lab's process; a
    stranger on the port is not reset.
    """

    def __init__(
        self,
        name: str,
        address: Address,
        proxies: Mapping[str, Proxy],
        restart: Callable[[], None],
        is_ours: Callable[[], bool] = lambda: True,
    ) -> None:
        self.name = name
        self._address = address
        self._proxies = proxies
        self._restart = restart
        self._is_ours = is_ours

    def _call(self, method: str, path: str, json: Any = None) -> requests.Response:
        with _ONE_SERVER_AT_A_TIME:
            Toxiproxy().update_api_consumer(self._address.host, self._address.port)
            send = {"GET": APIConsumer.get, "POST": APIConsumer.post, "DELETE": APIConsumer.delete}[method]
            body = {} if json is None else {"json": json}
            try:
                response: requests.Response = send(
                    path, timeout=REQUEST_TIMEOUT_SECONDS, proxies=_NO_PROXY, **body
                )
            except (NotFound, InvalidToxic, ProxyExists) as error:
                raise AdapterError(f"{self.name} refused {method} {path}: {error.args[0]!r}") from error
            except requests.RequestException as error:
                raise AdapterError(
                    f"{self.name} does not answer within {REQUEST_TIMEOUT_SECONDS:g} s ({method} {path}): "
                    "run `lab heal`, which restarts it"
                ) from error
        if response.status_code >= _HTTP_ERROR_MIN:
            raise AdapterError(
                f"{self.name} answered {response.status_code} to {method} {path}: {response.text}"
            )
        return response

    def _held(self) -> dict[str, dict[str, Any]]:
        held: dict[str, dict[str, Any]] = self._call("GET", "/proxies").json()
        return held

    def _known(self, proxy: str) -> Proxy:
        if proxy not in self._proxies:
            raise AdapterError(f"{self.name} has no proxy {proxy!r}; it has {', '.join(self._proxies)}")
        return self._proxies[proxy]

    def _set_enabled(self, proxy: str, *, enabled: bool) -> None:
        self._known(proxy)
        self._call("POST", f"/proxies/{proxy}", {"enabled": enabled})
        if self._held()[proxy]["enabled"] is not enabled:
            raise AdapterError(f"{self.name} took enabled={enabled} for {proxy} but does not hold it")

    def disable(self, proxy: str) -> None:
        """Close the path: new connections are refused, existing ones are cut."""
        self._set_enabled(proxy, enabled=False)

    def enable(self, proxy: str) -> None:
        """Open the path."""
        self._set_enabled(proxy, enabled=True)

    def add_toxic(self, proxy: str, toxic: str, stream: str, attributes: Mapping[str, int]) -> None:
        """Impair the path. It is closed meanwhile: only new connections meet a new toxic for sure."""
        self.disable(proxy)
        name = f"{toxic}_{stream}"
        wanted = {
            "name": name,
            "type": toxic,
            "stream": stream,
            "toxicity": 1.0,
            "attributes": dict(attributes),
        }
        self._call("POST", f"/proxies/{proxy}/toxics", wanted)
        held = {item["name"]: item for item in self._call("GET", f"/proxies/{proxy}/toxics").json()}
        if name not in held or held[name]["attributes"] != dict(attributes):
            raise AdapterError(f"{self.name} took toxic {name} on {proxy} but holds {held.get(name)}")
        self.enable(proxy)

    def clear_toxics(self, proxy: str) -> None:
        """Remove every toxic of the path."""
        self._known(proxy)
        for toxic in self._call("GET", f"/proxies/{proxy}/toxics").json():
            self._call("DELETE", f"/proxies/{proxy}/toxics/{toxic['name']}")
        left = self._call("GET", f"/proxies/{proxy}/toxics").json()
        if left:
            raise AdapterError(f"{self.name} still holds {[item['name'] for item in left]} on {proxy}")

    def leftovers(self) -> list[Leftover]:
        """Return what differs from the baseline: all proxies there, enabled, without toxics."""
        held = self._held()
        found: list[Leftover] = []
        for name in sorted(set(held) | set(self._proxies)):
            what = f"{self.name} proxy {name}"
            if name not in held:
                found.append(Leftover(what, "present", "missing"))
            elif name not in self._proxies:
                found.append(Leftover(what, "absent", "present"))
            else:
                found += self._differences(what, self._proxies[name], held[name])
        return found

    @staticmethod
    def _differences(what: str, expected: Proxy, held: Mapping[str, Any]) -> list[Leftover]:
        pairs = (
            ("enabled", "True", str(held["enabled"])),
            ("toxics", "none", ", ".join(sorted(t["name"] for t in held["toxics"])) or "none"),
            ("listen", str(expected.listen), held["listen"]),
            ("upstream", str(expected.upstream), held["upstream"]),
        )
        return [Leftover(f"{what} {key}", wanted, found) for key, wanted, found in pairs if wanted != found]

    def heal(self) -> list[str]:
        """Set the baseline whatever it takes: reset, then create anew, then restart the process.

        What listens there and is not ours is never written to; only the restart is tried then.
        """
        done: list[str] = []
        for name, rung in (
            ("reset", self._reset),
            ("created its proxies anew", self._recreate),
            ("restarted", self._restart),
        ):
            if self._is_at_baseline():
                return done
            if rung != self._restart and not self._is_ours():
                continue
            try:
                rung()
            except AdapterError:
                continue  # the next rung asks less of it
            done.append(f"{self.name}: {name}")
        if not self._is_ours():
            raise AdapterError(
                f"{self.name} could not be healed: another process listens on {self._address}. "
                "End it, then run `lab heal`"
            )
        left = self.leftovers()
        if left:
            raise AdapterError(f"{self.name} could not be healed: {'; '.join(map(str, left))}")
        return done

    def _is_at_baseline(self) -> bool:
        try:
            return not self.leftovers()
        except AdapterError:
            return False

    def _reset(self) -> None:
        self._call("POST", "/reset")

    def _recreate(self) -> None:
        for name in self._held():
            self._call("DELETE", f"/proxies/{name}")
        for proxy in self._proxies.values():
            body = {"name": proxy.name, "listen": str(proxy.listen), "upstream": str(proxy.upstream)}
            self._call("POST", "/proxies", body | {"enabled": True})

    def idle(self) -> list[str]:
        """Return the proxies that no connection goes through now or went through a moment ago.

        The kernel is asked, since the server counts a connection's bytes only when it ends.
        """
        # Both ends are on this machine: whichever closed first is the one that is remembered.
        used = {
            end.port
            for link in psutil.net_connections(kind="tcp4")
            if link.status in _IN_USE
            for end in (link.laddr, link.raddr)
            if end
        }
        return sorted(name for name, proxy in self._proxies.items() if proxy.listen.port not in used)
