"""The database server runs with another value of a setting."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from chaos.domain.scenario import DatabaseSetting
from chaos.ports import Operators


@dataclass(frozen=True)
class DatabaseSettingInjector:
    """Writes the setting as ``ALTER SYSTEM`` does and restarts the server."""

    spec: DatabaseSetting
    hangs: ClassVar[bool] = False

    def describe(self) -> str:
        """Return what will be done."""
        return f"set {self.spec.name} = '{self.spec.value}' and restart postgres"

    def inject(self, operators: Operators) -> None:
        """Let the server start with the setting."""
        operators.database.set_setting(self.spec.name, self.spec.value)
        operators.stack.bounce("postgres")
        operators.stack.wait_started("postgres")  # what fails while it restarts proves nothing
