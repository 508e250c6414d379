"""Writes every generated document, or with --check says which are not as the code would write them.

Usage: python -m scripts.render_docs [--check] [--root CHECKOUT].
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Sequence
from pathlib import Path

from chaos.domain.scenario import AlertSignal
from chaos.engine.load import LoadedScenario, load_all, schema_text
from scripts.reference_pages import NOTICE, alerts_page, env_example, metrics_page, settings_page

ROOT = Path(__file__).resolve().parent.parent
README_BEGIN = "<!-- scenarios: do not edit; run make render -->"
README_END = "<!-- end of scenarios -->"


class MarkersMissingError(Exception):
    """README.md has lost the two comment lines between which the scenario table is written."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the documents, or check them; 1 when a check finds one that is not current."""
    parser = argparse.ArgumentParser(description="Write every generated document.")
    parser.add_argument("--check", action="store_true", help="write nothing; fail when one is not current")
    parser.add_argument("--root", type=Path, default=ROOT, help="the checkout")
    options = parser.parse_args(arguments)
    stale = stale_documents(options.root)
    if options.check:
        for path in stale:
            print(f"{path} is not current: run make render", file=sys.stderr)
        return 1 if stale else 0
    wanted = documents(options.root)
    for path in stale:
        (options.root / path).parent.mkdir(parents=True, exist_ok=True)
        (options.root / path).write_text(wanted[path], encoding="utf-8")
        print(f"wrote {path}")
    return 0


def stale_documents(root: Path) -> list[str]:
    """Return the paths of those that are missing or not as they would be written now."""
    return [path for path, text in documents(root).items() if _read(root / path) != text]


def documents(root: Path) -> dict[str, str]:
    """Return every generated document, by path below ``root``."""
    scenarios = load_all(root / "scenarios")
    readme = (root / "README.md").read_text(encoding="utf-8")
    return {
        "README.md": with_table(readme, scenario_table(scenarios, "scenarios/", "docs/runbooks/")),
        "scenarios/README.md": scenarios_page(scenarios),
        "scenarios/scenario.schema.json": scenario_schema(),
        "docs/reference/settings.md": settings_page(),
        "docs/reference/metrics.md": metrics_page(),
        "docs/reference/alerts.md": alerts_page(root),
        ".env.example": env_example(),
    }


def with_table(readme: str, table: str) -> str:
    """Return ``readme`` with ``table`` between its markers.

    Raises:
        MarkersMissingError: they are not there, once each and in order.
    """
    before, begin, rest = readme.partition(README_BEGIN)
    _, end, after = rest.partition(README_END)
    if not begin or not end or README_BEGIN in after:
        raise MarkersMissingError(f"README.md needs {README_BEGIN!r} and below it {README_END!r}, once")
    return f"{before}{begin}\n{table}\n{end}{after}"


def scenarios_page(scenarios: Sequence[LoadedScenario]) -> str:
    """Return scenarios/README.md. It names symptoms: whoever practises must not read a cause in a list."""
    return "\n".join(
        [
            NOTICE,
            "# Scenarios",
            "",
            "What a person on call meets. The causes are in each `scenario.yml`: whoever wants to find them",
            "does not look. A variant is one cause; [add a scenario](../docs/howto/add-a-scenario.md) says",
            "how to write one.",
            "",
            scenario_table(scenarios, "", "../docs/runbooks/"),
            "",
        ]
    )


def scenario_table(scenarios: Sequence[LoadedScenario], here: str, runbooks: str) -> str:
    """Return a table of symptoms and of who is told, without a cause."""
    lines = [
        "| scenario | what you see | variants | what tells you | break, mend, judge |",
        "|---|---|---|---|---|",
    ]
    for loaded in scenarios:
        told = ", ".join(f"[{name}]({runbooks}{name}.md)" for name in expected_alerts(loaded))
        symptom = " ".join(loaded.scenario.symptom.split()).replace("|", r"\|")
        commands = "<br>".join(f"`make {verb}-{loaded.number}`" for verb in ("scenario", "fix", "drill"))
        lines.append(
            f"| [{loaded.number}. {_title(loaded)}]({here}{loaded.name}) | {symptom} "
            f"| {len(loaded.scenario.variants)} | {told} | {commands} |"
        )
    return "\n".join(lines)


def expected_alerts(loaded: LoadedScenario) -> list[str]:
    """Return the alerts that some variant must raise, the scenario's own first, then by name."""

    def names(expectations: Sequence[object]) -> set[str]:
        return {each.name for each in expectations if isinstance(each, AlertSignal)}

    scenario = loaded.scenario
    own = names(scenario.expect)
    others = {
        name for variant in scenario.variants for name in names(scenario.contract(variant).expect)
    } - own
    return sorted(own) + sorted(others)


def _title(loaded: LoadedScenario) -> str:
    words = re.sub(r"^\d+-", "", loaded.name).replace("-", " ")
    return words[:1].upper() + words[1:]


def scenario_schema() -> str:
    """Return the JSON Schema of scenario.yml, for editors."""
    schema = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$comment": "do not edit; run make render",
        **json.loads(schema_text()),
    }
    return json.dumps(schema, indent=2) + "\n"


def _read(path: Path) -> str | None:
    return path.read_text(encoding="utf-8") if path.is_file() else None


if __name__ == "__main__":
    sys.exit(main())
