"""Names of the lab's own clients of the service, each of which has a key."""

from __future__ import annotations

OPERATOR = "operator"
"""Whoever works at the lab's keyboard."""
PROBER = "prober"
S3_EVENTS = "s3-events"
"""Tells the service of files of all clients."""
LANDERS = ("lander-01", "lander-02")
"""Clients of the nemesis that deliver files."""
LEDGER = tuple(f"ledger-{number:02d}" for number in range(1, 21))
"""Clients of the nemesis. They ask as fast as the service answers."""
