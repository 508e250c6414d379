from __future__ import annotations

import os

import pytest


def pytest_configure(config: pytest.Config) -> None:
    """Let Hypothesis keep what it learns where pytest does, instead of in the checkout."""
    assert config.cache is not None
    os.environ.setdefault("HYPOTHESIS_STORAGE_DIRECTORY", str(config.cache.mkdir("hypothesis")))
