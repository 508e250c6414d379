"""Keys that stand in every log line written for one request or one job.

One context variable that holds all of them: structlog keeps a variable for each, and looks at every variable
of the context for every line.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from structlog.typing import EventDict, WrappedLogger

_NOTHING: Final[Mapping[str, Any]] = {}
_bound: ContextVar[Mapping[str, Any]] = ContextVar("dcs_log_context", default=_NOTHING)


def clear() -> None:
    """Forget all keys."""
    _bound.set(_NOTHING)


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


def merge(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """Put the keys into an event that does not have them itself."""
    return {**_bound.get(), **event}
