"""Divide a table into ranges of a column, read a range, and detect changes of the table."""

from __future__ import annotations

import datetime as dt
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import geopandas as gpd
import numpy as np
import pandas as pd
import shapely

from cartoframes_lite._client import Client
from cartoframes_lite._client.http.rate_limit import share_with_processes
from cartoframes_lite._codec.frame import from_arrow
from cartoframes_lite._codec.names import literal, quote
from cartoframes_lite._codec.pgtypes import SourceColumn
from cartoframes_lite._codec.to_series import Backend
from cartoframes_lite.credentials import Credentials
from cartoframes_lite.errors import CartoError, TableChangedError
from cartoframes_lite.read import read_carto
from cartoframes_lite.read.source import Source, inspect_source

Bound = int | dt.date | pd.Timestamp

# Column types that can be divided into ranges, with the condition for values that Python can represent: not NULL, no
# infinite dates.
_RANGED = {
    **dict.fromkeys(("int2", "int4", "int8"), "IS NOT NULL"),
    **dict.fromkeys(
        ("date", "timestamp", "timestamptz"), "BETWEEN '0001-01-01 00:00+00' AND '9999-12-31 23:59:59.999999+00'"
    ),
}
# A column needs the same dtype in all partitions, also if only some of them have NULL.
_NULLABLE = {"int16": "Int16", "int32": "Int32", "int64": "Int64", "bool": "boolean"}
_MAX_PARTITIONS = 2**31  # its product with a row number must fit into a bigint
_UNKNOWN = "changes to {what} during the read cannot be detected; pass consistent=False to read without that check"


@dataclass(frozen=True, slots=True)
class TableVersion:
    """Version of the data of a source; two versions are equal if no change was committed in between.

    Attributes
    ----------
    tables : str
        Oid of each underlying table, with the id of the transaction that last changed its rows.
    columns : tuple of SourceColumn
    """

    tables: str
    columns: tuple[SourceColumn, ...]


def table_version(client: Client, origin: Source) -> TableVersion:
    """Return the current version of a source.

    CARTO's triggers update the row of a table in ``CDB_TableMetadata`` in each transaction that changes the table.
    ``xmin`` of that row identifies the transaction; ``updated_at`` is only the time when it began, truncated in JSON.

    Raises
    ------
    ValueError
        If CARTO does not record changes of an underlying table.
    CartoError
        If the API key may not read the metadata.
    """
    columns = tuple(inspect_source(client, origin))
    query = (
        "SELECT count(*) = count(known.tabname) AS recorded,"
        " string_agg(concat(found.name::regclass::oid, '/', known.xmin), ' ' ORDER BY found.name) AS state"
        f" FROM unnest(CDB_QueryTablesText({literal(f'SELECT * FROM {origin.sql}')})) AS found(name)"
        " LEFT JOIN CDB_TableMetadata AS known ON known.tabname = found.name::regclass"
    )
    what = repr(origin.table or "the query")
    try:
        (row,) = client.sql.rows(query)
    except CartoError as error:
        error.add_note(_UNKNOWN.format(what=what))
        raise
    if not row["recorded"]:
        raise ValueError(
            f"{what} reads tables whose changes CARTO does not record, since they are not CARTO tables:"
            f" {_UNKNOWN.format(what='them')}"
        )
    return TableVersion(row["state"] or "", columns)


@dataclass(frozen=True, slots=True)
class Range:
    """Range from ``first``, inclusive, to ``last``, which is inclusive if ``closed``."""

    first: Bound
    last: Bound
    closed: bool


@dataclass(frozen=True, slots=True)
class Ranges:
    """Ranges of a column: the first value of each range, then the last value of the last range."""

    column: SourceColumn
    bounds: tuple[Bound, ...]

    def __iter__(self) -> Any:
        last = len(self.bounds) - 2
        pairs = zip(self.bounds[:-1], self.bounds[1:], strict=True)
        return (Range(first, end, closed=number == last) for number, (first, end) in enumerate(pairs))

    def condition(self, part: Range) -> str:
        """Compose the SQL condition for the rows of a range."""
        name, end = quote(self.column.name), "<=" if part.closed else "<"
        return f"{name} >= {self.literal(part.first)} AND {name} {end} {self.literal(part.last)}"

    def literal(self, bound: Bound) -> str:
        """Return a bound as an SQL literal of the type of the column."""
        text = str(bound) if isinstance(bound, int) else bound.isoformat()
        return f"{literal(text)}::{self.column.pgtype}"


def divide(
    credentials: Credentials, origin: Source, column: SourceColumn, *, npartitions: int | None, chunk_rows: int
) -> Ranges | None:
    """Divide a source into ranges with about the same number of rows; None if it has no rows.

    Raises
    ------
    ValueError
        If the type of the column has no ranges, or the column has NULL, or dates that Python cannot represent.
    """
    if column.pgtype not in _RANGED:
        raise ValueError(
            f"index_col {column.name!r} is {column.pgtype}, which cannot be divided into ranges: choose a column"
            f" of type {', '.join(_RANGED)}"
        )
    name = quote(column.name)
    is_known = f"{name} {_RANGED[column.pgtype]}"
    begins = f"number % {chunk_rows:d} = 0"
    if npartitions is not None:
        npartitions = min(npartitions, _MAX_PARTITIONS)
        begins = f"(number = 0 OR number * {npartitions:d} / known <> (number - 1) * {npartitions:d} / known)"
    # Read by COPY, which has no statement timeout and returns exact values.
    query = (
        "SELECT DISTINCT rows, known, first, last FROM"  # a name defined by WITH could hide a table
        f" (SELECT count(*) AS rows, count(*) FILTER (WHERE {is_known}) AS known,"
        f" max({name}) FILTER (WHERE {is_known}) AS last FROM {origin.sql}) AS _size"
        f" LEFT JOIN (SELECT {name} AS first, row_number() OVER (ORDER BY {name}) - 1 AS number FROM {origin.sql}"
        f" WHERE {is_known}) AS _numbered ON {begins} ORDER BY first"
    )
    with share_with_processes():
        found = read_carto(query, credentials, progress=False)
    rows, known = int(found["rows"].iloc[0]), int(found["known"].iloc[0])
    if known < rows:
        raise ValueError(
            f"index_col {column.name!r} has NULL, or dates that Python cannot represent, in {rows - known} rows, which"
            " would be in no partition: choose another column, or read a query that excludes these rows"
        )
    if not rows:
        return None
    bounds = (*found["first"].tolist(), found["last"].tolist()[0])
    return Ranges(column, bounds)


def bounding_boxes(credentials: Credentials, origin: Source, ranges: Ranges, shape: gpd.GeoSeries) -> gpd.GeoSeries:
    """Return the bounding box of the geometries of each range, in their CRS; an empty polygon if there are none."""
    count = len(ranges.bounds) - 1
    firsts = ", ".join(ranges.literal(bound) for bound in ranges.bounds[:-1])
    query = (
        f"SELECT part, ST_XMin(box) AS a, ST_YMin(box) AS b, ST_XMax(box) AS c, ST_YMax(box) AS d FROM ("
        f"SELECT width_bucket({quote(ranges.column.name)}, ARRAY[{firsts}]) AS part,"
        f" ST_Extent({quote(str(shape.name))}) AS box FROM {origin.sql} GROUP BY 1) AS _boxes"
    )
    with share_with_processes():
        found = read_carto(query, credentials, progress=False).dropna()
    values = np.full(count, shapely.Polygon(), object)
    inside = found[found["part"].between(1, count)]
    values[inside["part"].to_numpy() - 1] = shapely.box(
        inside["a"].to_numpy(), inside["b"].to_numpy(), inside["c"].to_numpy(), inside["d"].to_numpy()
    )
    return gpd.GeoSeries(values, crs=shape.crs)


@dataclass(frozen=True, slots=True)
class RangeReader:
    """Callable that reads one range on a worker.

    It is pickled with the API key, which is in neither its repr nor its Dask token.

    Attributes
    ----------
    version : TableVersion or None
        Version that the source must still have after the read; None to skip the check.
    """

    credentials: Credentials
    origin: Source
    ranges: Ranges | None
    index_col: str
    columns: tuple[SourceColumn, ...]
    version: TableVersion | None
    decode_geom: bool
    coerce_float: bool
    dtype_backend: Backend | None
    token: str = field(default_factory=lambda: secrets.token_hex(16), repr=False)

    def __dask_tokenize__(self) -> str:
        return self.token

    def empty(self) -> pd.DataFrame:
        """Return an empty frame with the dtypes of all partitions."""
        frame = from_arrow(
            [], self.columns, decode_geom=self.decode_geom, coerce_float=self.coerce_float, backend=self.dtype_backend
        )
        return self._with_nullable_dtypes(frame.set_index(self.index_col))

    def __call__(self, part: Range | None, columns: Sequence[str] | None = None) -> pd.DataFrame:
        """Read a range; None is the single partition of a source without rows."""
        if part is None or self.ranges is None:
            frame = self.empty()
            return frame if columns is None else frame[list(columns)]
        query = f"SELECT * FROM {self.origin.sql} WHERE {self.ranges.condition(part)}"
        names = self._columns_to_read(columns)
        with share_with_processes():
            frame = read_carto(
                query,
                self.credentials,
                columns=names,
                index_col=self.index_col,
                decode_geom=self.decode_geom,
                coerce_float=self.coerce_float,
                dtype_backend=self.dtype_backend,
                progress=False,
            )
            self._require_version()
        frame = self._with_nullable_dtypes(
            frame if frame.index.is_monotonic_increasing else frame.sort_index(kind="stable")
        )
        return frame if columns is None else frame[list(columns)]

    def _columns_to_read(self, columns: Sequence[str] | None) -> list[str]:
        """Return the columns to fetch: those requested, the index, and the active geometry of a GeoDataFrame."""
        if columns is None:
            return [column.name for column in self.columns]
        empty = self.empty()
        active = [str(empty.geometry.name)] if isinstance(empty[list(columns)], gpd.GeoDataFrame) else []
        return list(dict.fromkeys([self.index_col, *active, *columns]))

    def _with_nullable_dtypes(self, frame: pd.DataFrame) -> pd.DataFrame:
        kinds = {name: str(dtype) for name, dtype in frame.dtypes.items()}
        frame = frame.astype({name: _NULLABLE[kind] for name, kind in kinds.items() if kind in _NULLABLE})
        frame.attrs["carto"] = self.origin.to_attrs(self.credentials)
        return frame

    def _require_version(self) -> None:
        """Check, after the rows were read, that the source has not changed since its partitions were planned."""
        if (
            self.version is not None
            and table_version(Client(self.credentials, progress=False), self.origin) != self.version
        ):
            raise TableChangedError(
                f"{self.origin.table or 'a table of the query'!r} was changed since its partitions were planned: call"
                " dask.read_carto again, or pass consistent=False to accept partitions of different versions"
            )
