"""Rows per second of ingestion against a raw COPY, and whether its memory grows with the file."""

from __future__ import annotations

import shutil
from contextlib import ExitStack, closing
from pathlib import Path

from bench.figures import Ceiling, Floor, Outcome
from bench.ingest.files import CSV, KINDS, MadeFile, make
from bench.ingest.loading import Ingestion
from bench.ingest.raw import copy_raw, create_tables, empty_ours
from bench.plan import Bench
from bench.processes import BenchError, Program, Programs, pss_bytes
from bench.servers import Servers, servers
from tests.support.seaweed import SeaweedServer

RATIO_MIN = 0.6
GROWTH_MAX = 1.3
"""Peak of a worker's memory with the largest file, against the smallest."""
MEBIBYTE = 1024**2
DISK_TIMES_LARGEST = 12
"""A file lies in the store and in the spool, then in the stage, the table, its index and the log."""


def run(bench: Bench) -> Outcome:
    """Load each kind of file by both ways in every round, then files of several sizes."""
    outcome = Outcome("ingest")
    _check_disk(bench)
    with servers() as running, closing(SeaweedServer()) as s3:
        s3.start()
        create_tables(running)
        _speed(bench, running, s3, outcome)
        _memory(bench, running, s3, outcome)
    return outcome


def size_name(size_bytes: int) -> str:
    """Return a size as a measure's name has it."""
    return f"{size_bytes / 1_000_000:g} MB"


def _check_disk(bench: Bench) -> None:
    needed = DISK_TIMES_LARGEST * max(bench.plan.ingest_bytes * len(KINDS), *bench.plan.memory_bytes)
    free = shutil.disk_usage(bench.folder).free
    if free < needed:
        raise BenchError(f"{bench.folder} has {free / 1e9:.1f} GB free, and {needed / 1e9:.1f} GB are needed")


def _speed(bench: Bench, running: Servers, s3: SeaweedServer, outcome: Outcome) -> None:
    files = [make(bench.folder, kind, bench.plan.ingest_bytes) for kind in KINDS]
    with Programs(bench.folder) as programs:
        ingestion = Ingestion(running, s3, programs, bench.folder, handicap_ms=bench.plan.handicap_ms)
        ingestion.start()
        stored = [ingestion.put(file, file.kind.name) for file in files]
        empty_ours(running)
        ingestion.load(files[0], *stored[0])  # warms up the worker, and the memory of both servers
        copy_raw(running, files[0])
        for number in range(1, bench.plan.rounds + 1):
            for file, (key, version) in zip(files, stored, strict=True):
                outcome.add(_turn(bench, running, ingestion, file, key, version, f"round {number}"))
        _replaced(bench, running, ingestion, files[0], outcome)
    for file in files:
        kind = file.kind.name
        outcome.facts |= {f"rows/{kind}": file.rows, f"file_bytes/{kind}": file.path.stat().st_size}
        ours, raw = f"rows_per_second/{kind}/ours", f"rows_per_second/{kind}/raw-copy"
        outcome.judgements.append(
            Floor(f"Loading {kind} against a raw COPY", ours, (raw,), RATIO_MIN).judge(outcome.rounds)
        )
        file.path.unlink()


def _turn(  # noqa: PLR0917  one cell of the table
    bench: Bench, running: Servers, ingestion: Ingestion, file: MadeFile, key: str, version: str, label: str
) -> dict[str, float]:
    kind = file.kind.name
    raw = copy_raw(running, file)
    empty_ours(running)
    loaded = ingestion.load(file, key, version)
    bench.say(
        f"{label}: {kind} ours {file.rows / loaded.from_begin:,.0f} rows/s "
        f"({file.rows / loaded.from_claim:,.0f} with the download), raw COPY {file.rows / raw:,.0f} rows/s"
    )
    return {
        f"rows_per_second/{kind}/ours": file.rows / loaded.from_begin,
        f"rows_per_second/{kind}/with-download": file.rows / loaded.from_claim,
        f"rows_per_second/{kind}/raw-copy": file.rows / raw,
        f"seconds_from_event/{kind}": loaded.from_telling,
    }


def _replaced(bench: Bench, running: Servers, ingestion: Ingestion, file: MadeFile, outcome: Outcome) -> None:
    """Load a file of which every key is known: what a COPY cannot do, so there is nothing to compare with."""
    empty_ours(running)
    ingestion.load(file, *ingestion.put(file, "first"))
    text = file.path.read_text(encoding="ascii")
    file.path.write_text(text.replace(",team-", ",unit-"), encoding="ascii")
    loaded = ingestion.load(file, *ingestion.put(file, "first"))
    outcome.facts["rows_per_second/replaced"] = round(file.rows / loaded.from_begin)
    bench.say(
        f"once: a new version of {file.kind.name}, {file.rows / loaded.from_begin:,.0f} rows/s replaced"
    )


def _memory(bench: Bench, running: Servers, s3: SeaweedServer, outcome: Outcome) -> None:
    for size_bytes in bench.plan.memory_bytes:
        file = make(bench.folder, CSV, size_bytes)
        rest, peak = _rest_and_peak_mib(bench, running, s3, file)
        file.path.unlink()
        outcome.add({f"worker_peak_mib/{size_name(size_bytes)}": peak})
        outcome.facts["worker_rest_pss_mib"] = round(rest, 1)
        bench.say(f"memory: a file of {size_name(size_bytes)} takes a worker of {peak:.1f} MiB at its peak")
    smallest, *_, largest = (
        f"worker_peak_mib/{size_name(size_bytes)}" for size_bytes in bench.plan.memory_bytes
    )
    ceiling = Ceiling("Memory with the largest file against the smallest", largest, smallest, GROWTH_MAX)
    outcome.judgements.append(ceiling.judge(outcome.rounds))


def _rest_and_peak_mib(
    bench: Bench, running: Servers, s3: SeaweedServer, file: MadeFile
) -> tuple[float, float]:
    """Return what a worker of its own has before a file and, of all times, at most."""
    with ExitStack() as stack:
        programs = stack.enter_context(Programs(bench.folder))
        ingestion = Ingestion(running, s3, programs, bench.folder, handicap_ms=bench.plan.handicap_ms)
        empty_ours(running)
        worker = ingestion.start()
        rest = pss_bytes([worker.process])
        key, version = ingestion.put(file, f"of-{file.rows}")
        ingestion.load(file, key, version)
        s3.delete(key)
        return rest / MEBIBYTE, peak_rss_bytes(worker) / MEBIBYTE


def peak_rss_bytes(program: Program) -> int:
    """Return the most that a process has ever held at once, as the kernel has counted."""
    status = Path(f"/proc/{program.process.pid}/status")
    if status.is_file():
        for line in status.read_text(encoding="utf-8").splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    raise BenchError("this system does not tell the peak of a process's memory")
