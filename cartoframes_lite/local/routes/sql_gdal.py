"""The formats of ``/sql`` that GDAL writes, through pyogrio: shapefile, KML, GeoPackage, SpatiaLite."""

from __future__ import annotations

import asyncio
import threading
import warnings
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from zipfile import ZIP_DEFLATED, ZipFile

import pyarrow as pa
import pyogrio
from psycopg.pq import ExecStatus
from psycopg.pq.abc import PGresult
from pyogrio.errors import DataLayerError, DataSourceError, FeatureError, FieldError, GeometryError

from ..answers import RequestError
from ..pool import Sessions
from ..session import Session, SQLError

EXPORT_TIMEOUT_S = 300.0
_BATCH_ROWS = 10_000
_BLOCK = 262_144
_GDAL_ERRORS = (DataLayerError, DataSourceError, FeatureError, FieldError, GeometryError, RuntimeError, pa.ArrowException)
# GDAL's Python warnings are silenced process-wide while it writes.
_WRITING = threading.Lock()


@dataclass(frozen=True, slots=True)
class Export:
    """What is exported.

    Attributes
    ----------
    sql : str
        One statement that returns rows, without a semicolon at its end.
    skip : frozenset of str
        Columns to leave out.
    decimals : int
        Digits after the point of coordinates, where a format writes them as text.
    filename : str
        Without extension; also the name of the layer.
    callback : str
        JSONP, empty for none.
    """

    sql: str
    skip: frozenset[str]
    decimals: int
    filename: str
    callback: str


@dataclass(frozen=True, slots=True)
class Column:
    """A column of the query.

    Attributes
    ----------
    name, type_name : str
        ``type_name`` is empty for a type that CARTO does not know.
    """

    name: str
    type_name: str


@dataclass(frozen=True, slots=True)
class _Layer:
    """A layer to write: where its geometry is and what it looks like."""

    geometry: str | None
    geometry_type: str | None
    srid: int


def quoted(name: str) -> str:
    """Quote an identifier."""
    return '"' + name.replace('"', '""') + '"'


async def columns(session: Session, export: Export) -> list[Column]:
    """Return the columns of the query, the_geom first; raise SQLError if it returns no rows."""
    result = await session.execute(f"SELECT * FROM ({export.sql}\n) AS _cartodbsqlapi LIMIT 0")
    oids = sorted({result.ftype(column) for column in range(result.nfields)})
    names = await session.execute(
        "SELECT oid, typname FROM pg_catalog.pg_type WHERE oid = ANY($1::oid[])",
        ["{" + ",".join(map(str, oids)) + "}"],
    )
    types = {int(names.get_value(row, 0) or 0): (names.get_value(row, 1) or b"").decode() for row in range(names.ntuples)}
    found = [
        Column((result.fname(column) or b"").decode(), types.get(result.ftype(column), ""))
        for column in range(result.nfields)
    ]
    kept = [column for column in found if column.name not in export.skip]
    return sorted(kept, key=lambda column: column.name != "the_geom")


async def shp(sessions: Sessions, role: str, export: Export) -> AsyncGenerator[bytes, None]:
    """Write a zip archive of a shapefile."""
    options = {"layer_options": {"ENCODING": "UTF-8", "RESIZE": "YES"}}
    async with _written(sessions, role, export, "ESRI Shapefile", "shp", options) as directory:
        archive = directory / "archive.zip"
        with ZipFile(archive, "w", ZIP_DEFLATED) as zipped:
            for part in sorted(directory.glob(f"{glob_safe(export.filename)}.*")):
                await asyncio.to_thread(zipped.write, part, part.name)
        async for block in _file_blocks(archive):
            yield block


async def kml(sessions: Sessions, role: str, export: Export) -> AsyncGenerator[bytes, None]:
    """Write KML."""
    async for block in _single_file(sessions, role, export, "KML", "kml", {}):
        yield block


async def gpkg(sessions: Sessions, role: str, export: Export) -> AsyncGenerator[bytes, None]:
    """Write a GeoPackage."""
    async for block in _single_file(sessions, role, export, "GPKG", "gpkg", {}):
        yield block


async def spatialite(sessions: Sessions, role: str, export: Export) -> AsyncGenerator[bytes, None]:
    """Write a SpatiaLite database."""
    options = {"dataset_options": {"SPATIALITE": "YES"}}
    async for block in _single_file(sessions, role, export, "SQLite", "sqlite", options):
        yield block
