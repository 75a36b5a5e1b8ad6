"""read_carto: a table or a query of a CARTO account as a DataFrame."""

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
from cartoframes_lite.read.source import Probed, Source, copy_out, probe_layout, resolve_source, select

_MOST_ROWS = 2**63 - 1
_READS = 5  # a table whose columns change more often while it is read is somebody's mistake


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

    The rows come as one binary ``COPY``, a statement of its own and so one snapshot of the data. Each row is
    proved to be whole, and so is the end of the stream: a connection that breaks, or an error of the server
    after the first rows, raises; a part of the rows is never returned. If the columns were changed meanwhile,
    everything is read again.

    Parameters
    ----------
    source : str
        Name of a table, with or without its schema, or any SQL that returns rows: ``SELECT``, ``WITH``,
        ``VALUES`` or ``TABLE``, with comments and in parentheses if you like.
    credentials : Credentials, optional
        Default: those of ``set_default_credentials``, else of the environment, else of the file.
    columns : sequence of str, optional
        Columns to read, in this order. Default: all but ``the_geom_webmercator``.
    limit : int, optional
        Largest number of rows. None: all.
    schema : str, optional
        Schema of the table. None: the one of the account. Not for a query.
    index_col : label or sequence of labels, optional
        Columns to make the index.
    decode_geom : bool, default True
        Make geometries; False leaves them as EWKB ``bytes`` in a plain DataFrame.
    coerce_float : bool, default True
        Read ``numeric`` as float64; False gives ``decimal.Decimal``.
    dtype_backend : {"numpy_nullable", "pyarrow"}, optional
        As in ``pandas.read_sql``.
    chunksize : int, optional
        Return an iterator of frames with this number of rows (the last has fewer), in bounded memory. Integer
        and boolean columns are nullable in those chunks that have a NULL. An error at the end of the stream is
        raised when the iterator gets there, also if the columns were changed meanwhile: what has been given
        before is to be thrown away then.
    progress : bool, optional
        A progress bar: None shows one after two seconds, False never, True at once.

    Returns
    -------
    geopandas.GeoDataFrame, pandas.DataFrame, or an iterator of them
        A GeoDataFrame if there is a geometry: ``the_geom`` is the active one, else the first; its CRS is the SRID
        of the column, EPSG:4326 (x is the longitude) for every CARTO table. Rows come in the order of the query;
        a table has no order. ``attrs["carto"]`` tells where the frame comes from.

    Raises
    ------
    TableNotFoundError
        If there is no such table.
    PermissionDenied
        If the key may not read it.
    SQLError, QueryTimeout
        If the query is wrong, or takes longer than the account allows.
    ConnectionFailed
        If the server cannot be reached, or the stream breaks.

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

    def begin() -> _Stream:
        found = probe_layout(client, origin)
        selected = select(found.columns, columns, source)
        _check_index(selected, index or [])
        return _Stream(client, origin, found, selected, limit, progress)

    def finish(stream: _Stream, batches: Iterable[pa.RecordBatch]) -> pd.DataFrame:
        frame = from_arrow(
            batches, stream.columns, decode_geom=decode_geom, coerce_float=coerce_float, backend=dtype_backend
        )
        if index is not None:
            frame = frame.set_index(index)
        frame.attrs["carto"] = origin.note(client.credentials)
        return frame

    stream = begin()
    if chunksize is not None:
        return (finish(stream, batches) for batches in _rechunk(stream.batches(), chunksize))
    for _ in range(_READS - 1):
        try:
            return finish(stream, stream.batches())
        except (_Unproved, SQLError, ValueError):
            if not stream.is_outdated():
                raise
        stream = begin()
    return finish(stream, stream.batches())


def check_source(source: object, columns: object, backend: object) -> None:
    """Refuse arguments that cannot be meant, before any request."""
    if not isinstance(source, str) or not source.strip():
        raise TypeError(f"source must be the name of a table or a query, not {source!r}")
    if "\0" in source or not is_unicode(source):
        raise ValueError(f"source has the character U+0000 or a lone surrogate, which no query can have: {source!r}")
    if columns is not None:
        _check_columns(columns)
    if backend not in (None, "numpy_nullable", "pyarrow"):
        raise ValueError(f'dtype_backend must be "numpy_nullable" or "pyarrow", not {backend!r}')


def _check_columns(columns: object) -> None:
    if isinstance(columns, str | bytes) or not isinstance(columns, Collection | pd.Index | np.ndarray):
        raise TypeError(f"columns must be a sequence of names, not {columns!r}")
    others = [name for name in columns if not isinstance(name, str)]
    if others:
        raise TypeError(f"columns must be names, which {others} are not")
    if len(set(columns)) < len(columns):
        raise ValueError(f"columns names a column twice: {list(columns)}")


def check_count(name: str, value: object, *, least: int) -> None:
    """Refuse what is neither None nor a whole number that PostgreSQL has room for."""
    if value is not None and (
        not isinstance(value, int | np.integer)
        or isinstance(value, bool | np.timedelta64)
        or not least <= value <= _MOST_ROWS
    ):
        raise ValueError(f"{name} must be a whole number from {least} to {_MOST_ROWS}, not {short_repr(value)}")


def _index_labels(index_col: object) -> list[Hashable] | None:
    """List the columns of the index: pandas takes arrays for its values, and a tuple for one label."""
    if index_col is None:
        return None
    is_one = isinstance(index_col, str | bytes) or not isinstance(index_col, Collection | pd.Index | np.ndarray)
    labels: list[Any] = [index_col] if is_one else list(cast("Iterable[Any]", index_col))
    if not labels:
        raise ValueError("index_col names no column: leave it out to get numbers from 0")
    if not all(isinstance(label, Hashable) for label in labels) or len(set(labels)) < len(labels):
        raise ValueError(f"index_col must be the name of a column, or a list of different names, not {index_col!r}")
    return labels


def _check_index(selected: list[SourceColumn], wanted: list[Hashable]) -> None:
    names = [column.name for column in selected]
    unknown = [label for label in wanted if label not in names]
    if unknown:
        raise ValueError(f"index_col names {unknown}, which are not among the columns {names}")


class _Unproved(ConnectionFailed):
    """Rows have come, but nothing proves that they are what was asked for."""


@dataclass(frozen=True, slots=True)
class _Stream:
    """The rows on their way: ``columns`` of those that were ``found``."""

    client: Client
    origin: Source
    found: Probed
    columns: list[SourceColumn]
    limit: int | None
    progress: bool | None

    def batches(self) -> Iterator[pa.RecordBatch]:
        """Download and decode; ends only when the trailer has been proved, and the columns are still those."""
        sync = os.urandom(SYNC_BYTES)
        decoder = Decoder(arrow_schema(self.columns), sync)
        query = copy_out(self.origin.sql, self.columns, sync, self.limit)
        with (
            self.client.copy.copy_to(query) as arriving,
            prefetched(arriving, arriving.stop) as stream,
            Progress("reading", self.progress) as bar,
        ):
            try:
                for batch in decode(bar.count_bytes(stream), decoder):
                    bar.count_rows(batch.num_rows)
                    yield batch
            except BrokenStream as error:
                raise _explain(error) from error
        if self.is_outdated():
            raise _Unproved("the columns were changed while they were read; read again")
        if decoder.infinite:
            warnings.warn(
                f"columns {sorted(decoder.infinite)} have infinite dates, or dates that pandas cannot hold: "
                "they are missing values in the frame",
                ConversionWarning,
                stacklevel=4,
            )

    def is_outdated(self) -> bool:
        """Ask whether there are other columns, or another table, by now.

        Between the question for the columns and the COPY a column can have got another type. And a COPY that waited
        for that change sees the rows before it with the columns after it: NULL in those that are new, also if the
        columns are of the same types again.
        """
        return probe_layout(self.client, self.origin) != self.found


def _explain(error: BrokenStream) -> Exception:
    """Tell an error that the server sent behind the data, with status 200, from a stream that broke."""
    at = error.rest.rfind(b'{"error":')
    if at >= 0 and decode_error(error.rest[at:]) is not None:
        return error_from_response("POST", "sql/copyto", 200, {}, error.rest[at:])
    return _Unproved(f"the rows did not arrive completely ({error}); nothing is returned, read again")


def _rechunk(batches: Iterable[pa.RecordBatch], rows: int) -> Iterator[list[pa.RecordBatch]]:
    """Regroup batches to a number of rows; at least one group, for the columns of an empty result."""
    group: list[pa.RecordBatch] = []
    wanted, any_yet = rows, False
    for batch in batches:
        while batch.num_rows >= wanted:
            yield [*group, batch.slice(0, wanted)]
            batch, group, wanted, any_yet = batch.slice(wanted), [], rows, True
        if batch.num_rows:
            group.append(batch)
            wanted -= batch.num_rows
    if group or not any_yet:
        yield group
