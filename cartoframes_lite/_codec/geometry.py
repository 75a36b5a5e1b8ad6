"""Geometries: EWKB to shapely and back, any CRS to EPSG:4326, EPSG:4326 to web mercator."""

from __future__ import annotations

import gc
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import geopandas as gpd
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import shapely
from pyproj import CRS
from pyproj.exceptions import ProjError

from cartoframes_lite._codec.bad_value import row_name
from cartoframes_lite.errors import ConversionError

LON_LAT = CRS.from_epsg(4326)
_EARTH_RADIUS_M = 6_378_137.0
# What web mercator can show; CARTO cuts geometries off here before it transforms them.
_VALID_EXTENT = (-180.0, -89.0, 180.0, 89.0)
_POINT_TYPE, _COLLECTION_TYPE = 0, 7
_MAX_DEPTH = 100  # PostGIS reads no more than some 200
_Z_FLAG = 0x80  # in the last byte of the type
_POINT_BYTES = 25  # byte order, type, SRID, x and y

_MISSING_TYPE = -1
# The types of shapely by the names of PostGIS.
_HELD = {
    "point": (0,),
    "linestring": (1, 2),
    "polygon": (3,),
    "multipoint": (4,),
    "multilinestring": (5,),
    "multipolygon": (6,),
    "geometrycollection": (7,),
}
_SHAPES = {*_HELD, "geometry"}

Geometries = npt.NDArray[np.object_]
Coordinates = npt.NDArray[np.float64]


def check(series: gpd.GeoSeries, name: str) -> bool:
    """Check a geometry column before anything is sent; return whether it has Z values.

    Raises
    ------
    ConversionError
        If it has no CRS, several SRIDs, 2-D beside 3-D geometries, M values, coordinates that are no numbers, or
        collections that are too deep.
    """
    if series.crs is None:
        label = name if series.name is None else series.name  # what it is called in the frame, not in the table
        raise ConversionError(
            f"geometry column {label!r} has no CRS; if it holds longitudes and latitudes, say so: "
            f"gdf[{label!r}] = gdf[{label!r}].set_crs(4326)"
        )
    geometries = np.asarray(series.array)
    types, coordinates = shapely.get_type_id(geometries), shapely.get_coordinates(geometries)
    if (types == _POINT_TYPE).all() and len(coordinates) == len(geometries):  # as most are: none missing, none empty
        has_coordinates = np.ones(len(geometries), np.bool_)
    else:
        has_coordinates = ~(shapely.is_missing(geometries) | shapely.is_empty(geometries))
        if (types == _COLLECTION_TYPE).any():
            _check_collections(series, name)
    present = _chosen(geometries, has_coordinates)

    def row(is_bad: npt.NDArray[np.bool_]) -> str:
        return row_name(series.index, int(np.flatnonzero(has_coordinates)[is_bad.argmax()]))

    srids = shapely.get_srid(present)
    if len(srids) and srids.min() != srids.max() and np.count_nonzero(found := np.unique(srids)) > 1:
        raise ConversionError(
            f"geometry column {name!r} mixes coordinate systems (SRIDs {', '.join(map(str, found[found > 0]))}): "
            "reproject its parts to one CRS and clear the marks with shapely.set_srid(geometries, 0)"
        )
    if not np.isfinite(coordinates).all():
        finite = [bool(np.isfinite(shapely.get_coordinates(shape)).all()) for shape in present]
        raise ConversionError(
            f"geometry column {name!r} has coordinates that are NaN or infinite in {row(~np.array(finite))}: "
            "PostGIS would make an empty point of such a point; make the geometry None"
        )
    if (shapely.get_coordinate_dimension(present) == 2).all():
        # Without any coordinate, the empty ones say what is meant.
        return len(present) == 0 and bool(shapely.has_z(geometries).any())
    has_m, has_z = shapely.has_m(present), shapely.has_z(present)
    if has_m.any():
        raise ConversionError(
            f"geometry column {name!r} has M values in {row(has_m)}: drop them, e.g. with shapely.force_2d"
        )
    if not has_z.all():
        raise ConversionError(
            f"geometry column {name!r} mixes 2-D and 3-D geometries, first in {row(has_z != has_z[0])}, and a PostGIS "
            "column holds one kind: use shapely.force_2d or shapely.force_3d"
        )
    return True


def _chosen(geometries: Geometries, wanted: npt.NDArray[np.bool_]) -> Geometries:
    """Choose geometries, without a copy if it is all of them."""
    return geometries if wanted.all() else geometries[wanted]


def _check_collections(series: gpd.GeoSeries, name: str) -> None:
    """Refuse collections in collections that are deeper than PostGIS reads, or have 2-D and 3-D parts."""
    parts = np.asarray(series.array)
    rows = np.arange(len(parts))
    flat, solid = [], []
    for _ in range(_MAX_DEPTH + 1):
        is_collection = shapely.get_type_id(parts) == _COLLECTION_TYPE
        # Empty ones, too: PostGIS reads no collection whose parts have not all the same dimension.
        is_part = (~is_collection | shapely.is_empty(parts)) & ~shapely.is_missing(parts)
        has_z = shapely.has_z(parts)
        flat.append(rows[is_part & ~has_z])
        solid.append(rows[is_part & has_z])
        if not is_collection.any():
            break
        parts, parents = shapely.get_parts(parts[is_collection], return_index=True)
        rows = rows[is_collection][parents]
    else:
        if len(parts):
            raise ConversionError(
                f"geometry column {name!r} has collections in each other, more than {_MAX_DEPTH} deep, in "
                f"{row_name(series.index, int(rows[0]))}: take them apart, e.g. with explode()"
            )
    mixed = np.intersect1d(np.concatenate(flat), np.concatenate(solid))
    if len(mixed):
        raise ConversionError(
            f"geometry column {name!r} has a collection of 2-D and 3-D parts in "
            f"{row_name(series.index, int(mixed[0]))}: use shapely.force_2d or shapely.force_3d"
        )


def with_dimension(geometries: Geometries, name: str, *, has_z: bool) -> Geometries:
    """Give geometries that have no coordinates the dimension of a column.

    Raises
    ------
    ConversionError
        If there is a coordinate that this would change.
    """
    if shapely.get_num_coordinates(geometries).any():
        have, want = (2, 3) if has_z else (3, 2)
        raise ConversionError(
            f"geometry column {name!r} is {have}-D in the frame and {want}-D in the table: use shapely.force_{want}d"
        )
    result: Geometries = shapely.force_3d(geometries) if has_z else shapely.force_2d(geometries)
    return result


def first_of_other_shape(geometries: Geometries, shape: str) -> int | None:
    """Find the first geometry that is not of a type as PostGIS names it, such as ``PointZ``; None if there is none."""
    kind = shape.lower().removesuffix("m").removesuffix("z")
    if kind == "geometry":
        return None
    # Of the types that shapely has not, as curves, a frame has none.
    other = ~np.isin(shapely.get_type_id(geometries), [_MISSING_TYPE, *_HELD.get(kind, ())])
    return int(other.argmax()) if other.any() else None


def declared(sql_type: str) -> tuple[str, int]:
    """Read the shape and the SRID that a type such as ``geometry(PointZ,4326)`` declares; 0 if it declares none.

    Raises
    ------
    ValueError
        If there is no such shape.
    """
    inside = re.fullmatch(r"[^(]*(?:\(\s*(\w+)\s*(?:,\s*(\w+)\s*)?\))?", sql_type.strip())
    shape, srid = (inside[1] or "Geometry", inside[2] or "0") if inside else ("", "")
    if shape.lower().removesuffix("m").removesuffix("z") not in _SHAPES or not srid.isdigit():
        raise ValueError(f"{sql_type!r} is no type of geometries, such as 'geometry(Point,4326)'")
    is_geography = sql_type.strip().lower().startswith("geography")
    return shape, int(srid) or (4326 if is_geography else 0)


def to_lon_lat(series: gpd.GeoSeries, name: str, has_z: bool) -> Geometries:
    """Reproject to EPSG:4326 (x is the longitude); empty geometries get the dimension of the column.

    Raises
    ------
    ConversionError
        If a coordinate cannot be reprojected.
    """
    if not series.crs.equals(LON_LAT, ignore_axis_order=True):
        before = shapely.get_coordinates(np.asarray(series.array))
        try:
            series = series.to_crs(LON_LAT)
        except ProjError as error:
            raise ConversionError(
                f"geometry column {name!r} cannot be reprojected from its CRS to EPSG:4326: {error}"
            ) from error
        after = shapely.get_coordinates(np.asarray(series.array))
        if (np.isfinite(before).all(axis=1) & ~np.isfinite(after).all(axis=1)).any():
            raise ConversionError(f"geometry column {name!r} has coordinates that its CRS cannot hold: check the CRS")
    return with_z_where_empty(np.asarray(series.array), has_z=has_z)


def with_z_where_empty(geometries: Geometries, *, has_z: bool) -> Geometries:
    """Give empty geometries the dimension of their column."""
    if has_z:
        flat = shapely.is_empty(geometries) & ~shapely.has_z(geometries)
        if flat.any():
            geometries = geometries.copy()
            geometries[flat] = shapely.force_3d(geometries[flat])
    return geometries


def srid_of(series: gpd.GeoSeries, name: str) -> int:
    """Name the CRS of a column by its EPSG code.

    Raises
    ------
    ConversionError
        If it has none.
    """
    if series.crs.equals(LON_LAT, ignore_axis_order=True):
        return 4326
    code = series.crs.to_epsg(min_confidence=100)
    if code is None:
        raise ConversionError(
            f"geometry column {name!r} has a CRS without an EPSG code ({series.crs.name}), which PostGIS cannot keep:"
            f" reproject it, e.g. with gdf[{name!r}].to_crs(4326)"
        )
    return int(code)


def to_ewkb(geometries: Geometries, srid: int, *, has_z: bool = False) -> pa.Array:
    """Encode as EWKB with the SRID in each value; missing geometries are null.

    With ``has_z``, empty geometries that cannot have Z in GEOS are marked as if they had.
    """
    coordinates = _points(geometries)
    if coordinates is None:
        marked = shapely.set_srid(geometries, srid)
        values = shapely.to_wkb(marked, include_srid=True, flavor="extended", byte_order=1)
        if has_z:
            flat = shapely.is_empty(geometries) & ~shapely.has_z(geometries)
            values[flat] = [wkb[:4] + bytes([wkb[4] | _Z_FLAG]) + wkb[5:] for wkb in values[flat]]
        return pa.array(values, pa.large_binary())
    return _point_ewkb(coordinates, ~shapely.is_missing(geometries), srid)


def to_web_mercator_ewkb(geometries: Geometries, *, has_z: bool = False) -> pa.Array:
    """Encode longitudes and latitudes as EWKB in EPSG:3857, cut off as CARTO does; null if nothing is left."""
    coordinates = _points(geometries)
    if coordinates is None:
        return to_ewkb(_transform(_clip(geometries)), 3857, has_z=has_z)
    west, south, east, north = _VALID_EXTENT
    x, y = coordinates.T
    inside = (x >= west) & (x <= east) & (y >= south) & (y <= north)
    present = ~shapely.is_missing(geometries)
    present[present] = inside
    return _point_ewkb(_to_meters(coordinates[inside]), present, 3857)


def _points(geometries: Geometries) -> Coordinates | None:
    """Give the (n, 2) coordinates of the geometries that are not missing, if all are 2-D points."""
    present = _chosen(geometries, ~shapely.is_missing(geometries))
    if (shapely.get_type_id(present) != _POINT_TYPE).any() or shapely.has_z(present).any():
        return None
    coordinates: Coordinates = shapely.get_coordinates(present)
    return coordinates if len(coordinates) == len(present) else None  # an empty point has none


def _point_ewkb(coordinates: Coordinates, present: npt.NDArray[np.bool_], srid: int) -> pa.Array:
    """Encode (n, 2) coordinates as points, and what is not present as null."""
    wkb = np.empty((len(coordinates), _POINT_BYTES), np.uint8)
    wkb[:, :9] = np.frombuffer(_point_header(srid), np.uint8)
    wkb[:, 9:] = coordinates.astype("<f8").view(np.uint8).reshape(-1, 16)
    offsets = np.zeros(len(present) + 1, np.int64)
    np.cumsum(present * _POINT_BYTES, out=offsets[1:])
    valid = pa.py_buffer(np.packbits(present, bitorder="little"))
    buffers = [valid, pa.py_buffer(offsets), pa.py_buffer(wkb)]
    return pa.LargeBinaryArray.from_buffers(pa.large_binary(), len(present), buffers)


def _point_header(srid: int) -> bytes:
    return b"\x01" + (0x20000001).to_bytes(4, "little") + srid.to_bytes(4, "little")


def _to_meters(lon_lat: Coordinates) -> Coordinates:
    """Project degrees to web mercator meters, column by column."""
    radians = np.radians(lon_lat[:, :2])
    meters = lon_lat.copy()
    meters[:, 0] = _EARTH_RADIUS_M * radians[:, 0]
    meters[:, 1] = _EARTH_RADIUS_M * np.arctanh(np.sin(radians[:, 1]))
    return meters


def _transform(geometries: Geometries) -> Geometries:
    result: Geometries = shapely.transform(geometries, _to_meters, include_z=None)  # type: ignore[call-overload]  # None is newer than the stubs
    return result


def _clip(geometries: Geometries) -> Geometries:
    """Cut off what web mercator cannot show."""
    west, south, east, north = _VALID_EXTENT
    bounds = shapely.bounds(geometries)
    outside = (bounds[:, :2] < (west, south)).any(axis=1) | (bounds[:, 2:] > (east, north)).any(axis=1)
    if not outside.any():
        return geometries
    clipped = geometries.copy()
    clipped[outside] = shapely.intersection(shapely.make_valid(geometries[outside]), shapely.box(*_VALID_EXTENT))
    clipped[outside & shapely.is_empty(clipped)] = None
    return clipped


def from_ewkb(values: pa.LargeBinaryArray, name: str, first_row: int = 0) -> tuple[Geometries, set[int]]:
    """Decode EWKB; return the geometries and the SRIDs that they have.

    ``first_row`` is the number that messages give the first of them.

    Raises
    ------
    ConversionError
        If a geometry has a type that shapely does not know.
    """
    points = _decode_points(values)
    if points is not None:
        return points
    with _without_collector():
        geometries = _parse(values, name, first_row)
    present = geometries[~shapely.is_missing(geometries)]
    return geometries, set(np.unique(shapely.get_srid(present)).tolist()) - {0}


def one_srid(srids: set[int], name: str) -> int | None:
    """Give the SRID of a column, None if no value has one.

    Raises
    ------
    ConversionError
        If there are several.
    """
    if len(srids) > 1:
        raise ConversionError(
            f"geometry column {name!r} mixes the SRIDs {sorted(srids)}: "
            f"select ST_Transform({name}, 4326) AS {name} to read it in one CRS"
        )
    return next(iter(srids), None)


@contextmanager
def _without_collector() -> Iterator[None]:
    """Keep the garbage collector from running.

    It would be started again and again by the many new objects, find nothing, and take twice the time of the work.
    """
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def _parse(chunk: pa.LargeBinaryArray, name: str, first_row: int) -> Geometries:
    values = chunk.to_numpy(zero_copy_only=False)
    try:
        result: Geometries = shapely.from_wkb(values)
    except _UNREADABLE:
        for row, value in enumerate(values, first_row):
            try:
                shapely.from_wkb(value)
            except _UNREADABLE as error:
                raise ConversionError(
                    f"geometry column {name!r} has a geometry that shapely cannot hold in row {row} ({error}): "
                    f"select ST_CurveToLine({name}) AS {name}, or ST_AsText({name}), or pass decode_geom=False"
                ) from error
        raise
    return result


_UNREADABLE = (shapely.GEOSException, NotImplementedError)


def _decode_points(chunk: pa.LargeBinaryArray) -> tuple[Geometries, set[int]] | None:
    """Decode a chunk without nulls that holds only 2-D points of one SRID, the most common kind by far."""
    _, offsets, content = chunk.buffers()
    if len(chunk) == 0 or chunk.null_count or chunk.offset or content.size < _POINT_BYTES:
        return None
    bounds = np.frombuffer(offsets, np.int64, len(chunk) + 1)
    if not (np.diff(bounds) == _POINT_BYTES).all():
        return None
    wkb = np.frombuffer(content, np.uint8, len(chunk) * _POINT_BYTES, bounds[0]).reshape(-1, _POINT_BYTES)
    srid = int.from_bytes(wkb[0, 5:9].tobytes(), "little")
    if not (wkb[:, :9] == np.frombuffer(_point_header(srid), np.uint8)).all():
        return None
    coordinates: Coordinates = np.ascontiguousarray(wkb[:, 9:]).view("<f8")
    if np.isnan(coordinates).any():  # an empty point
        return None
    with _without_collector():
        points: Any = shapely.points(coordinates)
    return points, {srid} - {0}
