"""The state machine of a job as the service promises it, and whether a story of events follows it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from chaos.ledger.observed import JobEvent, JobRow

NOWHERE = "nowhere"
"""Where a job is before it is submitted."""


@dataclass(frozen=True)
class Move:
    """What an event does: from one of these states to that one. A claim begins the next epoch."""

    before: frozenset[str]
    after: str
    epochs: int = 0


def _from(*before: str, to: str, epochs: int = 0) -> Move:
    return Move(frozenset(before), to, epochs)


MOVES: Mapping[str, Move] = {
    "submitted": _from(NOWHERE, to="queued"),
    "claimed": _from("queued", to="running", epochs=1),
    "succeeded": _from("running", to="succeeded"),
    "failed": _from("running", to="failed"),
    "dead": _from("running", to="dead"),
    "retried": _from("running", to="queued"),
    "released": _from("running", to="queued"),
    "rescued": _from("running", to="queued"),
    "cancel_requested": _from("running", to="running"),
    "cancelled": _from("queued", "running", to="cancelled"),
    "replayed": _from("dead", "failed", to="queued"),
}


def attempts_told(events: Sequence[JobEvent]) -> int:
    """Return how often a job was tried since it was last replayed; what was given back is no attempt."""
    tried = 0
    for event in sorted(events, key=lambda event: event.seq):
        if event.name == "replayed":
            tried = 0
        tried += (event.name == "claimed") - (event.name == "released")
    return tried


def broken_story(row: JobRow, events: Sequence[JobEvent]) -> str:
    """Return the first thing that is wrong with the story of a job, in words; empty if nothing is."""
    return next(_broken(row, sorted(events, key=lambda event: event.seq)), "")


def _broken(row: JobRow, events: Sequence[JobEvent]) -> Iterator[str]:
    if not events:
        yield "has no story at all"
        return
    numbers = [event.seq for event in events]
    if numbers != list(range(1, len(numbers) + 1)):
        yield f"its events are numbered {', '.join(map(str, numbers))}"
    if row.events is not None and row.events != len(events):
        yield f"it counts {row.events} events and has {len(events)}"
    yield from _impossible(row, events)
    strangers = sorted({event.client for event in events} - {row.client})
    if strangers:
        yield f"its events are of {', '.join(strangers)}, it is of {row.client}"
    named = Counter(event.name for event in events)
    most = named["claimed"] - named["released"]
    # A retry counts as an attempt, or does not when the source was never asked.
    if not named["replayed"] and not most - named["retried"] <= row.attempt <= most:
        yield f"{named['claimed']} claims, {named['released']} of them given back, and {row.attempt} attempts"


def _impossible(row: JobRow, events: Sequence[JobEvent]) -> Iterator[str]:
    state, epoch = NOWHERE, 0
    for event in events:
        move = MOVES.get(event.name)
        if move is None:
            yield f"event {event.seq} is called {event.name!r}, which nobody knows"
            return
        if state not in move.before:
            yield f"event {event.seq} ({event.name}) finds it {state}"
        if event.epoch != epoch + move.epochs:
            yield f"event {event.seq} ({event.name}) is of epoch {event.epoch}, after epoch {epoch}"
        state, epoch = move.after, event.epoch
    if state != row.state:
        yield f"its story ends {state}, the row says {row.state}"
    if epoch != row.epoch:
        yield f"its story ends in epoch {epoch}, the row says {row.epoch}"
