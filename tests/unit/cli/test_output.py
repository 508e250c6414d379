from __future__ import annotations

import subprocess
import sys

from chaos.config import ROOT

PROGRAM = """
import sys
from chaos.cli.output import say
say("one")
sys.stdin.read()  # until the reader of what is printed has gone
for number in range(3):
    say("more")
sys.exit(7)
"""


def test_a_reader_that_goes_away_does_not_end_what_is_done() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", PROGRAM],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        assert process.stdout is not None
        assert process.stdin is not None
        assert process.stderr is not None
        assert process.stdout.readline() == b"one\n"
        process.stdout.close()
        process.stdin.close()
        told = process.stderr.read()
        assert process.wait(20) == 7, told
        assert told == b""
