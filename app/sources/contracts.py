"""What known APIs promise, resource by resource. A page that breaks the promise is refused, not stored.

An endpoint that speaks none of these, or a resource that is not here, is held to the envelope only.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, TypeAdapter

Id = Annotated[str, Field(min_length=1, max_length=200)]
Level = Annotated[int, Field(ge=1, le=5)]
_EARLIEST = dt.datetime(2000, 1, 1, tzinfo=dt.UTC)


class Envelope(BaseModel):
    """A page of anything."""

    items: list[dict[str, Any]]
    page: int = Field(ge=1)
    pages: int = Field(ge=0)
    total: int = Field(ge=0)


class _Item(BaseModel):
    # More fields than promised are no breach: an API may grow.
    model_config = ConfigDict(extra="ignore")

    id: Id
    updated_at: Annotated[AwareDatetime, Field(ge=_EARLIEST)]


class EvidenceControl(_Item):
    """A control of a compliance framework."""

    framework: str
    title: str
    status: Literal["passing", "failing", "not_assessed"]
    owner: str


class EvidenceAsset(_Item):
    """Something that is to be protected."""

    name: str
    kind: str
    criticality: Level
    region: str


class EvidenceFinding(_Item):
    """What was found wrong with an asset."""

    control_id: Id
    asset_id: Id
    severity: Level
    status: Literal["open", "accepted", "resolved"]


ItemsAdapter = TypeAdapter[list[Any]]

CONTRACTS: Mapping[str, Mapping[str, ItemsAdapter]] = {
    "evidence": {
        "controls": TypeAdapter(list[EvidenceControl]),
        "assets": TypeAdapter(list[EvidenceAsset]),
        "findings": TypeAdapter(list[EvidenceFinding]),
    },
}
