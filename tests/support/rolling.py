"""Two APIs that are restarted one after the other, as a deployment does it."""

from __future__ import annotations

from collections.abc import Mapping

from tests.support.ports import free_port
from tests.support.service import ServiceProcess
from tests.support.waiting import eventually


def wait_until_ready(api: ServiceProcess) -> None:
    """Wait until a balancer may send it requests."""
    eventually(
        lambda: api.get("/health/ready").status_code == 200,
        within_seconds=20,
        what=f"the API is ready: {api.output()[-2000:]}",
    )


class Rolling:
    """Two APIs, each on its own port, whoever runs there."""

    def __init__(self, settings: Mapping[str, str]) -> None:
        self._settings = dict(settings)
        self.ports = (free_port(), free_port())
        self._running: dict[int, ServiceProcess] = {}

    @property
    def apis(self) -> list[ServiceProcess]:
        """Those that run now."""
        return list(self._running.values())

    def restart(self, **settings: str) -> None:
        """Start each, or start it again with other settings: the second once the first is ready."""
        for number, port in enumerate(self.ports, 1):
            if port in self._running:
                assert self._running[port].terminate() == 0
                self._running[port].close()
            own = {"DCS_INSTANCE": f"api-{number}"}
            api = ServiceProcess("app.main", {**self._settings, **settings, **own}, port=port)
            self._running[port] = api
            api.wait_until_live()
            wait_until_ready(api)

    def close(self) -> None:
        for api in self._running.values():
            api.close()
