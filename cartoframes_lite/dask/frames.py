"""Tables larger than the memory of one machine: read and written partition by partition, with Dask.

Needs the extra ``dask``: ``pip install "cartoframes_lite[dask]"``.
"""

from __future__ import annotations

import sys
from collections.abc import Hashable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from functools import partial
from typing import Any

import pandas as pd

from cartoframes_lite._client import Client
from cartoframes_lite._client.imports import Privacy
from cartoframes_lite._codec.to_series import Backend
from cartoframes_lite.credentials import Credentials, resolve
from cartoframes_lite.dask import partitions
from cartoframes_lite.dask.staged_parts import PartUploader, Prepare, Slot, StagedPart, model_of, write_parts
from cartoframes_lite.errors import SQLError, TableChangedError
from cartoframes_lite.read.frames import check_count, check_source
from cartoframes_lite.read.source import inspect_source, resolve_source, select
from cartoframes_lite.write.frames import check_arguments, check_target, make_plan, normalized_table_name, set_privacy
from cartoframes_lite.write.payload import Payload, prepare, require_geometry
from cartoframes_lite.write.plan import IfExists
from cartoframes_lite.write.staging import Compression
from cartoframes_lite.write.target import drop_stale_staging, inspect_target

try:
    import dask
    import dask.dataframe as dd
    import dask_geopandas
    from dask.base import get_scheduler
except ImportError as error:
    raise ImportError('cartoframes_lite.dask needs Dask: pip install "cartoframes_lite[dask]"') from error

__all__ = ["read_carto", "to_carto"]

_CHUNK_ROWS = 250_000  # some 50 MB for tables of usual width
_UPLOADS = 4


def read_carto(
    source: str,
    credentials: Credentials | None = None,
    *,
    npartitions: int | None = None,
    chunk_rows: int | None = None,
    index_col: str = "cartodb_id",
    columns: Sequence[str] | None = None,
    schema: str | None = None,
    decode_geom: bool = True,
    coerce_float: bool = True,
    dtype_backend: Backend | None = None,
    spatial_partitions: bool = False,
    consistent: bool = True,
) -> dd.DataFrame:
    """Plan to read a table, or the rows of a query, in partitions.

    Each partition is a range of the values of a column, which is the index, and divisions are known. The ranges are
    chosen by one query so that they have about the same number of rows, whatever gaps the values have. Rows are
    fetched when they are computed, those columns only that the computation needs, by one ``COPY`` for each partition.

    A partition is one snapshot of the data, but several requests cannot share one. So each partition asks, after its
    rows have come, whether the table is still the one that was planned for: all partitions together are the table as it
    was when this function was called, or an error is raised.

    Parameters
    ----------
    source : str
        Name of a table, or a query; a query runs once for each partition, and has to give the same rows each time:
        ``LIMIT`` without ``ORDER BY``, or ``random()``, does not.
    credentials : Credentials, optional
        Default: those of ``set_default_credentials``, else of the environment, else of the file. They travel to the
        workers, without their session.
    npartitions : int, optional
        Number of partitions; fewer if there are fewer values.
    chunk_rows : int, optional
        Rows of a partition, instead of their number. Default: 250,000. Rows with the same value are never separated.
    index_col : str, default "cartodb_id"
        An integer, date or timestamp column without NULL. It should have an index in the database.
    columns : sequence of str, optional
        Columns to read, in this order, besides the index. Default: all but ``the_geom_webmercator``.
    schema, decode_geom, coerce_float, dtype_backend
        As in ``cartoframes_lite.read_carto``.
    spatial_partitions : bool, default False
        Ask for the box of each partition, in one query over the whole table, so that spatial joins, ``cx`` and the like
        leave out partitions.
    consistent : bool, default True
        Raise if the table is changed between this call and the end of the computation. False takes each partition as it
        is then: a row is never in two partitions, but a row that comes, goes or changes meanwhile may be seen or not,
        and ids beyond the last one of now are not read.

    Returns
    -------
    dask_geopandas.GeoDataFrame or dask.dataframe.DataFrame
        A GeoDataFrame if there is a geometry. Dtypes are those of ``cartoframes_lite.read_carto``, but integer and
        boolean columns are nullable in every partition.

    Raises
    ------
    TableNotFoundError
        If there is no such table.
    ValueError
        If the column cannot be cut into ranges, or ``consistent`` is True and CARTO does not follow the table, for it
        was not made a CARTO table.
    PermissionDenied
        If the key may not read it or, for ``consistent``, ask when it was changed; the owner's may.
    TableChangedError
        During the computation: see ``consistent``.

    Examples
    --------
    >>> import cartoframes_lite as cfl
    >>> ddf = cfl.dask.read_carto("stations", npartitions=2)
    >>> ddf.divisions
    (1, 3, 3)
    >>> int(ddf.year.max().compute())
    2021
    """
    check_source(source, columns, dtype_backend)
    check_count("npartitions", npartitions, least=1)
    check_count("chunk_rows", chunk_rows, least=1)
    if npartitions is not None and chunk_rows is not None:
        raise ValueError("npartitions and chunk_rows say the same in two ways: pass one of them")
    credentials = resolve(credentials)
    client, origin = Client(credentials), resolve_source(source, schema)
    state = partitions.table_version(client, origin) if consistent else None
    found = list(state.columns) if state is not None else inspect_source(client, origin)
    (index,) = select(found, [index_col], source)
    selected = [index, *(column for column in select(found, columns, source) if column.name != index_col)]
    ranges = partitions.cut(credentials, origin, index, npartitions=npartitions, chunk_rows=chunk_rows or _CHUNK_ROWS)
    reader = partitions.RangeReader(
        credentials, origin, ranges, index_col, tuple(selected), state, decode_geom, coerce_float, dtype_backend
    )
    meta = reader.empty()
    # Else Dask makes text of every column of objects, as JSON and arrays are.
    with dask.config.set({"dataframe.convert-string": False}):
        frame = dd.from_map(
            reader,
            [None] if ranges is None else list(ranges),
            meta=meta,
            divisions=None if ranges is None else ranges.bounds,
            label="read_carto",
        )
    if spatial_partitions and ranges is not None:
        if not isinstance(frame, dask_geopandas.GeoDataFrame):
            raise ValueError(f"{source!r} has no geometry for spatial_partitions")
        frame.spatial_partitions = partitions.bounding_boxes(credentials, origin, ranges, meta.geometry)
    return frame


def to_carto(
    ddf: dd.DataFrame,
    table_name: str,
    credentials: Credentials | None = None,
    *,
    if_exists: IfExists = "fail",
    geom_col: Hashable | None = None,
    index: bool = False,
    index_label: Hashable | Sequence[Hashable] | None = None,
    dtype: Mapping[Any, str] | None = None,
    cartodbfy: bool = True,
    privacy: Privacy | None = None,
    compression: Compression = "auto",
    uploads_at_once: int = _UPLOADS,
) -> str:
    """Compute a frame and write its partitions to a table, all of them or none.

    The workers send each partition into a staging table of its own. When all are there, one transaction moves their
    rows into the table. A worker that dies is replaced by Dask, and what it had begun is not looked at again; if the
    computation fails, or this process is killed, the table stays as it was. What is left behind is dropped now, or by
    the next write.

    Works with the scheduler that Dask would use: threads, processes, or a cluster.

    Parameters
    ----------
    ddf : dask.dataframe.DataFrame or dask_geopandas.GeoDataFrame
        Its partitions up to the first that has rows are computed in advance: the types of that one are those of the
        table, as with the first frame of an iterator in ``cartoframes_lite.to_carto``.
    table_name : str
    credentials : Credentials, optional
        They travel to the workers, without their session.
    if_exists, geom_col, index, index_label, dtype, cartodbfy, privacy, compression
        As in ``cartoframes_lite.to_carto``.
    uploads_at_once : int, default 4
        How many workers of a cluster send rows at the same time. Threads and processes of one machine are as many as
        Dask has been told with ``num_workers``.

    Returns
    -------
    str
        The name of the table.

    Raises
    ------
    ConversionError
        If partitions have other columns than the first, or values that PostgreSQL cannot hold.
    TableExistsError
        If the table exists and ``if_exists`` is "fail".
    QueryTimeout
        If publishing takes longer than the account allows and the key may not use the Batch API.
    ConnectionFailed, PermissionDenied, SQLError
        If the server cannot be reached or refuses, or somebody else made the table or changed its columns meanwhile.

    Examples
    --------
    >>> import cartoframes_lite as cfl
    >>> ddf = cfl.dask.read_carto("stations", npartitions=2)
    >>> cfl.dask.to_carto(ddf[ddf.year < 2000], "old_stations")
    'old_stations'
    """
    check_arguments(table_name, if_exists, privacy, compression)
    if not isinstance(ddf, dd.DataFrame):
        raise TypeError(f"expected a dask.dataframe.DataFrame, got {type(ddf).__name__}: try cartoframes_lite.to_carto")
    if not isinstance(uploads_at_once, int) or uploads_at_once < 1:
        raise ValueError(f"uploads_at_once must be a whole number from 1 on, not {uploads_at_once!r}")
    table = normalized_table_name(table_name)
    prepared = partial(prepare, geom_col=geom_col, index=index, index_label=index_label, dtype=dtype)
    model = model_of(prepared(ddf._meta))  # what is wrong already with the names, before any request
    credentials = resolve(credentials)
    client = Client(credentials)
    if privacy is not None:
        client.visualizations.require_settable()
    target = inspect_target(client, table)
    destination = target.destination
    if target.existing is not None:
        check_target(table_name, table, target.existing, if_exists)
    drop_stale_staging(target)
    model = _first_rows(ddf, prepared) or model
    if cartodbfy:
        require_geometry(model)
    plan = make_plan(table, model, target.existing, if_exists, cartodbfy=cartodbfy)

    def upload(parent_staging: str) -> Sequence[StagedPart]:
        with _slots(ddf, parent_staging, uploads_at_once) as slot:
            stage = PartUploader(
                credentials, prepared, model, plan, destination.schema, parent_staging, compression, slot
            )
            return _compute(ddf, stage, parent_staging)

    try:
        write_parts(destination, plan, upload)
    except (SQLError, TableChangedError):
        made = inspect_target(client, table).existing if target.existing is None else None
        if made is not None:
            check_target(table_name, table, made, if_exists)  # somebody else was faster
        raise
    if privacy is not None:
        set_privacy(client, table, privacy)
    return table


def _first_rows(ddf: dd.DataFrame, prepared: Prepare) -> Payload | None:
    """Compute the partitions up to the first that has rows, and describe it; None if none has."""
    for number in range(ddf.npartitions):
        (first,) = ddf.partitions[number].to_delayed()
        described = dask.delayed(_described)(first, prepared, dask_key_name=f"to_carto-columns-{number}")
        found: Payload | None = described.compute()
        if found is not None:
            return found
    return None


def _described(frame: pd.DataFrame, prepared: Prepare) -> Payload | None:
    return model_of(prepared(frame)) if len(frame) else None


def _compute(ddf: dd.DataFrame, stage: PartUploader, parent_staging: str) -> Sequence[StagedPart]:
    receipts = [
        dask.delayed(_stage)(frame, stage, number, dask_key_name=f"to_carto-{parent_staging}-{number}")
        for number, frame in enumerate(ddf.to_delayed())
    ]
    return list(dask.compute(*receipts))


def _stage(frame: pd.DataFrame, stage: PartUploader, number: int) -> StagedPart:
    return stage(frame, number)


@contextmanager
def _slots(ddf: dd.DataFrame, parent_staging: str, count: int) -> Iterator[Slot]:
    """Give what a worker holds while it sends rows: a place among those of the cluster, if there is one."""
    distributed = sys.modules.get("distributed")
    cluster = getattr(get_scheduler(collections=[ddf]), "__self__", None)
    if distributed is None or not isinstance(cluster, distributed.Client):
        yield nullcontext
        return
    try:
        yield partial(_cluster_slot, parent_staging, count)
    finally:
        with cluster.as_current():
            distributed.Semaphore(count, name=parent_staging).close()


@contextmanager
def _cluster_slot(name: str, count: int) -> Iterator[None]:
    from distributed import Semaphore  # not a part of the extra: whoever has a cluster has it

    with Semaphore(count, name=name):
        yield
