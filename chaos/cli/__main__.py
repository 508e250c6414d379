"""``python -m chaos.cli``."""

from __future__ import annotations

from chaos.cli.main import run

if __name__ == "__main__":
    run()
