"""Run the forwarder: ``python -m chaos.forwarder --logs-dir DIR --endpoint URL --port N``."""

from __future__ import annotations

import argparse
import contextlib
import re
from collections.abc import AsyncIterator
from pathlib import Path

from starlette.applications import Starlette

from chaos.forwarder.forward import DAEMONS, Forwarder, Metrics
from chaos.forwarder.ship import Shipper
from chaos.upstreams import serving

PROGRAM = "forwarder"
_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,63}\Z")


def _name(value: str) -> str:
    if not _NAME.match(value):
        message = f"{value!r} must be 1 to 64 of a-z, 0-9 and '-'"
        raise argparse.ArgumentTypeError(message)
    return value


def _url(value: str) -> str:
    if not value.startswith(("http://", "https://")):
        message = f"{value!r} is not an URL such as http://127.0.0.1:3100/otlp/v1/logs"
        raise argparse.ArgumentTypeError(message)
    return value


def main() -> None:
    """Forward until SIGTERM."""
    parser = serving.arguments("chaos.forwarder", __doc__)
    parser.add_argument("--logs-dir", type=Path, required=True, help="folder of <program>.log files")
    parser.add_argument("--endpoint", type=_url, required=True, help="full OTLP/HTTP URL, .../otlp/v1/logs")
    parser.add_argument("--environment", type=_name, default="lab", help="deployment.environment.name")
    parser.add_argument(
        "--program", type=_name, action="append", help="follow only these (repeat; default: every daemon)"
    )
    parser.add_argument(
        "--positions", type=Path, help="keeps how far each file was read; without it old lines are skipped"
    )
    options = parser.parse_args()
    with serving.reporting_errors(PROGRAM):
        registry = serving.new_registry()
        metrics = Metrics(registry)
        shipper = Shipper(options.endpoint, metrics.count)
        programs = options.program or DAEMONS
        forwarder = Forwarder(
            options.logs_dir, programs, options.environment, shipper, metrics, positions=options.positions
        )

        @contextlib.asynccontextmanager
        async def lifespan(_app: Starlette) -> AsyncIterator[None]:
            shipper.start()
            async with serving.background(forwarder.run()):
                yield
            shipper.stop()

        routes = serving.observability_routes(PROGRAM, registry, forwarder.health)
        app = Starlette(routes=routes, exception_handlers=dict(serving.EXCEPTION_HANDLERS), lifespan=lifespan)
        with serving.listen(options.host, options.port) as listener:
            serving.serve(app, listener)


if __name__ == "__main__":
    main()
