"""The network path through a proxy is closed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from chaos.domain.scenario import ProxyDown
from chaos.ports import Operators


@dataclass(frozen=True)
class ProxyDownInjector:
    """Disables the proxy: its listener closes, so connections are refused and open ones are cut."""

    spec: ProxyDown
    hangs: ClassVar[bool] = False

    def describe(self) -> str:
        """Return what will be done."""
        return f"disable proxy {self.spec.proxy}"

    def inject(self, operators: Operators) -> None:
        """Close the path."""
        operators.service_proxies.disable(self.spec.proxy)
