"""Plan a write: the columns of the staging table, the conversion of rows to them, the publishing transaction."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from cartoframes_lite.errors import ConversionError
from cartoframes_lite.write.column_changes import ColumnChanges, columns_to_append, columns_to_replace
from cartoframes_lite.write.existing_table import ExistingTable
from cartoframes_lite.write.fit import cast_to_dtype
from cartoframes_lite.write.payload import CARTODB_ID, Payload, PayloadColumn, with_carto_columns
from cartoframes_lite.write.publishing_sql import Parts, Staged, publish_into, publish_new
from cartoframes_lite.write.statements import CARTO_COLUMNS

IfExists = Literal["fail", "replace", "append"]


@dataclass(frozen=True, slots=True)
class WritePlan:
    """How the rows of a write are staged and published.

    Attributes
    ----------
    table : str
    first : Payload
        The first payload, converted to the columns of the staging table.
    change : ColumnChanges or None
        Changes to the columns of the existing table; None for a new table.
    existing : ExistingTable or None
        The existing table; None for a new table.
    replace : bool
        Whether the rows of the existing table are replaced.
    cartodbfy : bool
        Whether publishing makes it a CARTO table.
    assign_ids : bool
        Whether the rows have no ``cartodb_id`` and are assign_ids from 1.
    """

    table: str
    first: Payload
    change: ColumnChanges | None
    existing: ExistingTable | None
    replace: bool
    cartodbfy: bool
    assign_ids: bool

    @property
    def columns(self) -> tuple[PayloadColumn, ...]:
        """Columns of the staging table, in the order of the COPY stream."""
        return self.first.columns

    def has_same_staging(self, other: WritePlan) -> bool:
        """Check whether this plan can publish the staging table of another plan."""
        own, others = ([(column.name, column.staged_type) for column in plan.columns] for plan in (self, other))
        return (self.change is None) is (other.change is None) and own == others

    @property
    def with_primary_key(self) -> bool:
        """Whether the staging table gets the primary key of a CARTO table, since it becomes one."""
        return self.change is None and self.cartodbfy

    def cast_to_table(self, payload: Payload, first_id: int) -> Payload:
        """Convert rows to the columns and types of the staging table.

        Parameters
        ----------
        payload : Payload
        first_id : int
            ``cartodb_id`` of the first row, if ids are assigned.
        """
        if self.change is not None:
            return self.change.cast_to_table(payload)
        converted = cast_to_dtype(payload)
        return with_carto_columns(converted, first_id) if self.cartodbfy else converted

    def publish(self, schema: str, staged: Staged, parts: Parts | None = None) -> str:
        """Compose the transaction that publishes a staging table, or the staging tables of its partitions."""
        if self.change is None or self.existing is None:
            return publish_new(
                schema,
                staged,
                self.table,
                self.columns,
                cartodbfy=self.cartodbfy,
                parts=parts,
                assign_ids=self.assign_ids,
            )
        return publish_into(
            schema,
            staged,
            self.table,
            self.columns,
            self.existing,
            replace=self.replace,
            drop=self.change.drop,
            add=[column for column in self.columns if column.name in self.change.add],
            cartodbfy=self.cartodbfy,
            add_carto_columns=self.change.add_carto_columns,
            parts=parts,
        )


def plan_new(table: str, first: Payload, *, cartodbfy: bool) -> WritePlan:
    """Plan a new table, staged with its final columns, so that publishing only renames it where possible."""
    converted = cast_to_dtype(first)
    assign_ids = cartodbfy and converted.column(CARTODB_ID) is None
    shaped = with_carto_columns(converted, 1) if cartodbfy else converted
    return WritePlan(table, shaped, None, None, replace=False, cartodbfy=cartodbfy, assign_ids=assign_ids)


def plan_into(
    table: str, first: Payload, existing: ExistingTable, if_exists: IfExists, *, cartodbfy: bool
) -> WritePlan:
    """Plan to write to an existing table, which keeps all columns that can store the new values.

    Raises
    ------
    ConversionError
        If the columns of the rows do not fit those of the table.
    """
    if not first.columns:
        raise ConversionError(f"cannot {if_exists} table {table!r}: the frame has no columns")
    replace = if_exists == "replace"
    if replace:
        change = columns_to_replace(first, existing.columns, cartodbfy=cartodbfy, is_carto=existing.is_carto)
    else:
        change = columns_to_append(first, existing.columns)
    stays_carto = existing.is_carto and set(CARTO_COLUMNS) <= set(existing.columns) - set(change.drop)
    cartodbfy_again = replace and cartodbfy and not stays_carto
    return WritePlan(
        table,
        change.cast_to_table(first),
        change,
        existing,
        replace=replace,
        cartodbfy=cartodbfy_again,
        assign_ids=False,
    )
