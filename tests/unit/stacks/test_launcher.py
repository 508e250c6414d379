from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from chaos.errors import StackError
from chaos.stacks.embedded import launcher
from chaos.stacks.embedded.daemon import Daemon
from chaos.stacks.embedded.layout import Layout

_PRINT = (
    "import json, os, sys; "
    "print(json.dumps({'pid': os.getpid(), 'argv': sys.argv[1:], 'env': dict(os.environ)}))"
)
_AWKWARD = """a 'quoted' "value" with $HOME, `ticks`, ; and \\back\\slashes %(here)s"""


def _daemon(command: list[str] | None = None, env: dict[str, str] | None = None) -> Daemon:
    return Daemon("thing", command or [sys.executable, "-c", _PRINT], lambda: None, env=env or {})


def _launch(layout: Layout) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["/bin/sh", str(layout.conf / "launch.sh"), "thing"],
        capture_output=True, text=True, timeout=20, check=False,
        env={"PATH": os.environ["PATH"], "INHERITED": "yes"},
    )  # fmt: skip


def test_the_program_gets_its_arguments_and_environment_unchanged(layout: Layout) -> None:
    launcher.render(layout, [_daemon([sys.executable, "-c", _PRINT, _AWKWARD, ""], {"DCS_X": _AWKWARD})])
    told = json.loads(_launch(layout).stdout)
    assert told["argv"] == [_AWKWARD, ""]
    assert told["env"]["DCS_X"] == _AWKWARD
    assert told["env"]["INHERITED"] == "yes"


def test_an_override_wins_and_is_recorded_with_the_program_s_own_pid(layout: Layout) -> None:
    launcher.render(layout, [_daemon(env={"DCS_X": "baseline", "DCS_Y": "kept"})])
    launcher.set_override(layout, "thing", {"DCS_X": _AWKWARD})
    told = json.loads(_launch(layout).stdout)
    assert (told["env"]["DCS_X"], told["env"]["DCS_Y"]) == (_AWKWARD, "kept")
    assert launcher.launched(layout, "thing") == (told["pid"], {"DCS_X": _AWKWARD})


def test_without_an_override_the_record_says_so(layout: Layout) -> None:
    launcher.render(layout, [_daemon()])
    told = json.loads(_launch(layout).stdout)
    assert launcher.launched(layout, "thing") == (told["pid"], {})


def test_a_delay_and_an_end_are_obeyed_and_not_passed_on(layout: Layout) -> None:
    script = (
        "import os, time; print(sorted(k for k in os.environ if 'LAUNCH' in k), flush=True); time.sleep(30)"
    )
    launcher.render(layout, [_daemon([sys.executable, "-c", script])])
    launcher.set_override(layout, "thing", {launcher.DELAY: "0.5", launcher.END_AFTER: "1"})
    began = time.monotonic()
    done = _launch(layout)
    took = time.monotonic() - began
    assert done.stdout == "[]\n"
    assert done.returncode == 124, "coreutils timeout says that the time was up"
    assert 1.4 < took < 10
    assert launcher.launched(layout, "thing")[1] == {launcher.DELAY: "0.5", launcher.END_AFTER: "1"}


def test_clearing_names_the_programs_and_leaves_nothing(layout: Layout) -> None:
    launcher.render(layout, [_daemon()])
    launcher.set_override(layout, "thing", {"DCS_X": "1"})
    (layout.overrides / ".thing.env.99.tmp").write_text("half written")
    assert launcher.overrides(layout) == {"thing": {"DCS_X": "1"}}
    assert launcher.clear_overrides(layout) == ("thing",)
    assert list(layout.overrides.iterdir()) == []
    assert launcher.clear_overrides(layout) == ()


@pytest.mark.parametrize(
    ("program", "env"),
    [
        ("nothing", {"DCS_X": "1"}),
        ("../thing", {"DCS_X": "1"}),
        ("thing", {}),
        ("thing", {"DCS_X": "two\nlines"}),
        ("thing", {"NOT A NAME": "1"}),
        ("thing", {"$(id)": "1"}),
    ],
)
def test_an_override_that_cannot_be_meant_is_refused(
    layout: Layout, program: str, env: dict[str, str]
) -> None:
    launcher.render(layout, [_daemon()])
    with pytest.raises(StackError):
        launcher.set_override(layout, program, env)
    assert launcher.overrides(layout) == {}


def test_a_record_that_stays_damaged_is_an_error(layout: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(launcher, "_READ_PAUSE_SECONDS", 0.001)
    (layout.launched / "thing.json").write_text('{"pid": 1')
    with pytest.raises(StackError, match="damaged"):
        launcher.launched(layout, "thing")


def test_scripts_of_programs_that_are_no_more_are_removed(layout: Layout) -> None:
    (layout.programs / "old.sh").write_text("")
    launcher.render(layout, [_daemon()])
    assert [path.name for path in layout.programs.iterdir()] == ["thing.sh"]
    assert (layout.data / "thing").is_dir()


def test_the_state_directory_may_have_any_name(tmp_path: Path) -> None:
    layout = Layout(tmp_path / "a $lab; 'with' `all` of it %(x)s")
    layout.create()
    launcher.render(layout, [_daemon()])
    assert json.loads(_launch(layout).stdout)["pid"] == launcher.launched(layout, "thing")[0]
