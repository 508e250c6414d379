"""W3C trace context: who asked for this work, as it travels in headers and with jobs."""

from __future__ import annotations

import random
import re
from typing import Final, NamedTuple

# https://www.w3.org/TR/trace-context/: lower case only, no zero ids; version ff is none, and a later version
# may have more fields than the four we know.
_TRACEPARENT = re.compile(
    r"(?P<version>(?!ff)[0-9a-f]{2})-(?P<trace_id>(?!0{32})[0-9a-f]{32})-(?P<span_id>(?!0{16})[0-9a-f]{16})"
    r"-(?P<flags>[0-9a-f]{2})(?P<more>-[!-~]{0,200})?\Z"
)
_TRACESTATE = re.compile(r"[ -~]{1,512}\Z")
SAMPLED: Final = 0x01
# Seeded from the machine's entropy once; a system call for each span would be most of its cost.
_random = random.Random()  # noqa: S311  ids must be unique, not secret
_NEVER_ZERO: Final = 1 << 191 | 1


def new_span_id() -> str:
    """Return 16 hexadecimal digits, never all zero."""
    return f"{_random.getrandbits(64) or 1:016x}"


def new_request_id() -> str:
    """Return 32 hexadecimal digits."""
    return f"{_random.getrandbits(128):032x}"


class TraceContext(NamedTuple):
    """One span of one trace. ``state`` is what other vendors' tracers passed along, unread."""

    trace_id: str
    span_id: str
    sampled: bool
    state: str = ""

    @property
    def traceparent(self) -> str:
        """The header, as others may continue it."""
        return f"00-{self.trace_id}-{self.span_id}-{'01' if self.sampled else '00'}"

    def headers(self) -> dict[str, str]:
        """Return what a call that this span makes has to carry."""
        headers = {"traceparent": self.traceparent}
        if self.state:
            headers["tracestate"] = self.state
        return headers

    def child(self) -> TraceContext:
        """Return a new span of the same trace."""
        return TraceContext(self.trace_id, new_span_id(), self.sampled, self.state)


def parsed(traceparent: str | None, tracestate: str | None = None) -> TraceContext | None:
    """Return the caller's context, or None for anything that the recommendation does not allow."""
    match = _TRACEPARENT.match(traceparent or "")
    if match is None or (match["version"] == "00" and match["more"] is not None):
        return None
    state = tracestate if tracestate and _TRACESTATE.match(tracestate) else ""
    return TraceContext(
        match["trace_id"], match["span_id"], bool(int(match["flags"], 16) & SAMPLED), state.strip()
    )


def new_trace(ratio: float) -> TraceContext:
    """Return the first span of a new trace, of which ``ratio`` are sampled."""
    both = (_random.getrandbits(192) | _NEVER_ZERO).to_bytes(24).hex()
    trace_id = both[:32]
    # The rule of OpenTelemetry's ratio sampler, so that every process would decide the same.
    sampled = ratio >= 1 or int(trace_id[16:], 16) < ratio * 2**64
    return TraceContext(trace_id, both[32:], sampled)
