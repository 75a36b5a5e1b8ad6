"""Read a table or query of a CARTO account into a DataFrame: ``read_carto``."""

from __future__ import annotations

import os
import warnings
from collections.abc import Collection, Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, cast, overload

import numpy as np
import pandas as pd
import pyarrow as pa

from cartoframes_lite._client import Client
from cartoframes_lite._client.http.prefetch import prefetched
from cartoframes_lite._client.http.progress import Progress
from cartoframes_lite._codec.bad_value import short_repr
from cartoframes_lite._codec.copybinary import SYNC_BYTES, BrokenStream, Decoder, decode
from cartoframes_lite._codec.frame import arrow_schema, from_arrow
from cartoframes_lite._codec.names import is_unicode
from cartoframes_lite._codec.pgtypes import SourceColumn
from cartoframes_lite._codec.to_series import Backend
from cartoframes_lite.credentials import Credentials
from cartoframes_lite.errors import ConnectionFailed, ConversionWarning, SQLError, decode_error, error_from_response
from cartoframes_lite.read.source import Source, SourceLayout, copy_out, query_layout, resolve_source, select

_MAX_ROWS = 2**63 - 1
_MAX_READS = 5  # attempts if the columns change during a read


@overload
def read_carto(
    source: str,
    credentials: Credentials | None = ...,
    *,
    columns: Sequence[str] | None = ...,
    limit: int | None = ...,
    schema: str | None = ...,
    index_col: Hashable | Sequence[Hashable] | None = ...,
    decode_geom: bool = ...,
    coerce_float: bool = ...,
    dtype_backend: Backend | None = ...,
    chunksize: None = ...,
    progress: bool | None = ...,
) -> pd.DataFrame: ...
@overload
def read_carto(
    source: str,
    credentials: Credentials | None = ...,
    *,
    columns: Sequence[str] | None = ...,
    limit: int | None = ...,
    schema: str | None = ...,
    index_col: Hashable | Sequence[Hashable] | None = ...,
    decode_geom: bool = ...,
    coerce_float: bool = ...,
    dtype_backend: Backend | None = ...,
    chunksize: int,
    progress: bool | None = ...,
) -> Iterator[pd.DataFrame]: ...
def read_carto(
    source: str,
    credentials: Credentials | None = None,
    *,
    columns: Sequence[str] | None = None,
    limit: int | None = None,
    schema: str | None = None,
    index_col: Hashable | Sequence[Hashable] | None = None,
    decode_geom: bool = True,
    coerce_float: bool = True,
    dtype_backend: Backend | None = None,
    chunksize: int | None = None,
    progress: bool | None = None,
) -> pd.DataFrame | Iterator[pd.DataFrame]:
    """Read a table or the rows of a query.

    The rows are read by a single binary ``COPY`` statement, so they are one snapshot of the data. Each row and the end
    of the stream are verified: a lost connection, or an error of the server after the first rows, raises, and partial
    results are never returned. If the columns change during the read, the read is repeated.

    Parameters
    ----------
    source : str
        Name of a table, with or without its schema, or any SQL that returns rows: ``SELECT``, ``WITH``,
        ``VALUES`` or ``TABLE``, optionally with comments and in parentheses.
    credentials : Credentials, optional
        Default: those of ``set_default_credentials``, else of the environment, else of the file.
    columns : sequence of str, optional
        Columns to read, in this order. Default: all except ``the_geom_webmercator``.
    limit : int, optional
        Maximum number of rows. None: all.
    schema : str, optional
        Schema of the table. None: the default schema of the account. Not allowed for a query.
    index_col : label or sequence of labels, optional
        Columns to set as index.
    decode_geom : bool, default True
        Decode geometries; False returns them as EWKB ``bytes`` in a plain DataFrame.
    coerce_float : bool, default True
        Convert ``numeric`` to float64; False returns ``decimal.Decimal``.
    dtype_backend : {"numpy_nullable", "pyarrow"}, optional
        As in ``pandas.read_sql``.
    chunksize : int, optional
        Return an iterator of frames with this number of rows (the last one may have fewer), in bounded memory.
        Integer and boolean columns have a nullable dtype in chunks that contain a NULL. An error at the end of the
        stream, such as columns that changed during the read, is raised by the iterator at its end: discard the
        chunks yielded before.
    progress : bool, optional
        Show a progress bar: None after two seconds, False never, True at once.

    Returns
    -------
    geopandas.GeoDataFrame, pandas.DataFrame, or an iterator of them
        A GeoDataFrame if there is a geometry column; the active one is ``the_geom``, else the first. The CRS is the
        SRID of the column, EPSG:4326 (x is the longitude) for every CARTO table. Rows are in the order of the query;
        a table has no order. ``attrs["carto"]`` contains the account and the table or query.

    Raises
    ------
    TableNotFoundError
        If the table does not exist.
    PermissionDenied
        If the API key has no permission to read it.
    SQLError, QueryTimeout
        If the query is invalid, or exceeds the statement timeout of the account.
    ConnectionFailed
        If the server cannot be reached, or the connection is lost.

    Examples
    --------
    >>> import cartoframes_lite as cfl
    >>> cfl.read_carto("SELECT name, year, the_geom FROM stations WHERE year > 2000")
          name  year            the_geom
    0  Harbour  2021  POINT (2.29 48.86)
    >>> sum(len(chunk) for chunk in cfl.read_carto("stations", columns=["name"], chunksize=2))
    3
    """
    check_source(source, columns, dtype_backend)
    check_count("limit", limit, least=0)
    check_count("chunksize", chunksize, least=1)
    index = _index_labels(index_col)
    client = Client(credentials, progress=progress)
    origin = resolve_source(source, schema)

    def prepare() -> _Read:
        layout = query_layout(client, origin)
        selected = select(layout.columns, columns, source)
        _check_index(selected, index or [])
        return _Read(client, origin, layout, selected, limit, progress)

    def finish(read: _Read, batches: Iterable[pa.RecordBatch]) -> pd.DataFrame:
        frame = from_arrow(
            batches, read.columns, decode_geom=decode_geom, coerce_float=coerce_float, backend=dtype_backend
        )
        if index is not None:
            frame = frame.set_index(index)
        frame.attrs["carto"] = origin.to_attrs(client.credentials)
        return frame

    read = prepare()
    if chunksize is not None:
        return (finish(read, batches) for batches in _rechunk(read.batches(), chunksize))
    for _ in range(_MAX_READS - 1):
        try:
            return finish(read, read.batches())
        except (_IncompleteRead, SQLError, ValueError):
            if not read.is_outdated():
                raise
        read = prepare()
    return finish(read, read.batches())


def check_source(source: object, columns: object, backend: object) -> None:
    """Raise for invalid arguments, before any request."""
    if not isinstance(source, str) or not source.strip():
        raise TypeError(f"source must be a table name or a query, not {source!r}")
    if "\0" in source or not is_unicode(source):
        raise ValueError(f"source contains the character U+0000 or a lone surrogate, remove it: {source!r}")
    if columns is not None:
        _check_columns(columns)
    if backend not in (None, "numpy_nullable", "pyarrow"):
        raise ValueError(f'dtype_backend must be "numpy_nullable" or "pyarrow", not {backend!r}')


def _check_columns(columns: object) -> None:
    if isinstance(columns, str | bytes) or not isinstance(columns, Collection | pd.Index | np.ndarray):
        raise TypeError(f"columns must be a sequence of column names, not {columns!r}")
    others = [name for name in columns if not isinstance(name, str)]
    if others:
        raise TypeError(f"columns must contain only strings, not {others}")
    if len(set(columns)) < len(columns):
        raise ValueError(f"columns contains a name twice: {list(columns)}")


def check_count(name: str, value: object, *, least: int) -> None:
    """Raise unless a value is None or an integer in the range of bigint."""
    if value is not None and (
        not isinstance(value, int | np.integer)
        or isinstance(value, bool | np.timedelta64)
        or not least <= value <= _MAX_ROWS
    ):
        raise ValueError(f"{name} must be an integer from {least} to {_MAX_ROWS}, not {short_repr(value)}")


def _index_labels(index_col: object) -> list[Hashable] | None:
    """Return the index columns as a list: ``set_index`` takes arrays as values, and a tuple as one label."""
    if index_col is None:
        return None
    is_one = isinstance(index_col, str | bytes) or not isinstance(index_col, Collection | pd.Index | np.ndarray)
    labels: list[Any] = [index_col] if is_one else list(cast("Iterable[Any]", index_col))
    if not labels:
        raise ValueError("index_col is empty: leave it out for a RangeIndex")
    if not all(isinstance(label, Hashable) for label in labels) or len(set(labels)) < len(labels):
        raise ValueError(f"index_col must be a column name, or a list of distinct names, not {index_col!r}")
    return labels


def _check_index(selected: list[SourceColumn], labels: list[Hashable]) -> None:
    names = [column.name for column in selected]
    unknown = [label for label in labels if label not in names]
    if unknown:
        raise ValueError(f"index_col contains {unknown}, which are not among the columns {names}")


class _IncompleteRead(ConnectionFailed):
    """The rows are incomplete, or the columns changed while they were read."""


@dataclass(frozen=True, slots=True)
class _Read:
    """A read: ``columns`` are the selected ones of ``layout``."""

    client: Client
    origin: Source
    layout: SourceLayout
    columns: list[SourceColumn]
    limit: int | None
    progress: bool | None

    def batches(self) -> Iterator[pa.RecordBatch]:
        """Download and decode; ends without error only if the stream is complete and the columns are unchanged."""
        sync = os.urandom(SYNC_BYTES)
        decoder = Decoder(arrow_schema(self.columns), sync)
        query = copy_out(self.origin.sql, self.columns, sync, self.limit)
        with (
            self.client.copy.copy_to(query) as arriving,
            prefetched(arriving, arriving.stop) as blocks,
            Progress("reading", self.progress) as bar,
        ):
            try:
                for batch in decode(bar.count_bytes(blocks), decoder):
                    bar.count_rows(batch.num_rows)
                    yield batch
            except BrokenStream as error:
                raise _stream_error(error) from error
        if self.is_outdated():
            raise _IncompleteRead("the columns of the source changed during the read; nothing is returned, read again")
        if decoder.infinite:
            warnings.warn(
                f"columns {sorted(decoder.infinite)} have infinite dates, or dates that pandas cannot hold: "
                "they are read as missing values",
                ConversionWarning,
                stacklevel=4,
            )

    def is_outdated(self) -> bool:
        """Return whether the columns or the table have changed since the layout was queried.

        A column type may change between that query and the COPY. Also, a COPY that waited for the lock of an ALTER
        TABLE reads the old rows with the new columns, as NULL, even if the types are the same.
        """
        return query_layout(self.client, self.origin) != self.layout


def _stream_error(error: BrokenStream) -> Exception:
    """Return the error that the server appended to the data (status 200), or the one for an incomplete stream."""
    at = error.rest.rfind(b'{"error":')
    if at >= 0 and decode_error(error.rest[at:]) is not None:
        return error_from_response("POST", "sql/copyto", 200, {}, error.rest[at:])
    return _IncompleteRead(f"the response is incomplete ({error}); nothing is returned, read again")


def _rechunk(batches: Iterable[pa.RecordBatch], rows: int) -> Iterator[list[pa.RecordBatch]]:
    """Regroup batches to ``rows`` rows; yields at least one group, so that an empty result has its columns."""
    group: list[pa.RecordBatch] = []
    missing, has_yielded = rows, False
    for batch in batches:
        while batch.num_rows >= missing:
            yield [*group, batch.slice(0, missing)]
            batch, group, missing, has_yielded = batch.slice(missing), [], rows, True
        if batch.num_rows:
            group.append(batch)
            missing -= batch.num_rows
    if group or not has_yielded:
        yield group
