from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.support.programs_daemons import alertmanager as run_alertmanager


@pytest.fixture
def alertmanager(tmp_path: Path) -> Iterator[Callable[[str], str]]:
    """Return how to start an Alertmanager that notifies a pager."""
    directory = tmp_path / "alertmanager"
    directory.mkdir()
    with ExitStack() as stack:
        yield lambda pager_url: stack.enter_context(run_alertmanager(directory, pager_url))
