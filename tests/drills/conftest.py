"""One stack for most drills: booting takes longer than breaking."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from tests.support.lab import Lab, labs


@pytest.fixture(scope="session")
def new_lab() -> Iterator[Callable[..., Lab]]:
    with labs() as make:
        yield make


@pytest.fixture(scope="session")
def shared(new_lab: Callable[..., Lab]) -> Lab:
    lab = new_lab()
    lab.ok("up")
    return lab


@pytest.fixture
def lab(shared: Lab) -> Iterator[Lab]:
    """The shared stack, running and healed before and after each test."""
    shared.ok("up")
    yield shared
    shared.run("heal")
