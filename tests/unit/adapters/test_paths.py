"""Conversations over paths: what they tell of the direction that was asked for."""

from __future__ import annotations

from dataclasses import replace

import pytest

from chaos.adapters.paths import LARGE_BYTES, ServicePaths
from chaos.domain.topology import Address, Topology, embedded_topology
from chaos.engine.nemesis.proofs import PROOFS
from tests.support.canned import canned, http_answer

ANSWER = http_answer(b"x" * 40_000)


def leading_to(path: str, url: str) -> Topology:
    topology = embedded_topology("unit", 18_000)
    address = Address("127.0.0.1", int(url.rsplit(":", 1)[1]))
    proxy = replace(topology.service_proxies[path], listen=address)
    return replace(topology, service_proxies={**topology.service_proxies, path: proxy})


@pytest.mark.parametrize("path", ["evidence-api", "api-1", "s3"])
def test_a_request_is_measured_by_itself_however_long_its_answer_is(path: str) -> None:
    with canned(ANSWER) as server:
        paths = ServicePaths(leading_to(path, server.url))
        up, down = (paths.exchange(path, large=large) for large in ("upstream", "downstream"))
    assert LARGE_BYTES < up.volume_bytes < LARGE_BYTES + 500
    assert down.volume_bytes == down.received_bytes == len(ANSWER)
    assert up.complete
    # 8 KB at 7 KB/s take 1.2 s; the 40 KB that came back at full speed have no part in it.
    assert PROOFS["bandwidth"](replace(up, seconds=1.2), {"rate": 7})
    assert not PROOFS["bandwidth"](up, {"rate": 7})
    assert PROOFS["slicer"](
        replace(up, seconds=0.9), {"average_size": 189, "size_variation": 0, "delay": 21_121}
    )
