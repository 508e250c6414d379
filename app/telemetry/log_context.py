"""Keys that stand in every log line written for one request or one job.

One context variable that holds all of them: structlog keeps a variable for each, and looks at every variable
of the context for every line.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Final

_NOTHING: Final[Mapping[str, Any]] = {}
_bound: ContextVar[Mapping[str, Any]] = ContextVar("dcs_log_context", default=_NOTHING)


def begin(**keys: object) -> None:
    """Forget all keys, and have these until the context ends."""
    _bound.set(keys)


def bind(**keys: object) -> None:
    """Add keys, until the context ends."""
    _bound.set({**_bound.get(), **keys})


@contextmanager
def bound(**keys: object) -> Iterator[None]:
    """Add keys for a while."""
    token = _bound.set({**_bound.get(), **keys})
    try:
        yield
    finally:
        _bound.reset(token)


current: Final = _bound.get
"""Return the keys. An event that has one itself keeps its own."""
