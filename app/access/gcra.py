"""The generic cell rate algorithm (GCRA), in whole microseconds.

A caller may send ``burst`` requests at once and ``per_minute`` a minute in the long run: in any window of T
microseconds at most ``burst + T / interval_us``. All that is kept of a caller is one time: when it would have
sent what it has sent so far, had it kept to the rate. It may be ahead of now by ``tolerance_us``.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from dataclasses import dataclass
from typing import Self

MINUTE_US = 60_000_000
CALLERS_MAX = 10_000


@dataclass(frozen=True)
class Rate:
    """How often a caller may ask."""

    per_minute: int
    burst: int

    @property
    def interval_us(self) -> int:
        """Between two requests at the rate; rounded up, so that never more get through."""
        return -(-MINUTE_US // self.per_minute)

    @property
    def tolerance_us(self) -> int:
        """How far a caller may be ahead of its rate."""
        return self.interval_us * self.burst

    def shared_by(self, processes: int) -> Rate:
        """Return what each of several processes may let through that cannot count together."""
        return Rate(max(1, self.per_minute // processes), max(1, self.burst // processes))


@dataclass(frozen=True)
class Decision:
    """Whether a request may pass, and what the caller has left."""

    allowed: bool
    rate: Rate
    remaining: int
    retry_after_us: int
    reset_us: int
    """Until the caller has its whole burst again."""

    @property
    def retry_after_seconds(self) -> int:
        """How long to wait before the next request."""
        return max(1, math.ceil(self.retry_after_us / 1_000_000))

    @property
    def reset_seconds(self) -> int:
        """Until the caller has its whole burst again."""
        return math.ceil(self.reset_us / 1_000_000)

    @classmethod
    def of(cls, rate: Rate, *, allowed: bool, ahead_us: int) -> Self:
        """Return what follows from how far ahead of its rate a caller is by now."""
        left_us = rate.tolerance_us - ahead_us
        return cls(
            allowed=allowed,
            rate=rate,
            remaining=max(0, left_us // rate.interval_us),
            retry_after_us=0 if allowed else max(0, rate.interval_us - left_us),
            reset_us=ahead_us,
        )


def decide(expected_us: int | None, now_us: int, rate: Rate) -> tuple[int, Decision]:
    """Return the time to keep of the caller, and the decision on one more request."""
    # A time further ahead than any request puts it: the clock was set back, or the rate was raised.
    ahead_us = min(max(0, (expected_us or 0) - now_us), rate.tolerance_us)
    with_this_us = ahead_us + rate.interval_us
    if with_this_us <= rate.tolerance_us:
        return now_us + with_this_us, Decision.of(rate, allowed=True, ahead_us=with_this_us)
    return now_us + ahead_us, Decision.of(rate, allowed=False, ahead_us=ahead_us)


# The same, for all processes at once, on the server's clock. The key lives until the caller has its whole
# burst again: then no key and an old key mean the same.
LUA = """
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local interval = tonumber(ARGV[1])
local tolerance = tonumber(ARGV[2])
local expected = tonumber(redis.call('GET', KEYS[1]) or '0')
local ahead = math.min(math.max(0, expected - now), tolerance)
local allowed = 0
if ahead + interval <= tolerance then
  allowed = 1
  ahead = ahead + interval
end
if allowed == 1 or expected > now + tolerance then
  redis.call('SET', KEYS[1], string.format('%.0f', now + ahead), 'PX', math.ceil(ahead / 1000))
end
return {allowed, ahead}
"""


class LocalCounts:
    """The same within one process, for when it cannot count with the others."""

    def __init__(self, callers_max: int = CALLERS_MAX) -> None:
        self._expected_us: OrderedDict[bytes, int] = OrderedDict()
        self._callers_max = callers_max

    def take(self, caller: bytes, now_us: int, rate: Rate) -> Decision:
        """Count a request of a caller, or refuse it."""
        expected_us, decision = decide(self._expected_us.get(caller), now_us, rate)
        self._expected_us[caller] = expected_us
        self._expected_us.move_to_end(caller)
        while len(self._expected_us) > self._callers_max:
            self._expected_us.popitem(last=False)
        return decision
