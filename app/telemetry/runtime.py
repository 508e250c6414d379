"""How late the event loop is: the first thing to look at when everything is a little slow."""

from __future__ import annotations

import asyncio

from app.telemetry.metrics import runtime

LAG_INTERVAL_SECONDS = 0.25


async def watch_event_loop() -> None:
    """Measure until cancelled."""
    loop = asyncio.get_running_loop()
    while True:
        due = loop.time() + LAG_INTERVAL_SECONDS
        await asyncio.sleep(LAG_INTERVAL_SECONDS)
        runtime.EVENT_LOOP_LAG.observe(max(0.0, loop.time() - due))
