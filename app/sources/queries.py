"""The reviewed queries that the ``database`` source may run. A job names one; it never brings SQL."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from pydantic import BaseModel, ConfigDict, Field


class OpenFindingsParams(BaseModel):
    """Parameters of ``open_findings``."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    min_severity: int = Field(default=1, ge=1, le=5)


class FindingsOfAssetParams(BaseModel):
    """Parameters of ``findings_of_asset``."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    asset: str = Field(min_length=1, max_length=200)


@dataclass(frozen=True)
class NamedQuery:
    """A query with bound parameters."""

    sql: str
    params: type[BaseModel]


_FINDING = "SELECT finding_id, asset, control, severity, status, opened_at FROM findings"

QUERIES: Mapping[str, NamedQuery] = {
    "open_findings": NamedQuery(
        f"{_FINDING} WHERE status = 'open' AND severity >= %(min_severity)s ORDER BY finding_id",
        OpenFindingsParams,
    ),
    "findings_of_asset": NamedQuery(
        f"{_FINDING} WHERE asset = %(asset)s ORDER BY finding_id",
        FindingsOfAssetParams,
    ),
}
