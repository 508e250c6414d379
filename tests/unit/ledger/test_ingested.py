"""The checks of ingestion, on files that came right and on files that did not."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from chaos.domain.verdict import Verdict
from chaos.errors import LabError
from chaos.ledger.deliveries import ROWS, Delivered, Deliveries, Version, delivered
from chaos.ledger.findings import Finding
from chaos.ledger.history import History, read_history
from chaos.ledger.ingested import FileRow, Held, Landed, check_landed
from tests.support.waiting import eventually

KEYS = ("lander-01/2026-11-28/n.00001.csv", "lander-02/2026-11-28/n.00002.csv")


def digest(number: int, version: int = 1) -> str:
    return Version("", "", version, f"{number:05d}").digest


@dataclass
class Case:
    """Two files: the first was replaced, the second was not."""

    delivered: list[Delivered] = field(
        default_factory=lambda: [
            Delivered("lander-01", KEYS[0], [digest(1), digest(1, 2)], ["a", "b"]),
            Delivered("lander-02", KEYS[1], [digest(2)], ["c"]),
        ]
    )
    files: list[FileRow] = field(
        default_factory=lambda: [
            FileRow("lander-01", KEYS[0], "a", "superseded", ROWS),
            FileRow("lander-01", KEYS[0], "b", "loaded", ROWS),
            FileRow("lander-02", KEYS[1], "c", "loaded", ROWS),
        ]
    )
    held: list[Held] = field(
        default_factory=lambda: [
            Held("lander-01", KEYS[0], ROWS, digest(1, 2)),
            Held("lander-02", KEYS[1], ROWS, digest(2)),
        ]
    )

    def findings(self) -> dict[str, Finding]:
        return {one.check: one for one in check_landed(self.delivered, Landed(self.files, self.held))}


def test_what_came_right_passes() -> None:
    assert {check: one.verdict for check, one in Case().findings().items()} == {
        "I1": Verdict.PASS, "I2": Verdict.PASS,
    }  # fmt: skip


def test_nothing_delivered_proves_nothing() -> None:
    assert {one.verdict for one in check_landed([], Landed([], []))} == {Verdict.ERROR}


def _held(**changes: object) -> Callable[[Case], None]:
    def change(case: Case) -> None:
        case.held[0] = replace(case.held[0], **changes)  # type: ignore[arg-type]

    return change


def _file(**changes: object) -> Callable[[Case], None]:
    def change(case: Case) -> None:
        case.files[1] = replace(case.files[1], **changes)  # type: ignore[arg-type]

    return change


def _not_in_the_ledger(case: Case) -> None:
    del case.files[1]


def _twice_in_the_ledger(case: Case) -> None:
    case.files.append(case.files[2])


def _no_rows(case: Case) -> None:
    del case.held[1]


def _rows_of_nobody(case: Case) -> None:
    case.held.append(Held("lander-01", "lander-01/2026-11-28/n.00009.csv", ROWS, "x"))


def _both_versions_loaded(case: Case) -> None:
    case.files[0] = replace(case.files[0], state="loaded")


@pytest.mark.parametrize(
    ("change", "check", "loss", "said"),
    [
        (_not_in_the_ledger, "I1", "lost", "has not got it"),
        (_file(state="pending"), "I1", "lost", "is pending"),
        (_file(state="dead"), "I1", "lost", "is dead"),
        (_file(state="superseded"), "I1", "lost", "is superseded"),
        (_no_rows, "I2", "lost", "none of its rows"),
        (_held(count=ROWS - 1), "I2", "lost", "9 rows are stored"),
        (_held(count=ROWS + 5), "I2", "duplicated", "15 rows are stored"),
        (_held(digest=digest(1)), "I2", "lost", "not those of its last version"),
        (_held(client="lander-02"), "I2", "leaked", "are lander-02's"),
        (_rows_of_nobody, "I2", "", "nobody delivered it"),
        (_twice_in_the_ledger, "I2", "duplicated", "2 times in the ledger"),
        (_both_versions_loaded, "I2", "duplicated", "2 versions of it count"),
        (_file(rows=2 * ROWS), "I2", "duplicated", "the ledger counts 20 rows"),
        (_file(version="z"), "I2", "", "version z is in the ledger"),
    ],
)
def test_what_did_not_is_noticed(change: Callable[[Case], None], check: str, loss: str, said: str) -> None:
    case = Case()
    change(case)
    found = case.findings()[check]
    assert found.verdict is Verdict.FAIL
    assert any(said in one.text and one.loss == loss for one in found.violations), found.violations


def test_of_a_put_that_nobody_answered_either_version_may_be_there() -> None:
    for version in (1, 2):
        case = Case()
        case.delivered[0].etags[1] = None
        case.held[0] = replace(case.held[0], digest=digest(1, version))
        assert {one.verdict for one in case.findings().values()} == {Verdict.PASS}


@dataclass
class Bucket:
    """Takes every other put, and keeps what it has refused as well: nobody knows."""

    objects: dict[str, bytes] = field(default_factory=dict)
    calls: int = 0

    def put(self, key: str, body: bytes) -> str:
        self.calls += 1
        self.objects[key] = body
        if self.calls % 2:
            raise LabError("connection reset")
        return f"etag-{body.decode().splitlines()[1]}"

    def delete(self, key: str) -> None:
        self.objects.pop(key, None)


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr("chaos.ledger.deliveries.EVERY_SECONDS", 0.001)
    monkeypatch.setattr("chaos.ledger.deliveries.PAUSE_SECONDS", 0.001)
    return iter(())


@pytest.mark.usefixtures("quick")
def test_each_file_is_put_until_it_is_acknowledged_and_the_history_tells_the_last_version(
    tmp_path: Path,
) -> None:
    bucket = Bucket()
    path = tmp_path / "history.jsonl"
    with History(path) as history:
        deliveries = Deliveries(
            bucket, history, clients=("lander-01", "lander-02"), day="2026-11-28", dataset="n", seed=1
        )
        deliveries.start()
        eventually(lambda: bucket.calls > 60, within_seconds=10, what="some are delivered")
        deliveries.stop(5)
    files = delivered(read_history(path))
    assert {file.key for file in files} == set(bucket.objects)
    assert all(file.certain for file in files)
    assert {len(file.etags) for file in files} == {1, 2}
    for file in files:
        rows = [line.replace(",", "=") for line in bucket.objects[file.key].decode().splitlines()[1:]]
        assert len(rows) == ROWS
        assert str(file.etags[-1]) == f"etag-{rows[0].replace('=', ',')}"
    assert deliveries.tidy() == 0
    assert bucket.objects == {}
