"""The formats of ``/sql`` that GDAL writes, through pyogrio: shapefile, KML, GeoPackage, SpatiaLite."""

from __future__ import annotations

import asyncio
import threading
import warnings
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from zipfile import ZIP_DEFLATED, ZipFile

import pyarrow as pa
import pyogrio
from psycopg.pq import ExecStatus
from pyogrio.errors import DataLayerError, DataSourceError, FeatureError, FieldError, GeometryError

from ..answers import RequestError
from ..pool import Sessions
from ..session import Session

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


@dataclass(frozen=True, slots=True)
class _Driver:
    """A driver of GDAL and how it is used."""

    name: str
    extension: str
    layer_options: dict[str, str] = field(default_factory=dict)
    dataset_options: dict[str, str] = field(default_factory=dict)


_SHAPEFILE = _Driver("ESRI Shapefile", "shp", layer_options={"ENCODING": "UTF-8"})
_KML = _Driver("KML", "kml")
_GEOPACKAGE = _Driver("GPKG", "gpkg", layer_options={"GEOMETRY_NAME": _GEOMETRY})
_SPATIALITE = _Driver("SQLite", "sqlite", {"GEOMETRY_NAME": _GEOMETRY}, {"SPATIALITE": "YES"})
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
    async with _written(sessions, role, export, _SHAPEFILE) as path, _working_directory() as elsewhere:
        archive = elsewhere / "archive.zip"
        with ZipFile(archive, "w", ZIP_DEFLATED) as zipped:
            for part in sorted(path.parent.iterdir()):
                await asyncio.to_thread(zipped.write, part, part.name)
        for block in _file_blocks(archive):
            yield block


async def kml(sessions: Sessions, role: str, export: Export) -> AsyncGenerator[bytes, None]:
    """Write KML."""
    async with _written(sessions, role, export, _KML) as path:
        for block in _file_blocks(path):
            yield block


async def gpkg(sessions: Sessions, role: str, export: Export) -> AsyncGenerator[bytes, None]:
    """Write a GeoPackage."""
    async with _written(sessions, role, export, _GEOPACKAGE) as path:
        for block in _file_blocks(path):
            yield block


async def spatialite(sessions: Sessions, role: str, export: Export) -> AsyncGenerator[bytes, None]:
    """Write a SpatiaLite database; a GDAL without it says so, and writes plain SQLite."""
    async with _written(sessions, role, export, _SPATIALITE) as path:
        for block in _file_blocks(path):
            yield block


@asynccontextmanager
async def _working_directory() -> AsyncIterator[Path]:
    """Make a directory that goes when the context ends."""
    with TemporaryDirectory(prefix="carto-export-") as name:
        yield Path(name)


def _file_blocks(path: Path) -> Iterator[bytes]:
    """Read a file."""
    with path.open("rb") as file:
        yield from iter(lambda: file.read(_BLOCK), b"")


@asynccontextmanager
async def _written(sessions: Sessions, role: str, export: Export, driver: _Driver) -> AsyncIterator[Path]:
    """Write the file, alone in a directory that goes when the context ends.

    The rows are held in memory until GDAL has them, as some formats know their columns only at the end.
    """
    async with sessions.open(role, timeout_s=EXPORT_TIMEOUT_S) as session:
        table = await _fetch(session, export, await columns(session, export))
    async with _working_directory() as directory:
        path = directory / f"{export.filename}.{driver.extension}"
        try:
            await asyncio.to_thread(_write, table, path, driver)
        except _GDAL_ERRORS as error:
            # The text of GDAL may tell where the file was to be.
            raise RequestError(str(error).replace(str(directory), "")) from None
        yield path


def _write(table: pa.Table, path: Path, driver: _Driver) -> None:
    """Hand a table to GDAL."""
    geometry: dict[str, str] = {}
    if _GEOMETRY in table.column_names:
        kinds = {_shape(value.as_py()) for value in table.column(_GEOMETRY) if value.is_valid}
        kind = kinds.pop() if len(kinds) == 1 else "Unknown"
        geometry = {"geometry_name": _GEOMETRY, "geometry_type": kind, "crs": "EPSG:4326"}
    # GDAL's warnings, as of names that a format shortens, go to Python's, and nobody is there to see them.
    with _WRITING, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        pyogrio.write_arrow(
            table,
            path,
            layer=path.stem,
            driver=driver.name,
            layer_options=driver.layer_options,
            dataset_options=driver.dataset_options,
            **geometry,
        )


def _shape(wkb: bytes) -> str:
    """Name the type of an ISO WKB value, as pyogrio knows it."""
    dimensions, kind = divmod(int.from_bytes(wkb[1:5], "little" if wkb[0] else "big"), 1000)
    suffix = {0: "", 1: " Z"}.get(dimensions)
    return "Unknown" if suffix is None or kind not in _WKB_NAMES else _WKB_NAMES[kind] + suffix


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
                failed = session.error(result)
    if failed:
        raise failed
    arrays = await asyncio.to_thread(lambda: [_array(*pair) for pair in zip(found, values, strict=True)])
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
