"""Limits of the lab's own waits. A wait without one is a defect."""

from __future__ import annotations

POLL_SECONDS = 0.1
STEADY_STATE_SECONDS_MAX = 60.0
LIVE_SECONDS_MAX = 20.0
EVIDENCE_SECONDS_MAX = 20.0
HEAL_SECONDS_MAX = 60.0
RECOVER_SECONDS_MAX = 60.0
