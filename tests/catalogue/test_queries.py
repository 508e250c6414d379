from __future__ import annotations

from pathlib import Path

import pytest

from chaos.config import ROOT
from tests.catalogue.queries import (
    Query,
    known_metrics,
    log_problems,
    log_queries,
    metric_problems,
    metric_queries,
)

APP = ROOT / "app"


def test_every_query_asks_prometheus_for_what_exists() -> None:
    queries = list(metric_queries(ROOT))
    assert {query.where.split(" ")[0] for query in queries} == {"rule", "scenario", "runbook", "document"}
    assert [problem for query in queries for problem in metric_problems(query)] == []


def test_every_query_asks_loki_for_what_exists() -> None:
    queries = list(log_queries(ROOT))
    assert {query.where.split(" ")[0] for query in queries} == {"scenario", "runbook", "document"}
    assert [problem for query in queries for problem in log_problems(query, APP)] == []


def test_no_metric_of_others_is_listed_that_nobody_reads() -> None:
    read = " ".join(query.text for query in metric_queries(ROOT))
    unused = [name for name in known_metrics() if not name.startswith("dcs_") and name not in read]
    assert unused == []


@pytest.mark.parametrize(
    ("expression", "problem"),
    [
        ("dcs_db_conect_errors_total", "nobody exposes dcs_db_conect_errors_total"),
        ('dcs_db_connect_errors_total{why="refused"}', "has no label why"),
        ('dcs_db_connect_errors_total{reason="refuse"}', "never 'refuse'"),
        ('dcs_db_connect_errors_total{reason=~"closed|dsn"}', "never 'dsn'"),
        ("sum by (host) (rate(dcs_http_requests_total[5m]))", "by (host)"),
        ("rate(dcs_job_duration_seconds[5m])", "nobody exposes dcs_job_duration_seconds"),
        ("toxiproxy_proxy_received_bytes_total", "nobody exposes"),
    ],
)
def test_a_query_for_what_does_not_exist_is_noticed(expression: str, problem: str) -> None:
    assert problem in " ".join(metric_problems(Query("here", expression)))


@pytest.mark.parametrize(
    "expression",
    [
        'sum by (le) (rate(dcs_http_request_duration_seconds_bucket{le="1.0",job="api"}[5m]))',
        'dcs_db_connect_errors_total{reason=~"refused|closed"}',
    ],
)
def test_a_query_for_what_exists_is_not(expression: str) -> None:
    assert list(metric_problems(Query("here", expression))) == []


@pytest.mark.parametrize(
    ("query", "problem"),
    [
        ('{service_name="api"} | event="db_conect_failed"', "no event 'db_conect_failed'"),
        ('{service_name="api"} | event="job_submitted" | reason="x"', "no key 'reason'"),
        ('{service_name="apis"}', "no stream is called 'apis'"),
        ('{app="api"}', "no label of a stream"),
        ('"nothing"', "selects no stream"),
    ],
)
def test_a_log_query_for_what_does_not_exist_is_noticed(query: str, problem: str) -> None:
    assert problem in " ".join(log_problems(Query("here", query), APP))


def test_an_event_that_was_renamed_in_the_code_is_noticed(tmp_path: Path) -> None:
    code = tmp_path / "app" / "engine.py"
    code.parent.mkdir()
    code.write_text('log.error("connecting_failed", reason="x")\n')
    query = Query("here", '{service_name="api"} | event="db_connect_failed"')
    assert "no event 'db_connect_failed'" in " ".join(log_problems(query, code.parent))
