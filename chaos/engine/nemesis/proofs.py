"""Whether one exchange over a path shows that a fault is live on it. Pure, one predicate per fault."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from chaos.engine.nemesis.ports import Answered, Exchange
from chaos.engine.nemesis.table import DOWN

_SHARE = 0.6
"""Of the time a toxic should cost: it sleeps between chunks, not before the first."""
_SILENCE_SECONDS = 0.9

Attributes = Mapping[str, int]


def _refused(x: Exchange, _: Attributes) -> bool:
    return x.error == "refused"


def _late(x: Exchange, a: Attributes) -> bool:
    floor = (a["latency"] - a["jitter"]) / 1000 * 0.9
    return x.first_byte_seconds is not None and x.first_byte_seconds >= floor


def _throttled(x: Exchange, a: Attributes) -> bool:
    spoken = x.error in {"", "timeout"} and x.volume_bytes > 0
    return spoken and x.seconds >= _SHARE * x.volume_bytes / (a["rate"] * 1000)


def _lingers(x: Exchange, a: Attributes) -> bool:
    return x.complete and x.close_seconds >= _SHARE * a["delay"] / 1000


def _silent(x: Exchange, _: Attributes) -> bool:
    # With a limit of its own the toxic hangs up after it; nothing is ever answered.
    return x.error in ("", "closed", "reset", "timeout") and x.received_bytes == 0 and not x.complete


def _reset(x: Exchange, _: Attributes) -> bool:
    return x.error == "reset"


def _sliced(x: Exchange, a: Attributes) -> bool:
    slices = x.volume_bytes / (a["average_size"] + a["size_variation"])
    return x.received_bytes > 0 and x.seconds >= _SHARE * slices * a["delay"] / 1e6


def _cut_short(x: Exchange, _: Attributes) -> bool:
    return x.error in ("closed", "reset") and not x.complete


PROOFS: Mapping[str, Callable[[Exchange, Attributes], bool]] = {
    DOWN: _refused,
    "latency": _late,
    "bandwidth": _throttled,
    "slow_close": _lingers,
    "timeout": _silent,
    "reset_peer": _reset,
    "slicer": _sliced,
    "limit_data": _cut_short,
}

_OK, _ERROR, _THROTTLED = 200, 500, 429

MISHAP_PROOFS: Mapping[str, Callable[[Answered], bool]] = {
    "upstream-slow": lambda answered: answered.status == 0,
    "upstream-error": lambda answered: answered.status == _ERROR,
    "upstream-garbage": lambda answered: answered.status == _OK and not answered.usable,
    "upstream-throttled": lambda answered: answered.status == _THROTTLED,
}
