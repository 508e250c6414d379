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
_LIVE_ATTEMPTS_MIN = 3
_HANGING_SECONDS = 1.0  # one attempt that fails after so long has met silence, not a blip
_RESULTS_MAX = 20_000


class FaultNotLiveError(LabError):
    """The fault was injected but the data path still works: it is a no-op. Look at the fault's target."""


class Prober:
    """Tries the data path all the time, from before the fault on."""

    def __init__(self, path: DataPath, clock: Clock) -> None:
        self._path = path
        self._clock = clock
        self._results: list[ProbeResult] = []
        self._error: Exception | None = None
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
        try:
            while not self._stop.is_set() and len(self._results) < _RESULTS_MAX:
                self._results.append(self._path.probe())
                self._stop.wait(_INTERVAL_SECONDS)
        except Exception as error:  # noqa: BLE001 - told to whoever waits: without probes nothing is proven
            self._error = error

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
            if self._error is not None:
                raise FaultNotLiveError(f"the data path could not be tried: {self._error}") from self._error
            found = first_failure(
                [r for r in list(self._results) if r.at_unix >= since_unix],
                reasons,
                intermittent=intermittent,
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
    results: list[ProbeResult], reasons: tuple[str, ...], *, intermittent: bool
) -> ProbeResult | None:
    """Return the first attempt of the failure that lasts, or None while there is none.

    A failure lasts when several attempts in a row met it, over some time, or when the last one hung;
    one that comes and goes, when it came back.
    """
    if intermittent:
        return _first_of_several(results, reasons)
    run: list[ProbeResult] = []
    for result in results:
        if not result.ok and result.reason in reasons:
            run.append(result)
        else:
            run = []
    if not run:
        return None
    repeated = len(run) >= _LIVE_ATTEMPTS_MIN and run[-1].at_unix - run[0].at_unix >= _LIVE_SECONDS
    return run[0] if repeated or run[-1].took_seconds >= _HANGING_SECONDS else None


def _first_of_several(results: list[ProbeResult], reasons: tuple[str, ...]) -> ProbeResult | None:
    """Return the first failed attempt if the path has worked since and failed again."""
    starts: list[ProbeResult] = []
    failing = False
    for result in results:
        if result.ok:
            failing = False
        elif not failing and result.reason in reasons:
            failing = True
            starts.append(result)
    return starts[0] if len(starts) > 1 else None
