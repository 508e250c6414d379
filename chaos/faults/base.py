"""What every kind of fault is."""

from __future__ import annotations

from typing import ClassVar, Protocol

from chaos.ports import Operators


class Injector(Protocol):
    """One fault, ready to be injected."""

    hangs: ClassVar[bool]
    """Whether a client meets silence, so that its own deadline is part of the detection time."""

    def describe(self) -> str:
        """Return what will be done, for the journal: written before it is done."""

    def inject(self, operators: Operators) -> None:
        """Do it. Whether it took effect is proven afterwards, through the data path."""
