"""What every table of the service is declared with."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import Column, DateTime, MetaData

metadata = MetaData()


def timestamp(name: str, *, nullable: bool = False) -> Column[datetime]:
    """Return a column that holds a moment."""
    return Column(name, DateTime(timezone=True), nullable=nullable)
