"""Read a table or query of a CARTO account as a stream of Arrow record batches: ``read_arrow``."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from itertools import chain
from typing import Unpack

import pyarrow as pa

from cartoframes_lite._client import Client
from cartoframes_lite._codec.arrow import ArrowColumns
from cartoframes_lite._codec.frame import THE_GEOM
from cartoframes_lite._codec.pgtypes import Kind
from cartoframes_lite.credentials import Credentials
from cartoframes_lite.read.filters import spatial_filter
from cartoframes_lite.read.options import SourceOptions, check_options, check_source, source_keywords
from cartoframes_lite.read.source import resolve_source
from cartoframes_lite.read.stream import Read, plan_read, stored


@source_keywords
def read_arrow(
    source: str, credentials: Credentials | None = None, **keywords: Unpack[SourceOptions]
) -> pa.RecordBatchReader:
    """Read a table or the rows of a query as Arrow record batches, in bounded memory.

    The reader has the Arrow C stream interface, so that polars, DuckDB, lonboard, GeoPandas and others take it without
    a copy. The rows are read while it is consumed, by a single binary ``COPY`` statement: they are one snapshot of the
    data. Each row and the end of the stream are verified; an incomplete read is an error at its end.

    Parameters
    ----------
    source : str
        Name of a table, with or without its schema, or any SQL that returns rows, as in ``read_carto``.
    credentials : Credentials, optional
        Default: those of ``set_default_credentials``, else of the environment, else of the file.
    **keywords
        Those of ``SourceOptions``.

    Returns
    -------
    pyarrow.RecordBatchReader
        Geometries have the extension type ``geoarrow.wkb`` (ISO WKB), with the CRS of their SRID as PROJJSON;
        ``numeric`` is float64, JSON is text, arrays are lists. Other types are those of ``read_carto`` with
        ``dtype_backend="pyarrow"``.

    Raises
    ------
    TableNotFoundError, PermissionDenied, SQLError, QueryTimeout, ConnectionFailed
        As ``read_carto``; errors of the stream are raised when it is consumed. Discard the batches read before.
    ConversionError
        If a value has no Arrow counterpart: arrays of several dimensions, geometries with different SRIDs.

    Examples
    --------
    >>> import cartoframes_lite as cfl
    >>> reader = cfl.read_arrow("stations", columns=["name", "year", "the_geom"], where="year > 1950")
    >>> reader.schema.names
    ['name', 'year', 'the_geom']
    >>> reader.read_all().num_rows
    2
    """
    check_source(source)
    check_options(keywords)
    origin = resolve_source(source, keywords["schema"], params=keywords["params"], where=keywords["where"])
    spatial = spatial_filter(keywords["bbox"], keywords["mask"])
    client = Client(credentials, progress=keywords["progress"])
    planned = plan_read(client, origin, keywords, spatial, source)
    read: AbstractContextManager[Read] = stored(planned, keywords) if keywords["batch"] else nullcontext(planned)
    batches = _batches(read)
    first = next(batches) if _needs_values(planned) else None
    columns = ArrowColumns(planned.columns, first)
    whole = batches if first is None else chain([first], batches)
    return pa.RecordBatchReader.from_batches(columns.schema, map(columns.convert, whole))


def _batches(source: AbstractContextManager[Read]) -> Iterator[pa.RecordBatch]:
    with source as read:
        yield from read.batches()


def _needs_values(read: Read) -> bool:
    """Return whether only the values of a geometry column have an SRID, so that the schema depends on them."""
    return any(
        column.rule.kind is Kind.GEOMETRY and column.srid <= 0 and column.name != THE_GEOM for column in read.columns
    )
