"""Write DataFrames to a table of a CARTO account: ``to_carto``."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from typing import Unpack

import pandas as pd

from cartoframes_lite import user_warnings
from cartoframes_lite._client import Client
from cartoframes_lite._client.http.progress import Waiting
from cartoframes_lite._client.imports import Privacy
from cartoframes_lite._codec.names import normalize, refuse_system_name
from cartoframes_lite._codec.whole_tables import mark_whole
from cartoframes_lite.credentials import Credentials
from cartoframes_lite.errors import (
    CartoError,
    ConversionWarning,
    PrivacyNotSet,
    SQLError,
    TableChangedError,
)
from cartoframes_lite.write.arrow_frames import ArrowStream, as_frames, count_rows
from cartoframes_lite.write.columns import Columns, require_geometry
from cartoframes_lite.write.direct import plan_direct, refuse_staging
from cartoframes_lite.write.frame_geometry import find_lnglat
from cartoframes_lite.write.options import FrameOptions, WriteOptions, check_options, frame_keywords
from cartoframes_lite.write.plan import WritePlan, make_plan
from cartoframes_lite.write.prepare import PreparedFrame, prepare, warn_about_renamed
from cartoframes_lite.write.replanning import check_target, publish_plan
from cartoframes_lite.write.source import RowSource
from cartoframes_lite.write.spatial_indexes import build_spatial_indexes
from cartoframes_lite.write.staging import Upload, stage
from cartoframes_lite.write.staging_names import is_staging
from cartoframes_lite.write.target import Destination, Target, drop_stale_staging, inspect_target, reclaim_space

_MAX_PLANS = 5  # whole writes, each from a new description of the table
_ACTIONS = {"replace": "replace the rows of", "upsert": "upsert into", "delete_rows": "replace the rows of"}


@frame_keywords
def to_carto(
    dataframe: pd.DataFrame | Iterable[pd.DataFrame] | ArrowStream,
    table_name: str,
    credentials: Credentials | None = None,
    **keywords: Unpack[FrameOptions],
) -> str:
    """Write a DataFrame to a table, atomically.

    The frame is validated completely before the first request. Its rows are uploaded to a staging table with a binary
    ``COPY``; a single transaction then renames the staging table to the new table, or appends its rows to the existing
    table, or replaces or updates the existing rows. Concurrent readers see either the old rows or the new ones. If
    anything fails before that transaction commits, the existing table is unchanged. If the response to the transaction
    is lost, further requests determine whether it was committed.

    Parameters
    ----------
    dataframe : DataFrame, GeoDataFrame, Arrow data, or an iterable of them
        All frames of an iterable are written to one table; they must have the same columns as the first. Arrow data are
        anything with ``__arrow_c_stream__``, such as tables of polars, DuckDB and pyarrow, or a RecordBatchReader. They
        are written in bounded memory; geometry is ``geoarrow.wkb`` or another GeoArrow type, or WKB with the metadata
        of GeoParquet.
    table_name : str
        Normalized like column names: lower case, ASCII letters, digits and underscores.
    credentials : Credentials, optional
        Default: those of ``set_default_credentials``, else of the environment, else of the file.
    **keywords
        See ``FrameOptions``.

    Returns
    -------
    str
        Normalized name of the table.

    Warns
    -----
    ConversionWarning
        If columns are renamed, once for all of them, or a conversion loses precision, such as nanoseconds.

    Raises
    ------
    ConversionError
        If a column has a type or a value that PostgreSQL cannot store, column names collide, a geometry column has
        no CRS, or rows of an upsert have no key or the same one.
    TableExistsError
        If the table exists and ``if_exists`` is "fail".
    QueryTimeout
        If the publishing transaction exceeds the statement timeout and the API key may not use the Batch API.
    PublishUnknown
        If the connection is lost during the publishing transaction and its outcome cannot be determined.
    PrivacyNotSet
        If the rows were written but the privacy could not be set.
    ConnectionFailed, PermissionDenied, SQLError
        If the server cannot be reached or rejects a request.

    Examples
    --------
    >>> import cartoframes_lite as cfl
    >>> cfl.to_carto(gdf, "stations", if_exists="replace")
    'stations'
    >>> cfl.to_carto(gdf, "Stations in 2026", dtype={"year": "smallint"}, privacy="private")
    'stations_in_2026'
    >>> cfl.to_carto(gdf, "Stations in 2026", if_exists="upsert", key="name")
    'stations_in_2026'
    """
    table = normalized_table_name(table_name)
    check_options(keywords)
    frames = as_frames(dataframe)
    source = RowSource(frames, frame_preparer(keywords), rows=count_rows(dataframe))
    if keywords["cartodbfy"]:
        require_geometry(source.columns)
        if keywords["if_exists"] in ("fail", "replace", "delete_rows"):
            _warn_without_points(frames, source.columns)
    warn_about_renamed(source.renamed)
    client = Client(credentials, progress=keywords["progress"])
    privacy = keywords["privacy"]
    if privacy is not None:
        client.visualizations.require_privacy_permission()
    _write(client, table, source, keywords, given_name=table_name)
    if privacy is not None:
        set_privacy(client, table, privacy)
    if isinstance(dataframe, pd.DataFrame):
        dataframe.attrs["carto"] = {
            "base_url": client.credentials.base_url,
            "username": client.credentials.username,
            "table": table,
            "schema": None,  # same as read_carto sets for a table of the account
        }
        if keywords["if_exists"] in ("fail", "replace", "delete_rows"):  # the others add to the rows of the table
            mark_whole(dataframe)
    return table


def _warn_without_points(frames: pd.DataFrame | Iterable[pd.DataFrame], columns: Columns) -> None:
    """Warn if a table gets no geometry, but columns with the names of coordinates."""
    names = find_lnglat(columns)
    if names is None:
        return
    labels = {normalize(str(label)): label for label in frames.columns} if isinstance(frames, pd.DataFrame) else {}
    lng, lat = (labels.get(name, name) for name in names)
    user_warnings.warn(
        f"the frame has no geometry, so that the table has no points on a map: pass lnglat=({lng!r}, {lat!r}) to make"
        " them of these columns",
        ConversionWarning,
    )


def set_privacy(client: Client, table: str, privacy: Privacy) -> None:
    """Set the privacy of a table whose rows are published.

    Raises
    ------
    PrivacyNotSet
        If that fails: a class of its own, since the rows have been written.
    """
    try:
        client.visualizations.set_privacy(table, privacy)
    except CartoError as error:
        raise PrivacyNotSet(
            f"the rows were written to table {table!r}, but its privacy could not be set to {privacy!r}: do not write"
            f" them again; call update_privacy_table({table!r}, {privacy!r})"
        ) from error


def frame_preparer(options: WriteOptions) -> Callable[[pd.DataFrame], PreparedFrame]:
    """Return the function that checks a frame with the options of a write."""
    return partial(
        prepare,
        geom_col=options["geom_col"],
        lnglat=options["lnglat"],
        index=options["index"],
        index_label=options["index_label"],
        dtype=options["dtype"],
        key=options["key"],
    )


def normalized_table_name(name: str) -> str:
    """Normalize a table name; raise if it is reserved."""
    if not isinstance(name, str) or not name.strip():
        raise TypeError(f"table_name must be a non-empty string, not {name!r}")
    table = normalize(name)
    if is_staging(table):
        raise ValueError(f"table name {table!r} is reserved for staging tables, which are dropped: choose another name")
    refuse_system_name(table)
    return table


def _refuse_schema(client: Client, table_name: str) -> None:
    """Raise ValueError for the name of an existing table with its schema, of which another name would be made."""
    schema, _, table = table_name.partition(".")
    if schema and table and client.sql.has_table(schema, table):
        raise ValueError(
            f"table_name={table_name!r} is the name of a table with its schema, and rows are written to the schema of"
            f" the account: pass {table!r}"
        )


def _write(client: Client, table: str, source: RowSource, options: FrameOptions, *, given_name: str) -> None:
    """Plan and write; plan again if the table was created, dropped or changed concurrently."""
    stale_dropped = False
    for plans_left in reversed(range(_MAX_PLANS)):
        target = inspect_target(client, table)
        if target.existing is not None:
            check_target(given_name, table, target.existing, options["if_exists"])
        elif "." in given_name:
            _refuse_schema(client, given_name)
        if not stale_dropped:
            drop_stale_staging(target)
            stale_dropped = True
        plan = make_plan(table, source.columns, target.existing, options)
        source.check(plan)
        if not target.may_create:
            _append_directly(target, plan, source, options)
            return
        try:
            _stage_and_publish(target.destination, plan, source, options)
        except (SQLError, TableChangedError) as error:
            if source.failure is not None or not plans_left:
                raise
            if isinstance(error, SQLError) and inspect_target(client, table).existing == target.existing:
                raise
        else:
            if plan.leaves_dead_rows:
                reclaim_space(target.destination)
            return


def _stage_and_publish(destination: Destination, plan: WritePlan, source: RowSource, options: FrameOptions) -> None:
    """Upload all rows to a staging table and publish them."""
    upload = Upload(
        plan.columns,
        partial(plan.staged_rows, source),
        with_sequence=plan.with_sequence,
        may_be_slow=source.may_be_slow,
        rows=source.rows,
    )
    progress = options["progress"]
    with (
        stage(destination, upload, compression=options["compression"], progress=progress) as staged,
        Waiting("publishing", progress),
    ):
        build_spatial_indexes(destination, staged, plan.spatial_indexes)
        publish_plan(destination, staged, plan, source.columns, options)


def _append_directly(target: Target, plan: WritePlan, source: RowSource, options: FrameOptions) -> None:
    """Append with a key that may not create staging tables; raise PermissionDenied for any other write."""
    if target.existing is None or options["if_exists"] != "append":
        action = "create" if target.existing is None else _ACTIONS[options["if_exists"]]
        refuse_staging(target.destination, action, "rows are uploaded to a staging table")
    plan_direct(target.destination, target.existing, plan.columns).run(
        partial(plan.staged_rows, source),
        rows=source.rows,
        may_be_slow=source.may_be_slow,
        compression=options["compression"],
        progress=options["progress"],
    )
