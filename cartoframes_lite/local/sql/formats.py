"""Export formats of ``/sql`` other than JSON."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from tempfile import SpooledTemporaryFile
from typing import Any

from psycopg.pq import ExecStatus
from psycopg.pq.abc import PGresult
from starlette.concurrency import run_in_threadpool

from cartoframes_lite.local.http.responses import JSON_TYPE, RequestError, error_status
from cartoframes_lite.local.postgres.session import Session
from cartoframes_lite.local.sql import gdal_formats
from cartoframes_lite.local.sql.gdal_formats import ExportOptions, columns, quoted
from cartoframes_lite.local.sql.json_values import Rows
from cartoframes_lite.local.sql.sessions import Sessions

_SVG_WIDTH = 800  # pixels
_NO_FILL = 'fill="none" '
_SPOOL_BYTES = 4_000_000  # a larger result that is completed before it is sent is spooled to a file
_BLOCK = 65_536

Blocks = AsyncGenerator[bytes, None]


@dataclass(frozen=True, slots=True)
class Format:
    """An export format.

    Attributes
    ----------
    content_type, extension : str
    blocks : callable
        Takes sessions, role and export options, and yields the response body.
    """

    content_type: str
    extension: str
    blocks: Callable[[Sessions, str, ExportOptions], Blocks]


class _Spool:
    """Output that is completed before it is sent.

    Parameters
    ----------
    file : SpooledTemporaryFile
    max_bytes : int
        Maximum size in bytes.
    """

    def __init__(self, file: SpooledTemporaryFile[bytes], max_bytes: int) -> None:
        self._file, self._max_bytes, self._size = file, max_bytes, 0

    def write(self, data: bytes) -> None:
        """Append data; raise RequestError if the maximum size is exceeded."""
        self._size += len(data)
        if self._size > self._max_bytes:
            raise RequestError(f"the export is larger than {self._max_bytes} bytes: use COPY")
        self._file.write(data)

    def blocks(self) -> Iterator[bytes]:
        """Yield the output in blocks."""
        self._file.seek(0)
        while block := self._file.read(_BLOCK):
            yield block


@contextmanager
def _spool(max_bytes: int) -> Iterator[_Spool]:
    """Return a context manager for a spool, which is in memory and moves to disk when it grows."""
    with SpooledTemporaryFile(_SPOOL_BYTES) as file:
        yield _Spool(file, max_bytes)


async def geojson(sessions: Sessions, role: str, export: ExportOptions) -> Blocks:
    """Yield a GeoJSON FeatureCollection. An error after the first row becomes its last member."""
    async with sessions.open(role) as session:
        text, separator, failed = f"{export.callback}(" if export.callback else "", "", None
        text += '{"type": "FeatureCollection", "features": ['
        query = f'SELECT *, ST_AsGeoJSON("the_geom", {export.decimals}) AS the_geom FROM ({export.sql}\n) AS foo'
        rows: Rows | None = None
        async for results in session.results(query):
            for result in results:
                if result.status == ExecStatus.SINGLE_TUPLE:
                    if rows is None:
                        rows = Rows(result, export.skip | {"the_geom", "the_geom_webmercator"}, finite=True)
                    geometry = (result.get_value(0, result.nfields - 1) or b"null").decode()
                    properties = await rows.write_row(result)
                    text += f'{separator}{{"type":"Feature","geometry":{geometry},"properties":{properties}}}'
                    separator = ","
                elif result.status == ExecStatus.FATAL_ERROR:
                    failed = session.error(result)
            if separator and len(text) > _BLOCK:
                yield text.encode()
                text = ""
        if failed:
            if not separator:
                raise failed
            text += f'],"error":{json.dumps(error_status(failed)[1]["error"])}}}'
        else:
            text += "]}"
        yield (text + (")" if export.callback else "")).encode()


async def csv(sessions: Sessions, role: str, export: ExportOptions) -> Blocks:
    """Yield CSV with the_geom first and CR LF line ends.

    The file is completed before the first byte is sent, so that every error has the correct status.
    """
    async with sessions.open(role) as session:
        names = [column.name for column in await columns(session, export)]
        select_list = ", ".join(f"{quoted(name)}::text" for name in names)
        query = f"SELECT {select_list} FROM ({export.sql}\n) AS _cartodbsqlapi"
        with _spool(sessions.max_export_bytes) as file:
            file.write(_csv_line(names))
            async for result in _rows(session, query):
                file.write(_csv_line(_texts(result)))
            for block in file.blocks():
                yield block


async def svg(sessions: Sessions, role: str, export: ExportOptions) -> Blocks:
    """Yield an SVG drawing of the geometries in their own coordinates: polygons first, points last."""
    async with sessions.open(role) as session:
        box = await session.execute(
            "SELECT ST_XMin(box), ST_YMin(box), ST_XMax(box), ST_YMax(box)"
            f' FROM (SELECT ST_Extent("the_geom") AS box FROM ({export.sql}\n) AS source) AS extent'
        )
        frame = _Frame.of(_texts(box))
        shapes = (
            f'SELECT ST_Dimension("the_geom"), ST_AsSVG("the_geom", 0, {export.decimals})'
            f" FROM ({export.sql}\n) AS source"
            ' WHERE NOT ST_IsEmpty("the_geom") ORDER BY 1 DESC'
        )
        text = frame.opening()
        async for result in _rows(session, shapes):
            dimension, path = _texts(result)
            shape = partial(frame.shape, dimension, path)
            text += shape() if len(path) < _BLOCK else await run_in_threadpool(shape)
            if len(text) > _BLOCK:
                yield text.encode()
                text = ""
        yield f"{text}</svg>\n".encode()


@dataclass(frozen=True, slots=True)
class _Frame:
    """Extent of a drawing, in the units of the coordinates."""

    west: float = 0.0
    south: float = 0.0
    width: float = 1.0
    height: float = 1.0

    @classmethod
    def of(cls, corners: list[str]) -> _Frame:
        """Return the frame of an extent (west, south, east, north); a unit square if it is empty."""
        if not all(corners):
            return cls()
        west, south, east, north = map(float, corners)
        return cls(west, south, east - west, north - south)

    @property
    def side(self) -> float:
        """Length of the longer side; 1 for a single point."""
        return max(self.width, self.height) or 1.0

    def opening(self) -> str:
        """Return the opening tag, with a margin of 1/40 of the longer side."""
        margin = self.side / 40
        left, top = self.west - margin, -(self.south + self.height) - margin  # the y axis of SVG points down
        view = f"{left:g} {top:g} {self.width + 2 * margin:g} {self.height + 2 * margin:g}"
        return (
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{_SVG_WIDTH}" viewBox="{view}"'
            f' fill="#4c78a8" fill-opacity="0.4" stroke="#1f3b5c" stroke-width="{self.side / 1000:g}">\n'
        )

    def shape(self, dimension: str, path: str) -> str:
        """Return the element of one geometry."""
        if dimension == "0":
            # ST_AsSVG returns points as attributes of the center of a circle, separated by commas.
            return "".join(f'<circle r="{self.side / 200:g}" {center} />\n' for center in path.split(","))
        return f'<path {_NO_FILL if dimension == "1" else ""}d="{path}" />\n'


async def topojson(sessions: Sessions, role: str, export: ExportOptions) -> Blocks:
    """Yield a TopoJSON topology with one object for each row. Arcs are not shared between objects."""
    limit = sessions.max_export_bytes
    with _spool(limit) as objects, _spool(limit) as arcs:
        async with sessions.open(role) as session:
            query = f'SELECT *, ST_AsGeoJSON("the_geom", {export.decimals}) AS the_geom FROM ({export.sql}\n) AS foo'
            rows: Rows | None = None
            number = count = 0
            async for result in _rows(session, query):
                if rows is None:
                    rows = Rows(result, export.skip | {"the_geom", "the_geom_webmercator"}, finite=True)
                geometry = result.get_value(0, result.nfields - 1) or b"null"
                write = partial(_topology_parts, geometry, await rows.write_row(result), number, count)
                entry, lines = write() if len(geometry) < _BLOCK else await run_in_threadpool(write)
                objects.write(entry)
                arcs.write(b"".join(lines))
                number, count = number + 1, count + len(lines)
        yield b'{"type":"Topology","objects":{'
        for block in objects.blocks():
            yield block
        yield b'},"arcs":['
        for block in arcs.blocks():
            yield block
        yield b"]}"


def _topology_parts(geometry: bytes, properties: str, number: int, arcs: int) -> tuple[bytes, list[bytes]]:
    """Return the JSON of a row's object and of its arcs, each with a leading comma unless it is the first."""
    lines: list[Any] = []
    entry = _compact(_topology_object(json.loads(geometry), lines, arcs))
    text = f'{"," if number else ""}"{number}":{entry[:-1]},"properties":{properties}}}'
    return text.encode(), [(("," if arcs + at else "") + _compact(line)).encode() for at, line in enumerate(lines)]


def _compact(value: Any) -> str:
    """Return JSON without whitespace."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


async def _rows(session: Session, query: str) -> AsyncGenerator[PGresult, None]:
    """Yield the rows of a query; raise SQLError after them if it fails."""
    failed = None
    async for results in session.results(query):
        for result in results:
            if result.status == ExecStatus.SINGLE_TUPLE:
                yield result
            elif result.status == ExecStatus.FATAL_ERROR:
                failed = session.error(result)
    if failed:
        raise failed


def _texts(result: PGresult) -> list[str]:
    """Return the values of a row as strings; NULL is an empty string."""
    return [(result.get_value(0, column) or b"").decode() for column in range(result.nfields)]


def _csv_line(values: list[str]) -> bytes:
    """Return a line of CSV; values are quoted only if necessary."""
    cells = ['"' + value.replace('"', '""') + '"' if re.search('[",;\t\r\n]', value) else value for value in values]
    if cells == [""]:
        cells = ['""']  # readers skip an empty line
    return (",".join(cells) + "\r\n").encode()


def _topology_object(geometry: dict[str, Any] | None, arcs: list[Any], before: int) -> dict[str, Any]:
    """Convert a GeoJSON geometry to TopoJSON; append its lines to ``arcs``, whose indexes start at ``before``."""
    if geometry is None:
        return {"type": None}
    kind = geometry["type"]
    if kind == "GeometryCollection":
        return {"type": kind, "geometries": [_topology_object(part, arcs, before) for part in geometry["geometries"]]}
    coordinates = geometry["coordinates"]
    if kind in ("Point", "MultiPoint"):
        return {"type": kind, "coordinates": coordinates}

    def indexed(lines: Any, depth: int) -> list[Any]:
        if depth:
            return [indexed(line, depth - 1) for line in lines]
        arcs.append(lines)
        return [before + len(arcs) - 1]

    depth = {"LineString": 0, "MultiLineString": 1, "Polygon": 1, "MultiPolygon": 2}[kind]
    return {"type": kind, "arcs": indexed(coordinates, depth)}


FORMATS = {
    "geojson": Format(JSON_TYPE, "geojson", geojson),
    "csv": Format("text/csv; charset=utf-8; header=present", "csv", csv),
    "svg": Format("image/svg+xml; charset=utf-8", "svg", svg),
    "topojson": Format(JSON_TYPE, "topojson", topojson),
    "shp": Format("application/zip; charset=utf-8", "zip", gdal_formats.shp),
    "kml": Format("application/kml; charset=utf-8", "kml", gdal_formats.kml),
    "gpkg": Format("application/x-sqlite3; charset=utf-8", "gpkg", gdal_formats.gpkg),
    "spatialite": Format("application/x-sqlite3; charset=utf-8", "sqlite", gdal_formats.spatialite),
}
