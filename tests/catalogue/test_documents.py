from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis.configuration import storage_directory

from chaos.config import ROOT
from tests.catalogue.documents import (
    command_problems,
    decision_problems,
    documents,
    event_page_problems,
    files,
    length_problems,
    link_problems,
    word_problems,
)
from tests.catalogue.log_events import read_events

MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")
EVENT_PAGE = ROOT / "docs" / "reference" / "log-events.md"
README_LINES_MAX = 200
MODULE_LINES_MAX = 400


def test_every_command_of_a_document_can_be_run() -> None:
    assert len(documents(ROOT)) > 10
    assert [problem for path in documents(ROOT) for problem in command_problems(path, MAKEFILE)] == []


def test_every_relative_link_leads_somewhere() -> None:
    assert [problem for path in documents(ROOT) for problem in link_problems(path)] == []


def test_no_file_names_a_machine_a_registry_or_a_plan() -> None:
    assert [problem for path in files(ROOT) for problem in word_problems(path)] == []


def test_hypothesis_keeps_its_files_with_those_of_pytest(pytestconfig: pytest.Config) -> None:
    assert pytestconfig.cache is not None
    assert storage_directory("examples", intent_to_write=False).path.is_relative_to(
        pytestconfig.cache.mkdir("hypothesis")
    )


def test_every_module_can_be_read_at_once() -> None:
    modules = [path for room in ("app", "chaos", "scripts") for path in (ROOT / room).rglob("*.py")]
    assert [problem for path in modules for problem in length_problems(path, MODULE_LINES_MAX)] == []


def test_the_readme_is_short() -> None:
    assert list(length_problems(ROOT / "README.md", README_LINES_MAX)) == []


def test_decision_records_are_short_and_have_one_form() -> None:
    records = sorted((ROOT / "docs" / "decisions").glob("*.md"))
    assert records
    assert [problem for path in records for problem in decision_problems(path)] == []


def test_the_page_of_log_events_is_what_the_service_writes() -> None:
    events = read_events(ROOT / "app")
    assert list(event_page_problems(EVENT_PAGE.read_text(encoding="utf-8"), events)) == []


def page(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "page.md"
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("```sh\nmake drill\n```\n", "no target drill"),
        ("```sh\nmake drill-3 VARIATION=all\n```\n", "make knows no VARIATION"),
        ("```sh\nmake test && make nothing\n```\n", "no target nothing"),
        ("```console\n$ LAB_ID=b make nothing\n```\n", "no target nothing"),
        ("Run `make nothing` first.", "no target nothing"),
        ("```sh\nlab nothing\n```\n", "no command nothing"),
        ("1. Ask:\n\n   ```sh\n   lab nothing\n   ```\n", "no command nothing"),
        ("```sh\nlab status --all\n```\n", "No such option"),
        ("```sh\nlab promql\n```\n", "Missing argument"),
        ("```sh\nlab scenario 3 --hold\n```\n", "requires an argument"),
        ("See `lab logql --until`.", "no option --until"),
        ("```sh\n.venv/bin/lab nothing\n```\n", "no command nothing"),
    ],
)
def test_a_command_that_cannot_be_run_is_noticed(tmp_path: Path, text: str, problem: str) -> None:
    assert problem in "\n".join(command_problems(page(tmp_path, text), MAKEFILE))


@pytest.mark.parametrize(
    "text",
    [
        "```sh\nmake drill-3 VARIANT=all SEED=7\nlab logql '{a=\"b\"}' --since 1h\n```\n",
        "`make scenario-N`, `make`, `lab --help`, `lab logs NAME`",
        "```\nmake nothing: a transcript is no command\n```\n",
    ],
)
def test_a_command_that_can_be_run_is_not(tmp_path: Path, text: str) -> None:
    assert list(command_problems(page(tmp_path, text), MAKEFILE)) == []


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("[x](nowhere.md)", "leads nowhere"),
        ("# Here\n[x](#there)", "no such heading"),
        ("[x](page.md#there)", "no such heading"),
    ],
)
def test_a_link_that_leads_nowhere_is_noticed(tmp_path: Path, text: str, problem: str) -> None:
    assert problem in "\n".join(link_problems(page(tmp_path, text)))


def test_a_link_that_leads_somewhere_is_not(tmp_path: Path) -> None:
    text = "# Over there: here\n[x](#over-there-here) [y](page.md) [z](https://example.org/nothing)\n"
    assert list(link_problems(page(tmp_path, text))) == []


@pytest.mark.parametrize(
    ("parts", "problem"),
    [
        (("cd /", "work/main"), "a path of one machine"),
        (("https://pypi", ".org/simple"), "a registry's host"),
        (("as issue", " #3 asks"), "the number of an issue"),
    ],
)
def test_a_word_that_belongs_elsewhere_is_noticed(
    tmp_path: Path, parts: tuple[str, str], problem: str
) -> None:
    assert problem in "\n".join(word_problems(page(tmp_path, "".join(parts))))


def test_a_module_that_is_too_long_is_noticed(tmp_path: Path) -> None:
    path = page(tmp_path, "x = 1\n" * (MODULE_LINES_MAX + 1))
    assert "has 401 lines" in "\n".join(length_problems(path, MODULE_LINES_MAX))


@pytest.mark.parametrize(
    ("before", "after", "problem"),
    [
        ("# 1. ", "# ", "does not begin with its number"),
        ("**Alternatives.**", "Alternatives.", "has no Alternatives"),
        ("**Context.**", "**Context.**" + "\n" * 40, "40 are allowed"),
    ],
)
def test_a_decision_record_of_another_form_is_noticed(
    tmp_path: Path, before: str, after: str, problem: str
) -> None:
    record = ROOT / "docs" / "decisions" / "0001-lab-clock.md"
    text = record.read_text(encoding="utf-8")
    assert before in text
    changed = tmp_path / record.name
    changed.write_text(text.replace(before, after), encoding="utf-8")
    assert problem in "\n".join(decision_problems(changed))


@pytest.mark.parametrize(
    ("before", "after", "problem"),
    [
        ("| `job_claimed` |", "| `job_taken` |", "job_claimed is written by the service"),
        ("| `job_claimed` |", "| `job_taken` |", "job_taken is on the page"),
        ("| `job_claimed` | info |", "| `job_claimed` | error |", "the page says ['error']"),
        ("| `epoch` | A worker begins", "|  | A worker begins", "the page says []"),
        ("A worker begins an attempt.", "", "no explanation"),
    ],
)
def test_a_page_of_log_events_that_is_not_current_is_noticed(before: str, after: str, problem: str) -> None:
    text = EVENT_PAGE.read_text(encoding="utf-8")
    assert before in text
    changed = text.replace(before, after)
    assert problem in "\n".join(event_page_problems(changed, read_events(ROOT / "app")))
