"""Hands in jobs and notes when. The same loop for every contestant; standard library only."""

from __future__ import annotations

import argparse
import json
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

THREADS = 4


@dataclass(frozen=True)
class Order:
    """How many jobs, how fast (0: as fast as they are taken), and where to write when each was handed in."""

    count: int
    first: int
    rate_per_second: float
    out: Path


def parse(arguments: Sequence[str] | None = None) -> Order:
    """Read the command line of a submitter."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--count", type=int, required=True)
    parser.add_argument("--first", type=int, required=True)
    parser.add_argument("--rate-per-second", type=float, required=True)
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args(arguments)
    return Order(options.count, options.first, options.rate_per_second, options.out)


def submit_all(submit: Callable[[int], object], order: Order) -> None:
    """Hand in every job from a few threads, as an API under load would.

    At a rate, a job counts as handed in when it was due: a submitter that is kept waiting makes it late.
    """
    numbers = iter(range(order.first, order.first + order.count))
    times: dict[int, float] = {}
    failed: list[BaseException] = []
    lock = threading.Lock()
    started = time.time()

    def work() -> None:
        while not failed:
            with lock:
                number = next(numbers, None)
            if number is None:
                return
            if order.rate_per_second:
                due = started + (number - order.first) / order.rate_per_second
                time.sleep(max(0.0, due - time.time()))
            else:
                due = time.time()
            times[number] = due
            try:
                submit(number)
            except Exception as exc:  # noqa: BLE001  told below, by the thread that ends the process
                failed.append(exc)

    threads = [threading.Thread(target=work) for _ in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failed:
        raise failed[0]
    order.out.write_text(json.dumps({"submitted": times, "ended": time.time()}), encoding="utf-8")
