from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import TypeAdapter, ValidationError

from app.settings import ClientDatabase, Settings
from app.sources import SourceRefusedError
from app.sources.catalogue import SourceSpec, catalogue

SPEC: TypeAdapter[SourceSpec] = TypeAdapter(SourceSpec)


def settings(tmp_path: Path) -> Settings:
    client = ClientDatabase(host="127.0.0.1", name="acme", user="reader")
    return Settings.model_validate(
        {
            "api_sources": {"evidence": "http://127.0.0.1:1"},
            "client_databases": {"acme": client},
            "sources_allow": ["http://127.0.0.1:1", "postgresql://127.0.0.1:5432", "https://api.example:443"],
            "file_root": tmp_path,
        }
    )


def check(tmp_path: Path, source_type: str, config: dict[str, Any]) -> None:
    catalogue(settings(tmp_path)).check(SPEC.validate_python({"source_type": source_type, "config": config}))


@pytest.mark.parametrize(
    ("source_type", "config"),
    [
        ("api", {"endpoint": "evidence", "resource": "controls"}),
        ("api", {"endpoint": "evidence", "resource": "controls", "page_size": 500}),
        ("api", {"url": "https://api.example/v2/controls?since=2026-01-01"}),
        ("database", {"database": "acme", "query": "open_findings"}),
        ("database", {"database": "acme", "query": "open_findings", "params": {"min_severity": 3}}),
        (
            "database",
            {"database": "acme", "query": "findings_of_asset", "params": {"asset": "'; DROP TABLE x"}},
        ),
        ("file", {"path": "acme/assets.csv"}),
    ],
)
def test_what_is_allowed_passes(tmp_path: Path, source_type: str, config: dict[str, Any]) -> None:
    check(tmp_path, source_type, config)


@pytest.mark.parametrize(
    ("config", "field"),
    [
        ({"database": "other", "query": "open_findings"}, "database"),
        ({"database": "acme", "query": "no_such_query"}, "query"),
        ({"database": "acme", "query": "SELECT 1"}, "query"),
        ({"database": "acme", "query": "open_findings; DROP TABLE findings"}, "query"),
        (
            {"database": "acme", "query": "open_findings", "params": {"min_severity": "1 OR 1=1"}},
            "params.min_severity",
        ),
        (
            {"database": "acme", "query": "open_findings", "params": {"min_severity": 9}},
            "params.min_severity",
        ),
        ({"database": "acme", "query": "open_findings", "params": {"where": "1=1"}}, "params.where"),
        ({"database": "acme", "query": "findings_of_asset"}, "params.asset"),
    ],
)
def test_only_reviewed_queries_with_valid_parameters_pass(
    tmp_path: Path, config: dict[str, Any], field: str
) -> None:
    with pytest.raises(SourceRefusedError) as refused:
        check(tmp_path, "database", config)
    assert refused.value.field == field
    assert refused.value.event == "source_query_refused"


@pytest.mark.parametrize(
    ("source_type", "config", "field"),
    [
        ("api", {"endpoint": "evid\0ence", "resource": "controls"}, "endpoint"),
        ("api", {"endpoint": "evidence", "resource": "controls\0"}, "resource"),
        ("database", {"database": "ac\0me", "query": "open_findings"}, "database"),
        ("database", {"database": "acme", "query": "open_findings\0"}, "query"),
        ("database", {"database": "acme", "query": "findings_of_asset", "params": {"asset": "a\0"}}, "asset"),
        ("file", {"path": "acme/as\0sets.csv"}, "path"),
    ],
)
def test_no_text_may_hold_what_the_database_cannot(
    tmp_path: Path, source_type: str, config: dict[str, Any], field: str
) -> None:
    with pytest.raises((SourceRefusedError, ValidationError)) as refused:
        check(tmp_path, source_type, config)
    if isinstance(refused.value, ValidationError):
        assert [error["loc"][-1] for error in refused.value.errors()] == [field]
    else:
        assert isinstance(refused.value, SourceRefusedError)
        assert refused.value.field.endswith(field)


def test_an_unknown_endpoint_is_refused_and_the_known_are_named(tmp_path: Path) -> None:
    with pytest.raises(SourceRefusedError, match="evidence") as refused:
        check(tmp_path, "api", {"endpoint": "metadata", "resource": "x"})
    assert refused.value.field == "endpoint"


@pytest.mark.parametrize(
    "url", ["http://api.example/", "https://127.0.0.1/", "http://169.254.169.254/latest", "nonsense", "x\0"]
)
def test_a_url_that_no_entry_allows_is_refused(tmp_path: Path, url: str) -> None:
    with pytest.raises(SourceRefusedError) as refused:
        check(tmp_path, "api", {"url": url})
    assert (refused.value.field, refused.value.event) == ("url", "source_target_refused")


@pytest.mark.parametrize(
    ("source_type", "config"),
    [
        ("api", {"endpoint": "evidence", "resource": "../admin"}),
        ("api", {"endpoint": "evidence", "resource": "controls?x=1"}),
        ("api", {"endpoint": "http://169.254.169.254", "resource": "x"}),
        ("api", {"endpoint": "evidence", "resource": "controls", "page_size": 0}),
        ("api", {"endpoint": "evidence", "resource": "controls", "url": "https://api.example/"}),
        ("api", {"resource": "controls", "url": "https://api.example/"}),
        ("api", {"endpoint": "evidence"}),
        ("api", {}),
        ("database", {"database": "acme"}),
        ("database", {"database": "acme", "query": "open_findings", "sql": "SELECT 1"}),
        ("file", {}),
        ("file", {"path": ""}),
        ("ftp", {}),
    ],
)
def test_a_shape_that_is_not_the_documented_one_is_refused(
    tmp_path: Path, source_type: str, config: dict[str, Any]
) -> None:
    with pytest.raises(ValidationError):
        check(tmp_path, source_type, config)
