"""The HTTP face of ingest."""

from __future__ import annotations

from fastapi import APIRouter, FastAPI

from app.context import Context

router = APIRouter(prefix="/api/v1/populate", tags=["ingest"])


def install(app: FastAPI, context: Context) -> None:  # noqa: ARG001  the signature of every slice
    """Add what ingest needs to the API."""
    app.include_router(router)
