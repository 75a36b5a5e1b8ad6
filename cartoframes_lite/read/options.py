"""Keywords of ``read_carto``, which ``read_arrow`` and ``Dataset.read`` share."""

from __future__ import annotations

import math
from collections.abc import Collection, Hashable, Mapping, Sequence
from typing import Any, TypeAlias, TypedDict

import geopandas as gpd
import numpy as np
import pandas as pd
import shapely

from cartoframes_lite._client.keywords import shared_keywords
from cartoframes_lite._codec.bad_value import short_repr
from cartoframes_lite._codec.names import is_unicode
from cartoframes_lite._codec.placeholders import Params
from cartoframes_lite._codec.to_series import Backend

Bounds: TypeAlias = tuple[float, float, float, float]
BBox: TypeAlias = Bounds | Sequence[float] | gpd.GeoSeries | gpd.GeoDataFrame | shapely.Geometry
Mask: TypeAlias = shapely.Geometry | gpd.GeoSeries | gpd.GeoDataFrame | Mapping[str, Any]

_MAX_ROWS = 2**63 - 1


class SourceOptions(TypedDict, total=False):
    """Options of a read: which rows and columns, and how.

    Parameters
    ----------
    columns : sequence of str, optional
        Columns to read, in this order. Default: all except ``the_geom_webmercator``.
    limit : int, optional
        Maximum number of rows. None: all.
    schema : str, optional
        Schema of the table. None: the default schema of the account. Not allowed for a query.
    params : mapping or sequence, optional
        Values of the placeholders of the query and of ``where``: a mapping for ``%(name)s``, a sequence for ``%s``, as
        in ``pandas.read_sql`` with psycopg. They become literals: None, bool, int, float, Decimal, str, bytes, dates,
        times, UUID, lists (arrays), tuples (for IN), dicts (jsonb) and shapely geometries (in EPSG:4326 if they have
        no SRID). With ``params``, a percent sign is written ``%%``; without, it has no special meaning.
    where : str, optional
        SQL condition that rows must meet, such as ``"year > 2000"``; for a query, on its result.
    bbox : tuple, GeoSeries, GeoDataFrame or shapely geometry, optional
        Only rows whose geometry intersects this box: ``(minx, miny, maxx, maxy)`` in EPSG:4326, or the bounds of
        geometries, which are reprojected. As in ``geopandas.read_file``; uses the spatial index of a table. The
        geometry is ``the_geom``, else the first.
    mask : shapely geometry, GeoSeries, GeoDataFrame or GeoJSON-like dict, optional
        Only rows whose geometry intersects this geometry, or any of these: in EPSG:4326 if it has no CRS, otherwise
        reprojected, and divided if it crosses the antimeridian. Not together with ``bbox``.
    timeout_s : float, optional
        Maximum time to wait for the server, in seconds: for the first row, and then for each block of rows. With
        ``batch``, for the end of the job. None: one hour, with ``batch`` 12 hours. A query whose time is up is not sent
        again.
    batch : bool, default False
        Run the query as a batch job, whose time limit is longer than that of other queries, into a table that is read
        and then dropped. Requires the master key.
    progress : bool, optional
        Show a progress bar: None after two seconds, False never, True at once.
    """

    columns: Sequence[str] | None
    limit: int | None
    schema: str | None
    params: Params | None
    where: str | None
    bbox: BBox | None
    mask: Mask | None
    timeout_s: float | None
    batch: bool
    progress: bool | None


class FrameReadOptions(SourceOptions, total=False):
    """Options of a read into a frame.

    Parameters
    ----------
    index_col : label or sequence of labels, optional
        Columns to set as index.
    decode_geom : bool, default True
        Decode geometries; False returns them as EWKB ``bytes`` in a plain DataFrame.
    coerce_float : bool, default True
        Convert ``numeric`` to float64; False returns ``decimal.Decimal``.
    dtype_backend : {"numpy_nullable", "pyarrow"}, optional
        As in ``pandas.read_sql``.
    """

    index_col: Hashable | Sequence[Hashable] | None
    decode_geom: bool
    coerce_float: bool
    dtype_backend: Backend | None


class ReadOptions(FrameReadOptions, total=False):
    """Options of a read into one frame or several.

    Parameters
    ----------
    chunksize : int, optional
        Return an iterator of frames with this number of rows (the last one may have fewer), in bounded memory.
        Integer and boolean columns have a nullable dtype in chunks that contain a NULL. An error at the end of the
        stream, such as columns that changed during the read, is raised by the iterator at its end: discard the
        chunks yielded before.
    """

    chunksize: int | None


class WholeRead(FrameReadOptions, total=False):
    """Options of a read into one frame."""

    chunksize: None


class ChunkedRead(FrameReadOptions):
    """Options of a read into several frames."""

    chunksize: int


_SOURCE_DEFAULTS = SourceOptions(
    columns=None,
    limit=None,
    schema=None,
    params=None,
    where=None,
    bbox=None,
    mask=None,
    timeout_s=None,
    batch=False,
    progress=None,
)
_DEFAULTS = ReadOptions(
    **_SOURCE_DEFAULTS, index_col=None, decode_geom=True, coerce_float=True, dtype_backend=None, chunksize=None
)
source_keywords = shared_keywords(SourceOptions, defaults=_SOURCE_DEFAULTS)
read_keywords = shared_keywords(SourceOptions, FrameReadOptions, ReadOptions, defaults=_DEFAULTS)


def check_source(source: object) -> None:
    """Raise unless a source is text that PostgreSQL accepts."""
    if not isinstance(source, str) or not source.strip():
        raise TypeError(f"source must be a table name or a query, not {source!r}")
    check_sql("source", source)


def check_options(options: SourceOptions) -> None:
    """Raise for invalid options, before any request."""
    check_filters(options["columns"], options["where"])
    check_count("limit", options["limit"], least=0)
    check_timeout(options["timeout_s"])
    if not isinstance(options["batch"], bool | np.bool_):
        raise TypeError(f"batch must be True or False, not {options['batch']!r}")


def check_filters(columns: object, where: object) -> None:
    """Raise for invalid columns, or a condition that is no text."""
    if columns is not None:
        _check_columns(columns)
    if where is not None:
        if not isinstance(where, str) or not where.strip():
            raise TypeError(f"where must be an SQL condition, not {where!r}")
        check_sql("where", where)


def check_backend(backend: object) -> None:
    """Raise for an unknown dtype backend."""
    if backend not in (None, "numpy_nullable", "pyarrow"):
        raise ValueError(f'dtype_backend must be "numpy_nullable" or "pyarrow", not {backend!r}')


def check_timeout(timeout_s: object) -> None:
    """Raise unless a timeout is None or a positive number of seconds."""
    if timeout_s is None:
        return
    if isinstance(timeout_s, bool) or not isinstance(timeout_s, int | float | np.integer | np.floating):
        raise TypeError(f"timeout_s must be a number of seconds or None, not {timeout_s!r}")
    if not 0 < timeout_s < math.inf:
        raise ValueError(f"timeout_s must be a positive number of seconds, or None, not {timeout_s!r}")


def check_count(name: str, value: object, *, least: int) -> None:
    """Raise unless a value is None or an integer in the range of bigint."""
    if value is not None and (
        not isinstance(value, int | np.integer)
        or isinstance(value, bool | np.timedelta64)
        or not least <= value <= _MAX_ROWS
    ):
        raise ValueError(f"{name} must be an integer from {least} to {_MAX_ROWS}, not {short_repr(value)}")


def check_sql(name: str, sql: str) -> None:
    """Raise for text that PostgreSQL does not accept."""
    if "\0" in sql or not is_unicode(sql):
        raise ValueError(f"{name} contains the character U+0000 or a lone surrogate, remove it: {sql!r}")


def _check_columns(columns: object) -> None:
    if isinstance(columns, str | bytes) or not isinstance(columns, Collection | pd.Index | np.ndarray):
        raise TypeError(f"columns must be a sequence of column names, not {columns!r}")
    others = [name for name in columns if not isinstance(name, str)]
    if others:
        raise TypeError(f"columns must contain only strings, not {others}")
    if len(set(columns)) < len(columns):
        raise ValueError(f"columns contains a name twice: {list(columns)}")
