"""Convert geometries: EWKB to and from shapely, any CRS to EPSG:4326, and EPSG:4326 to web mercator."""

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

from cartoframes_lite import user_warnings
from cartoframes_lite._codec.bad_value import row_name
from cartoframes_lite.errors import ConversionError, ConversionWarning

LON_LAT = CRS.from_epsg(4326)
_EARTH_RADIUS_M = 6_378_137.0
# Extent to which CARTO clips geometries before it transforms them to web mercator, in degrees.
_VALID_EXTENT = (-180.0, -89.0, 180.0, 89.0)
_POINT_TYPE, _COLLECTION_TYPE = 0, 7
_MAX_DEPTH = 100  # of nested collections; the limit of PostGIS is about 200
_Z_FLAG = 0x80  # in the last byte of the EWKB type
_POINT_WKB_TYPE = 1
_POINT_WITH_SRID = 0x20000001  # EWKB type
_POINT = np.dtype([("order", "u1"), ("type", "<u4"), ("srid", "<u4"), ("x", "<f8"), ("y", "<f8")])
_POINT_BYTES = _POINT.itemsize

_MISSING_TYPE = -1
_M_FLAG = 0x40  # in the last byte of the EWKB type
# Others have no M values: they drop them, or read them as Z.
_KEEPS_M = hasattr(shapely, "has_m") and shapely.geos_version >= (3, 12, 0)
# Type ids of shapely that a PostGIS column type accepts.
_TYPE_IDS = {
    "point": (0,),
    "linestring": (1, 2),
    "polygon": (3,),
    "multipoint": (4,),
    "multilinestring": (5,),
    "multipolygon": (6,),
    "geometrycollection": (7,),
}
_TYPE_NAMES = {*_TYPE_IDS, "geometry"}
_SLICE_ROWS = 1 << 12

Geometries = npt.NDArray[np.object_]
Coordinates = npt.NDArray[np.float64]


def check(series: gpd.GeoSeries, name: str) -> bool:
    """Check a geometry column before any request; return whether it has Z values.

    Raises
    ------
    ConversionError
        If it has no CRS, several SRIDs, both 2-D and 3-D geometries, M values, coordinates that are NaN or infinite,
        or collections nested too deeply.
    """
    if series.crs is None:
        label = name if series.name is None else series.name  # name in the frame, not in the table
        raise ConversionError(
            f"geometry column {label!r} has no CRS; if it holds longitudes and latitudes, set it: "
            f"gdf[{label!r}] = gdf[{label!r}].set_crs(4326)"
        )
    geometries = np.asarray(series.array)
    if all(map(_is_simple, _slices(geometries))):
        return False
    has_coordinates = ~(shapely.is_missing(geometries) | shapely.is_empty(geometries))
    if (shapely.get_type_id(geometries) == _COLLECTION_TYPE).any():
        _check_collections(series, name)
    present = _select(geometries, has_coordinates)

    def row(is_bad: npt.NDArray[np.bool_]) -> str:
        return row_name(series.index, int(np.flatnonzero(has_coordinates)[is_bad.argmax()]))

    srids = shapely.get_srid(present)
    if len(srids) and srids.min() != srids.max() and np.count_nonzero(found := np.unique(srids)) > 1:
        raise ConversionError(
            f"geometry column {name!r} mixes coordinate systems (SRIDs {', '.join(map(str, found[found > 0]))}): "
            "reproject the geometries to one CRS and reset their SRIDs with shapely.set_srid(geometries, 0)"
        )
    if not all(map(_is_finite, _slices(present))):
        finite = [_is_finite(shape) for shape in present]
        raise ConversionError(
            f"geometry column {name!r} has coordinates that are NaN or infinite in {row(~np.array(finite))}: "
            "PostGIS would store such a point as empty; set the geometry to None"
        )
    if (shapely.get_coordinate_dimension(present) == 2).all():
        # If all geometries are empty, their type determines the dimension.
        return len(present) == 0 and bool(shapely.has_z(geometries).any())
    has_m, has_z = _has_m(present), shapely.has_z(present)
    if has_m.any():
        raise ConversionError(
            f"geometry column {name!r} has M values in {row(has_m)}: drop them, e.g. with shapely.force_2d"
        )
    if not has_z.all():
        raise ConversionError(
            f"geometry column {name!r} mixes 2-D and 3-D geometries, first in {row(has_z != has_z[0])}; a PostGIS "
            "column has one dimension: use shapely.force_2d or shapely.force_3d"
        )
    return True


def _slices(geometries: Geometries) -> Iterator[Geometries]:
    """Yield some geometries at a time: the coordinates of all would take as much memory as the geometries."""
    for start in range(0, len(geometries), _SLICE_ROWS):
        yield geometries[start : start + _SLICE_ROWS]


def _is_simple(geometries: Geometries) -> bool:
    """Check whether no geometry has anything that could be refused, or Z values."""
    return bool(
        _is_finite(geometries)
        and (shapely.get_type_id(geometries) != _COLLECTION_TYPE).all()
        and (shapely.get_srid(geometries) <= 0).all()
        and (shapely.get_coordinate_dimension(geometries) <= 2).all()
    )


def _is_finite(geometries: Any) -> bool:
    """Check whether all coordinates of one or several geometries are finite."""
    return bool(np.isfinite(shapely.get_coordinates(geometries)).all())


def _has_m(geometries: Geometries) -> npt.NDArray[np.bool_]:
    """Return which geometries have M values."""
    return shapely.has_m(geometries) if _KEEPS_M else np.zeros(len(geometries), np.bool_)


def _select(geometries: Geometries, selected: npt.NDArray[np.bool_]) -> Geometries:
    """Return the selected geometries, without a copy if all are selected."""
    return geometries if selected.all() else geometries[selected]


def _check_collections(series: gpd.GeoSeries, name: str) -> None:
    """Raise for collections that are nested too deeply for PostGIS, or have both 2-D and 3-D parts."""
    parts = np.asarray(series.array)
    rows = np.arange(len(parts))
    without_z, with_z = [], []
    for _ in range(_MAX_DEPTH + 1):
        is_collection = shapely.get_type_id(parts) == _COLLECTION_TYPE
        # Also empty parts: PostGIS rejects a collection whose parts differ in dimension.
        is_part = (~is_collection | shapely.is_empty(parts)) & ~shapely.is_missing(parts)
        has_z = shapely.has_z(parts)
        without_z.append(rows[is_part & ~has_z])
        with_z.append(rows[is_part & has_z])
        if not is_collection.any():
            break
        parts, parents = shapely.get_parts(parts[is_collection], return_index=True)
        rows = rows[is_collection][parents]
    else:
        if len(parts):
            raise ConversionError(
                f"geometry column {name!r} has collections nested more than {_MAX_DEPTH} levels deep in "
                f"{row_name(series.index, int(rows[0]))}: split them, e.g. with explode()"
            )
    mixed = np.intersect1d(np.concatenate(without_z), np.concatenate(with_z))
    if len(mixed):
        raise ConversionError(
            f"geometry column {name!r} has a collection of 2-D and 3-D parts in "
            f"{row_name(series.index, int(mixed[0]))}: use shapely.force_2d or shapely.force_3d"
        )


def with_dimension(geometries: Geometries, name: str, *, has_z: bool) -> Geometries:
    """Convert empty geometries to the dimension of a column.

    Raises
    ------
    ConversionError
        If any geometry has coordinates.
    """
    if shapely.get_num_coordinates(geometries).any():
        have, want = (2, 3) if has_z else (3, 2)
        raise ConversionError(
            f"geometry column {name!r} is {have}-D in the frame and {want}-D in the table: use shapely.force_{want}d"
        )
    result: Geometries = shapely.force_3d(geometries) if has_z else shapely.force_2d(geometries)
    return result


def accepted_types(shape: str) -> frozenset[int] | None:
    """Return the shapely types, and that of missing values, that a PostGIS type such as ``PointZ`` accepts.

    None if it accepts any. Types that shapely does not have, such as curves, accept no geometry of a frame.
    """
    kind = shape.lower().removesuffix("m").removesuffix("z")
    return None if kind == "geometry" else frozenset((_MISSING_TYPE, *_TYPE_IDS.get(kind, ())))


def first_of_other_shape(geometries: Geometries, shape: str) -> int | None:
    """Return the position of the first geometry that a PostGIS type such as ``PointZ`` does not accept, or None."""
    accepted = accepted_types(shape)
    if accepted is None:
        return None
    other = ~np.isin(shapely.get_type_id(geometries), list(accepted))
    return int(other.argmax()) if other.any() else None


def declared(sql_type: str) -> tuple[str, int]:
    """Return geometry type and SRID of a column type such as ``geometry(PointZ,4326)``; SRID 0 if not declared.

    Raises
    ------
    ValueError
        If it is not a valid geometry type.
    """
    inside = re.fullmatch(r"[^(]*(?:\(\s*(\w+)\s*(?:,\s*(\w+)\s*)?\))?", sql_type.strip())
    shape, srid = (inside[1] or "Geometry", inside[2] or "0") if inside else ("", "")
    if shape.lower().removesuffix("m").removesuffix("z") not in _TYPE_NAMES or not srid.isdigit():
        raise ValueError(f"{sql_type!r} is not a geometry type: use one such as 'geometry(Point,4326)'")
    is_geography = sql_type.strip().lower().startswith("geography")
    return shape, int(srid) or (4326 if is_geography else 0)


def to_lon_lat(series: gpd.GeoSeries, name: str, has_z: bool) -> Geometries:
    """Reproject to EPSG:4326 (x is the longitude), with empty geometries in the dimension of the column.

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
            raise ConversionError(
                f"geometry column {name!r} has coordinates outside the domain of its CRS: check the CRS"
            )
    return with_z_where_empty(np.asarray(series.array), has_z=has_z)


def with_z_where_empty(geometries: Geometries, *, has_z: bool) -> Geometries:
    """Convert empty 2-D geometries to 3-D if the column is 3-D."""
    if has_z:
        empty_2d = shapely.is_empty(geometries) & ~shapely.has_z(geometries)
        if empty_2d.any():
            geometries = geometries.copy()
            geometries[empty_2d] = shapely.force_3d(geometries[empty_2d])
    return geometries


def srid_of(series: gpd.GeoSeries, name: str) -> int:
    """Return the EPSG code of the CRS of a column.

    Raises
    ------
    ConversionError
        If the CRS has no EPSG code.
    """
    if series.crs.equals(LON_LAT, ignore_axis_order=True):
        return 4326
    code = series.crs.to_epsg(min_confidence=100)
    if code is None:
        raise ConversionError(
            f"geometry column {name!r} has a CRS without an EPSG code ({series.crs.name}), which PostGIS cannot store:"
            f" reproject it, e.g. with gdf[{name!r}].to_crs(4326)"
        )
    return int(code)


def to_ewkb(geometries: Geometries, srid: int, *, has_z: bool = False) -> pa.Array:
    """Encode as EWKB with the SRID in each value; missing geometries are null.

    With ``has_z``, the Z flag is also set for empty geometries, which GEOS may not support.
    """
    coordinates = _points(geometries)
    if coordinates is None:
        return _any_ewkb(geometries, srid, has_z=has_z)
    return _point_ewkb(coordinates, ~shapely.is_missing(geometries), srid)


def _any_ewkb(geometries: Geometries, srid: int, *, has_z: bool) -> pa.Array:
    """Encode geometries of any type as EWKB."""
    with_srid = shapely.set_srid(geometries, srid)
    values = shapely.to_wkb(with_srid, include_srid=True, flavor="extended", byte_order=1)
    if has_z:
        empty_2d = shapely.is_empty(geometries) & ~shapely.has_z(geometries)
        values[empty_2d] = [_empty_with_z(wkb) for wkb in values[empty_2d]]
    return pa.array(values, pa.large_binary())


def _empty_with_z(wkb: bytes) -> bytes:
    """Set the Z flag of an empty geometry; an empty point has NaN for each coordinate."""
    is_2d_point = wkb[1] == _POINT_WKB_TYPE and len(wkb) == _POINT_BYTES
    return wkb[:4] + bytes([wkb[4] | _Z_FLAG]) + wkb[5:] + (wkb[-8:] if is_2d_point else b"")


def to_web_mercator_ewkb(geometries: Geometries, *, has_z: bool = False) -> pa.Array:
    """Encode EPSG:4326 geometries as EWKB in EPSG:3857, clipped as CARTO does; null if nothing is left."""
    return _web_mercator_ewkb(geometries, _points(geometries), has_z=has_z)


def to_both_ewkb(geometries: Geometries, *, has_z: bool = False) -> tuple[pa.Array, pa.Array]:
    """Encode EPSG:4326 geometries as EWKB in EPSG:4326 and in EPSG:3857; points are looked at only once."""
    coordinates = _points(geometries)
    if coordinates is None:
        lon_lat = _any_ewkb(geometries, 4326, has_z=has_z)
    else:
        lon_lat = _point_ewkb(coordinates, ~shapely.is_missing(geometries), 4326)
    return lon_lat, _web_mercator_ewkb(geometries, coordinates, has_z=has_z)


def _web_mercator_ewkb(geometries: Geometries, coordinates: Coordinates | None, *, has_z: bool) -> pa.Array:
    """Encode EPSG:4326 geometries as EWKB in EPSG:3857; ``coordinates`` are those of points."""
    if coordinates is None:
        return to_ewkb(_transform(_clip(geometries)), 3857, has_z=has_z)
    west, south, east, north = _VALID_EXTENT
    x, y = coordinates.T
    inside = (x >= west) & (x <= east) & (y >= south) & (y <= north)
    present = ~shapely.is_missing(geometries)
    present[present] = inside
    return _point_ewkb(_to_meters(coordinates[inside]), present, 3857)


def _points(geometries: Geometries) -> Coordinates | None:
    """Return the (n, 2) coordinates of the non-missing geometries if all are 2-D points, else None."""
    present = _select(geometries, ~shapely.is_missing(geometries))
    if (shapely.get_type_id(present) != _POINT_TYPE).any() or shapely.has_z(present).any():
        return None
    coordinates: Coordinates = shapely.get_coordinates(present)
    return coordinates if len(coordinates) == len(present) else None  # empty points have no coordinates


def _point_ewkb(coordinates: Coordinates, present: npt.NDArray[np.bool_], srid: int) -> pa.Array:
    """Encode (n, 2) coordinates as EWKB points; null where ``present`` is False."""
    wkb = np.empty((len(coordinates), _POINT_BYTES), np.uint8)
    wkb[:, :9] = np.frombuffer(_point_header(srid), np.uint8)
    wkb[:, 9:] = coordinates.astype("<f8").view(np.uint8).reshape(-1, 16)
    offsets = np.zeros(len(present) + 1, np.int64)
    np.cumsum(present * _POINT_BYTES, out=offsets[1:])
    valid = pa.py_buffer(np.packbits(present, bitorder="little"))
    buffers = [valid, pa.py_buffer(offsets), pa.py_buffer(wkb)]
    return pa.LargeBinaryArray.from_buffers(pa.large_binary(), len(present), buffers)


def _point_header(srid: int) -> bytes:
    return b"\x01" + _POINT_WITH_SRID.to_bytes(4, "little") + srid.to_bytes(4, "little")


def _to_meters(lon_lat: Coordinates) -> Coordinates:
    """Project (n, 2) or (n, 3) coordinates in degrees to web mercator meters; z is unchanged."""
    radians = np.radians(lon_lat[:, :2])
    meters = lon_lat.copy()
    meters[:, 0] = _EARTH_RADIUS_M * radians[:, 0]
    meters[:, 1] = _EARTH_RADIUS_M * np.arctanh(np.sin(radians[:, 1]))
    return meters


def _transform(geometries: Geometries) -> Geometries:
    """Project to web mercator; 2-D and 3-D geometries separately, since shapely 2.0 transforms only one of them."""
    has_z = shapely.has_z(geometries)
    result: Geometries = shapely.transform(geometries, _to_meters)
    if has_z.any():
        result[has_z] = shapely.transform(geometries[has_z], _to_meters, include_z=True)
    return result


def _clip(geometries: Geometries) -> Geometries:
    """Clip geometries to the extent of web mercator."""
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
    """Decode EWKB; return the geometries and the set of their SRIDs, without 0.

    ``first_row`` is the row number of the first value, for messages.

    Raises
    ------
    ConversionError
        If shapely does not support the type of a geometry.
    """
    points = _decode_points(values)
    if points is not None:
        return points
    with _without_collector():
        geometries = _parse(values, name, first_row)
    present = geometries[~shapely.is_missing(geometries)]
    return geometries, set(np.unique(shapely.get_srid(present)).tolist()) - {0}


def one_srid(srids: set[int], name: str) -> int | None:
    """Return the single SRID of a column, None if no value has one.

    Raises
    ------
    ConversionError
        If there are several SRIDs.
    """
    if len(srids) > 1:
        raise ConversionError(
            f"geometry column {name!r} mixes the SRIDs {sorted(srids)}: "
            f"select ST_Transform({name}, 4326) AS {name} to read it in one CRS"
        )
    return next(iter(srids), None)


@contextmanager
def _without_collector() -> Iterator[None]:
    """Disable the garbage collector while many objects are created.

    It would run repeatedly, find nothing, and take twice as long as the decoding itself.
    """
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def _parse(chunk: pa.LargeBinaryArray, name: str, first_row: int) -> Geometries:
    """Decode EWKB with shapely."""
    values = chunk.to_numpy(zero_copy_only=False)
    try:
        result: Geometries = shapely.from_wkb(values)
    except _DECODE_ERRORS:
        for row, value in enumerate(values, first_row):
            try:
                shapely.from_wkb(value)
            except _DECODE_ERRORS as error:
                raise ConversionError(
                    f"geometry column {name!r} has a geometry in row {row} that shapely does not support ({error}): "
                    f"select ST_CurveToLine({name}) AS {name}, or ST_AsText({name}), or pass decode_geom=False"
                ) from error
        raise
    if not _KEEPS_M and any(value is not None and value[4] & _M_FLAG for value in values):
        user_warnings.warn(
            f"geometry column {name!r} has M values, which this version of shapely drops: install shapely 2.1 or newer"
            f" with GEOS 3.12, or select ST_AsText({name})",
            ConversionWarning,
        )
    return result


_DECODE_ERRORS = (shapely.GEOSException, NotImplementedError)


def _decode_points(chunk: pa.LargeBinaryArray) -> tuple[Geometries, set[int]] | None:
    """Decode a chunk of 2-D points with one SRID and no nulls, the most common case; None for others."""
    _, offsets, content = chunk.buffers()
    if len(chunk) == 0 or chunk.null_count or chunk.offset or content.size < _POINT_BYTES:
        return None
    bounds = np.frombuffer(offsets, np.int64, len(chunk) + 1)
    if not (np.diff(bounds) == _POINT_BYTES).all():
        return None
    # As records: comparing a column of numbers is several times faster than comparing rows of bytes.
    points = np.frombuffer(content, _POINT, len(chunk), bounds[0])
    srid = int(points["srid"][0])
    expected = (("order", 1), ("type", _POINT_WITH_SRID), ("srid", srid))
    if not all((points[name] == value).all() for name, value in expected):
        return None
    coordinates: Coordinates = np.column_stack([points["x"], points["y"]])
    if np.isnan(coordinates).any():  # an empty point
        return None
    with _without_collector():
        geometries: Any = shapely.points(coordinates)
    return geometries, {srid} - {0}
