"""Run the load: ``python -m chaos.traffic --target http://… --port N``."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import urlsplit

from prometheus_client import CollectorRegistry
from starlette.applications import Starlette

from chaos.traffic.landing import Landing, Plan
from chaos.traffic.load import Load, Metrics, Profile, read_keys
from chaos.upstreams import serving
from chaos.upstreams.bucket import Bucket, Credentials

PROGRAM = "traffic"


def _origin(value: str) -> str:
    parts = urlsplit(value)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.path not in ("", "/"):
        message = f"{value!r} is not an HTTP origin such as http://127.0.0.1:18000"
        raise argparse.ArgumentTypeError(message)
    return value.rstrip("/")


def _positive(value: str) -> float:
    number = float(value)
    if not 0 < number <= 1000:  # noqa: PLR2004
        message = f"{value!r} must be above 0 and at most 1000"
        raise argparse.ArgumentTypeError(message)
    return number


def _count(value: str) -> int:
    number = int(value)
    if not 1 <= number <= 1000:  # noqa: PLR2004
        message = f"{value!r} must be from 1 to 1000"
        raise argparse.ArgumentTypeError(message)
    return number


def _bucket(value: str) -> tuple[str, int, str]:
    parts = urlsplit(value)
    name = parts.path.strip("/")
    if parts.scheme != "http" or not parts.hostname or not parts.port or not name or "/" in name:
        message = f"{value!r} is not a bucket such as http://127.0.0.1:8333/landing"
        raise argparse.ArgumentTypeError(message)
    return parts.hostname, parts.port, name


def _landing_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--landing", type=_bucket, help="bucket that clients deliver files to; none without")
    parser.add_argument("--landing-access-key-file", type=serving.existing_file)
    parser.add_argument("--landing-secret-key-file", type=serving.existing_file)
    parser.add_argument("--landing-clients", type=_count, default=3)
    parser.add_argument("--landing-every-seconds", type=_positive, default=5.0, help="between two files")


def _landing(options: argparse.Namespace, registry: CollectorRegistry) -> Landing | None:
    if options.landing is None:
        return None
    credentials = Credentials.of_files(options.landing_access_key_file, options.landing_secret_key_file)
    plan = Plan(options.landing_clients, options.landing_every_seconds, options.seed)
    host, port, name = options.landing
    return Landing(Bucket(host, port, name, credentials), plan, registry)


def _profile() -> tuple[argparse.Namespace, Profile, dict[str, str]]:
    parser = serving.arguments("chaos.traffic", __doc__)
    parser.add_argument("--target", type=_origin, required=True, help="origin of the service")
    parser.add_argument(
        "--keys-dir",
        type=Path,
        required=True,
        help="folder with client-01.key and so on",
    )
    parser.add_argument("--clients", type=_count, default=20)
    parser.add_argument("--rate-each", type=_positive, default=1.0, help="requests per second and client")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--concurrency-max", type=_count, default=40, help="requests in flight at most")
    parser.add_argument("--deadline-seconds", type=_positive, default=10.0, help="of one request")
    _landing_options(parser)
    options = parser.parse_args()
    if options.landing and not (options.landing_access_key_file and options.landing_secret_key_file):
        parser.error("argument --landing: needs --landing-access-key-file and --landing-secret-key-file")
    profile = Profile(
        target=options.target,
        clients=options.clients,
        rate_each_per_second=options.rate_each,
        seed=options.seed,
        concurrency_max=options.concurrency_max,
        deadline_seconds=options.deadline_seconds,
    )
    try:
        keys = read_keys(options.keys_dir, options.clients)
    except OSError as error:
        parser.error(f"argument --keys-dir: {error}")
    return options, profile, keys


def main() -> None:
    """Load the target until SIGTERM."""
    options, profile, keys = _profile()
    with serving.reporting_errors(PROGRAM):
        registry = serving.new_registry()
        load, landing = Load(profile, keys, Metrics(registry)), _landing(options, registry)

        async def work() -> None:
            async with asyncio.TaskGroup() as group:
                group.create_task(load.run())
                if landing is not None:
                    group.create_task(landing.run())

        @contextlib.asynccontextmanager
        async def lifespan(_app: Starlette) -> AsyncIterator[None]:
            async with serving.background(work()):
                yield

        routes = serving.observability_routes(PROGRAM, registry, lambda: {"target": profile.target})
        app = Starlette(routes=routes, exception_handlers=dict(serving.EXCEPTION_HANDLERS), lifespan=lifespan)
        with serving.listen(options.host, options.port) as listener:
            serving.serve(app, listener)


if __name__ == "__main__":
    main()
