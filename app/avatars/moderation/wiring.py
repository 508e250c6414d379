"""The moderator that the settings choose."""

from __future__ import annotations

from typing import TYPE_CHECKING

from app.avatars.moderation import Moderator, Policy
from app.avatars.moderation.http import HttpModerator
from app.avatars.moderation.simulated import SimulatedModerator
from app.avatars.settings import THRESHOLDS_DEFAULT
from app.net.breaker import Breaker
from app.net.guard import Guard, TargetRefusedError
from app.settings import Settings
from app.telemetry.metrics import avatars as metrics

if TYPE_CHECKING:
    import httpx


def moderator(settings: Settings) -> Moderator:
    """Return it. Nothing is called yet. Raises ``ValueError`` when the settings contradict each other."""
    if settings.avatars_moderation == "simulated":
        return SimulatedModerator()
    url, guard = str(settings.avatars_moderation_url), Guard(settings.sources_allow)
    try:
        guard.check_url(url)
    except TargetRefusedError as exc:
        msg = f"DCS_AVATARS_MODERATION_URL {exc}"
        raise ValueError(msg) from exc

    def client() -> httpx.Client:
        import httpx  # noqa: PLC0415  only workers with an API to ask need it

        from app.net.http import guarded_client  # noqa: PLC0415  the same

        seconds = settings.avatars_moderation_timeout_seconds
        made = guarded_client(guard, timeout_seconds=seconds)
        made.timeout = httpx.Timeout(seconds, connect=settings.avatars_moderation_connect_timeout_seconds)
        return made

    breaker = Breaker(
        failures_max=settings.avatars_breaker_failures,
        open_seconds=settings.avatars_breaker_open_seconds,
        on_change=lambda state: metrics.MODERATION_BREAKER_STATE.set(state.value),
    )
    return HttpModerator(
        url,
        client,
        breaker,
        timeout_seconds=settings.avatars_moderation_timeout_seconds,
        token_file=settings.avatars_moderation_token_file,
    )


def policy(settings: Settings) -> Policy:
    """Return the thresholds."""
    return Policy({**THRESHOLDS_DEFAULT, **settings.avatars_thresholds}, settings.avatars_threshold_other)
