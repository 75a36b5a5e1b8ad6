"""What a write is going to do: the shape of the staging table, what rows need to fit it, how it is published."""

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
    """How rows come into a table.

    Attributes
    ----------
    table : str
    first : Payload
        The first rows, as they are staged.
    change : ColumnChanges or None
        What happens to the table that exists; None makes a new one.
    existing : ExistingTable or None
        That table.
    replace : bool
        Whether the rows of that table go.
    cartodbfy : bool
        Make it a CARTO table.
    numbered : bool
        Whether the rows have no ids of their own, and get those from 1 on.
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
        """The columns of the staging table, in the order of the stream."""
        return self.first.columns

    def stages_like(self, other: WritePlan) -> bool:
        """Say whether rows that were staged for another plan can be published by this one."""
        mine, theirs = ([(c.name, c.staged_type) for c in plan.columns] for plan in (self, other))
        return (self.change is None) is (other.change is None) and mine == theirs

    @property
    def with_primary_key(self) -> bool:
        """Whether the staging table has the key of a CARTO table: it is going to be one."""
        return self.change is None and self.cartodbfy

    def cast_to_table(self, payload: Payload, first_id: int) -> Payload:
        """Bring rows into the shape of the staging table.

        Parameters
        ----------
        payload : Payload
        first_id : int
            The id of the first row, if they get ids here.
        """
        if self.change is not None:
            return self.change.cast_to_table(payload)
        fitted = cast_to_dtype(payload)
        return with_carto_columns(fitted, first_id) if self.cartodbfy else fitted

    def publish(self, schema: str, staged: Staged, parts: Parts | None = None) -> str:
        """Compose the transaction that publishes a staging table, or its parts."""
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
            makes_carto_columns=self.change.makes_carto_columns,
            parts=parts,
        )


def plan_new(table: str, first: Payload, *, cartodbfy: bool) -> WritePlan:
    """Stage the table in its final shape, so that publishing is no more than renaming."""
    fitted = cast_to_dtype(first)
    numbered = cartodbfy and fitted.column(CARTODB_ID) is None
    shaped = with_carto_columns(fitted, 1) if cartodbfy else fitted
    return WritePlan(table, shaped, None, None, replace=False, cartodbfy=cartodbfy, assign_ids=numbered)


def plan_into(
    table: str, first: Payload, existing: ExistingTable, if_exists: IfExists, *, cartodbfy: bool
) -> WritePlan:
    """Stage only the rows; the target keeps its shape, or what of it the new rows have room in.

    Raises
    ------
    ConversionError
        If the rows do not fit the table.
    """
    if not first.columns:
        raise ConversionError(f"the frame has no columns, so there is nothing to {if_exists} in {table!r}")
    replace = if_exists == "replace"
    if replace:
        change = columns_to_replace(first, existing.columns, cartodbfy=cartodbfy, is_carto=existing.is_carto)
    else:
        change = columns_to_append(first, existing.columns)
    complete = existing.is_carto and set(CARTO_COLUMNS) <= set(existing.columns) - set(change.drop)
    remade = replace and cartodbfy and not complete
    return WritePlan(
        table, change.cast_to_table(first), change, existing, replace=replace, cartodbfy=remade, assign_ids=False
    )
