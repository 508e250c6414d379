"""The test command: static checks, then every suite, each in its own pytest; ends with one summary line.

Fails on any failure, on a skip whose reason is not in tests/allowed_skips.txt, and when no test ran.
"""

from __future__ import annotations

import argparse
import re
import signal
import subprocess
import sys
import time
import xml.etree.ElementTree as ET
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
# Quick ones first: what is wrong should be known soon. Folders not named here come last.
ORDER = ("unit", "catalogue", "rules", "routes", "contract", "integration", "drills", "browser")
CHECK_TIMEOUT_SECONDS = 600
PROGRAMS_TIMEOUT_SECONDS = 3600  # Go builds of a new machine take minutes each, which no single test may
SUITE_TIMEOUT_SECONDS = 1800
FULL_SUITE_TIMEOUT_SECONDS = 4 * 3600
INTERRUPT_GRACE_SECONDS = 60
NO_TESTS_COLLECTED = 5
EXIT_INTERRUPTED = 130
REASON_CHARACTERS_MAX = 400


@dataclass
class Suite:
    """What came of one folder of tests."""

    name: str
    passed: int = 0
    failed: int = 0
    failures: list[str] = field(default_factory=list)
    seconds: float = 0.0
    skips: Counter[str] = field(default_factory=Counter)
    trouble: str = ""

    @property
    def skipped(self) -> int:
        """How many tests were skipped."""
        return self.skips.total()


def main(arguments: Sequence[str] | None = None) -> int:
    """Run everything and return the exit code."""
    options = parse(arguments)
    checks_failed = 0 if options.no_checks else run_checks(options.root)
    if options.checks_only:
        return 1 if checks_failed else 0
    if not options.no_checks:
        checks_failed += get_programs(options.root)
    suites = [run_suite(name, options) for name in find_suites(options.root / "tests", options.suite)]
    allowed = read_allowed(options.root / "tests" / "allowed_skips.txt")
    refused = refused_skips(suites, allowed)
    print_table(suites, allowed)
    passed = sum(suite.passed for suite in suites)
    failed = checks_failed + sum(suite.failed for suite in suites) + refused
    if passed == 0 and failed == 0:
        print("no test ran: that is a failure")
        failed = 1
    print(f"{passed} passed, {failed} failed, {sum(suite.skipped for suite in suites)} skipped", flush=True)
    return 1 if failed else 0


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line; what follows ``--`` goes to pytest."""
    parser = argparse.ArgumentParser(description="Run the checks and the test suites.")
    parser.add_argument("--full", action="store_true", help="also tests marked `full`")
    parser.add_argument("--no-checks", action="store_true", help="suites only")
    parser.add_argument("--checks-only", action="store_true", help="no suites")
    parser.add_argument("--suite", action="append", default=[], help="only this folder of tests/")
    parser.add_argument("--root", type=Path, default=ROOT, help="the checkout to test")
    parser.add_argument("pytest_arguments", nargs="*", help="passed on to pytest")
    return parser.parse_args(arguments)


def run_checks(root: Path) -> int:
    """Run the static checks and return how many failed."""
    python = sys.executable
    beside = Path(python).parent
    checks = (
        ("ruff check", [python, "-m", "ruff", "check", "."]),
        ("ruff format", [python, "-m", "ruff", "format", "--check", "."]),
        ("mypy", [python, "-m", "mypy"]),
        ("mypy scripts", [python, "-m", "mypy", "scripts"]),
        ("lint-imports", [str(beside / "lint-imports"), "--no-cache"]),
    )
    failed = 0
    for name, argv in checks:
        started = time.monotonic()
        code = run_limited(argv, root, CHECK_TIMEOUT_SECONDS)
        failed += code != 0
        print(
            f"check {name}: {'ok' if code == 0 else 'FAILED'} ({time.monotonic() - started:.1f} s)",
            flush=True,
        )
    return failed


def get_programs(root: Path) -> int:
    """Get the stack's programs before a test waits for one; return 1 when the stack cannot run here."""
    started = time.monotonic()
    argv = [sys.executable, "-m", "chaos.cli", "doctor", "--get"]
    failed = run_limited(argv, root, PROGRAMS_TIMEOUT_SECONDS) != 0
    print(f"programs: {'FAILED' if failed else 'ok'} ({time.monotonic() - started:.1f} s)", flush=True)
    return int(failed)


def run_limited(argv: Sequence[str], cwd: Path, timeout_seconds: float) -> int:
    """Run ``argv``; past the limit it is interrupted, so that it can clean up, and then killed."""
    process = subprocess.Popen(argv, cwd=cwd)
    try:
        return process.wait(timeout_seconds)
    except subprocess.TimeoutExpired:
        print(f"{argv[0]} passed its limit of {timeout_seconds:g} s", flush=True)
        process.send_signal(signal.SIGINT)
        try:
            process.wait(INTERRUPT_GRACE_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        return -signal.SIGKILL
    except KeyboardInterrupt:
        # The terminal told the child as well; its fixtures may still have daemons to end.
        try:
            process.wait(INTERRUPT_GRACE_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
        raise


def find_suites(tests: Path, wanted: Sequence[str]) -> list[str]:
    """Return the folders that hold tests, in their order."""
    found = (
        {p.name for p in tests.iterdir() if p.is_dir() and any(p.rglob("test_*.py"))}
        if tests.is_dir()
        else set()
    )
    ordered = [name for name in ORDER if name in found] + sorted(found - set(ORDER))
    return [name for name in ordered if not wanted or name in wanted]


def run_suite(name: str, options: argparse.Namespace) -> Suite:
    """Run one folder in its own pytest and read what it wrote."""
    reports = options.root / "reports" / "junit"
    reports.mkdir(parents=True, exist_ok=True)
    report = reports / f"{name}.xml"
    report.unlink(missing_ok=True)
    print(f"\n=== {name} ===", flush=True)
    selection = [] if options.full else ["-m", "not full"]
    argv = [sys.executable, "-m", "pytest", f"tests/{name}", "-q", f"--junitxml={report}", *selection]
    limit = FULL_SUITE_TIMEOUT_SECONDS if options.full else SUITE_TIMEOUT_SECONDS
    started = time.monotonic()
    code = run_limited([*argv, *options.pytest_arguments], options.root, limit)
    suite = read_report(name, report)
    suite.seconds = time.monotonic() - started
    if code not in (0, 1, NO_TESTS_COLLECTED):
        suite.trouble = f"pytest ended with {code}"
    elif code == 1 and suite.failed == 0:
        suite.trouble = "pytest failed, but its report names no failure"
    if suite.trouble:
        suite.failed = max(suite.failed, 1)
    return suite


def read_report(name: str, report: Path) -> Suite:
    """Count what a JUnit file holds."""
    suite = Suite(name)
    try:
        cases = ET.parse(report).iter("testcase")  # noqa: S314 -- as above
    except (OSError, ET.ParseError) as error:
        suite.trouble = f"no report: {error}"
        suite.failed = 1
        return suite
    for case in cases:
        skip = case.find("skipped")
        failures = [*case.findall("failure"), *case.findall("error")]
        if failures:
            suite.failed += 1
            suite.failures.append(failure_of(case, failures[0]))
        elif skip is not None:
            suite.skips[reason_of(skip)] += 1
        else:
            suite.passed += 1
    return suite


def failure_of(case: ET.Element, failure: ET.Element) -> str:
    """Return a failed test's name, and why it failed as far as that fits into a line."""
    why = " ".join((failure.get("message") or failure.text or "").split())
    if len(why) > REASON_CHARACTERS_MAX:
        why = why[:REASON_CHARACTERS_MAX] + " …"
    return f"{case.get('classname')}::{case.get('name')}: {why}"


def reason_of(skip: ET.Element) -> str:
    """Return a skip's reason; that of a whole module is in the text only."""
    message = skip.get("message") or ""
    if message in ("", "collection skipped"):
        found = re.search(r"Skipped: (.*?)['\"]?\)?$", (skip.text or "").strip())
        return found.group(1) if found else (skip.text or "").strip() or "no reason given"
    return message


def read_allowed(path: Path) -> list[re.Pattern[str]]:
    """Return the patterns of reasons that may be skipped for; `#` starts a comment line."""
    if not path.is_file():
        return []
    lines = (line.strip() for line in path.read_text(encoding="utf-8").splitlines())
    return [re.compile(line) for line in lines if line and not line.startswith("#")]


def is_allowed(reason: str, allowed: Iterable[re.Pattern[str]]) -> bool:
    """Tell whether a pattern fits the whole reason."""
    return any(pattern.fullmatch(reason) for pattern in allowed)


def refused_skips(suites: Iterable[Suite], allowed: Sequence[re.Pattern[str]]) -> int:
    """Count the skips that are not allowed."""
    return sum(
        count for suite in suites for reason, count in suite.skips.items() if not is_allowed(reason, allowed)
    )


def print_table(suites: Sequence[Suite], allowed: Sequence[re.Pattern[str]]) -> None:
    """Print a line per suite, and every reason for a skip."""
    print(f"\n{'suite':<14}{'tests':>7}{'failed':>8}{'skips':>7}{'seconds':>10}")
    for suite in suites:
        tests = suite.passed + suite.failed + suite.skipped
        figures = f"{tests:>7}{suite.failed:>8}{suite.skipped:>7}{suite.seconds:>10.1f}"
        print(f"{suite.name:<14}{figures}  {suite.trouble}".rstrip())
    print(f"{'all':<14}{'':>22}{sum(suite.seconds for suite in suites):>10.1f}")
    for suite in suites:
        for reason, count in suite.skips.items():
            note = (
                "" if is_allowed(reason, allowed) else "  NOT in tests/allowed_skips.txt: counted as failed"
            )
            print(f"skipped {count} in {suite.name}: {reason}{note}")
    # Far above, between thousands of lines, is where pytest told.
    for failure in (failure for suite in suites for failure in suite.failures):
        print(f"failed {failure}")
    print()


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(EXIT_INTERRUPTED)
