"""Services that break one promise each. Applied to a copy of the code: the service has no such switch."""

from __future__ import annotations

import re
from pathlib import Path


def _edit(folder: Path, pattern: str, replacement: str, *, at_least: int) -> None:
    found = 0
    for path in sorted(folder.rglob("*.py")) if folder.is_dir() else [folder]:
        text, count = re.subn(pattern, replacement, path.read_text(), flags=re.DOTALL)
        if count:
            path.write_text(text)
        found += count
    assert found >= at_least, f"{pattern!r} fits {found} places of {folder.name}: the mutant needs to follow"


def without_fencing(app: Path) -> None:
    """A worker may end a job whoever runs it by now, and keeps believing that it is its own."""
    _edit(
        app / "jobs" / "repository", r" AND (jobs\.)?epoch = (:epoch|held\.epoch|done\.epoch)", "", at_least=2
    )


def acknowledging_early(app: Path) -> None:
    """202 is answered before the job is stored."""
    _edit(
        app / "jobs" / "endpoints.py",
        r"context\.batches\.accept\(submission\)",
        "context.slots.run(lambda: jobs.intake.accept(submission))",
        at_least=1,
    )
    intake = app / "jobs" / "intake.py"
    _edit(intake, r"import annotations\n", "import annotations\n\nimport threading\n", at_least=1)
    _edit(
        intake,
        r"    def accept\(\s+self, submission: Submission, also: [^)]*?\s+\) -> JobAccepted:",
        "    def accept(self, submission, also=None):\n"
        "        job_id = new_job_id()\n"
        "        threading.Timer(3.0, self._accept, (submission, also, job_id)).start()\n"
        "        return JobAccepted(job_id=job_id, status=JobState.QUEUED)\n\n"
        "    def _accept(self, submission, also, job_id):",
        at_least=1,
    )
    _edit(intake, r"\n        job_id = new_job_id\(\)\n        new = ", "\n        new = ", at_least=1)


def without_unique_keys(app: Path) -> None:
    """The same key may be stored twice. The index has to be dropped beside it."""
    clause = r"ON CONFLICT \(client_id, idempotency_key\).*?DO NOTHING"
    _edit(app / "jobs" / "repository", clause, "", at_least=1)


UNIQUE_INDEX = "jobs_idempotency"


def done_before_stored(app: Path) -> None:
    """A job is called done while its records are still on their way."""
    ending = app / "jobs" / "repository" / "ending.py"
    _edit(ending, r"import annotations\n", "import annotations\n\nimport threading\n", at_least=1)
    _edit(
        ending,
        r"(AS item \(content, position\))(\s+ON CONFLICT[^)]*\) DO NOTHING\s+\), audited)",
        r"\1 WHERE FALSE\2",
        at_least=1,
    )
    _edit(
        ending,
        r"return (\{row\.id for row in self\._connection\.execute\(_SUCCEED_MANY, values\)\})",
        r"threading.Timer(3.0, _later, (self._connection.engine, done)).start()\n        return \1",
        at_least=1,
    )
    _edit(
        ending,
        r"\nclass Ending",
        "\ndef _later(engine, done):\n"
        "    with engine.begin() as connection:\n"
        "        for one in done:\n"
        "            Ending(connection).store(one.job, one.collected)\n\n\nclass Ending",
        at_least=1,
    )


def burying_at_the_first_rescue(app: Path) -> None:
    """A job whose worker died once is dead, however many attempts it has."""
    upkeep = app / "jobs" / "repository" / "upkeep.py"
    _edit(upkeep, r"jobs\.rescues \+ 1 >= jobs\.max_attempts", "TRUE", at_least=2)
