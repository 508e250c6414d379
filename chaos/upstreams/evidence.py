"""A third party's evidence API: pages of compliance records, the same for the same seed.

``GET /v1/{controls|assets|findings}?page=&page_size=``, with ETag; ``GET|PUT|DELETE /admin/behaviour``
"""

from __future__ import annotations

import argparse
import datetime as dt
import hashlib
import random
from collections.abc import Callable, Mapping
from typing import Any

import orjson
from prometheus_client import CollectorRegistry, Counter
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from chaos.upstreams import serving
from chaos.upstreams.misbehaving import Misbehaving
from chaos.upstreams.moderation_behaviour import Behaviour, parse_behaviour

PROGRAM = "evidence-api"
PAGE_SIZE_DEFAULT = 50
PAGE_SIZE_MAX = 200
PAGE_MAX = 10_000

TOTALS: Mapping[str, int] = {"controls": 120, "assets": 240, "findings": 180}
"""Records of each resource. Fixed, so that a collected count can be checked against it."""

PUNCTUAL = Behaviour(latency_median_ms=0)
"""How it behaves when nobody says otherwise: well, and at once."""
_WRONG = {"items": [{"id": 7, "status": "unheard of"}], "page": 1, "pages": 1, "total": 1}
_OK, _NOT_MODIFIED = 200, 304

_EPOCH = dt.datetime(2025, 1, 1, tzinfo=dt.UTC)
_MINUTES_PER_YEAR = 525_600

Item = dict[str, str | int]


def _moment(rng: random.Random) -> str:
    return (
        (_EPOCH + dt.timedelta(minutes=rng.randrange(_MINUTES_PER_YEAR))).isoformat().replace("+00:00", "Z")
    )


def _control(rng: random.Random, number: int) -> Item:
    framework = rng.choice(["ISO27001", "SOC2", "PCI-DSS", "NIST-CSF"])
    return {
        "id": f"ctl-{number:05d}",
        "framework": framework,
        "title": f"{framework} control {rng.randrange(1, 19)}.{rng.randrange(1, 12)}",
        "status": rng.choices(["passing", "failing", "not_assessed"], [8, 1, 1])[0],
        "owner": f"team-{rng.randrange(1, 9)}",
        "updated_at": _moment(rng),
    }


def _asset(rng: random.Random, number: int) -> Item:
    kind = rng.choice(["server", "laptop", "database", "bucket"])
    return {
        "id": f"ast-{number:05d}",
        "name": f"{kind}-{rng.randrange(16**6):06x}",
        "kind": kind,
        "criticality": rng.randrange(1, 6),
        "region": rng.choice(["eu-north-1", "eu-west-1", "us-east-1"]),
        "updated_at": _moment(rng),
    }


def _finding(rng: random.Random, number: int) -> Item:
    return {
        "id": f"fnd-{number:05d}",
        "control_id": f"ctl-{rng.randrange(1, TOTALS['controls'] + 1):05d}",
        "asset_id": f"ast-{rng.randrange(1, TOTALS['assets'] + 1):05d}",
        "severity": rng.randrange(1, 6),
        "status": rng.choice(["open", "accepted", "resolved"]),
        "updated_at": _moment(rng),
    }


_MAKERS: Mapping[str, Callable[[random.Random, int], Item]] = {
    "controls": _control,
    "assets": _asset,
    "findings": _finding,
}


def item(seed: int, resource: str, number: int) -> Item:
    """Return record ``number`` (from 1) of a resource; depends on nothing but the arguments."""
    rng = random.Random(f"{seed}:{resource}:{number}")  # noqa: S311 - data, not secrets
    return _MAKERS[resource](rng, number)


def _positive(value: str, upper: int) -> int | None:
    # str.isdecimal also takes digits of other scripts, which int() would read.
    if not (value.isascii() and value.isdecimal() and len(value) <= len(str(upper))):
        return None
    number = int(value)
    return number if 1 <= number <= upper else None


def _paging(request: Request) -> tuple[int, int, list[dict[str, str]]]:
    values = {"page": 1, "page_size": PAGE_SIZE_DEFAULT}
    bounds = {"page": PAGE_MAX, "page_size": PAGE_SIZE_MAX}
    errors = []
    for name, value in request.query_params.multi_items():
        if name not in bounds:
            errors.append({"field": name, "message": "unknown parameter; use page and page_size"})
        elif (number := _positive(value, bounds[name])) is None:
            errors.append({"field": name, "message": f"must be a whole number from 1 to {bounds[name]}"})
        else:
            values[name] = number
    return values["page"], values["page_size"], errors


def _conditional(request: Request, response: Response) -> Response:
    """Tag the answer, and send none to who has it already."""
    if response.status_code != _OK:
        return response
    tag = f'"{hashlib.sha256(bytes(response.body)).hexdigest()[:32]}"'
    known = {one.strip().removeprefix("W/") for one in request.headers.get("if-none-match", "").split(",")}
    if tag in known or "*" in known:
        return Response(status_code=_NOT_MODIFIED, headers={"ETag": tag})
    response.headers["ETag"] = tag
    return response


def build(seed: int, registry: CollectorRegistry, behaviour: Behaviour = PUNCTUAL) -> Starlette:
    """Return the API for one seed."""
    requests = Counter(
        "lab_upstream_requests_total",
        "Requests answered by an upstream.",
        ["upstream", "resource", "status"],
        registry=registry,
    )
    for name in TOTALS:
        requests.labels("evidence", name, "200")
    days = Misbehaving(seed, behaviour, _WRONG)

    def counted(resource: str, response: Response) -> Response:
        requests.labels("evidence", resource, str(response.status_code)).inc()
        return response

    def page_of(request: Request, resource: str) -> Response:
        page, page_size, errors = _paging(request)
        if errors:
            return serving.invalid(errors)
        total = TOTALS[resource]
        first = (page - 1) * page_size + 1
        items = [item(seed, resource, n) for n in range(first, min(first + page_size, total + 1))]
        body: dict[str, Any] = {"items": items, "page": page, "pages": -(-total // page_size), "total": total}
        return _conditional(request, serving.JsonResponse(body))

    async def get_page(request: Request) -> Response:
        resource: str = request.path_params["resource"]
        if resource not in TOTALS:
            detail = f"There is no {resource[:64]!r}. Use one of {', '.join(TOTALS)}."
            return counted("unknown", serving.problem(404, "Not found", detail))
        return counted(resource, await days.answer(request, lambda: page_of(request, resource)))

    routes = [
        Route("/v1/{resource}", get_page),
        *days.routes(),
        *serving.observability_routes(PROGRAM, registry, lambda: {"seed": seed}),
    ]
    return Starlette(routes=routes, exception_handlers=dict(serving.EXCEPTION_HANDLERS))


def _behaviour(text: str) -> Behaviour:
    try:
        behaviour, errors = parse_behaviour(PUNCTUAL, orjson.loads(text))
    except orjson.JSONDecodeError:
        raise argparse.ArgumentTypeError("must be JSON") from None
    if errors:
        raise argparse.ArgumentTypeError("; ".join(f"{one['field']} {one['message']}" for one in errors))
    return behaviour


def main() -> None:
    """Run the evidence API."""
    parser = serving.arguments("chaos.upstreams.evidence", __doc__)
    parser.add_argument(
        "--seed", type=int, default=1, help="what the records are drawn from (default: %(default)s)"
    )
    parser.add_argument(
        "--behaviour", type=_behaviour, default=PUNCTUAL, help="JSON, as for PUT /admin/behaviour"
    )
    options = parser.parse_args()
    with serving.reporting_errors(PROGRAM):
        app = build(options.seed, serving.new_registry(), options.behaviour)
        with serving.listen(options.host, options.port) as listener:
            serving.serve(app, listener)


if __name__ == "__main__":
    main()
