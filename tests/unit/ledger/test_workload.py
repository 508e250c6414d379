"""What jobs must hold is computed without the service; here it is compared with what the sources give."""

from __future__ import annotations

import csv
import io
from random import Random

import pytest

from chaos.ledger import workload
from chaos.ledger.workload import digest, work
from chaos.upstreams.evidence import TOTALS, item
from chaos.upstreams.moderation_scores import score_text


def test_a_seed_draws_the_same_work_again() -> None:
    first, second = ([work(rng) for _ in range(50)] for rng in (Random(5), Random(5)))  # noqa: S311
    assert first == second
    assert {drawn.kind for drawn in first} <= set(workload.KINDS)
    assert set(workload.KINDS) == set(workload.PATHS)


def test_files_hold_what_their_jobs_expect() -> None:
    files = workload.files()
    rng = Random(1)  # noqa: S311
    for _ in range(40):
        drawn = work(rng, ["file"])
        rows = list(csv.DictReader(io.StringIO(files[drawn.body["config"]["path"]])))
        assert drawn.expected.count == len(rows)
        assert drawn.expected.digest == digest([row["id"] for row in rows])


def test_the_evidence_api_gives_what_its_jobs_expect() -> None:
    keys = [str(item(7, "controls", number)["id"]) for number in range(1, TOTALS["controls"] + 1)]
    drawn = work(Random(1), ["api"])  # noqa: S311
    assert (drawn.expected.count, drawn.expected.digest) == (len(keys), digest(keys))


def test_the_moderation_allows_and_rejects_what_its_jobs_expect() -> None:
    rng = Random(3)  # noqa: S311
    for _ in range(50):
        drawn = work(rng, ["avatar"])
        worst = max(score_text(drawn.body["prompt"]).values())
        assert (worst > 0.9) if drawn.expected.effect == "rejected" else (worst < 0.2)


@pytest.mark.parametrize("seed", range(20))
def test_every_asset_has_a_few_findings(seed: int) -> None:
    drawn = work(Random(seed), ["database"])  # noqa: S311
    assert 2 <= drawn.expected.count <= 3
