"""Parse geometries from text and WKB, reproject them to EPSG:4326 and write EWKB.

Functions take and return arrays of shapely geometries, with None for NULL. Coordinates are (longitude, latitude).
"""

from __future__ import annotations

import re
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import shapely
from pyproj import CRS, Transformer
from pyproj.exceptions import ProjError

from cartoframes_lite.local.imports.files.error_codes import ImportJobError
from cartoframes_lite.local.imports.files.geometry_depth import MAX_DEPTH, is_deep_text, is_deep_wkb

WGS84 = 4326
Geometries = npt.NDArray[np.object_]
# shapely before 2.1 cannot close rings, so that such geometries are invalid; it and GEOS before 3.12 have no M values.
_ON_INVALID: Any = "fix" if hasattr(shapely, "has_m") else "ignore"
_HAS_M = hasattr(shapely, "has_m") and shapely.geos_version >= (3, 12, 0)
_TOO_DEEP = f"nested deeper than {MAX_DEPTH} levels"
_EWKT = re.compile(r"\s*+SRID=(\d{1,9});", re.IGNORECASE | re.ASCII)
_HEX = re.compile(r"\s*0[01][0-9A-Fa-f]+\s*")
_KINDS = (
    "Point",
    "LineString",
    "LinearRing",
    "Polygon",
    "MultiPoint",
    "MultiLineString",
    "MultiPolygon",
    "GeometryCollection",
)
_WKT = re.compile(rf"\s*(?:{'|'.join(_KINDS)})\s*+(?:ZM?|M)?\s*+(?:\(|EMPTY)", re.IGNORECASE)


def from_wkb(values: pa.Array) -> Geometries:
    """Parse WKB. Unclosed rings are closed.

    Raises
    ------
    ValueError
        If a value is invalid, contains curves or is nested too deeply.
    """
    wkb = values.to_numpy(zero_copy_only=False)
    return _check_all_parsed(wkb, _from_wkb(wkb))


def from_text(values: pa.Array) -> Geometries:
    """Parse WKT, EWKT, hexadecimal WKB or EWKB, and GeoJSON geometries.

    Raises
    ------
    ValueError
        If a value is invalid or nested too deeply.
    """
    texts = values.to_numpy(zero_copy_only=False)
    if any(text is not None and is_deep_text(text) for text in texts):
        raise ValueError(_TOO_DEEP)
    result = np.full(len(texts), None, object)
    for format_, read in (("hex", _from_hex), ("json", _from_geojson), ("wkt", _from_wkt)):
        chosen = np.array([text is not None and _text_format(text) == format_ for text in texts], bool)
        if chosen.any():
            result[chosen] = read(texts[chosen])
    return _check_all_parsed(texts, result)


def points(longitudes: pa.Array, latitudes: pa.Array) -> Geometries:
    """Return points; None where a coordinate is NULL or not finite."""
    x, y = (np.asarray(values.cast(pa.float64()).to_numpy(zero_copy_only=False)) for values in (longitudes, latitudes))
    result = np.full(len(x), None, object)
    known = np.isfinite(x) & np.isfinite(y)
    result[known] = shapely.points(x[known], y[known])
    return result


def to_wgs84(geometries: Geometries, crs: str | None) -> Geometries:
    """Reproject to EPSG:4326; Z is unchanged.

    Parameters
    ----------
    geometries : array
        Geometries; an SRID takes precedence over `crs`.
    crs : str, optional
        CRS of geometries without SRID. None means EPSG:4326.

    Raises
    ------
    ImportJobError
        3008 if a CRS is unknown, 2014 if coordinates are outside of its domain.
    """
    result = geometries.copy()
    srids = shapely.get_srid(geometries)
    for srid in np.unique(srids[srids >= 0]):
        transform = _transformer(crs if srid == 0 else f"EPSG:{srid}")
        if transform is None:
            continue
        for has_z in (False, True):
            chosen = (srids == srid) & (shapely.has_z(geometries) == has_z)
            if chosen.any():
                result[chosen] = _reproject(geometries[chosen], transform, has_z=has_z)
    return result


def to_ewkb(geometries: Geometries, *, has_z: bool) -> pa.Array:
    """Return EWKB with SRID 4326, with or without Z for all values; M is dropped."""
    flat = shapely.force_3d(_without_m(geometries)) if has_z else shapely.force_2d(geometries)
    wkb = shapely.to_wkb(
        shapely.set_srid(flat, WGS84), output_dimension=3 if has_z else 2, include_srid=True, flavor="extended"
    )
    return pa.array(wkb, pa.large_binary())


def has_nonzero_z(geometries: Geometries) -> bool:
    """Return whether any Z is not 0: KML writes Z = 0 for geometries without height."""
    with_z = geometries[shapely.has_z(geometries)]
    return bool(len(with_z)) and bool(np.any(shapely.get_coordinates(with_z, include_z=True)[:, 2] != 0))


def _text_format(text: str) -> str | None:
    """Return the format of a geometry as text: "json", "hex" or "wkt"; None if unknown."""
    if text.lstrip().startswith("{"):
        return "json"
    if _HEX.fullmatch(text):
        return "hex"
    srid = _EWKT.match(text)
    return "wkt" if _WKT.match(text, srid.end() if srid else 0) else None


def _check_all_parsed(texts: npt.NDArray[Any], geometries: Geometries) -> Geometries:
    unread = np.flatnonzero(shapely.is_missing(geometries) & np.array([text is not None for text in texts], bool))
    if len(unread):
        raise ValueError(f"row {unread[0] + 1}")
    return geometries


def _from_hex(texts: npt.NDArray[Any]) -> Geometries:
    try:
        return _from_wkb(np.array([bytes.fromhex(text) for text in texts], object))
    except shapely.GEOSException as error:
        raise ValueError(str(error)) from None


def _from_wkb(wkb: npt.NDArray[Any]) -> Geometries:
    if any(value is not None and is_deep_wkb(value) for value in wkb):
        raise ValueError(_TOO_DEEP)
    try:
        read: Geometries = shapely.from_wkb(wkb, on_invalid=_ON_INVALID)
    except NotImplementedError:
        raise ValueError(
            "curves, surfaces and triangles are not supported: convert them to lines and polygons"
        ) from None
    return read


def _from_geojson(texts: npt.NDArray[Any]) -> Geometries:
    read: Geometries = shapely.from_geojson(texts, on_invalid="ignore")
    return read


def _from_wkt(texts: npt.NDArray[Any]) -> Geometries:
    found = [_EWKT.match(text) for text in texts]
    bare = np.array([text[match.end() :] if match else text for text, match in zip(texts, found, strict=True)], object)
    read = shapely.from_wkt(bare, on_invalid=_ON_INVALID)
    srids = np.array([int(match[1]) if match else 0 for match in found], np.int32)
    result: Geometries = shapely.set_srid(read, srids)
    return result


@cache
def _transformer(crs: str | None) -> Transformer | None:
    """Return the transformer from a CRS to EPSG:4326; None if it is EPSG:4326."""
    if crs is None:
        return None
    try:
        known = CRS.from_user_input(crs)
        if known.to_epsg() == WGS84 or known == CRS.from_user_input("OGC:CRS84"):
            return None
        return Transformer.from_crs(known, WGS84, always_xy=True)
    except ProjError:
        raise ImportJobError(3008, " ".join(crs.split())[:100]) from None


def _reproject(geometries: Geometries, transformer: Transformer, *, has_z: bool) -> Geometries:
    def transform(coordinates: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        x, y = transformer.transform(coordinates[:, 0], coordinates[:, 1])
        if not (np.isfinite(x).all() and np.isfinite(y).all()):
            raise ImportJobError(2014, "coordinates are outside of the domain of their coordinate system")
        return np.column_stack((x, y, coordinates[:, 2:]))

    result: Geometries = shapely.transform(geometries, transform, include_z=has_z)
    return result


def _without_m(geometries: Geometries) -> Geometries:
    if not _HAS_M:
        return geometries
    with_m = shapely.has_m(geometries)
    if not with_m.any():
        return geometries
    result = geometries.copy()
    wkb = shapely.to_wkb(geometries[with_m], output_dimension=3, flavor="iso")
    z = shapely.has_z(geometries[with_m])
    result[with_m] = np.where(z, shapely.from_wkb(wkb), shapely.force_2d(geometries[with_m]))
    return result
