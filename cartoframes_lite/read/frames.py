"""Read a table or query of a CARTO account into a DataFrame: ``read_carto``."""

from __future__ import annotations

from collections.abc import Callable, Collection, Hashable, Iterable, Iterator
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Unpack, cast, overload

import numpy as np
import pandas as pd
import pyarrow as pa

from cartoframes_lite._client import Client
from cartoframes_lite._codec.frame import from_arrow
from cartoframes_lite._codec.pgtypes import SourceColumn
from cartoframes_lite._codec.whole_tables import mark_whole
from cartoframes_lite.credentials import Credentials
from cartoframes_lite.errors import SQLError
from cartoframes_lite.read.filters import spatial_filter
from cartoframes_lite.read.options import (
    ChunkedRead,
    ReadOptions,
    WholeRead,
    check_backend,
    check_count,
    check_options,
    check_source,
    read_keywords,
)
from cartoframes_lite.read.source import Source, resolve_source
from cartoframes_lite.read.stream import IncompleteRead, Read, plan_read, rechunk, stored

_MAX_READS = 5  # attempts if the columns change during a read


@overload
def read_carto(source: str, credentials: Credentials | None = ..., **keywords: Unpack[WholeRead]) -> pd.DataFrame: ...
@overload
def read_carto(
    source: str, credentials: Credentials | None = ..., **keywords: Unpack[ChunkedRead]
) -> Iterator[pd.DataFrame]: ...
@read_keywords
def read_carto(
    source: str, credentials: Credentials | None = None, **keywords: Unpack[ReadOptions]
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
    **keywords
        Those of ``ReadOptions``.

    Returns
    -------
    geopandas.GeoDataFrame, pandas.DataFrame, or an iterator of them
        A GeoDataFrame if there is a geometry column; the active one is ``the_geom``, else the first. The CRS is the
        SRID of the column, EPSG:4326 (x is the longitude) for every CARTO table. Rows are in the order of the query;
        a table has no order. ``attrs["carto"]`` contains the account, and the table or query or both.

    Raises
    ------
    TableNotFoundError
        If the table does not exist.
    PermissionDenied
        If the API key has no permission to read it.
    SQLError, QueryTimeout
        If the query is invalid, or exceeds the statement timeout of the account.
    ResponseTimeout
        If ``timeout_s`` is up; also a QueryTimeout and a ConnectionFailed. The query may still be running.
    ConnectionFailed
        If the server cannot be reached, or the connection is lost.
    JobError, JobTimeout
        With ``batch``, if the query fails, or takes longer than ``timeout_s``; nothing is left in the account.

    Examples
    --------
    >>> import cartoframes_lite as cfl
    >>> cfl.read_carto("SELECT name, year, the_geom FROM stations WHERE year > 2000")
          name  year            the_geom
    0  Harbour  2021  POINT (2.29 48.86)
    >>> sum(len(chunk) for chunk in cfl.read_carto("stations", columns=["name"], chunksize=2))
    3
    """
    check_source(source)
    check_read(keywords)
    origin = resolve_source(source, keywords["schema"], params=keywords["params"], where=keywords["where"])
    return read_source(origin, source, credentials, keywords)


def check_read(options: ReadOptions) -> None:
    """Raise for invalid options, before any request."""
    check_options(options)
    check_backend(options["dtype_backend"])
    check_count("chunksize", options["chunksize"], least=1)


def read_source(
    origin: Source, name: str, credentials: Credentials | None, options: ReadOptions
) -> pd.DataFrame | Iterator[pd.DataFrame]:
    """Read a source, called ``name`` in messages, with checked options."""
    index, chunksize = _index_labels(options["index_col"]), options["chunksize"]
    spatial = spatial_filter(options["bbox"], options["mask"])
    client = Client(credentials, progress=options["progress"])

    def prepare() -> Read:
        read = plan_read(client, origin, options, spatial, name)
        _check_index(read.columns, index or [])
        return read

    def finish(read: Read, batches: Iterable[pa.RecordBatch]) -> pd.DataFrame:
        frame = from_arrow(
            batches,
            read.columns,
            decode_geom=options["decode_geom"],
            coerce_float=options["coerce_float"],
            backend=options["dtype_backend"],
        )
        if index is not None:
            frame = frame.set_index(index)
        frame.attrs["carto"] = planned.rows.to_attrs(client.credentials)
        if planned.rows.is_table and options["limit"] is None and chunksize is None:
            mark_whole(frame)
        return frame

    planned = prepare()
    source: AbstractContextManager[Read] = stored(planned, options) if options["batch"] else nullcontext(planned)
    if chunksize is not None:
        return _chunks(source, chunksize, finish)
    with source as read:
        for _ in range(_MAX_READS - 1):
            try:
                return finish(read, read.batches())
            except (IncompleteRead, SQLError, ValueError):
                if not read.is_outdated():
                    raise
            if not options["batch"]:
                read = planned = prepare()
        return finish(read, read.batches())


def _chunks(
    source: AbstractContextManager[Read], rows: int, finish: Callable[[Read, Iterable[pa.RecordBatch]], pd.DataFrame]
) -> Iterator[pd.DataFrame]:
    """Yield frames with a number of rows."""
    with source as read:
        for batches in rechunk(read.batches(), rows):
            yield finish(read, batches)


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
