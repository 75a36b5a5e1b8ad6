"""Write DataFrames to a table of a CARTO account: ``to_carto``."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from typing import Unpack

import pandas as pd

from cartoframes_lite import user_warnings
from cartoframes_lite._client import Client
from cartoframes_lite._client.imports import Privacy
from cartoframes_lite._codec.names import normalize, refuse_system_name
from cartoframes_lite._codec.whole_tables import mark_whole
from cartoframes_lite.credentials import Credentials
from cartoframes_lite.errors import (
    CartoError,
    ConversionWarning,
    PrivacyNotSet,
)
from cartoframes_lite.write.arrow_frames import ArrowStream, as_frames, count_rows
from cartoframes_lite.write.attempts import write_rows
from cartoframes_lite.write.columns import Columns, require_geometry
from cartoframes_lite.write.frame_geometry import find_lnglat
from cartoframes_lite.write.options import FrameOptions, WriteOptions, check_options, frame_keywords
from cartoframes_lite.write.prepare import PreparedFrame, prepare, warn_about_renamed
from cartoframes_lite.write.source import RowSource
from cartoframes_lite.write.staging_names import is_staging


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
    return _to_carto(dataframe, table_name, credentials, keywords, must_exist=False)


@frame_keywords
def write_to_existing(
    dataframe: pd.DataFrame | Iterable[pd.DataFrame] | ArrowStream,
    table_name: str,
    credentials: Credentials | None = None,
    **keywords: Unpack[FrameOptions],
) -> str:
    """Write as ``to_carto`` does, but raise TableNotFoundError if the table does not exist.

    Parameters
    ----------
    dataframe, table_name, credentials
        As in ``to_carto``.
    **keywords
        See ``FrameOptions``.
    """
    return _to_carto(dataframe, table_name, credentials, keywords, must_exist=True)


def _to_carto(
    dataframe: pd.DataFrame | Iterable[pd.DataFrame] | ArrowStream,
    table_name: str,
    credentials: Credentials | None,
    keywords: FrameOptions,
    *,
    must_exist: bool,
) -> str:
    """Check and write frames; with ``must_exist``, only to an existing table."""
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
    write_rows(client, table, source, keywords, given_name=table_name, must_exist=must_exist)
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
