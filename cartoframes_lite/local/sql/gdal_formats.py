"""Export formats of ``/sql`` that are written by GDAL with pyogrio: shapefile, KML, GeoPackage, SpatiaLite."""

from __future__ import annotations

import asyncio
import json
import sys
import threading
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from zipfile import ZIP_DEFLATED, ZipFile

from psycopg.pq import ExecStatus

from cartoframes_lite.local.http.responses import QUERY_CANCELED, RequestError
from cartoframes_lite.local.postgres.errors import SQLError
from cartoframes_lite.local.postgres.session import Session
from cartoframes_lite.local.sql import gdal_writer
from cartoframes_lite.local.sql.export_rows import RowFile
from cartoframes_lite.local.sql.gdal_writer import GDAL_ERRORS, GEOMETRY, Output, write
from cartoframes_lite.local.sql.sessions import Sessions

_BLOCK = 262_144
# Exports up to this size are written in the server's process; larger ones in a separate process.
_SMALL_ROWS, _SMALL_BYTES = 1_000, 1_000_000


@dataclass(frozen=True, slots=True)
class _Driver:
    """A GDAL driver with its file extension and options."""

    name: str
    extension: str
    layer_options: dict[str, str] = field(default_factory=dict)
    dataset_options: dict[str, str] = field(default_factory=dict)


_SHAPEFILE = _Driver("ESRI Shapefile", "shp", layer_options={"ENCODING": "UTF-8"})
_KML = _Driver("KML", "kml")
_GEOPACKAGE = _Driver("GPKG", "gpkg", layer_options={"GEOMETRY_NAME": GEOMETRY})
_SPATIALITE = _Driver("SQLite", "sqlite", {"GEOMETRY_NAME": GEOMETRY}, {"SPATIALITE": "YES"})
# Writing silences Python warnings, which is not thread-safe.
_WRITE_LOCK = threading.Lock()


@dataclass(frozen=True, slots=True)
class ExportOptions:
    """Query and options of an export.

    Attributes
    ----------
    sql : str
        One statement that returns rows, without a trailing semicolon.
    skip : frozenset of str
        Columns to omit.
    decimals : int
        Decimal places of coordinates, in formats that write them as text.
    filename : str
        Without extension; also the name of the layer.
    callback : str
        JSONP callback, empty for none.
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
        ``type_name`` is empty for an unknown type.
    """

    name: str
    type_name: str


def quoted(name: str) -> str:
    """Quote an identifier."""
    return '"' + name.replace('"', '""') + '"'


async def columns(session: Session, export: ExportOptions) -> list[Column]:
    """Return the columns of the query, the_geom first; raise SQLError if it is not a query that returns rows."""
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


async def shp(sessions: Sessions, role: str, export: ExportOptions) -> AsyncGenerator[bytes, None]:
    """Yield a zip archive of a shapefile."""
    async with _written_file(sessions, role, export, _SHAPEFILE) as path, _working_directory() as archive_directory:
        archive = archive_directory / "archive.zip"
        with ZipFile(archive, "w", ZIP_DEFLATED) as zipped:
            for part in sorted(path.parent.iterdir()):
                await asyncio.to_thread(zipped.write, part, part.name)
        for block in _file_blocks(archive):
            yield block


async def kml(sessions: Sessions, role: str, export: ExportOptions) -> AsyncGenerator[bytes, None]:
    """Yield a KML file."""
    async with _written_file(sessions, role, export, _KML) as path:
        for block in _file_blocks(path):
            yield block


async def gpkg(sessions: Sessions, role: str, export: ExportOptions) -> AsyncGenerator[bytes, None]:
    """Yield a GeoPackage."""
    async with _written_file(sessions, role, export, _GEOPACKAGE) as path:
        for block in _file_blocks(path):
            yield block


async def spatialite(sessions: Sessions, role: str, export: ExportOptions) -> AsyncGenerator[bytes, None]:
    """Yield a SpatiaLite database; plain SQLite if GDAL was built without SpatiaLite."""
    async with _written_file(sessions, role, export, _SPATIALITE) as path:
        for block in _file_blocks(path):
            yield block


@asynccontextmanager
async def _working_directory() -> AsyncIterator[Path]:
    """Return a context manager for a temporary directory."""
    with TemporaryDirectory(prefix="carto-export-") as name:
        yield Path(name)


def _file_blocks(path: Path) -> Iterator[bytes]:
    """Yield the content of a file in blocks."""
    with path.open("rb") as file:
        yield from iter(lambda: file.read(_BLOCK), b"")


@asynccontextmanager
async def _written_file(sessions: Sessions, role: str, export: ExportOptions, driver: _Driver) -> AsyncIterator[Path]:
    """Run the query and write the file; a context manager for its path, alone in a temporary directory."""
    async with _working_directory() as directory, _working_directory() as rows_directory:
        path, source = directory / f"{export.filename}.{driver.extension}", rows_directory / "rows.arrow"
        try:
            async with sessions.open(role, timeout_s=sessions.export_timeout_s) as session:
                fields = [(column.name, column.type_name) for column in await columns(session, export)]
                with RowFile(source, fields, sessions.max_export_bytes) as rows:
                    await _fetch(session, export, [name for name, _ in fields], rows)
            output = Output(
                str(source),
                str(path),
                path.stem,
                driver.name,
                rows.types,
                rows.geometry_type,
                driver.layer_options,
                driver.dataset_options,
            )
            if rows.rows <= _SMALL_ROWS and rows.size_bytes <= _SMALL_BYTES:
                await asyncio.to_thread(_write, output)
            else:
                async with sessions.export_processes:
                    await _write_in_subprocess(output, sessions.export_timeout_s)
        except GDAL_ERRORS as error:
            # GDAL's message can contain the path of the file.
            raise RequestError(str(error).replace(str(directory), "")) from None
        yield path


async def _fetch(session: Session, export: ExportOptions, names: list[str], rows: RowFile) -> None:
    """Run the query and add its rows, with all values as text, to a file."""
    select_list = ", ".join(
        f"encode(ST_AsBinary({quoted(name)}, 'NDR'), 'hex')" if name == GEOMETRY else f"{quoted(name)}::text"
        for name in names
    )
    failed = None
    async for results in session.results(f"SELECT {select_list} FROM ({export.sql}\n) AS _cartodbsqlapi"):
        for result in results:
            if result.status == ExecStatus.SINGLE_TUPLE:
                await rows.add([result.get_value(0, column) for column in range(result.nfields)])
            elif result.status == ExecStatus.FATAL_ERROR:
                failed = session.error(result)
    if failed:
        raise failed
    await rows.flush()


def _write(output: Output) -> None:
    """Write the file in this process."""
    with _WRITE_LOCK:
        write(output)


async def _write_in_subprocess(output: Output, timeout_s: float) -> None:
    """Write the file in a separate process, which is killed on a timeout or when the request is canceled."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-P",
        gdal_writer.__file__,
        json.dumps(asdict(output)),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        async with asyncio.timeout(timeout_s):
            printed, _ = await process.communicate()
    except TimeoutError:
        raise SQLError("canceling statement due to statement timeout", sqlstate=QUERY_CANCELED) from None
    finally:
        if process.returncode is None:
            with suppress(ProcessLookupError):  # the process ended in the meantime
                process.kill()
            await process.wait()
    if process.returncode:
        raise RuntimeError(printed.decode("utf-8", "replace").strip() or "the export has failed")
