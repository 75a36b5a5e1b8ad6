"""Tables in ranges of a column: where they are cut, how one is read, and whether the table is still the same."""

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
from cartoframes_lite._client.http.rate_limit_retry import retry_while_rate_limited
from cartoframes_lite._codec.frame import from_arrow
from cartoframes_lite._codec.names import literal, quote
from cartoframes_lite._codec.pgtypes import SourceColumn
from cartoframes_lite._codec.to_series import Backend
from cartoframes_lite.credentials import Credentials
from cartoframes_lite.errors import CartoError, TableChangedError
from cartoframes_lite.read import read_carto
from cartoframes_lite.read.source import Source, inspect_source

Bound = int | dt.date | pd.Timestamp

# Types that have ranges, and what is true for the values that Python can hold: neither NULL nor infinite dates.
_RANGED = {
    **dict.fromkeys(("int2", "int4", "int8"), "IS NOT NULL"),
    **dict.fromkeys(
        ("date", "timestamp", "timestamptz"), "BETWEEN '0001-01-01 00:00+00' AND '9999-12-31 23:59:59.999999+00'"
    ),
}
# A column has one dtype in all partitions, whichever of them has a NULL.
_NULLABLE = {"int16": "Int16", "int32": "Int32", "int64": "Int64", "bool": "boolean"}
_MOST_PARTITIONS = 2**31  # times the number of a row it is a bigint
_UNKNOWN = "it cannot be known whether {what} changes while it is read in parts; consistent=False reads it all the same"


@dataclass(frozen=True, slots=True)
class TableVersion:
    """What a source was like at a moment: two states are the same if no change was committed between them.

    Attributes
    ----------
    tables : str
        Each table below it, and the transaction that changed its rows last.
    columns : tuple of SourceColumn
    """

    tables: str
    columns: tuple[SourceColumn, ...]


def table_version(client: Client, origin: Source) -> TableVersion:
    """Ask what a source is like.

    CARTO's triggers write the time of a change into ``CDB_TableMetadata``, in the transaction that makes the change.
    The transaction is told by ``xmin`` of the row; the time would be that of its beginning, and JSON cuts it.

    Raises
    ------
    CartoError
        If CARTO does not follow a table, or the key may not ask.
    """
    columns = tuple(inspect_source(client, origin))
    query = (
        "SELECT count(*) = count(known.tabname) AS followed,"
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
    if not row["followed"]:
        raise ValueError(f"{what} has rows of tables that CARTO does not follow: {_UNKNOWN.format(what='that')}")
    return TableVersion(row["state"] or "", columns)


@dataclass(frozen=True, slots=True)
class Range:
    """From the first bound on, up to the last; ``closed`` if the last belongs to it."""

    first: Bound
    last: Bound
    closed: bool


@dataclass(frozen=True, slots=True)
class Ranges:
    """A column, and the values where the source is cut: of each range the first, and the last of all."""

    column: SourceColumn
    bounds: tuple[Bound, ...]

    def __iter__(self) -> Any:
        last = len(self.bounds) - 2
        pairs = zip(self.bounds[:-1], self.bounds[1:], strict=True)
        return (Range(first, end, closed=number == last) for number, (first, end) in enumerate(pairs))

    def condition(self, piece: Range) -> str:
        """Compose what is true for the rows of a range."""
        name, end = quote(self.column.name), "<=" if piece.closed else "<"
        return f"{name} >= {self.literal(piece.first)} AND {name} {end} {self.literal(piece.last)}"

    def literal(self, bound: Bound) -> str:
        """Write a bound in the type of the column."""
        text = str(bound) if isinstance(bound, int) else bound.isoformat()
        return f"{literal(text)}::{self.column.pgtype}"


def cut(
    credentials: Credentials, origin: Source, column: SourceColumn, *, npartitions: int | None, chunk_rows: int
) -> Ranges | None:
    """Find ranges with about the same number of rows, however the values lie; None if there is no row.

    Raises
    ------
    ValueError
        If the column cannot be cut into ranges, or has NULL or dates that are in none.
    """
    if column.pgtype not in _RANGED:
        raise ValueError(
            f"index_col {column.name!r} is {column.pgtype}, which has no ranges: one of {tuple(_RANGED)} has"
        )
    name = quote(column.name)
    is_known = f"{name} {_RANGED[column.pgtype]}"
    begins = f"number % {chunk_rows:d} = 0"
    if npartitions is not None:
        npartitions = min(npartitions, _MOST_PARTITIONS)
        begins = f"(number = 0 OR number * {npartitions:d} / known <> (number - 1) * {npartitions:d} / known)"
    # By COPY: no statement timeout, and exact values.
    query = (
        "SELECT DISTINCT rows, known, first, last FROM"  # not WITH: a table may have the name of what that would define
        f" (SELECT count(*) AS rows, count(*) FILTER (WHERE {is_known}) AS known,"
        f" max({name}) FILTER (WHERE {is_known}) AS last FROM {origin.sql}) AS _size"
        f" LEFT JOIN (SELECT {name} AS first, row_number() OVER (ORDER BY {name}) - 1 AS number FROM {origin.sql}"
        f" WHERE {is_known}) AS _numbered ON {begins} ORDER BY first"
    )
    found = retry_while_rate_limited(lambda: read_carto(query, credentials, progress=False))
    rows, known = int(found["rows"].iloc[0]), int(found["known"].iloc[0])
    if known < rows:
        raise ValueError(
            f"index_col {column.name!r} has NULL, or dates that Python cannot hold, in {rows - known} rows, which would"
            " be in no partition"
        )
    if not rows:
        return None
    bounds = (*found["first"].tolist(), found["last"].tolist()[0])
    return Ranges(column, bounds)


def bounding_boxes(credentials: Credentials, origin: Source, ranges: Ranges, shape: gpd.GeoSeries) -> gpd.GeoSeries:
    """Ask for the box of the geometries of each range, in their CRS; empty if there are none."""
    count = len(ranges.bounds) - 1
    firsts = ", ".join(ranges.literal(bound) for bound in ranges.bounds[:-1])
    query = (
        f"SELECT part, ST_XMin(box) AS a, ST_YMin(box) AS b, ST_XMax(box) AS c, ST_YMax(box) AS d FROM ("
        f"SELECT width_bucket({quote(ranges.column.name)}, ARRAY[{firsts}]) AS part,"
        f" ST_Extent({quote(str(shape.name))}) AS box FROM {origin.sql} GROUP BY 1) AS _boxes"
    )
    found = retry_while_rate_limited(lambda: read_carto(query, credentials, progress=False)).dropna()
    values = np.full(count, shapely.Polygon(), object)
    inside = found[found["part"].between(1, count)]
    values[inside["part"].to_numpy() - 1] = shapely.box(
        inside["a"].to_numpy(), inside["b"].to_numpy(), inside["c"].to_numpy(), inside["d"].to_numpy()
    )
    return gpd.GeoSeries(values, crs=shape.crs)


@dataclass(frozen=True, slots=True)
class RangeReader:
    """Reads the rows of one range; sent to the workers, with the key in it, which no repr and no token shows.

    Attributes
    ----------
    state : TableVersion or None
        What the source has to be like still; None to read whatever is there.
    """

    credentials: Credentials
    origin: Source
    ranges: Ranges | None
    index_col: str
    columns: tuple[SourceColumn, ...]
    state: TableVersion | None
    decode_geom: bool
    coerce_float: bool
    dtype_backend: Backend | None
    token: str = field(default_factory=lambda: secrets.token_hex(16), repr=False)

    def __dask_tokenize__(self) -> str:
        return self.token

    def empty(self) -> pd.DataFrame:
        """Give a frame without rows, with the dtypes that all partitions have."""
        frame = from_arrow(
            [], self.columns, decode_geom=self.decode_geom, coerce_float=self.coerce_float, backend=self.dtype_backend
        )
        return self._finished(frame.set_index(self.index_col))

    def __call__(self, piece: Range | None, columns: Sequence[str] | None = None) -> pd.DataFrame:
        """Read a range; None stands for the only one of a source without rows."""
        if piece is None or self.ranges is None:
            frame = self.empty()
            return frame if columns is None else frame[list(columns)]
        query = f"SELECT * FROM {self.origin.sql} WHERE {self.ranges.condition(piece)}"
        names = self._needed(columns)
        frame = retry_while_rate_limited(
            lambda: read_carto(
                query,
                self.credentials,
                columns=names,
                index_col=self.index_col,
                decode_geom=self.decode_geom,
                coerce_float=self.coerce_float,
                dtype_backend=self.dtype_backend,
                progress=False,
            )
        )
        self._require_state()
        frame = self._finished(frame if frame.index.is_monotonic_increasing else frame.sort_index(kind="stable"))
        return frame if columns is None else frame[list(columns)]

    def _needed(self, columns: Sequence[str] | None) -> list[str]:
        """Name the columns to fetch: those that are asked for, the index, and the geometry that is the active one."""
        if columns is None:
            return [column.name for column in self.columns]
        empty = self.empty()
        active = [str(empty.geometry.name)] if isinstance(empty[list(columns)], gpd.GeoDataFrame) else []
        return list(dict.fromkeys([self.index_col, *active, *columns]))

    def _finished(self, frame: pd.DataFrame) -> pd.DataFrame:
        kinds = {name: str(dtype) for name, dtype in frame.dtypes.items()}
        frame = frame.astype({name: _NULLABLE[kind] for name, kind in kinds.items() if kind in _NULLABLE})
        frame.attrs["carto"] = self.origin.to_attrs(self.credentials)
        return frame

    def _require_state(self) -> None:
        """Refuse rows of another state; asked afterwards, so that nothing can happen before they were read."""
        if (
            self.state is not None
            and table_version(Client(self.credentials, progress=False), self.origin) != self.state
        ):
            raise TableChangedError(
                f"{self.origin.table or 'a table of the query'!r} was changed since its partitions were planned: call"
                " dask.read_carto again, or pass consistent=False if partitions of different moments will do"
            )
