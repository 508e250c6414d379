"""The checker, checked: a directed run turns it red on a service that breaks a promise, and only there."""

from __future__ import annotations

import random
import signal
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from chaos.domain.verdict import Verdict
from chaos.ledger.findings import Finding
from chaos.ledger.workload import Expected, Work, digest, work
from tests.support import mutants
from tests.support.postgres import PostgresServer
from tests.support.scene import Scene, broken, mutated_service
from tests.support.upstream import TOTAL, Upstream
from tests.support.waiting import eventually

API, WORKER = "app.main", "app.worker"
PAGES = Work(
    "api",
    "/api/v1/jobs/trigger",
    {"source_type": "api", "config": {"endpoint": "evidence", "resource": "controls", "page_size": 50}},
    Expected(TOTAL, digest([str(number) for number in range(TOTAL)])),
)


def files(count: int, prefix: str = "file") -> dict[str, Work]:
    rng = random.Random(7)  # noqa: S311
    return {f"{prefix}-{number}": work(rng, ["file"]) for number in range(count)}


def zombie(scene: Scene, upstream: Upstream) -> dict[str, Finding]:
    """A worker is stopped in the middle of a job, another takes over, the first one wakes and ends it."""
    api, first = scene.start((API, "api-1"), (WORKER, "worker-1"))
    upstream.hold()
    scene.submit(api, "acme", {"held": PAGES})
    assert upstream.asked.wait(10)
    upstream.asked.clear()
    first.process.send_signal(signal.SIGSTOP)
    # The answer that the sleeper waits for; the next request is held again.
    upstream.release()
    eventually(lambda: upstream.answered == 1, within_seconds=10, what="the first request is answered")
    upstream.hold()
    [second] = scene.start((WORKER, "worker-2"))
    assert upstream.asked.wait(40), second.output()
    first.process.send_signal(signal.SIGCONT)
    eventually(
        lambda: first.events("job_fenced") or first.events("job_succeeded"),
        within_seconds=15,
        what="the zombie has tried to end its job",
    )
    upstream.release()
    scene.submit(api, "globex", files(2))
    return scene.judge(api)


def crash_after_the_answer(scene: Scene, upstream: Upstream) -> dict[str, Finding]:
    """The API dies right after it has acknowledged."""
    api, _ = scene.start((API, "api-1"), (WORKER, "worker-1"))
    assert all(scene.submit(api, "acme", files(3)))
    api.kill()
    [api] = scene.start((API, "api-1"))
    scene.submit(api, "globex", files(2))
    return scene.judge(api)


def repetition(scene: Scene, upstream: Upstream) -> dict[str, Finding]:
    """A client that never saw its answer sends the same again."""
    api, _ = scene.start((API, "api-1"), (WORKER, "worker-1"))
    works = files(3)
    scene.submit(api, "acme", works)
    scene.submit(api, "acme", works)
    scene.submit(api, "globex", files(1))
    return scene.judge(api)


def crash_after_the_end(scene: Scene, upstream: Upstream) -> dict[str, Finding]:
    """The worker dies right after it has called a job done."""
    api, worker = scene.start((API, "api-1"), (WORKER, "worker-1"))
    scene.submit(api, "acme", files(3))
    scene.tables.settle(15)
    worker.kill()
    scene.start((WORKER, "worker-2"))
    scene.submit(api, "globex", files(2))
    return scene.judge(api)


def crash_in_the_middle(scene: Scene, upstream: Upstream) -> dict[str, Finding]:
    """The worker dies while it runs a job, and another takes over."""
    api, worker = scene.start((API, "api-1"), (WORKER, "worker-1"))
    upstream.hold()
    scene.submit(api, "acme", {"held": PAGES})
    assert upstream.asked.wait(10)
    worker.kill()
    upstream.release()
    scene.start((WORKER, "worker-2"))
    scene.submit(api, "globex", files(2))
    return scene.judge(api)


Direct = Callable[[Scene, Upstream], dict[str, Finding]]


@dataclass(frozen=True)
class Proof:
    """A directed run, the mutant that it catches, and by which checks."""

    run: Direct
    mutate: Callable[[Path], None]
    caught_by: str
    sql: str = ""


PROOFS: Mapping[str, Proof] = {
    "fencing removed": Proof(zombie, mutants.without_fencing, "C4"),
    "acknowledged early": Proof(crash_after_the_answer, mutants.acknowledging_early, "C1"),
    "unique key dropped": Proof(
        repetition, mutants.without_unique_keys, "C3", f"DROP INDEX {mutants.UNIQUE_INDEX}"
    ),
    "done before stored": Proof(crash_after_the_end, mutants.done_before_stored, "C3"),
    "buried at the first rescue": Proof(crash_in_the_middle, mutants.burying_at_the_first_rescue, "C1"),
}


def _names(*in_the_gate: str) -> list[Any]:
    return [pytest.param(name, marks=[] if name in in_the_gate else [pytest.mark.full]) for name in PROOFS]


@pytest.mark.parametrize("name", _names("fencing removed", "acknowledged early", "unique key dropped"))
def test_a_service_that_breaks_its_promise_is_caught(  # noqa: PLR0917  fixtures
    name: str,
    scene: Callable[..., Scene],
    upstream: Upstream,
    postgres: PostgresServer,
    database_name: str,
    tmp_path: Path,
) -> None:
    proof = PROOFS[name]
    root = mutated_service(tmp_path / "mutant", proof.mutate)
    if proof.sql:
        postgres.execute(proof.sql, database_name)
    findings = proof.run(scene(root), upstream)
    assert proof.caught_by in broken(findings), broken(findings)
    assert "isolation" not in broken(findings)


@pytest.mark.parametrize("name", _names("fencing removed"))
def test_the_same_run_of_the_real_service_passes(
    name: str, scene: Callable[..., Scene], upstream: Upstream
) -> None:
    findings = PROOFS[name].run(scene(), upstream)
    assert broken(findings) == {}
    assert {finding.verdict for finding in findings.values()} == {Verdict.PASS}
