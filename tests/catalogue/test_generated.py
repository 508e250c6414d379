from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from chaos.config import ROOT, LabConfig
from chaos.engine.load import load_all
from scripts import reference_pages, render_docs, settings_notes
from scripts.render_docs import documents, main, stale_documents

SOURCES = ("observability", "scenarios", "deploy/nginx", "docs/reference")


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    for name in SOURCES:
        shutil.copytree(ROOT / name, tmp_path / name)
    for name in ("README.md", ".env.example"):
        shutil.copy(ROOT / name, tmp_path)
    return tmp_path


def test_every_generated_document_is_current(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--check"]) == 0, capsys.readouterr().err


def test_every_generated_document_says_so() -> None:
    for path, text in documents(ROOT).items():
        assert "do not edit; run make render" in text, path


def test_no_list_of_scenarios_gives_a_cause_away() -> None:
    told = documents(ROOT)["scenarios/README.md"] + documents(ROOT)["README.md"].split("<!-- scenarios")[1]
    listed = told.split("<!-- end of scenarios")[0]
    for loaded in load_all(ROOT / "scenarios"):
        for variant in loaded.scenario.variants:
            assert variant.id not in listed
            assert variant.cause not in listed
            assert variant.title not in listed


def test_a_document_that_was_edited_is_noticed(checkout: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert stale_documents(checkout) == []
    for path in documents(checkout):
        kept = (checkout / path).read_text(encoding="utf-8")
        (checkout / path).write_text(
            kept.replace("|", "/", 1) if "|" in kept else kept + "\n", encoding="utf-8"
        )
    stale = stale_documents(checkout)
    assert set(stale) >= set(documents(checkout)) - {"README.md"}
    assert main(["--check", "--root", str(checkout)]) == 1
    assert "docs/reference/settings.md is not current: run make render" in capsys.readouterr().err
    assert main(["--root", str(checkout)]) == 0
    assert stale_documents(checkout) == []


@pytest.mark.parametrize(
    ("source", "before", "after", "path"),
    [
        ("observability/prometheus/rules/redis.alerts.yml", "for: 1m", "for: 2m", "docs/reference/alerts.md"),
        ("scenarios/03-connection-refused/scenario.yml", "symptom: >-", "symptom: >-\n  New:", "README.md"),
        (
            "scenarios/03-connection-refused/scenario.yml",
            "symptom: >-",
            "symptom: >-\n  New:",
            "scenarios/README.md",
        ),
    ],
)
def test_a_source_that_was_changed_is_noticed(
    checkout: Path, source: str, before: str, after: str, path: str
) -> None:
    file = checkout / source
    text = file.read_text(encoding="utf-8")
    assert before in text
    file.write_text(text.replace(before, after), encoding="utf-8")
    assert path in stale_documents(checkout)


def test_a_document_that_is_missing_is_noticed(checkout: Path) -> None:
    (checkout / ".env.example").unlink()
    assert stale_documents(checkout) == [".env.example"]


def test_a_readme_without_its_markers_is_refused(checkout: Path) -> None:
    (checkout / "README.md").write_text("# Firedrill\n", encoding="utf-8")
    with pytest.raises(render_docs.MarkersMissingError):
        stale_documents(checkout)


def test_a_setting_without_a_description_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    notes = dict(settings_notes.NOTES)
    del notes["LAB_ID"]
    monkeypatch.setattr(settings_notes, "NOTES", notes)
    with pytest.raises(reference_pages.UndescribedError, match="LAB_ID is described nowhere"):
        list(reference_pages.settings(LabConfig))


def test_a_setting_that_is_described_twice_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    notes = {**settings_notes.NOTES, "DCS_DATABASE_SSLMODE": "twice"}
    monkeypatch.setattr(settings_notes, "NOTES", notes)
    with pytest.raises(reference_pages.UndescribedError, match="DCS_DATABASE_SSLMODE is described twice"):
        reference_pages.settings_page()


def test_no_note_is_left_of_a_setting_that_is_gone() -> None:
    names = {name for _, model in reference_pages.GROUPS for name, *_ in reference_pages.settings(model)}
    assert set(settings_notes.NOTES) <= names
    assert set(settings_notes.DEFAULTS) <= names


def test_the_example_of_settings_sets_nothing() -> None:
    lines = reference_pages.env_example().splitlines()
    assert all(line.startswith("#") for line in lines if line)
    assert "#LAB_ID=" in lines


def test_the_schema_is_json_that_names_the_scenario() -> None:
    schema = json.loads(render_docs.scenario_schema())
    assert {"symptom", "variants", "expect"} <= set(schema["properties"])
