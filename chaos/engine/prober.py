"""Proof, through the data path, that a fault is live: the drill's clock starts with it."""

from __future__ import annotations

import threading
from types import TracebackType
from typing import Self

from chaos.domain.waiting import LIVE_SECONDS_MAX, POLL_SECONDS
from chaos.errors import LabError
from chaos.ports import Clock, DataPath, ProbeResult

_INTERVAL_SECONDS = 0.05
_LIVE_SECONDS = 0.3  # failing attempts must span this long: a blip is no fault
_LIVE_ATTEMPTS_MIN = 3  # of a path that works at times
_RESULTS_MAX = 20_000


class FaultNotLiveError(LabError):
    """The fault was injected but the data path still works: it is a no-op. Look at the fault's target."""


class Prober:
    """Tries the data path all the time, from before the fault on."""

    def __init__(self, path: DataPath, clock: Clock) -> None:
        self._path = path
        self._clock = clock
        self._results: list[ProbeResult] = []
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="prober", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()  # daemon thread: an attempt that hangs must not delay healing

    def _run(self) -> None:
        while not self._stop.is_set() and len(self._results) < _RESULTS_MAX:
            self._results.append(self._path.probe())
            self._stop.wait(_INTERVAL_SECONDS)

    def wait_live(self, since_unix: float, reasons: tuple[str, ...], *, intermittent: bool) -> ProbeResult:
        """Return the first attempt that failed because of the fault.

        Args:
            since_unix: when injection began; earlier attempts prove nothing.
            reasons: what the attempt may have been told.
            intermittent: the path works at times while the fault is live.

        Raises:
            FaultNotLiveError: the path did not fail so within ``LIVE_SECONDS_MAX``.
        """
        deadline = self._clock.now() + LIVE_SECONDS_MAX
        while self._clock.now() < deadline:
            found = first_failure(
                [r for r in list(self._results) if r.at_unix >= since_unix],
                reasons,
                intermittent=intermittent,
                now_unix=self._clock.now(),
            )
            if found is not None:
                return found
            self._clock.sleep(POLL_SECONDS)
        told = sorted({r.reason for r in self._results if r.at_unix >= since_unix}) or ["nothing"]
        raise FaultNotLiveError(
            f"the fault was injected, but {LIVE_SECONDS_MAX:g} s later the way to the database told a client "
            f"{', '.join(told)} where {' or '.join(reasons)} was due: a no-op fault, nothing was judged"
        )


def first_failure(
    results: list[ProbeResult], reasons: tuple[str, ...], *, intermittent: bool, now_unix: float
) -> ProbeResult | None:
    """Return the first attempt of the failure that lasts, or None while there is none."""
    failing = [result for result in results if not result.ok and result.reason in reasons]
    if intermittent:
        return failing[0] if len(failing) >= _LIVE_ATTEMPTS_MIN else None
    run: list[ProbeResult] = []
    for result in results:
        if not result.ok and result.reason in reasons:
            run.append(result)
        else:
            run = []
    return run[0] if run and now_unix - run[0].at_unix >= _LIVE_SECONDS else None
