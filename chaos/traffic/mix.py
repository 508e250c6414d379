"""What each client asks for, tick by tick: a function of the seed and of the answers it got."""

from __future__ import annotations

import random
import re
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

Kind = Literal["trigger", "status", "result", "avatar"]
KINDS: tuple[Kind, ...] = ("trigger", "status", "result", "avatar")
WEIGHTS = (39, 39, 20, 2)

JOBS_REMEMBERED = 20
"""Per client. Older jobs are forgotten, so that memory and the age of what is asked for are bounded."""

TRIGGERS: tuple[Mapping[str, object], ...] = (
    {"source_type": "file", "config": {"path": "acme/assets.csv"}},
    {"source_type": "api", "config": {"endpoint": "evidence", "resource": "controls", "page_size": 50}},
    {
        "source_type": "database",
        "config": {"database": "acme", "query": "open_findings", "params": {"min_severity": 3}},
    },
)

PROMPTS = (
    "a lighthouse in the fog",
    "two foxes on a bicycle",
    "a quiet harbour at dawn",
    "an owl who reads the news",
    "a teapot on the moon",
    "a bloody massacre",  # moderation has something to reject
)

_JOB_ID = re.compile(r"[A-Za-z0-9-]{1,64}\Z")  # it becomes part of a path
FINISHED_WITH_RESULT = "succeeded"


@dataclass(frozen=True)
class Ask:
    """One request to make."""

    kind: Kind
    job_id: str | None = None
    body: Mapping[str, object] | None = None

    @property
    def method(self) -> str:
        """The HTTP method."""
        return "POST" if self.kind in ("trigger", "avatar") else "GET"

    @property
    def path(self) -> str:
        """The path under the target's origin."""
        if self.kind == "avatar":
            return "/api/v1/avatars"
        return f"/api/v1/jobs/{self.kind}" + (f"/{self.job_id}" if self.job_id else "")


def client_name(number: int) -> str:
    """Return what a client is called, also in the service, which has a key for it."""
    return f"client-{number:02d}"


class Client:
    """One client's choices."""

    def __init__(self, number: int, clients: int, seed: int) -> None:
        self.name = client_name(number)
        self._rng = random.Random(f"{seed}:{self.name}")  # noqa: S311 - load, not secrets
        self._recent: deque[str] = deque(maxlen=JOBS_REMEMBERED)
        self._finished: deque[str] = deque(maxlen=JOBS_REMEMBERED)
        order = list(range(clients))
        random.Random(seed).shuffle(order)  # noqa: S311
        # Clients are spread evenly over one period, in seeded order: steady, never a burst.
        self.phase = order[number - 1] / clients

    def next(self) -> Ask:
        """Return what to ask now. What has no job to ask about yet becomes the step before it."""
        # Both draws happen on every tick, so that answers never shift the sequence of a seed.
        kind = self._rng.choices(KINDS, WEIGHTS)[0]
        draw = self._rng.random()
        if kind == "avatar":
            return Ask("avatar", body={"prompt": PROMPTS[int(draw * len(PROMPTS))]})
        if kind == "result" and self._finished:
            return Ask("result", job_id=_pick(self._finished, draw))
        if kind != "trigger" and self._recent:
            return Ask("status", job_id=_pick(self._recent, draw))
        return Ask("trigger", body=TRIGGERS[int(draw * len(TRIGGERS))])

    def learn(self, ask: Ask, status_code: int, body: object) -> None:
        """Remember the jobs an answer tells of."""
        if status_code == 404 and ask.job_id:  # noqa: PLR2004 - the service no longer knows it
            _forget(self._recent, ask.job_id)
            _forget(self._finished, ask.job_id)
            return
        if not isinstance(body, dict):
            return
        job_id = body.get("job_id")
        if ask.kind == "trigger" and isinstance(job_id, str) and _JOB_ID.match(job_id):
            self._recent.append(job_id)
        elif ask.kind == "status" and ask.job_id and body.get("status") == FINISHED_WITH_RESULT:
            _forget(self._recent, ask.job_id)
            self._finished.append(ask.job_id)


def _pick(jobs: deque[str], draw: float) -> str:
    return jobs[int(draw * len(jobs))]


def _forget(jobs: deque[str], job_id: str) -> None:
    if job_id in jobs:
        jobs.remove(job_id)
