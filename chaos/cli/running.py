"""What drill, scenario and fix have in common: a lab that is up, locked, and free of leftovers."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from chaos.config import LabConfig
from chaos.engine import heal
from chaos.engine.session import Session
from chaos.stacks.embedded.layout import require_disk
from chaos.stacks.embedded.toolchain import console_report
from chaos.wiring import Lab, open_lab, open_session

SEED_MAX = 2**31 - 1


@dataclass(frozen=True)
class Ready:
    """A lab whose lock this process holds and whose stack runs."""

    lab: Lab
    session: Session
    started_here: bool


@contextmanager
def ready_lab(say: Callable[[str], None], *, keep: bool) -> Iterator[Ready]:
    """Yield a running, healed lab under its lock.

    A stack that was found running is left running; one that was started here is stopped at the
    end unless ``keep``.

    Raises:
        LabBusyError: another run holds the lab.
    """
    lab = lab_with_room()
    lock_fd = lab.runs.acquire()
    try:
        session = open_session(lab, lock_fd, say)
        found_running = bring_up(lab, session, say)
        try:
            yield Ready(lab, session, started_here=not found_running)
        finally:
            # After a hold the guardian still needs the stack.
            if not found_running and not keep and lab.runs.active() is None:
                say("stopping the stack that was started for this (KEEP=1 keeps it)")
                lab.stack.down(say)
    finally:
        lab.runs.release()


def lab_with_room() -> Lab:
    """Return the lab of this checkout, after seeing that its disk has room: before anything is written.

    Raises:
        DiskFullError: it has not.
    """
    config = LabConfig()
    require_disk(config.state_dir, config.disk_free_min_bytes)
    return open_lab(config)


def bring_up(lab: Lab, session: Session, say: Callable[[str], None]) -> bool:
    """Start the stack, or heal the one that runs. Return whether it was found running.

    What a dead run has left is healed before anything is waited for: a program may not be able
    to become ready as long as it is there.
    """
    found_running = lab.stack.is_running()
    if not found_running or not lab.stack.is_current():
        with console_report() as report:
            lab.stack.up(say, report)
        session.clear_crashed()
    elif lab.runs.active() is None:
        left = heal.leftovers(lab.operators)
        if left:
            say(f"left over from before: {'; '.join(left)}: healing first")
            session.heal_now()
    else:
        session.clear_crashed()
    return found_running


def seed_or_random(seed: int | None) -> int:
    """Return the seed that was asked for, or a new one, which is printed and so can be repeated."""
    return secrets.randbelow(10_000) if seed is None else seed
