"""What a run of the nemesis came to, and the words for it."""

from __future__ import annotations

import html
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from chaos.domain.verdict import Verdict
from chaos.engine.nemesis.campaign import Injection
from chaos.engine.nemesis.table import Impossible
from chaos.ledger.findings import SHOWN_MAX, Finding

VIOLATIONS_KEPT_MAX = 500


@dataclass(frozen=True)
class NemesisResult:
    """Everything found. ``trouble`` is what kept the lab from judging."""

    seed: int
    minutes: float
    run_id: str
    lab_id: str
    started_unix: float
    ended_unix: float
    lease_seconds: float
    submissions: int
    jobs: int
    jobs_min: int
    calls: Mapping[str, Any]
    states: Mapping[str, int]
    settle_seconds: float
    owed: Sequence[str]
    table: Sequence[str]
    injections: Sequence[Injection]
    not_possible: Sequence[Impossible]
    findings: Sequence[Finding]
    trouble: Sequence[str]
    history: str
    partial: str = ""
    """Why only a part of the table was asked for; empty for a whole run."""

    @property
    def faults(self) -> int:
        """How many injections were proven live."""
        return sum(not injection.why for injection in self.injections)

    @property
    def missing(self) -> list[str]:
        """The cells this seed owed and did not hit."""
        hit = {injection.cell for injection in self.injections if not injection.why}
        return [cell for cell in self.owed if cell not in hit]

    @property
    def verdict(self) -> Verdict:
        """FAIL if a promise was broken, which holds whatever else went wrong; ERROR if not all was judged."""
        verdicts = [finding.verdict for finding in self.findings]
        if Verdict.FAIL in verdicts:
            return Verdict.FAIL
        whole = self.findings and not self.trouble and not self.missing and self.jobs >= self.jobs_min
        return Verdict.PASS if whole and Verdict.ERROR not in verdicts else Verdict.ERROR

    def counted(self, loss: str) -> int:
        """Return how many jobs were lost, duplicated or leaked."""
        return sum(finding.counted(loss) for finding in self.findings)

    @property
    def summary(self) -> str:
        """One line."""
        losses = ", ".join(f"{self.counted(loss)} {loss}" for loss in ("lost", "duplicated", "leaked"))
        return f"{self.jobs} jobs, {self.faults} faults, {losses}"

    def problems(self) -> list[str]:
        """Return what stands between this run and a PASS, apart from broken promises."""
        found = list(self.trouble)
        found += [f"{cell} was owed and not injected: {self._why(cell)}" for cell in self.missing]
        if self.jobs < self.jobs_min:
            found.append(f"{self.jobs} jobs, {self.jobs_min} are needed")
        found += [
            f"{finding.check} {finding.unread or 'examined nothing'}"
            for finding in self.findings
            if finding.verdict is Verdict.ERROR
        ]
        return found

    def _why(self, cell: str) -> str:
        whys = [injection.why for injection in self.injections if injection.cell == cell and injection.why]
        return whys[-1] if whys else "the run ended before its turn"

    def as_dict(self) -> dict[str, Any]:
        """Return the result as plain JSON values, with the verdict."""
        plain = asdict(self)
        for kept, finding in zip(plain["findings"], self.findings, strict=True):
            kept["verdict"] = str(finding.verdict)
            kept["broken"] = len(finding.violations)
            kept["violations"] = kept["violations"][:VIOLATIONS_KEPT_MAX]
        return plain | {
            "verdict": str(self.verdict),
            "summary": self.summary,
            "faults": self.faults,
            "missing": self.missing,
            "problems": self.problems(),
        }


def check_rows(result: NemesisResult) -> list[tuple[str, str, str, str, str]]:
    """Return the table of checks: name, promise, how much was examined, what broke, verdict."""
    return [
        (
            finding.check,
            finding.promise,
            str(finding.examined),
            str(len(finding.violations)),
            str(finding.verdict),
        )
        for finding in result.findings
    ]


def cell_rows(result: NemesisResult) -> list[tuple[str, str]]:
    """Return the table of faults: a row per fault, what it hit and how often."""
    hits = Counter(injection.cell for injection in result.injections if not injection.why)
    rows: dict[str, list[str]] = {}
    for cell, count in sorted(hits.items()):
        fault, _, target = cell.partition(":")
        rows.setdefault(fault, []).append(target if count == 1 else f"{target} ({count})")
    return [(fault, ", ".join(targets)) for fault, targets in rows.items()]


def lines(result: NemesisResult) -> list[str]:
    """Return the report as text, the summary last."""
    found = [f"  {fault:<16} {targets}" for fault, targets in cell_rows(result)]
    found.append("")
    found += [
        f"  {check:<10} {promise:<42} {examined:>7} examined  {broken:>5} broken  {verdict}"
        for check, promise, examined, broken, verdict in check_rows(result)
    ]
    for finding in result.findings:
        found += [f"  {finding.check}: {violation}" for violation in finding.violations[:SHOWN_MAX]]
        if len(finding.violations) > SHOWN_MAX:
            found.append(f"  {finding.check}: and {len(finding.violations) - SHOWN_MAX} more")
    states = ", ".join(f"{count} {state}" for state, count in sorted(result.states.items()))
    found += [
        "",
        f"  jobs: {states or 'none'}; all ended {result.settle_seconds:.1f} s after the last fault",
        f"  calls: {', '.join(_told(name, value) for name, value in result.calls.items() if value != {})}",
        f"  this seed owes {len(result.owed)} of {len(result.table)} cells, hit "
        f"{len(result.owed) - len(result.missing)}" + (f" ({result.partial})" if result.partial else ""),
    ]
    found += [f"  not possible here: {each.fault}: {each.reason}" for each in result.not_possible]
    found += [f"  not judged: {problem}" for problem in result.problems()]
    return [*found, "", result.summary]


def to_html(result: NemesisResult) -> str:
    """Return the report as one page without scripts."""

    def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
        cells = "".join(f"<th>{html.escape(text)}</th>" for text in head)
        body = "".join(
            "<tr>" + "".join(f"<td>{html.escape(text)}</td>" for text in row) + "</tr>" for row in rows
        )
        return f"<table><thead><tr>{cells}</tr></thead><tbody>{body}</tbody></table>"

    broken = [
        (finding.check, violation.job, violation.text)
        for finding in result.findings
        for violation in finding.violations[:VIOLATIONS_KEPT_MAX]
    ]
    injections = [
        (
            f"{injection.began_unix - result.started_unix:.1f} s",
            injection.cell,
            injection.stream,
            f"{injection.seconds:.1f} s",
            injection.why or "proven live",
        )
        for injection in result.injections
    ]
    parts = [
        f"<h1>Nemesis, seed {result.seed}: {result.verdict}</h1><p>{html.escape(result.summary)}</p>",
        table(("check", "promise", "examined", "broken", "verdict"), check_rows(result)),
    ]
    if result.problems():
        parts.append(table(("not judged",), [(problem,) for problem in result.problems()]))
    if broken:
        parts.append(table(("check", "job", "what"), broken))
    parts.append(table(("after", "fault", "stream", "took", "proof"), injections))
    parts.append(
        table(("not possible here", "why"), [(each.fault, each.reason) for each in result.not_possible])
    )
    style = (
        "body{font:14px/1.5 system-ui,sans-serif;margin:2rem;color:#222}"
        "table{border-collapse:collapse;margin:1rem 0}"
        "td,th{border:1px solid #ccc;padding:.2rem .6rem;text-align:left}"
    )
    return (
        "<!doctype html><html lang='en'><meta charset='utf-8'>"
        f"<title>Nemesis, seed {result.seed}</title><style>{style}</style>"
        f"<body>{''.join(parts)}</body></html>\n"
    )


def _told(name: str, value: Any) -> str:
    if name == "slowest_seconds":
        return f"the slowest acknowledged after {value:.1f} s"
    if isinstance(value, Mapping):
        return f"{name}: " + ", ".join(f"{count} {what}" for what, count in value.items())
    return f"{value} {name}"
