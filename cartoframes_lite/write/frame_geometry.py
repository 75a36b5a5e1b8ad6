"""Make geometries of the columns of a frame: of text or WKB, and of longitudes and latitudes."""

from __future__ import annotations

import re
from collections.abc import Hashable, Mapping
from typing import Any

import geopandas as gpd
import numpy as np
import pandas as pd
import shapely
from pyproj import CRS
from pyproj.exceptions import CRSError

from cartoframes_lite._codec.bad_value import BadValue, row_name, short_repr
from cartoframes_lite._codec.frame import THE_GEOM, is_geometry
from cartoframes_lite._codec.from_objects import is_missing
from cartoframes_lite._codec.pgtypes import family
from cartoframes_lite.errors import ConversionError
from cartoframes_lite.write.columns import LON_LAT_SRID, Columns, find

_EWKT = re.compile(r"\s*SRID\s*=\s*(\d{1,6})\s*;", re.IGNORECASE)
_HEX_WKB = re.compile(r"\s*0[01](?:[0-9A-Fa-f]{2})+\s*")
# Names of coordinates, in the table, that no other columns have.
_LONGITUDES = ("lng", "lon", "long", "longitude")
_LATITUDES = ("lat", "latitude")
_PROBLEM = "a value that is no geometry"
_ADVICE = (
    "geom_col takes WKT, WKB, hexadecimal WKB, each with or without SRID, or geometries; correct it, or set it to None"
)


def with_geometry(
    frame: pd.DataFrame, geom_col: Hashable | None, lnglat: tuple[Hashable, Hashable] | None
) -> pd.DataFrame:
    """Return a frame with the geometries that ``geom_col`` or ``lnglat`` describe.

    Raises
    ------
    ConversionError
        If a value is no geometry or no coordinate.
    ValueError
        If ``lnglat`` has no columns of the frame, or the frame has geometries already.
    """
    if lnglat is not None:
        return _with_points(frame, lnglat)
    labels: list[Hashable] = list(frame.columns)
    if geom_col is None or labels.count(geom_col) != 1 or is_geometry(frame[geom_col]):
        return frame
    values = frame[geom_col]
    if not any(isinstance(value, str | bytes) for value in values):
        return frame  # is refused as a column of another type
    parsed = pd.DataFrame(frame).copy(deep=False)
    parsed[geom_col] = _parse(values)
    return parsed


def _with_points(frame: pd.DataFrame, lnglat: tuple[Hashable, Hashable]) -> pd.DataFrame:
    """Return a frame with points of a column of longitudes and one of latitudes, in degrees."""
    labels: list[Hashable] = list(frame.columns)
    missing = [label for label in lnglat if labels.count(label) != 1]
    if missing:
        raise ValueError(f"lnglat={lnglat!r}: {missing} are not columns of the frame; its columns are {labels}")
    geometries = [label for label, values in frame.items() if label == THE_GEOM or is_geometry(values)]
    if geometries:
        raise ValueError(f"lnglat={lnglat!r}: the frame has geometries, in {geometries}: drop them, or omit lnglat")
    lng, lat = (_coordinates(frame[label], lnglat, limit) for label, limit in zip(lnglat, (360, 90), strict=True))
    points = np.full(len(frame), None, object)
    present = ~(np.isnan(lng) | np.isnan(lat))
    points[present] = shapely.points(lng[present], lat[present])
    result = pd.DataFrame(frame).copy(deep=False)
    result[THE_GEOM] = gpd.GeoSeries(points, frame.index, crs=LON_LAT_SRID)
    return result


def _coordinates(series: pd.Series[Any], lnglat: tuple[Hashable, Hashable], limit: int) -> np.ndarray[Any, Any]:
    """Convert a column to degrees; missing values become NaN."""
    values = pd.to_numeric(series, errors="coerce").to_numpy(np.float64, na_value=np.nan)
    with np.errstate(invalid="ignore"):
        is_bad = (np.isnan(values) & series.notna().to_numpy()) | (np.abs(values) > limit)
    if is_bad.any():
        row = int(is_bad.argmax())
        raise ConversionError(
            f"column {series.name!r} has a value that is no coordinate in degrees, at most {limit}, in"
            f" {row_name(series.index, row)}, {short_repr(series.iloc[row])}: correct it, or set it to None;"
            f" lnglat={lnglat!r} is (longitude, latitude)"
        )
    return values


def _parse(series: pd.Series[Any]) -> gpd.GeoSeries:
    """Parse a column of WKT, EWKT, hexadecimal EWKB or EWKB; without SRID, it is in EPSG:4326."""
    values = np.asarray(series, object)
    blank = np.array([isinstance(value, str) and not value.strip() for value in values])
    missing = is_missing(series) | blank
    geometries, srids = np.full(len(values), None, object), np.zeros(len(values), np.int64)
    for read, selected in _by_format(values, missing).items():
        if not len(selected):
            continue
        found = values[selected]
        if read == "wkt":
            prefixes = [_EWKT.match(text) for text in found]
            srids[selected] = [0 if prefix is None else int(prefix[1]) for prefix in prefixes]
            found = [
                text if prefix is None else text[prefix.end() :] for text, prefix in zip(found, prefixes, strict=True)
            ]
            geometries[selected] = shapely.from_wkt(found, on_invalid="ignore")
        else:
            found = [text.strip() if isinstance(text, str) else bytes(text) for text in found]
            geometries[selected] = shapely.from_wkb(found, on_invalid="ignore")
            srids[selected] = np.maximum(shapely.get_srid(geometries[selected]), 0)
    is_bad = shapely.is_missing(geometries) & ~missing
    if is_bad.any():
        row = int(is_bad.argmax())
        raise BadValue(_PROBLEM, row, values[row], _ADVICE).named(str(series.name), series.index)
    crs = _crs(series, np.unique(srids[~missing]).tolist())
    return gpd.GeoSeries(shapely.set_srid(geometries, 0), series.index, crs=crs)


def _by_format(values: np.ndarray[Any, Any], is_missing: np.ndarray[Any, Any]) -> Mapping[str, np.ndarray[Any, Any]]:
    """Return the positions of the values of each format."""
    formats: dict[str, list[int]] = {"wkt": [], "hex": [], "wkb": []}
    for row, value in enumerate(values):
        if is_missing[row]:
            continue
        if isinstance(value, str):
            formats["hex" if _HEX_WKB.fullmatch(value) else "wkt"].append(row)
        elif isinstance(value, bytes | bytearray | memoryview):
            formats["wkb"].append(row)
    return {name: np.array(rows, np.intp) for name, rows in formats.items()}


def _crs(series: pd.Series[Any], srids: list[int]) -> CRS:
    """Return the CRS of the SRIDs of a column."""
    if len(srids) > 1:
        raise ConversionError(
            f"column {series.name!r} mixes coordinate systems (SRIDs {', '.join(map(str, srids))}; 0 is none):"
            " reproject the geometries to one CRS"
        )
    srid = (srids[0] if srids else 0) or LON_LAT_SRID
    try:
        return CRS.from_epsg(srid)
    except CRSError as error:
        raise ConversionError(
            f"column {series.name!r} has geometries with SRID {srid}, which is no EPSG code: reproject them to"
            " EPSG:4326"
        ) from error


def find_lnglat(columns: Columns) -> tuple[str, str] | None:
    """Return the names of a column of longitudes and one of latitudes, by their names; None if there is a geometry."""
    if any(column.is_geometry for column in columns):
        return None
    lng, lat = (
        [name for name in names if (column := find(columns, name)) and family(column.sql_type) == "number"]
        for names in (_LONGITUDES, _LATITUDES)
    )
    return (lng[0], lat[0]) if lng and lat else None
