"""Errors of the ``ingest`` slice."""

from __future__ import annotations

from app.errors import DcsError


class IngestOffError(DcsError):
    """Nothing is ingested in this deployment. Ask its operator to set `DCS_INGEST_BUCKET`."""

    status_code = 409
    title = "Nothing is ingested here"
    slug = "ingest-off"


class FileNotFoundInLedgerError(DcsError):
    """No ingested file has this id. List the files to find it."""

    status_code = 404
    title = "No such file"
    slug = "file-not-found"


class RunNotFoundError(DcsError):
    """No listing has this id. Use the `run_id` that the populate request returned."""

    status_code = 404
    title = "No such run"
    slug = "run-not-found"
