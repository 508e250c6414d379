"""Runs `lab`, waits for it through any Ctrl-C, and prints `verdict=… exit=…` last.

GNU make turns every failure into exit code 2, so the code that means something has to be printed.
"""

from __future__ import annotations

import signal
import subprocess
import sys
from types import FrameType

FAIL, ERROR = 1, 3
VERDICTS = {0: "PASS", FAIL: "FAIL", 2: "USAGE", ERROR: "ERROR", 130: "INTERRUPTED"}
IMPORT_TIMEOUT_SECONDS = 60
_SHELL_SIGNAL_BASE = 128


def main(arguments: list[str]) -> int:
    """Run `lab` with ``arguments`` and return its exit code."""
    child: subprocess.Popen[bytes] | None = None

    def leave_it_to_lab(_number: int, _frame: FrameType | None) -> None:
        # The terminal has sent Ctrl-C to lab too. It may heal for a while: wait for it.
        pass

    def pass_on(number: int, _frame: FrameType | None) -> None:
        if child is not None and child.poll() is None:
            child.send_signal(number)

    # Handlers, not SIG_IGN: a new program inherits what is ignored, and lab would be deaf.
    signal.signal(signal.SIGINT, leave_it_to_lab)
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, pass_on)
    child = subprocess.Popen([sys.executable, "-m", "chaos.cli", *arguments])
    code = child.wait()
    if code < 0:
        code = _SHELL_SIGNAL_BASE - code
    if code == FAIL and not lab_can_start():
        code = ERROR  # Python too ends with 1 when it cannot import: that is no judgement
    sys.stdout.flush()
    print(f"verdict={VERDICTS.get(code, 'ERROR')} exit={code}", flush=True)
    return code


def lab_can_start() -> bool:
    """Tell whether a 1 can have come from lab itself."""
    probe = [sys.executable, "-c", "import chaos.cli.main"]
    try:
        return subprocess.run(probe, check=False, timeout=IMPORT_TIMEOUT_SECONDS).returncode == 0
    except subprocess.TimeoutExpired:
        return False


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
