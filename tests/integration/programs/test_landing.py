"""Files that the traffic delivers to a real store."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from chaos.traffic.landing import DAYS_BEFORE, PARTS
from tests.support.programs import Program, eventually, running
from tests.support.programs_stub import stub_service
from tests.support.seaweed import BUCKET, SeaweedServer

CLIENTS = 2


@pytest.fixture(scope="module")
def s3() -> Iterator[SeaweedServer]:
    with closing(SeaweedServer()) as server:
        server.start()
        server.empty()
        yield server


@pytest.fixture
def traffic(s3: SeaweedServer, tmp_path: Path) -> Iterator[Program]:
    (tmp_path / "client-01.key").write_text("key\n")
    landing = (
        "--landing", f"{s3.url}/{BUCKET}",
        "--landing-access-key-file", str(s3.home / "access"),
        "--landing-secret-key-file", str(s3.home / "secret"),
        "--landing-clients", str(CLIENTS),
        "--landing-every-seconds", "0.05",
    )  # fmt: skip
    with stub_service() as stub:
        common = ("--target", stub.url, "--clients", "1", "--keys-dir", str(tmp_path))
        with running("chaos.traffic", *common, *landing, log=tmp_path / "log") as program:
            yield program


def keys(s3: SeaweedServer) -> set[str]:
    return {one["Key"] for one in s3.client.list_objects_v2(Bucket=BUCKET).get("Contents", ())}


def put(program: Program, outcome: str) -> float:
    return program.metric("lab_traffic_objects_total", outcome=outcome)


def test_days_are_delivered_with_their_markers_and_old_ones_are_deleted(
    s3: SeaweedServer, request: pytest.FixtureRequest
) -> None:
    today = dt.datetime.now(dt.UTC).date()
    old = f"client-01/{today - dt.timedelta(days=40)}/findings.0.csv"
    s3.put(old, "id\n")
    s3.put("client-09/2020-01-01/kept.csv", "id\n")  # another's
    program: Program = request.getfixturevalue("traffic")
    objects_max = CLIENTS * (DAYS_BEFORE * 2 + PARTS + 1)
    enough = objects_max * 2
    eventually(lambda: put(program, "ok") >= enough, 20, "twice as many puts as there are objects")
    found = keys(s3)
    assert old not in found
    assert "client-09/2020-01-01/kept.csv" in found
    # A day more, if midnight has just passed.
    assert objects_max <= len(found) - 1 <= objects_max + CLIENTS * (PARTS + 1)
    for number in range(1, CLIENTS + 1):
        for back in range(1, DAYS_BEFORE + 1):
            assert f"client-{number:02d}/{today - dt.timedelta(days=back)}/_SUCCESS" in found
    assert put(program, "error") == 0


@pytest.mark.full
def test_a_store_that_is_away_costs_deliveries_and_nothing_else(s3: SeaweedServer, traffic: Program) -> None:
    eventually(lambda: put(traffic, "ok") > 0, 10, "something is delivered")
    s3.stop()
    eventually(lambda: put(traffic, "error") > 0, 10, "a delivery fails")
    before = put(traffic, "ok")
    s3.start()
    eventually(lambda: put(traffic, "ok") > before, 20, "it delivers again")
    assert traffic.metric("lab_traffic_requests_total") > 0
