"""The formats of ``/sql`` that GDAL writes, through pyogrio: shapefile, KML, GeoPackage, SpatiaLite."""

from __future__ import annotations

import asyncio
import threading
import warnings
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from zipfile import ZIP_DEFLATED, ZipFile

import pyarrow as pa
import pyogrio
from psycopg.pq import ExecStatus
from pyogrio.errors import DataLayerError, DataSourceError, FeatureError, FieldError, GeometryError

from ..answers import RequestError
from ..pool import Sessions
from ..session import Session, SQLError

EXPORT_TIMEOUT_S = 300.0
_BLOCK = 262_144
_GDAL_ERRORS = (
    DataLayerError,
    DataSourceError,
    FeatureError,
    FieldError,
    GeometryError,
    RuntimeError,
    pa.ArrowException,
)
_GEOMETRY = "the_geom"
_GDAL_TYPES = {
    "int2": pa.int16(),
    "int4": pa.int32(),
    "int8": pa.int64(),
    "float4": pa.float32(),
    "float8": pa.float64(),
    "numeric": pa.float64(),
    "date": pa.date32(),
    "timestamp": pa.timestamp("ms"),
}
_WKB_NAMES = {
    1: "Point",
    2: "LineString",
    3: "Polygon",
    4: "MultiPoint",
    5: "MultiLineString",
    6: "MultiPolygon",
    7: "GeometryCollection",
}
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
    types = {
        int(names.get_value(row, 0) or 0): (names.get_value(row, 1) or b"").decode() for row in range(names.ntuples)
    }
    found = [
        Column((result.fname(column) or b"").decode(), types.get(result.ftype(column), ""))
        for column in range(result.nfields)
    ]
    kept = [column for column in found if column.name not in export.skip]
    return sorted(kept, key=lambda column: column.name != "the_geom")


async def shp(sessions: Sessions, role: str, export: Export) -> AsyncGenerator[bytes, None]:
    """Write a zip archive of a shapefile."""
    async with _written(sessions, role, export, "ESRI Shapefile", "shp", {"ENCODING": "UTF-8"}) as directory:
        archive = directory / "archive.zip"
        with ZipFile(archive, "w", ZIP_DEFLATED) as zipped:
            for part in sorted(directory.iterdir()):
                if part != archive:
                    await asyncio.to_thread(zipped.write, part, part.name)
        for block in _file_blocks(archive):
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
    """Write a SpatiaLite database, or plain SQLite where GDAL was built without it."""
    async for block in _single_file(sessions, role, export, "SQLite", "sqlite", {}):
        yield block


async def _single_file(
    sessions: Sessions, role: str, export: Export, driver: str, extension: str, options: dict[str, str]
) -> AsyncGenerator[bytes, None]:
    async with _written(sessions, role, export, driver, extension, options) as directory:
        for block in _file_blocks(directory / f"{export.filename}.{extension}"):
            yield block


def _file_blocks(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        yield from iter(lambda: file.read(_BLOCK), b"")


@asynccontextmanager
async def _written(
    sessions: Sessions, role: str, export: Export, driver: str, extension: str, options: dict[str, str]
) -> AsyncIterator[Path]:
    """Write the file into a directory that goes when the context ends.

    The rows are held in memory until GDAL has them, as some formats know their columns only at the end.
    """
    async with sessions.open(role, timeout_s=EXPORT_TIMEOUT_S) as session:
        found = await columns(session, export)
        table = await _fetch(session, export, found)
    with TemporaryDirectory(prefix="carto-export-") as name:
        directory = Path(name)
        try:
            await asyncio.to_thread(
                _write, table, found, directory / f"{export.filename}.{extension}", driver, export.filename, options
            )
        except _GDAL_ERRORS as error:
            # The text of GDAL may tell where the file was to be.
            raise RequestError(str(error).replace(str(directory), "")) from None
        yield directory


def _write(table: pa.Table, found: list[Column], path: Path, driver: str, layer: str, options: dict[str, str]) -> None:
    """Hand a table to GDAL."""
    has_geometry = any(column.name == _GEOMETRY for column in found)
    wkb = table.column(_GEOMETRY).to_pylist() if has_geometry else []
    kinds = {_shape(value) for value in wkb if value is not None}
    kind = next(iter(kinds)) if len(kinds) == 1 else "Unknown"
    # GDAL's warnings, as of names that a format shortens, go to Python's, and nobody is there to see them.
    with _WRITING, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        pyogrio.write_arrow(
            table,
            path,
            layer=layer,
            driver=driver,
            geometry_name=_GEOMETRY if has_geometry else None,
            geometry_type=kind if has_geometry else None,
            crs="EPSG:4326" if has_geometry else None,
            layer_options=options,
        )


def _shape(wkb: bytes) -> str:
    """Name the type of a WKB value."""
    kind = int.from_bytes(wkb[1:5], "little" if wkb[0] else "big")
    return f"{_WKB_NAMES.get(kind % 1000, 'Unknown')}{' Z' if kind >= 1000 else ''}"


async def _fetch(session: Session, export: Export, found: list[Column]) -> pa.Table:
    """Fetch the rows as text and cast them to what GDAL knows."""
    listed = ", ".join(
        f"encode(ST_AsBinary({quoted(column.name)}, 'NDR'), 'hex')"
        if column.name == _GEOMETRY
        else f"{quoted(column.name)}::text"
        for column in found
    )
    values: list[list[str | None]] = [[] for _ in found]
    failed = None
    query = f"SELECT {listed} FROM ({export.sql}\n) AS _cartodbsqlapi"
    async for results in session.results(query):
        for result in results:
            if result.status == ExecStatus.SINGLE_TUPLE:
                for at, column in enumerate(values):
                    value = result.get_value(0, at)
                    column.append(None if value is None else value.decode())
            elif result.status == ExecStatus.FATAL_ERROR:
                failed = SQLError.of(result)
    if failed:
        raise failed
    arrays = [_array(column, texts) for column, texts in zip(found, values, strict=True)]
    return pa.table(arrays, names=[column.name for column in found])


def _array(column: Column, texts: list[str | None]) -> pa.Array:
    if column.name == _GEOMETRY:
        return pa.array([None if text is None else bytes.fromhex(text) for text in texts], pa.binary())
    if column.type_name == "bool":
        return pa.array([None if text is None else text == "true" for text in texts], pa.bool_())
    array = pa.array(texts, pa.string())
    wanted = _GDAL_TYPES.get(column.type_name)
    try:
        return array if wanted is None else array.cast(wanted)
    except pa.ArrowInvalid:  # infinity, years before 1, and the like
        return array
