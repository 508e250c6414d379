from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.support.monitoring import program, render_both


@pytest.fixture(scope="session")
def amtool() -> str:
    return program("amtool")


@pytest.fixture(scope="session")
def rendered(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Path]:
    return render_both(tmp_path_factory.mktemp("routes"))
