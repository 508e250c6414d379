"""One embedded stack for all tests here, driven through the `lab` command as a person would."""

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
    """The shared stack, at its baseline before and after each test."""
    before = shared.stack.snapshot()
    yield shared
    if not shared.stack.is_running():
        shared.ok("up")
    shared.stack.repair()
    assert shared.stack.snapshot() == before
