"""The HTTP face of access: tokens and keys, and what guards every other route."""

from __future__ import annotations

from fastapi import APIRouter, FastAPI

from app.context import Context

router = APIRouter(prefix="/api/v1/access", tags=["access"])


def install(app: FastAPI, context: Context) -> None:  # noqa: ARG001  the signature of every slice
    """Add what access needs to the API."""
    app.include_router(router)
