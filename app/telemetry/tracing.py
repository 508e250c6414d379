"""Spans: what this process did for a trace, and for how long.

Ids exist always, so that log lines can be joined; spans are kept and exported only where
``DCS_OTLP_TRACES_ENDPOINT`` is set and the trace is sampled. Without that a span costs about 3 µs.
"""

from __future__ import annotations

import enum
import time
from collections.abc import Callable
from contextvars import ContextVar, Token
from types import TracebackType
from typing import TYPE_CHECKING, Final, Self

from app import __version__
from app.telemetry.trace_context import TraceContext, new_trace, parsed

if TYPE_CHECKING:
    from app.settings import Settings

Value = str | int | float | bool

_current: ContextVar[TraceContext | None] = ContextVar("dcs_trace", default=None)


class SpanKind(enum.IntEnum):
    """Which side of a call a span tells of, as OpenTelemetry numbers them."""

    INTERNAL = 0
    SERVER = 1
    CLIENT = 2
    PRODUCER = 3
    CONSUMER = 4


class _Tracing:
    """What this process was configured with."""

    ratio = 1.0
    export: Callable[[Span], None] | None = None


class Span:
    """One piece of work, a context manager: an exception that leaves it makes it an error.

    ``parent`` is given where the work came from another process; otherwise it is the span that is open
    around it, and without one a trace begins.
    """

    __slots__ = (
        "_token",
        "attributes",
        "context",
        "end_ns",
        "error",
        "kind",
        "name",
        "parent",
        "recorded",
        "start_ns",
    )

    def __init__(
        self, name: str, kind: SpanKind = SpanKind.INTERNAL, parent: TraceContext | None = None
    ) -> None:
        self.name = name
        self.kind = kind
        self.parent = parent or _current.get()
        self.context = _context_within(self.parent)
        self.recorded = exported(self.context)
        self.attributes: dict[str, Value] = {}
        self.error: str | None = None
        self.start_ns = self.end_ns = 0
        self._token: Token[TraceContext | None] | None = None

    @classmethod
    def ended(
        cls,
        name: str,
        kind: SpanKind,
        *,
        context: TraceContext,
        parent: TraceContext | None,
        start_ns: int,
        end_ns: int,
        attributes: dict[str, Value],
        error: str | None,
    ) -> Self:
        """Return a span of work that is over."""
        span = cls.__new__(cls)
        span.name, span.kind, span.context, span.parent = name, kind, context, parent
        span.start_ns, span.end_ns = start_ns, end_ns
        span.attributes, span.error = attributes, error
        span.recorded = True
        return span

    def set(self, name: str, value: Value | None) -> None:
        """Remember an attribute, by OpenTelemetry's name for it where there is one."""
        if self.recorded and value is not None:
            self.attributes[name] = value

    def fail(self, reason: str) -> None:
        """Mark the work as failed."""
        self.error = reason

    def __enter__(self) -> Self:
        self._token = _current.set(self.context)
        if self.recorded:
            self.start_ns = time.time_ns()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._token is not None:
            _current.reset(self._token)
            self._token = None  # it would keep the whole context of the request until the span is exported
        if not self.recorded:
            return
        if exc is not None and self.error is None:
            self.error = type(exc).__name__
        self.end_ns = time.time_ns()
        export(self)


def _context_within(parent: TraceContext | None) -> TraceContext:
    return parent.child() if parent else new_trace(_Tracing.ratio)


def begin(parent: TraceContext | None) -> TraceContext:
    """Open a span until the context ends. A ``Span`` of it may be made and exported when it is over."""
    context = _context_within(parent)
    _current.set(context)
    return context


def begin_none() -> None:
    """Have no span open until the context ends."""
    _current.set(None)


def exported(context: TraceContext) -> bool:
    """Return whether anybody wants to have that span."""
    return _Tracing.export is not None and context.sampled


def export(span: Span) -> None:
    """Export a span that has ended."""
    if _Tracing.export is not None:
        _Tracing.export(span)


current: Final = _current.get
"""Return the span that is open here, or None."""


def current_traceparent() -> str | None:
    """Return what is stored with a job, so that the worker continues the trace."""
    context = _current.get()
    return context.traceparent if context else None


def outgoing_headers() -> dict[str, str]:
    """Return the headers that a call to another program has to carry: of the span that is open."""
    context = _current.get()
    return context.headers() if context else {}


def recording() -> bool:
    """Whether a span opened here would be exported as part of a trace: else detail is not worth its cost."""
    context = _current.get()
    return context is not None and exported(context)


def remote_parent(traceparent: str | None, tracestate: str | None = None) -> TraceContext | None:
    """Return the caller's context if it is valid: what is not begins a new trace."""
    return parsed(traceparent, tracestate)


def trace_of(traceparent: str | None) -> dict[str, str]:
    """Return the key of a log line that is about something of another trace than the open one."""
    context = parsed(traceparent, None)
    return {} if context is None else {"trace_id": context.trace_id}


def configure_tracing(settings: Settings, *, service: str) -> Callable[[], None]:
    """Configure tracing of this process; return what flushes and ends it within 2 s."""
    _Tracing.ratio = settings.traces_sample_ratio
    if settings.otlp_traces_endpoint is None:
        _Tracing.export = None
        return lambda: None
    # Imported here: it knows what a span is.
    from app.telemetry.otlp import Speaker  # noqa: PLC0415
    from app.telemetry.otlp_traces import OtlpTraces  # noqa: PLC0415

    speaker = Speaker(service, settings.instance, settings.environment, __version__)
    exporter = OtlpTraces(str(settings.otlp_traces_endpoint), speaker)
    _Tracing.export = exporter.emit
    return exporter.shutdown
