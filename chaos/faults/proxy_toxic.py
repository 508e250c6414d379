"""Traffic through a proxy is impaired."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from chaos.domain.scenario import ProxyToxic
from chaos.ports import Operators


@dataclass(frozen=True)
class ProxyToxicInjector:
    """Adds the toxic; the adapter cuts open connections, since a toxic is drawn once per connection."""

    spec: ProxyToxic
    hangs: ClassVar[bool] = True

    def describe(self) -> str:
        """Return what will be done."""
        return f"add toxic {self.spec.toxic} ({self.spec.stream}) to proxy {self.spec.proxy}"

    def inject(self, operators: Operators) -> None:
        """Impair the path."""
        operators.service_proxies.add_toxic(
            self.spec.proxy, self.spec.toxic, self.spec.stream, {"timeout": self.spec.timeout_ms}
        )
