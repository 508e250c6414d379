"""Run the pager: ``python -m chaos.pager --port N --store FILE``."""

from __future__ import annotations

from pathlib import Path

from chaos.pager.api import PROGRAM, build
from chaos.pager.store import NotificationStore
from chaos.upstreams import serving


def main() -> None:
    """Serve until SIGTERM."""
    parser = serving.arguments("chaos.pager", __doc__)
    parser.add_argument("--store", type=Path, required=True, help="JSONL file that keeps the notifications")
    options = parser.parse_args()
    with (
        serving.reporting_errors(PROGRAM),
        serving.listen(options.host, options.port) as listener,
        NotificationStore(options.store) as store,
    ):
        serving.serve(build(store, serving.new_registry()), listener)


if __name__ == "__main__":
    main()
