"""Looking names up, within a time."""

from __future__ import annotations

import ipaddress
import queue
import socket
import threading
import time
from collections.abc import Sequence
from typing import Protocol

from app.net.addresses import IPAddress

LOOKUPS_AT_ONCE_MAX = 8


class ResolveError(OSError):
    """The name could not be looked up. ``timed_out``: nobody answered in time."""

    def __init__(self, message: str, *, timed_out: bool = False) -> None:
        super().__init__(message)
        self.timed_out = timed_out


class Resolver(Protocol):
    """Finds the addresses of a name."""

    def __call__(self, name: str, timeout_seconds: float) -> Sequence[IPAddress]:
        """Return every address. Raises ``ResolveError``."""


class SystemResolver:
    """``getaddrinfo``, which has no time-out of its own, in threads that may be left behind."""

    def __init__(self) -> None:
        self._slots = threading.BoundedSemaphore(LOOKUPS_AT_ONCE_MAX)

    def __call__(self, name: str, timeout_seconds: float) -> Sequence[IPAddress]:
        """Return every address. Raises ``ResolveError``."""
        give_up_at = time.monotonic() + timeout_seconds
        late = f"{name} was not looked up within {timeout_seconds:g} s"
        if not self._slots.acquire(timeout=timeout_seconds):
            raise ResolveError(late, timed_out=True)
        answers: queue.SimpleQueue[list[IPAddress] | OSError] = queue.SimpleQueue()
        threading.Thread(target=self._look_up, args=(name, answers), name="look-up", daemon=True).start()
        try:
            answer = answers.get(timeout=max(0.0, give_up_at - time.monotonic()))
        except queue.Empty:
            raise ResolveError(late, timed_out=True) from None
        if isinstance(answer, OSError):
            raise ResolveError(f"could not look up {name}: {answer.strerror or answer}") from answer
        return answer

    def _look_up(self, name: str, answers: queue.SimpleQueue[list[IPAddress] | OSError]) -> None:
        try:
            found = socket.getaddrinfo(name, None, type=socket.SOCK_STREAM)
            texts = dict.fromkeys(str(one[4][0]).partition("%")[0] for one in found)
            answers.put([ipaddress.ip_address(text) for text in texts])
        except UnicodeError:
            answers.put(OSError(f"{name} is no name of the DNS"))
        except OSError as exc:
            answers.put(exc)
        finally:
            self._slots.release()
