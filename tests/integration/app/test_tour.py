"""The sessions of the quickstart and of the page about the API, run as a reader runs them."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import pytest

from app.access.principal import OPERATOR_SCOPES, Scope
from app.access.repository import KeySpec
from chaos.domain.clients import OPERATOR
from chaos.stacks.embedded.databases import seed_files
from chaos.stacks.embedded.layout import Layout
from tests.support.access import RATE_LIMIT_PER_MINUTE, admit, key_of
from tests.support.nginx import nginx_before
from tests.support.postgres import PostgresServer
from tests.support.programs import running
from tests.support.seaweed import ACCESS_KEY, SECRET_KEY, SeaweedServer
from tests.support.service import ROOT, ServiceProcess
from tests.support.transcript import Shell, Step, difference, set_up, steps

QUICKSTART, PAGE = ROOT / "docs" / "quickstart.md", ROOT / "docs" / "howto" / "api.md"
TOUR_SECONDS_MAX = 240
_SECTION = re.compile(r"^## 6\. Talk to the service\n(.*?)^## ", re.MULTILINE | re.DOTALL)


def section() -> str:
    found = _SECTION.search(QUICKSTART.read_text(encoding="utf-8"))
    assert found
    return found[1]


@pytest.fixture(scope="module")
def variables(
    service_settings: dict[str, str],
    s3: SeaweedServer,
    postgres: PostgresServer,
    database_name: str,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[dict[str, str]]:
    """What a reader sets, with the service and the third parties of the lab behind it."""
    home = tmp_path_factory.mktemp("tour")
    layout = Layout(home)
    layout.files.mkdir()
    seed_files(layout)
    (home / "token").write_text("s" * 40)
    admit(
        postgres.port, database_name, OPERATOR, key_of(OPERATOR), KeySpec(frozenset(Scope) - OPERATOR_SCOPES)
    )
    s3.empty()
    with ExitStack() as stack:
        evidence, moderation = (
            stack.enter_context(running(f"chaos.upstreams.{name}", log=home / f"{name}.log")).url
            for name in ("evidence", "moderation")
        )
        schema = {"findings": {"key": "id", "required": ["asset"], "types": {"severity": "integer"}}}
        settings = (
            service_settings
            | s3.settings()
            | {
                "DCS_INSTANCE": "api-1",
                "DCS_DATABASE_QUERY_DEADLINE_SECONDS": "3",
                "DCS_LEASE_SECONDS": "10",
                "DCS_SOURCE_TIMEOUT_SECONDS": "5",
                "DCS_API_SOURCES": json.dumps({"evidence": {"url": evidence, "contract": "evidence"}}),
                "DCS_SOURCES_ALLOW": json.dumps([evidence, moderation, f"s3+{s3.url}"]),
                "DCS_FILE_ROOT": str(layout.files),
                "DCS_AVATARS_MODERATION": "http",
                "DCS_AVATARS_MODERATION_URL": moderation,
                "DCS_ACCESS_TOKEN_KEYS": json.dumps({"lab-1": str(home / "token")}),
                "DCS_ACCESS_TOKEN_KEY": "lab-1",
                # Nobody waits here between two commands.
                "DCS_ACCESS_RATE_LIMIT_PER_MINUTE": str(RATE_LIMIT_PER_MINUTE),
                "DCS_ACCESS_BURST": str(RATE_LIMIT_PER_MINUTE),
                "DCS_ACCESS_TRUSTED_PROXIES": '["127.0.0.1/32"]',
                "DCS_INGEST_DATASETS": json.dumps(schema),
            }
        )
        api = stack.enter_context(closing(ServiceProcess("app.main", settings)))
        worker = stack.enter_context(
            closing(ServiceProcess("app.worker", settings | {"DCS_INSTANCE": "worker-1"}))
        )
        api.wait_until_live()
        worker.wait_until_live()
        nginx = stack.enter_context(nginx_before((api.port, api.port), home / "nginx"))
        yield {
            "DCS": nginx.url,
            "KEY": key_of(OPERATOR).text,
            "EVIDENCE": evidence,
            "S3": s3.url,
            "S3_USER": f"{ACCESS_KEY}:{SECRET_KEY}",
        }


def run_all(text: str, variables: dict[str, str], folder: Path) -> list[tuple[Step, str]]:
    """Return each step with what came of it."""
    given = {name: variables[name] for name in set_up(text)}
    with Shell(folder, given) as shell:
        return [(step, shell.run(step.command)) for step in steps(text)]


def differences(came: list[tuple[Step, str]]) -> list[str]:
    found = ((step, difference(step.shown, output)) for step, output in came)
    return [f"$ {step.command}\n{what}" for step, what in found if what is not None]


@pytest.mark.timeout(TOUR_SECONDS_MAX)
def test_the_session_of_the_quickstart_goes_as_it_is_shown(variables: dict[str, str], tmp_path: Path) -> None:
    came = run_all(section(), variables, tmp_path)
    assert len(came) > 10
    assert "\n\n".join(differences(came)) == ""
    assert_a_changed_answer_is_noticed(came)


@pytest.mark.timeout(TOUR_SECONDS_MAX)
def test_the_session_of_the_api_goes_as_it_is_shown(variables: dict[str, str], tmp_path: Path) -> None:
    came = run_all(PAGE.read_text(encoding="utf-8"), variables, tmp_path)
    assert len(came) > 60
    assert "\n\n".join(differences(came)) == ""
    assert_a_changed_answer_is_noticed(came)


def assert_a_changed_answer_is_noticed(came: list[tuple[Step, str]]) -> None:
    """Compare again, with one word of one shown answer changed, for every answer that is shown."""
    for number, (step, output) in enumerate(came):
        words = [word for word in re.findall(r"[a-z]{4,}|\b\d{1,3}\b", step.shown) if "0" not in word]
        for word in words[:1]:
            changed = Step(step.command, step.shown.replace(word, "9" + word, 1))
            planted = [*came[:number], (changed, output), *came[number + 1 :]]
            assert differences(planted), f"{step.command}: {word}"
