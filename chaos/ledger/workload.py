"""What the clients ask for, and what each job must then hold, computed from its body alone."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from chaos.upstreams.evidence import TOTALS

FILES = 12
FILE_FOLDER = "acme"
ASSETS = 200
FINDINGS = 500
_PAGE_SIZES = (60, 120, 200)
_ALLOWED_SHARE = 0.8
# Small jobs for the most part: the ledger is about how many there are, not about how much they hold.
_WEIGHTS: Mapping[str, int] = {"file": 58, "database": 26, "api": 12, "avatar": 4}


@dataclass(frozen=True)
class Expected:
    """What a job that succeeded must hold: how many records, and a digest of their keys in order."""

    count: int
    digest: str
    effect: str = ""
    """What else it must have brought about: of an avatar, that it is ready or was rejected."""


@dataclass(frozen=True)
class Work:
    """One job to submit."""

    kind: str
    path: str
    body: Mapping[str, Any]
    expected: Expected


def digest(keys: Sequence[str]) -> str:
    """Return the digest of keys as the final read computes it in SQL: md5 of the lines."""
    return hashlib.md5("\n".join(keys).encode(), usedforsecurity=False).hexdigest()


def _expected(keys: Sequence[str]) -> Expected:
    return Expected(len(keys), digest(keys))


def file_name(number: int) -> str:
    """Return the path of file ``number`` (from 1) below the root of the ``file`` source."""
    return f"{FILE_FOLDER}/ledger-{number:02d}.csv"


def _file_keys(number: int) -> list[str]:
    return [f"L{number:02d}-{row:03d}" for row in range(1, 2 * number + 2)]


def files() -> dict[str, str]:
    """Return the files that ``file`` jobs read: path below the root, and text."""
    return {
        file_name(number): "id,weight\n"
        + "".join(f"{key},{row * number}\n" for row, key in enumerate(_file_keys(number)))
        for number in range(1, FILES + 1)
    }


def _trigger(kind: str, config: Mapping[str, Any], keys: Sequence[str]) -> Work:
    body = {"source_type": kind, "config": dict(config)}
    return Work(kind, "/api/v1/jobs/trigger", body, _expected(keys))


def _file(rng: random.Random) -> Work:
    number = rng.randint(1, FILES)
    return _trigger("file", {"path": file_name(number)}, _file_keys(number))


def _database(rng: random.Random) -> Work:
    asset = rng.randint(1, ASSETS)
    # The seed gives finding n to asset n % ASSETS + 1.
    keys = [str(n) for n in range(1, FINDINGS + 1) if n % ASSETS + 1 == asset]
    config = {"database": "acme", "query": "findings_of_asset", "params": {"asset": f"A-{asset:04d}"}}
    return _trigger("database", config, keys)


def _api(rng: random.Random) -> Work:
    keys = [f"ctl-{number:05d}" for number in range(1, TOTALS["controls"] + 1)]
    config = {"endpoint": "evidence", "resource": "controls", "page_size": rng.choice(_PAGE_SIZES)}
    return _trigger("api", config, keys)


def _avatar(rng: random.Random) -> Work:
    number = rng.randrange(10**6)
    allowed = rng.random() < _ALLOWED_SHARE
    # Neither is near a threshold of the simulated moderation.
    prompt = f"a lighthouse in the fog, number {number}" if allowed else f"a massacre, beheading {number}"
    expected = Expected(0, digest([]), "ready" if allowed else "rejected")
    return Work("avatar", "/api/v1/avatars", {"prompt": prompt}, expected)


_MAKERS: Mapping[str, Callable[[random.Random], Work]] = {
    "file": _file,
    "database": _database,
    "api": _api,
    "avatar": _avatar,
}
PATHS: Mapping[str, str] = dict.fromkeys(_MAKERS, "/api/v1/jobs/trigger") | {"avatar": "/api/v1/avatars"}
"""Where each kind is submitted."""
KINDS = tuple(_MAKERS)


def work(rng: random.Random, kinds: Sequence[str] = KINDS) -> Work:
    """Draw the next job."""
    kind = rng.choices(kinds, [_WEIGHTS[kind] for kind in kinds])[0]
    return _MAKERS[kind](rng)
