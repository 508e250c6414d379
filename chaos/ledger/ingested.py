"""What must have come of delivered files: pure, over what was delivered and what was found."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from chaos.ledger.checks import DUPLICATED, LEAKED, LOST
from chaos.ledger.deliveries import ROWS, Delivered
from chaos.ledger.findings import Finding, Violation

LOADED = "loaded"


@dataclass(frozen=True)
class FileRow:
    """A row of ``ingest_files``."""

    client: str
    key: str
    version: str
    state: str
    rows: int


@dataclass(frozen=True)
class Held:
    """What is stored of one file: how many rows, and a digest of their keys and contents."""

    client: str
    key: str
    count: int
    digest: str


@dataclass(frozen=True)
class Landed:
    """What the final read found of one data set."""

    files: Sequence[FileRow]
    held: Sequence[Held]


def check_landed(delivered: Sequence[Delivered], landed: Landed) -> list[Finding]:
    """Return what the checks of ingestion found."""
    return [i1_loaded(delivered, landed), i2_once(delivered, landed)]


def i1_loaded(delivered: Sequence[Delivered], landed: Landed) -> Finding:
    """Every file is loaded, in its last version."""
    states = {(row.key, row.version): row.state for row in landed.files}
    certain = [file for file in delivered if file.certain]
    violations = []
    for file in certain:
        state = states.get((file.key, str(file.etags[-1])))
        if state is None:
            violations.append(Violation(file.key, "was delivered, and the ledger has not got it", LOST))
        elif state != LOADED:
            violations.append(Violation(file.key, f"its last version is {state}", LOST))
    return Finding("I1", "every delivered file is loaded", len(certain), violations)


def i2_once(delivered: Sequence[Delivered], landed: Landed) -> Finding:
    """Each row of the last version is there once, as its own client's, and no other row is."""
    files = {file.key: file for file in delivered}
    held = {one.key: one for one in landed.held}
    violations = [violation for file in delivered for violation in _rows(file, held)]
    for one in landed.held:
        file = files.get(one.key)
        if file is None:
            violations.append(Violation(one.key, f"has {one.count} rows, and nobody delivered it"))
        elif file.client != one.client:
            violations.append(Violation(one.key, f"its rows are {one.client}'s", LEAKED))
    violations += _entries(files, landed.files)
    return Finding("I2", "each row of a file once", len(landed.held), violations)


def _rows(file: Delivered, held: Mapping[str, Held]) -> Iterator[Violation]:
    one = held.get(file.key)
    if one is None:
        if file.certain:
            yield Violation(file.key, "none of its rows is stored", LOST)
        return
    # Of a put that nobody has answered either may be there: the version before it, or its own.
    allowed = file.digests[-1:] if file.certain else file.digests[-2:]
    if one.count > ROWS:
        yield Violation(file.key, f"{one.count} rows are stored, it has {ROWS}", DUPLICATED)
    elif one.count < ROWS:
        yield Violation(file.key, f"{one.count} rows are stored, it has {ROWS}", LOST)
    elif one.digest not in allowed:
        yield Violation(file.key, f"{one.count} rows are stored, but not those of its last version", LOST)


def _entries(files: Mapping[str, Delivered], found: Sequence[FileRow]) -> Iterator[Violation]:
    for (key, version), count in Counter((row.key, row.version) for row in found).items():
        if count > 1:
            yield Violation(key, f"version {version} is {count} times in the ledger", DUPLICATED)
    for row in found:
        file = files.get(row.key)
        if file is None or (file.certain and row.version not in file.etags):
            yield Violation(row.key, f"version {row.version} is in the ledger, and nobody delivered it")
        elif row.state == LOADED and row.rows != ROWS:
            loss = DUPLICATED if row.rows > ROWS else LOST
            yield Violation(row.key, f"the ledger counts {row.rows} rows, it has {ROWS}", loss)
    loaded = Counter(row.key for row in found if row.state == LOADED)
    for key, count in loaded.items():
        if count > 1:
            yield Violation(key, f"{count} versions of it count as loaded", DUPLICATED)
