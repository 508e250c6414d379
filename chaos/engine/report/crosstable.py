"""The evidence cross-table: whose evidence was true while which variant was live."""

from __future__ import annotations

import enum
from dataclasses import dataclass

from chaos.domain.run import DrillResult

BASELINE = "baseline"


class Cell(enum.StrEnum):
    """One judgement of the cross-table."""

    TRUE = "true"  # true where it must be
    QUIET = "quiet"  # false where it must be
    MISSING = "missing"  # false on the diagonal: the cause was not seen
    STRAY = "stray"  # true off the diagonal: the evidence does not tell causes apart
    UNKNOWN = "unknown"  # never reached

    @property
    def wrong(self) -> bool:
        """Whether this cell is a finding."""
        return self in {Cell.MISSING, Cell.STRAY}


@dataclass(frozen=True)
class Row:
    """What was true in one moment; ``index`` is the column of the row's own variant, if any."""

    label: str
    index: int | None
    cells: tuple[Cell, ...]


@dataclass(frozen=True)
class CrossTable:
    """Columns are variants by id; rows are the variants that ran, the baseline last."""

    columns: tuple[str, ...]
    rows: tuple[Row, ...]

    @property
    def judged(self) -> bool:
        """Whether any cell was reached."""
        return any(cell is not Cell.UNKNOWN for row in self.rows for cell in row.cells)

    @property
    def wrong(self) -> int:
        """How many cells are findings."""
        return sum(cell.wrong for row in self.rows for cell in row.cells)


def cross_table(result: DrillResult) -> CrossTable:
    """Build the table. A column is true at the baseline if it was true before any of the variants."""
    ran = [variant.variant for variant in result.variants]
    columns = tuple(dict.fromkeys([*result.all_variants, *ran]))
    rows = [
        Row(
            label=variant.variant,
            index=columns.index(variant.variant),
            cells=tuple(
                _cell(variant.evidence_row.get(column), own=column == variant.variant) for column in columns
            ),
        )
        for variant in result.variants
    ]
    baseline = []
    for column in columns:
        seen = [v.baseline_row[column] for v in result.variants if column in v.baseline_row]
        baseline.append(_cell(any(seen) if seen else None, own=False))
    rows.append(Row(BASELINE, None, tuple(baseline)))
    return CrossTable(columns, tuple(rows))


def _cell(value: bool | None, *, own: bool) -> Cell:  # noqa: FBT001 the value is the point
    if value is None:
        return Cell.UNKNOWN
    if own:
        return Cell.TRUE if value else Cell.MISSING
    return Cell.STRAY if value else Cell.QUIET
