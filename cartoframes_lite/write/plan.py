"""Plan a write: the columns of the staging table, the conversion of rows to them, the publishing transaction."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from cartoframes_lite._codec.frame import THE_GEOM, WEB_MERCATOR
from cartoframes_lite._codec.pgtypes import bare
from cartoframes_lite.errors import ConversionError
from cartoframes_lite.write.column_changes import ColumnChanges, columns_to_append, columns_to_replace
from cartoframes_lite.write.columns import CARTODB_ID, Column, Columns, find, with_carto_columns
from cartoframes_lite.write.conform import conform_values, is_conformed, require_same_columns
from cartoframes_lite.write.existing_table import ExistingTable
from cartoframes_lite.write.fit import cast_columns, cast_values, is_checked
from cartoframes_lite.write.model import with_types_for_missing
from cartoframes_lite.write.options import IfExists, WriteOptions
from cartoframes_lite.write.payload import Payload, Values
from cartoframes_lite.write.publishing_sql import merge_parts, publish_into, publish_new
from cartoframes_lite.write.staged_sql import Parts, Staged
from cartoframes_lite.write.statements import CARTO_COLUMNS, column_definitions


@dataclass(frozen=True, slots=True)
class WritePlan:
    """How the rows of a write are staged and published.

    Attributes
    ----------
    table : str
    model : tuple of Column
        Columns that the rows of every frame are converted to first.
    columns : tuple of Column
        Columns of the staging table, in the order of the COPY stream.
    change : ColumnChanges or None
        Changes to the columns of the existing table; None for a new table.
    existing : ExistingTable or None
        The existing table; None for a new table.
    replace : bool
        Whether the existing rows are deleted.
    key : tuple of str
        Columns that identify the rows to update; empty if no rows are updated.
    cartodbfy : bool
        Whether publishing makes it a CARTO table.
    assign_ids : bool
        Whether the rows have no ``cartodb_id`` and are numbered from 1.
    """

    table: str
    model: Columns
    columns: Columns
    change: ColumnChanges | None
    existing: ExistingTable | None
    replace: bool
    cartodbfy: bool
    assign_ids: bool
    key: tuple[str, ...] = ()

    def has_same_staging(self, other: WritePlan) -> bool:
        """Check whether this plan can publish the staging table of another plan."""
        own, others = ([_staging(column) for column in plan.columns] for plan in (self, other))
        return (self.change is None) is (other.change is None) and own == others

    @property
    def with_sequence(self) -> bool:
        """Check whether cartodb_id gets a sequence in the staging table, since that becomes a CARTO table."""
        return self.change is None and self.cartodbfy

    @property
    def staging_definition(self) -> str:
        """Definition of the staging table."""
        return column_definitions(self.columns, with_sequence=self.with_sequence)

    @property
    def spatial_indexes(self) -> tuple[str, ...]:
        """Columns whose spatial indexes the staging table can have, since publishing does not rewrite its rows."""
        if not self.with_sequence or any(column.final_type != column.staged_type for column in self.columns):
            return ()
        return (THE_GEOM, WEB_MERCATOR)

    @property
    def leaves_dead_rows(self) -> bool:
        """Whether publishing leaves old versions of rows, whose space a vacuum reclaims."""
        return self.replace or (self.change is not None and bool(self.key))

    def may_refuse(self, column: Column) -> bool:
        """Check whether ``cast`` may refuse a value of a column of the first frame."""
        model, target = find(self.model, column.name), find(self.columns, column.name)
        if model is None or target is None:
            return False
        return not is_conformed(column, model) or is_checked(model, target)

    def cast(self, payload: Payload) -> dict[str, Values]:
        """Convert the columns of a payload to those of the staging table.

        Raises
        ------
        ConversionError
            If that would change a value.
        """
        models = {column.name: column for column in self.model}
        targets = {column.name: column for column in self.columns}
        cast = {}
        with _naming(payload.origin):
            for column in payload.columns:
                model = models[column.name]
                values = conform_values(payload.values[column.name], column, model, payload.first_row)
                cast[column.name] = cast_values(values, model, targets[column.name], payload.first_row)
        return cast

    def staged_rows(self, payloads: Iterable[Payload]) -> Iterator[Payload]:
        """Convert all rows, and add the columns of a CARTO table that the frame does not have."""
        first_id = 1
        for payload in payloads:
            with _naming(payload.origin):
                require_same_columns(payload.columns, self.model)
            values = self.cast(payload)
            for column in self.columns:
                if column.name not in values:
                    values[column.name] = _added_values(column, values, first_id, payload.rows)
            yield Payload(self.columns, values, payload.rows, payload.first_row)
            first_id += payload.rows

    def merge(self, schema: str, staged: Staged, parts: Parts) -> str:
        """Compose the request that moves the rows of the partitions of a new table to their parent, if not done yet."""
        return merge_parts(schema, staged, self.columns, parts, assign_ids=self.assign_ids)

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
                key=self.key,
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
            unsure=self.change.unsure,
            key=self.key,
            parts=parts,
        )


@contextmanager
def _naming(origin: str) -> Iterator[None]:
    """Begin the message of an error with the frame that its rows are from."""
    try:
        yield
    except ConversionError as error:
        if not origin:
            raise
        raise ConversionError(f"{origin}: {error}") from error


def _staging(column: Column) -> tuple[str, str, bool]:
    """Return what staged values depend on: name, type, and whether ``cast`` has checked them as jsonb."""
    return column.name, column.staged_type, bare(column.final_type) == "jsonb"


def _added_values(column: Column, values: dict[str, Values], first_id: int, rows: int) -> Values:
    if column.name == CARTODB_ID:
        return pa.chunked_array([pa.array(np.arange(first_id, first_id + rows))])
    return values[THE_GEOM] if column.name == WEB_MERCATOR else np.full(rows, None, object)


def make_plan(
    table: str,
    columns: Columns,
    existing: ExistingTable | None,
    options: WriteOptions,
    misfits: Collection[str] = (),
) -> WritePlan:
    """Plan to create a table, or to write to the existing one.

    ``misfits`` are columns of the table that cannot store the staged values, so that a replace changes their types.
    """
    if existing is None:
        return plan_new(table, columns, cartodbfy=options["cartodbfy"])
    return plan_into(table, columns, existing, options["if_exists"], cartodbfy=options["cartodbfy"], misfits=misfits)


def plan_new(table: str, columns: Columns, *, cartodbfy: bool) -> WritePlan:
    """Plan a new table, staged with its final columns, so that publishing only renames it where possible."""
    model = with_types_for_missing(columns, {}, append=False, cartodbfy=cartodbfy)
    staged = cast_columns(model, {})
    assign_ids = cartodbfy and find(columns, CARTODB_ID) is None
    if cartodbfy:
        staged = with_carto_columns(staged)
    return WritePlan(
        table, model, staged, None, None, replace=False, cartodbfy=cartodbfy, assign_ids=assign_ids, key=_key(columns)
    )


def _key(columns: Columns) -> tuple[str, ...]:
    return tuple(column.name for column in columns if column.is_key)


def plan_into(
    table: str,
    columns: Columns,
    existing: ExistingTable,
    if_exists: IfExists,
    *,
    cartodbfy: bool,
    misfits: Collection[str] = (),
) -> WritePlan:
    """Plan to write to an existing table, which keeps all columns that can store the new values.

    Raises
    ------
    ConversionError
        If the columns of the rows do not fit those of the table.
    """
    if not columns:
        raise ConversionError(f"cannot {if_exists} table {table!r}: the frame has no columns")
    replace = if_exists == "replace"
    model = with_types_for_missing(columns, existing.columns, append=not replace, cartodbfy=cartodbfy)
    if replace:
        change = columns_to_replace(
            model, existing.columns, cartodbfy=cartodbfy, is_carto=existing.is_carto, misfits=misfits
        )
    else:
        change = columns_to_append(model, existing.columns)
    stays_carto = existing.is_carto and set(CARTO_COLUMNS) <= set(existing.columns) - set(change.drop)
    cartodbfy_again = replace and cartodbfy and not stays_carto
    return WritePlan(
        table,
        model,
        change.staged_columns(model),
        change,
        existing,
        replace=replace or if_exists == "delete_rows",
        cartodbfy=cartodbfy_again,
        assign_ids=False,
        key=_key(columns),
    )
