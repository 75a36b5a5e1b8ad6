"""Read and write tables as Dask DataFrames: ``read_carto`` and ``to_carto``.

Requires the extra ``dask``: ``pip install "cartoframes_lite[dask]"``.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from functools import partial
from typing import Any, Unpack

import pandas as pd

from cartoframes_lite._client import Client
from cartoframes_lite._codec.placeholders import Params
from cartoframes_lite._codec.to_series import Backend
from cartoframes_lite.credentials import Credentials, resolve
from cartoframes_lite.dask import partitions
from cartoframes_lite.dask.staged_parts import PartUploader, Prepare, Slot, StagedPart, write_parts
from cartoframes_lite.errors import SQLError, TableChangedError
from cartoframes_lite.read.filters import spatial_filter
from cartoframes_lite.read.options import BBox, Mask, check_backend, check_count, check_filters, check_source
from cartoframes_lite.read.repeated_names import explained_repeated_names
from cartoframes_lite.read.source import find_source, resolve_source, select
from cartoframes_lite.write.columns import Columns, require_geometry
from cartoframes_lite.write.frames import frame_preparer, normalized_table_name, set_privacy
from cartoframes_lite.write.model import for_several_frames
from cartoframes_lite.write.options import WriteOptions, check_options, write_keywords
from cartoframes_lite.write.plan import make_plan
from cartoframes_lite.write.prepare import warn_about_renamed
from cartoframes_lite.write.replanning import check_target
from cartoframes_lite.write.target import drop_stale_staging, inspect_target

try:
    import dask
    import dask.dataframe as dd
    import dask_geopandas
    from dask.base import get_scheduler
except ImportError as error:
    raise ImportError('cartoframes_lite.dask requires Dask: pip install "cartoframes_lite[dask]"') from error

__all__ = ["read_carto", "to_carto"]

_CHUNK_ROWS = 250_000  # about 50 MB at 200 bytes per row
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
    params: Params | None = None,
    where: str | None = None,
    bbox: BBox | None = None,
    mask: Mask | None = None,
    spatial_partitions: bool = False,
    consistent: bool = True,
) -> dd.DataFrame:
    """Read a table, or the rows of a query, lazily into a Dask DataFrame.

    Each partition has a range of values of ``index_col``, which becomes the index with known divisions. One query
    chooses the ranges so that partitions have about the same number of rows, even if the values have gaps. Rows are
    fetched when a partition is computed, with one ``COPY`` per partition, and only the columns that are needed.

    Each partition is a consistent snapshot, but separate requests cannot share one. After its rows, each partition
    therefore checks whether the table has changed: either all partitions together are the table as it was when this
    function was called, or ``TableChangedError`` is raised.

    Parameters
    ----------
    source : str
        Name of a table, or a query. A query runs once per partition and must return the same rows each time, unlike
        ``LIMIT`` without ``ORDER BY``, or ``random()``.
    credentials : Credentials, optional
        Default: those of ``set_default_credentials``, else of the environment, else of the file. They are sent to the
        workers, without their session.
    npartitions : int, optional
        Number of partitions; fewer if there are fewer distinct values. Excludes ``chunk_rows``.
    chunk_rows : int, optional
        Approximate number of rows per partition, default 250,000. Rows with the same value are in the same partition.
    index_col : str, default "cartodb_id"
        An integer, date or timestamp column without NULL, preferably indexed in the database.
    columns : sequence of str, optional
        Columns to read, in this order, in addition to the index. Default: all except ``the_geom_webmercator``.
    schema, decode_geom, coerce_float, dtype_backend, params, where, bbox, mask
        As in ``cartoframes_lite.read_carto``.
    spatial_partitions : bool, default False
        Query the bounding box of each partition, with one query of the whole table, so that spatial joins and ``cx``
        can skip partitions.
    consistent : bool, default True
        Raise if the table changes between this call and the end of the computation. False reads each partition as it is
        when it is computed: a row is never in two partitions, but may be missing or outdated if it is inserted, deleted
        or updated meanwhile; rows with an index value greater than the largest one at this call are not read.

    Returns
    -------
    dask_geopandas.GeoDataFrame or dask.dataframe.DataFrame
        A GeoDataFrame if there is a geometry column. Dtypes are those of ``cartoframes_lite.read_carto``, except that
        integer and boolean columns are nullable in every partition.

    Raises
    ------
    TableNotFoundError
        If the table does not exist.
    ValueError
        If ``index_col`` cannot be divided into ranges, or ``consistent`` is True and CARTO does not record changes of
        the table, since it is not a CARTO table.
    PermissionDenied
        If the API key may not read the table or, for ``consistent``, when it was changed; a key of the owner may.
    TableChangedError
        During the computation, see ``consistent``.

    Examples
    --------
    >>> import cartoframes_lite as cfl
    >>> ddf = cfl.dask.read_carto("stations", npartitions=2)
    >>> ddf.divisions
    (1, 3, 3)
    >>> int(ddf.year.max().compute())
    2021
    """
    check_source(source)
    check_filters(columns, where)
    check_backend(dtype_backend)
    check_count("npartitions", npartitions, least=1)
    check_count("chunk_rows", chunk_rows, least=1)
    if npartitions is not None and chunk_rows is not None:
        raise ValueError("npartitions and chunk_rows exclude each other: pass one of them")
    credentials = resolve(credentials)
    client, origin = Client(credentials), resolve_source(source, schema, params=params, where=where)
    spatial = spatial_filter(bbox, mask)
    origin, layout = find_source(client, origin)
    if spatial is not None:
        origin = origin.where(spatial.condition(layout.columns))
    version = partitions.table_version(client, origin) if consistent else None
    available = layout.columns if version is None else list(version.columns)
    (index,) = select(available, [index_col], source)
    selected = [index, *(column for column in select(available, columns, source) if column.name != index_col)]
    with explained_repeated_names(client, origin):
        ranges = partitions.divide(
            credentials, origin, index, npartitions=npartitions, chunk_rows=chunk_rows or _CHUNK_ROWS
        )
    reader = partitions.RangeReader(
        credentials, origin, ranges, index_col, tuple(selected), version, decode_geom, coerce_float, dtype_backend
    )
    meta = reader.empty()
    frame = _lazy_frame(reader, ranges, meta)
    if spatial_partitions and ranges is not None:
        if not isinstance(frame, dask_geopandas.GeoDataFrame):
            raise ValueError(
                f"spatial_partitions=True requires a geometry column, but {source!r} has no geometry column"
            )
        frame.spatial_partitions = partitions.bounding_boxes(credentials, origin, ranges, meta.geometry)
    return frame


def _lazy_frame(reader: partitions.RangeReader, ranges: partitions.Ranges | None, meta: pd.DataFrame) -> dd.DataFrame:
    # By default, Dask converts object columns to text; those of JSON and arrays are objects, too.
    with dask.config.set({"dataframe.convert-string": False}):
        return dd.from_map(
            reader,
            [None] if ranges is None else list(ranges),
            meta=meta,
            divisions=None if ranges is None else ranges.bounds,
            label="read_carto",
        )


@write_keywords
def to_carto(
    ddf: dd.DataFrame,
    table_name: str,
    credentials: Credentials | None = None,
    *,
    uploads_at_once: int = _UPLOADS,
    **keywords: Unpack[WriteOptions],
) -> str:
    """Compute a Dask DataFrame and write its partitions to a table, atomically.

    The workers upload each partition to a staging table of its own; a single transaction then moves all rows into the
    table. If a worker dies, Dask computes its partition again, and the incomplete staging table is ignored. If the
    computation fails, or this process is killed, the table is unchanged. Remaining staging tables are dropped at the
    end, or by the next write.

    Works with any scheduler of Dask: threads, processes, or a cluster.

    Parameters
    ----------
    ddf : dask.dataframe.DataFrame or dask_geopandas.GeoDataFrame
        The first partition that has rows determines the column types, like the first frame of an iterable in
        ``cartoframes_lite.to_carto``. A cluster keeps it in the memory of a worker until the write has
        ended; with threads or processes, it and any empty partitions before it are computed twice.
    table_name : str
        Normalized like column names: lower case, ASCII letters, digits and underscores.
    credentials : Credentials, optional
        Default: those of ``set_default_credentials``, else of the environment, else of the file. They are sent to the
        workers, without their session.
    uploads_at_once : int, default 4
        Number of workers of a cluster that upload at the same time. Threads and processes of one machine are limited by
        Dask's ``num_workers`` instead.
    **keywords
        See ``WriteOptions``.

    Returns
    -------
    str
        Normalized name of the table.

    Raises
    ------
    ConversionError
        If partitions have other columns than the first, or values that PostgreSQL cannot store.
    TableExistsError
        If the table exists and ``if_exists`` is "fail".
    QueryTimeout
        If the publishing transaction exceeds the statement timeout and the API key may not use the Batch API.
    TableChangedError
        If the columns of the table were changed by another process during the write.
    PublishUnknown
        If the connection is lost during the publishing transaction and its outcome cannot be determined.
    PrivacyNotSet
        If the rows were written but the privacy could not be set.
    ConnectionFailed, PermissionDenied, SQLError
        If the server cannot be reached or rejects a request.

    Examples
    --------
    >>> import cartoframes_lite as cfl
    >>> ddf = cfl.dask.read_carto("stations", npartitions=2)
    >>> cfl.dask.to_carto(ddf[ddf.year < 2000], "old_stations")
    'old_stations'
    """
    table = normalized_table_name(table_name)
    check_options(keywords)
    _check_arguments(ddf, uploads_at_once)
    if keywords["if_exists"] == "upsert":
        raise ValueError(
            'if_exists="upsert" is not supported for Dask, since partitions could have rows with the same key: write'
            " the partitions as an iterable, with"
            " cartoframes_lite.to_carto((part.compute() for part in ddf.partitions), ...)"
        )
    prepare_frame = frame_preparer(keywords)
    empty = prepare_frame(ddf._meta)  # validates the column names before the first request
    warn_about_renamed(empty.renamed)
    credentials = resolve(credentials)
    client = Client(credentials)
    privacy, if_exists, compression = keywords["privacy"], keywords["if_exists"], keywords["compression"]
    if privacy is not None:
        client.visualizations.require_privacy_permission()
    target = inspect_target(client, table)
    destination = target.destination
    if target.existing is not None:
        check_target(table_name, table, target.existing, if_exists)
    drop_stale_staging(target)
    delayed = list(ddf.to_delayed())
    model = _first_model(ddf, delayed, prepare_frame) or for_several_frames(empty.columns)
    if keywords["cartodbfy"]:
        require_geometry(model)
    plan = make_plan(table, model, target.existing, keywords)

    def upload(parent_staging: str) -> Sequence[StagedPart]:
        with _slots(ddf, parent_staging, uploads_at_once) as slot:
            uploader = PartUploader(
                credentials, prepare_frame, plan, destination.schema, parent_staging, compression, slot
            )
            return _compute(delayed, uploader, parent_staging)

    try:
        write_parts(destination, plan, model, keywords, upload)
    except (SQLError, TableChangedError):
        created = inspect_target(client, table).existing if target.existing is None else None
        if created is not None:
            check_target(table_name, table, created, if_exists)  # another process created the table first
        raise
    if privacy is not None:
        set_privacy(client, table, privacy)
    return table


def _check_arguments(ddf: object, uploads_at_once: object) -> None:
    """Validate the arguments that only Dask's ``to_carto`` has."""
    if not isinstance(ddf, dd.DataFrame):
        raise TypeError(
            f"ddf must be a dask.dataframe.DataFrame, not {type(ddf).__name__}: for a frame in memory, use"
            " cartoframes_lite.to_carto"
        )
    if not isinstance(uploads_at_once, int) or uploads_at_once < 1:
        raise ValueError(f"uploads_at_once must be an integer >= 1, not {uploads_at_once!r}")


def _first_model(ddf: dd.DataFrame, partitions: list[Any], prepare_frame: Prepare) -> Columns | None:
    """Return the model of the first partition that has rows; None if all are empty.

    On a cluster, the partitions computed for it are kept by their workers, and replaced in ``partitions`` by what is
    kept.
    """
    on_cluster = _cluster_client(ddf) is not None
    for number, partition in enumerate(partitions):
        if on_cluster:
            (partitions[number],) = dask.persist(partition)
        model_or_none = dask.delayed(_model_or_none)(
            partitions[number], prepare_frame, dask_key_name=f"to_carto-columns-{number}"
        )
        model: Columns | None = model_or_none.compute()
        if model is not None:
            return model
    return None


def _model_or_none(frame: pd.DataFrame, prepare_frame: Prepare) -> Columns | None:
    return for_several_frames(prepare_frame(frame).columns) if len(frame) else None


def _compute(partitions: Sequence[Any], upload_partition: PartUploader, parent_staging: str) -> Sequence[StagedPart]:
    parts = [
        dask.delayed(_upload_partition)(
            frame, upload_partition, number, dask_key_name=f"to_carto-{parent_staging}-{number}"
        )
        for number, frame in enumerate(partitions)
    ]
    return list(dask.compute(*parts))


def _upload_partition(frame: pd.DataFrame, upload_partition: PartUploader, number: int) -> StagedPart:
    return upload_partition(frame, number)


@contextmanager
def _slots(ddf: dd.DataFrame, parent_staging: str, count: int) -> Iterator[Slot]:
    """Yield a factory of context managers that workers hold while uploading; on a cluster, they limit uploads."""
    cluster = _cluster_client(ddf)
    if cluster is None:
        yield nullcontext
        return
    try:
        yield partial(_cluster_slot, parent_staging, count)
    finally:
        with cluster.as_current():
            semaphore = sys.modules["distributed"].Semaphore(count, name=parent_staging)
            if not semaphore.get_value():  # after a failure, another worker may still hold it, and closing would warn
                semaphore.close()


def _cluster_client(ddf: dd.DataFrame) -> Any:
    """Return the client of the cluster that computes a frame; None for another scheduler."""
    distributed = sys.modules.get("distributed")
    cluster = getattr(get_scheduler(collections=[ddf]), "__self__", None)
    return cluster if distributed is not None and isinstance(cluster, distributed.Client) else None


@contextmanager
def _cluster_slot(name: str, count: int) -> Iterator[None]:
    from distributed import Semaphore  # not part of the extra; installed wherever there is a cluster

    with Semaphore(count, name=name):
        yield
