"""Keywords of ``to_carto``, which the accessor and Dask share."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any, Literal, TypedDict, get_args

from cartoframes_lite._client.imports import Privacy
from cartoframes_lite._client.keywords import shared_keywords

IfExists = Literal["fail", "replace", "append", "upsert", "delete_rows"]
Compression = Literal["auto", "gzip"] | None


class WriteOptions(TypedDict, total=False):
    """Options of a write.

    Parameters
    ----------
    if_exists : {"fail", "replace", "append", "upsert", "delete_rows"}
        What to do if the table exists. "replace" replaces the rows and keeps the privacy, grants and indexes of the
        table, and the maps that use it; columns that are not in the frame are dropped, new ones are added. "append"
        sets columns that are not in the frame to their defaults. "upsert" updates the rows that have the ``key`` of a
        row of the frame, in the columns of the frame, and appends the other rows of the frame. "delete_rows" deletes
        all rows and appends those of the frame; the definition of the table stays as it is, and a frame that does
        not fit it is refused.
    key : label or sequence of labels, optional
        Columns of the frame that identify a row, for "upsert". Their values have to be present and unique in the frame.
        If the table has no unique constraint on these columns, it is added, also to a new table.
    geom_col : label, optional
        The geometry column that becomes ``the_geom``. Default: the active geometry. It is reprojected to EPSG:4326;
        other geometry columns keep their CRS. Z coordinates are kept. A column of text or bytes is parsed: WKT, WKB or
        hexadecimal WKB, as in CARTO's CSV exports; without SRID, it is in EPSG:4326.
    lnglat : (label, label), optional
        Columns of longitudes and latitudes in degrees, of which ``the_geom`` is made. The columns are written, too.
    index : bool, default False
        Write the index as columns.
    index_label : label or sequence of labels, optional
        Column names for the index levels. Default: the names of the levels.
    dtype : mapping of label to str, optional
        PostgreSQL types by column, for example ``{"price": "numeric(10,2)"}``. NaN is written as NULL, except to a
        column with a float type given here, where it stays NaN.
    cartodbfy : bool, default True
        Make it a CARTO table, with ``cartodb_id``, ``the_geom`` and ``the_geom_webmercator``, as maps require.
    privacy : {"public", "private", "link"}, optional
        Privacy to set once the rows are written; requires the master API key. None leaves the privacy of an existing
        table unchanged and gives a new table the default of the account. Not with ``cartodbfy=False``, except to
        append: a plain table has no privacy.
    compression : {"auto", "gzip"} or None
        "auto" compresses uploads with gzip if the server is not on this host, and only while the connection is slower
        than compressing, which is measured during the upload. "gzip" always compresses, None never.
    """

    if_exists: IfExists
    key: Hashable | Sequence[Hashable] | None
    geom_col: Hashable | None
    lnglat: tuple[Hashable, Hashable] | None
    index: bool
    index_label: Hashable | Sequence[Hashable] | None
    dtype: Mapping[Any, str] | None
    cartodbfy: bool
    privacy: Privacy | None
    compression: Compression


class FrameOptions(WriteOptions, total=False):
    """Options of a write by this process.

    Parameters
    ----------
    progress : bool, optional
        Whether to show a progress bar. None shows it after two seconds.
    """

    progress: bool | None


_DEFAULTS = WriteOptions(
    if_exists="fail",
    key=None,
    geom_col=None,
    lnglat=None,
    index=False,
    index_label=None,
    dtype=None,
    cartodbfy=True,
    privacy=None,
    compression="auto",
)
write_keywords = shared_keywords(WriteOptions, defaults=_DEFAULTS)
frame_keywords = shared_keywords(WriteOptions, FrameOptions, defaults=FrameOptions(**_DEFAULTS, progress=None))


def check_options(options: WriteOptions) -> None:
    """Validate the options that have a set of values, before the first request."""
    for name, value, allowed in (
        ("if_exists", options["if_exists"], get_args(IfExists)),
        ("privacy", options["privacy"], (*get_args(Privacy), None)),
        ("compression", options["compression"], ("auto", "gzip", None)),
    ):
        if value not in allowed:
            raise ValueError(f"{name} must be one of {allowed}, not {value!r}")
    lnglat = options["lnglat"]
    if lnglat is not None and not (isinstance(lnglat, tuple | list) and len(lnglat) == 2 and lnglat[0] != lnglat[1]):
        raise ValueError(f'lnglat must be two columns, such as ("lng", "lat"), not {lnglat!r}')
    if lnglat is not None and options["geom_col"] is not None:
        raise ValueError(f"lnglat={lnglat!r} and geom_col={options['geom_col']!r} exclude each other: omit one of them")
    if (options["if_exists"] == "upsert") is (options["key"] is None):
        raise ValueError(
            f"if_exists={options['if_exists']!r} with key={options['key']!r}: pass the column, or the list of columns,"
            ' that identifies a row as key with if_exists="upsert", and only then'
        )
    may_keep_plain = options["if_exists"] in ("append", "upsert", "delete_rows")
    if options["privacy"] is not None and not options["cartodbfy"] and not may_keep_plain:
        raise ValueError(
            f"privacy={options['privacy']!r} with cartodbfy=False: only a cartodbfied table has a privacy;"
            " omit one of them, and grant access to a plain table by SQL"
        )
