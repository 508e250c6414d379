"""The examples of docs/howto/sources.md are what the service takes."""

from __future__ import annotations

import json
import re

import pytest
from pydantic import TypeAdapter

from app.settings import Settings
from app.sources import SourceType
from app.sources.catalogue import SourceSpec
from chaos.config import ROOT

PAGE = (ROOT / "docs" / "howto" / "sources.md").read_text(encoding="utf-8")
JOBS = re.findall(r'^\{"source_type".*\}$', PAGE, re.MULTILINE)
SETTINGS = re.findall(r"^DCS_(\w+)='(.*)'$", PAGE, re.MULTILINE)
SPEC: TypeAdapter[SourceSpec] = TypeAdapter(SourceSpec)


@pytest.mark.parametrize("job", JOBS)
def test_a_job_of_the_page_is_one(job: str) -> None:
    SPEC.validate_json(job)


@pytest.mark.parametrize(("name", "value"), SETTINGS, ids=[name for name, _ in SETTINGS])
def test_a_setting_of_the_page_is_one(name: str, value: str) -> None:
    Settings.model_validate({name.lower(): json.loads(value)})
    assert name.lower() in Settings.model_fields


def test_the_page_has_examples_of_every_type() -> None:
    assert {SPEC.validate_json(job).source_type for job in JOBS} == set(SourceType)
    sections = set(re.findall(r"^## `(\w+)`$", PAGE, re.MULTILINE))
    rows = set(re.findall(r"^\| `(\w+)` \|", PAGE, re.MULTILINE))
    assert sections == rows == {source_type.value for source_type in SourceType}
    assert {name for name, _ in SETTINGS} == {"SOURCES_ALLOW", "API_SOURCES", "CLIENT_DATABASES"}
