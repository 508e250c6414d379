"""The HTTP face of avatars."""

from __future__ import annotations

from fastapi import APIRouter, FastAPI

from app.context import Context

router = APIRouter(prefix="/api/v1/avatars", tags=["avatars"])


def install(app: FastAPI, context: Context) -> None:  # noqa: ARG001  the signature of every slice
    """Add what avatars needs to the API."""
    app.include_router(router)
