from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from chaos.config import ROOT
from scripts.run_tests import get_programs

PASSING = "def test_passes() -> None:\n    assert True\n"
FAILING = "def test_fails() -> None:\n    assert 1 == 2\n"
SKIPPING = "import pytest\n\n\n@pytest.mark.skip(reason='no moon tonight')\ndef test_skips() -> None: ...\n"
FULL = "import pytest\n\n\n@pytest.mark.full\ndef test_long() -> None: ...\n"


class Checkout:
    """A folder with tests of its own, run by the real test command."""

    def __init__(self, root: Path) -> None:
        self.root = root
        (root / "tests").mkdir()
        (root / "pytest.ini").write_text("[pytest]\nmarkers = full\naddopts = --import-mode=importlib\n")

    def write(self, suite: str, name: str, text: str) -> None:
        (self.root / "tests" / suite).mkdir(exist_ok=True)
        (self.root / "tests" / suite / f"test_{name}.py").write_text(text)

    def allow(self, *lines: str) -> None:
        (self.root / "tests" / "allowed_skips.txt").write_text("\n".join(lines) + "\n")

    def run(self, *arguments: str) -> tuple[int, str, str]:
        finished = subprocess.run(
            [sys.executable, str(ROOT / "scripts" / "run_tests.py"), "--root", str(self.root), "--no-checks",
             *arguments],
            check=False, capture_output=True, text=True, timeout=100,
        )  # fmt: skip
        assert not finished.stderr, finished.stderr
        return finished.returncode, finished.stdout.splitlines()[-1], finished.stdout


@pytest.fixture
def checkout(tmp_path: Path) -> Checkout:
    return Checkout(tmp_path)


def test_all_is_well_and_the_summary_is_alone_on_the_last_line(checkout: Checkout) -> None:
    checkout.write("unit", "one", PASSING)
    checkout.write("drills", "two", PASSING)
    code, last, output = checkout.run()
    assert (code, last) == (0, "2 passed, 0 failed, 0 skipped")
    assert output.index("=== unit ===") < output.index("=== drills ===")
    assert (checkout.root / "reports" / "junit" / "drills.xml").is_file()


def test_a_failure_fails(checkout: Checkout) -> None:
    checkout.write("unit", "one", PASSING)
    checkout.write("unit", "two", FAILING)
    code, last, output = checkout.run()
    assert (code, last) == (1, "1 passed, 1 failed, 0 skipped")
    told = output[output.index("\nsuite ") :]
    assert "\nfailed tests.unit.test_two::test_fails: assert 1 == 2\n" in told
    assert "test_passes" not in told


def test_a_long_story_of_a_failure_is_cut(checkout: Checkout) -> None:
    checkout.write("unit", "one", "def test_fails() -> None:\n    raise ValueError('x\\n' * 3000)\n")
    [line] = [line for line in checkout.run()[2].splitlines() if line.startswith("failed ")]
    assert "ValueError: x x" in line
    assert line.endswith(" …")
    assert len(line) < 500


def test_a_skip_that_is_not_on_the_list_fails_and_is_named(checkout: Checkout) -> None:
    checkout.write("unit", "one", PASSING)
    checkout.write("unit", "two", SKIPPING)
    checkout.allow("# reasons", "no sun today")
    code, last, output = checkout.run()
    assert (code, last) == (1, "1 passed, 1 failed, 1 skipped")
    assert "skipped 1 in unit: no moon tonight  NOT in tests/allowed_skips.txt" in output


def test_a_skip_that_is_on_the_list_is_counted_and_printed(checkout: Checkout) -> None:
    checkout.write("unit", "one", PASSING)
    checkout.write("unit", "two", SKIPPING)
    checkout.allow("no moon .*")
    code, last, output = checkout.run()
    assert (code, last) == (0, "1 passed, 0 failed, 1 skipped")
    assert "skipped 1 in unit: no moon tonight\n" in output


def test_part_of_a_reason_is_not_enough(checkout: Checkout) -> None:
    checkout.write("unit", "one", PASSING)
    checkout.write("unit", "two", SKIPPING)
    checkout.allow("moon")
    assert checkout.run()[0] == 1


def test_a_module_that_is_skipped_whole_has_a_reason_too(checkout: Checkout) -> None:
    checkout.write("unit", "one", PASSING)
    checkout.write(
        "unit", "two", "import pytest\n\npytest.skip('no moon tonight', allow_module_level=True)\n"
    )
    assert checkout.run()[0] == 1
    checkout.allow("no moon tonight")
    assert checkout.run()[:2] == (0, "1 passed, 0 failed, 1 skipped")


@pytest.mark.parametrize("prepared", [False, True])
def test_no_test_at_all_fails(checkout: Checkout, prepared: bool) -> None:  # noqa: FBT001
    if prepared:
        checkout.write("unit", "one", "VALUE = 1\n")
    code, last, output = checkout.run()
    assert (code, last) == (1, "0 passed, 1 failed, 0 skipped")
    assert "no test ran" in output


def test_a_module_that_cannot_be_imported_fails(checkout: Checkout) -> None:
    checkout.write("unit", "one", PASSING)
    checkout.write("rules", "broken", "import no_such_module\n")
    assert checkout.run()[:2] == (1, "1 passed, 1 failed, 0 skipped")


def test_a_suite_that_dies_without_a_report_fails(checkout: Checkout) -> None:
    checkout.write("unit", "one", PASSING)
    checkout.write("rules", "dies", "import os\n\n\ndef test_dies() -> None:\n    os._exit(0)\n")
    code, last, output = checkout.run()
    assert (code, last) == (1, "1 passed, 1 failed, 0 skipped")
    assert "no report" in output


def test_long_tests_run_only_when_asked_for(checkout: Checkout) -> None:
    checkout.write("unit", "one", PASSING)
    checkout.write("unit", "two", FULL)
    assert checkout.run()[:2] == (0, "1 passed, 0 failed, 0 skipped")
    assert checkout.run("--full")[:2] == (0, "2 passed, 0 failed, 0 skipped")


def test_one_suite_can_be_picked(checkout: Checkout) -> None:
    checkout.write("unit", "one", PASSING)
    checkout.write("rules", "two", FAILING)
    assert checkout.run("--suite", "unit")[:2] == (0, "1 passed, 0 failed, 0 skipped")


def test_a_report_of_an_earlier_run_is_not_believed(checkout: Checkout) -> None:
    checkout.write("unit", "one", PASSING)
    assert checkout.run()[0] == 0
    checkout.write("unit", "one", "import os\n\n\ndef test_dies() -> None:\n    os._exit(0)\n")
    assert checkout.run()[:2] == (1, "0 passed, 1 failed, 0 skipped")


@pytest.mark.parametrize("code", [0, 3])
def test_programs_are_fetched_before_the_suites_and_a_stack_that_cannot_run_is_a_failure(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], code: int
) -> None:
    package = tmp_path / "chaos" / "cli"
    package.mkdir(parents=True)
    for each in (package, package.parent):
        (each / "__init__.py").touch()  # an installed lab would win over a namespace
    (package / "__main__.py").write_text(f"import sys\nprint(sys.argv[1:])\nsys.exit({code})\n")
    assert get_programs(tmp_path) == (code != 0)
    assert "['doctor', '--get']" in capfd.readouterr().out
