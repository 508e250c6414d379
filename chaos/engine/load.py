"""Find and read scenarios. Every error of a file is reported together, with file and line."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import yaml
from pydantic import ValidationError

from chaos.config import ROOT
from chaos.domain.scenario import LogSignal, MetricSignal, Scenario, Variant
from chaos.errors import UsageError
from chaos.faults.remedies import REMEDIES

SCENARIOS_DIR = ROOT / "scenarios"
FILE_BYTES_MAX = 256 * 1024
_FOLDER = re.compile(r"(?P<number>\d{2})-[a-z0-9-]+\Z")
# Evidence must be something that a person on call could have: never the lab's own knowledge.
_LAB_ONLY = re.compile(r"\b(lab_[a-z_]+|toxiproxy_[a-z_]+)\b")


class ScenarioInvalidError(UsageError):
    """A scenario file is invalid. Mend the lines named."""

    def __init__(self, problems: Sequence[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = tuple(problems)


@dataclass(frozen=True)
class LoadedScenario:
    """A scenario and where it came from."""

    number: int
    folder: Path
    scenario: Scenario

    @property
    def name(self) -> str:
        """The folder's name, which is the symptom's."""
        return self.folder.name

    def variant(self, wanted: str | None) -> Variant:
        """Return the variant of that id, or the first.

        Raises:
            UsageError: there is none of that id.
        """
        if wanted is None:
            return self.scenario.variants[0]
        for variant in self.scenario.variants:
            if variant.id == wanted:
                return variant
        ids = ", ".join(variant.id for variant in self.scenario.variants)
        raise UsageError(f"scenario {self.number} has no variant {wanted!r}; it has {ids}, or all")


def find(number: str, directory: Path = SCENARIOS_DIR) -> Path:
    """Return the folder of scenario ``number``.

    Raises:
        UsageError: there is no such scenario; the message lists those there are.
    """
    known = {int(match["number"]): path for path, match in _folders(directory)}
    if number.isdecimal() and int(number) in known:
        return known[int(number)]
    listing = ", ".join(f"{n} ({path.name[3:]})" for n, path in sorted(known.items())) or "none"
    raise UsageError(f"there is no scenario {number!r}; there are: {listing}")


def _folders(directory: Path) -> Iterator[tuple[Path, re.Match[str]]]:
    for path in sorted(directory.iterdir()):
        match = _FOLDER.match(path.name)
        if match and (path / "scenario.yml").is_file():
            yield path, match


def load_all(directory: Path = SCENARIOS_DIR) -> list[LoadedScenario]:
    """Return every scenario, by number."""
    return [load(path) for path, _ in _folders(directory)]


def load(folder: Path) -> LoadedScenario:
    """Read ``folder/scenario.yml``.

    Raises:
        ScenarioInvalidError: with every problem of the file, each as ``file:line: where: what``.
    """
    path = folder / "scenario.yml"
    if path.stat().st_size > FILE_BYTES_MAX:
        raise ScenarioInvalidError([f"{path}:1: the file is larger than {FILE_BYTES_MAX} bytes"])
    text = path.read_text(encoding="utf-8")
    try:
        root = yaml.compose(text, Loader=yaml.SafeLoader)
        data = yaml.safe_load(text)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = mark.line + 1 if mark else 1
        raise ScenarioInvalidError([f"{path}:{line}: no valid YAML: {error}"]) from error
    problems: list[tuple[int, str]] = [(line, f"{key} is given twice") for line, key in _repeated(root)]
    scenario: Scenario | None = None
    try:
        scenario = Scenario.model_validate(data)
    except ValidationError as error:
        found = error.errors(include_url=False)
        for item in found:
            where = tuple(item["loc"])
            below = any(other["loc"][: len(where)] == where and other is not item for other in found)
            if item["type"] == "too_short" and below:
                continue  # it is short only because what stands in it was refused
            problems.append((_line_of(root, where), f"{_dotted(where)}: {item['msg']}"))
    if scenario is not None:
        problems += [(_line_of(root, where), f"{_dotted(where)}: {what}") for where, what in _lint(scenario)]
    if problems or scenario is None:
        raise ScenarioInvalidError([f"{path}:{line}: {what}" for line, what in sorted(problems)])
    match = _FOLDER.match(folder.name)
    return LoadedScenario(int(match["number"]) if match else 0, folder, scenario)


Where = tuple[int | str, ...]


def _lint(scenario: Scenario) -> Iterator[tuple[Where, str]]:
    for number, variant in enumerate(scenario.variants):
        for index, evidence in enumerate(variant.evidence):
            text = evidence.expr if isinstance(evidence, MetricSignal) else evidence.query
            yield from _evidence_problems(("variants", number, "evidence", index), text)
        for index, remedy in enumerate(variant.remedy):
            verb = remedy.split(" ")[0]
            if verb not in REMEDIES:
                yield (
                    ("variants", number, "remedy", index),
                    f"no remedy {verb!r}; there are {', '.join(REMEDIES)}",
                )
    for index, expected in enumerate(scenario.expect):
        if isinstance(expected, LogSignal):
            yield from _evidence_problems(("expect", index), expected.query)


def _evidence_problems(where: Where, text: str) -> Iterator[tuple[Where, str]]:
    found = _LAB_ONLY.search(text)
    if found:
        yield where, f"{found.group(0)} is the lab's own knowledge, which nobody on call has"


def _dotted(where: Where) -> str:
    return ".".join(str(part) for part in where) or "the file"


def _line_of(root: yaml.Node | None, where: Where) -> int:
    """Return the line (from 1) of the deepest part of ``where`` that the file has."""
    node, line = root, 1
    for part in where:
        if isinstance(node, yaml.MappingNode):
            pairs = [(key, value) for key, value in node.value if key.value == str(part)]
            if not pairs:
                continue  # pydantic names union members in the path, which the file does not
            line, node = pairs[0][0].start_mark.line + 1, pairs[0][1]
        elif isinstance(node, yaml.SequenceNode) and isinstance(part, int) and part < len(node.value):
            node = node.value[part]
            line = node.start_mark.line + 1
    return line


def _repeated(node: yaml.Node | None) -> Iterator[tuple[int, str]]:
    if isinstance(node, yaml.MappingNode):
        seen: set[str] = set()
        for key, value in node.value:
            if key.value in seen:
                yield key.start_mark.line + 1, str(key.value)
            seen.add(key.value)
            yield from _repeated(value)
    elif isinstance(node, yaml.SequenceNode):
        for item in node.value:
            yield from _repeated(item)


def schema_text() -> str:
    """Return the JSON Schema of ``scenario.yml``, for editors."""
    return json.dumps(Scenario.model_json_schema(by_alias=True), indent=2, sort_keys=True) + "\n"
