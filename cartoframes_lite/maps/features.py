"""Features that a page contains itself: the rows of a GeoDataFrame with their styles."""

from __future__ import annotations

import gzip
import json
from base64 import b64encode
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import geopandas as gpd
import numpy as np
import numpy.typing as npt
import pandas as pd
import shapely

from cartoframes_lite._codec.bad_value import row_name
from cartoframes_lite._codec.geometry import to_lon_lat
from cartoframes_lite.maps.json_values import json_values
from cartoframes_lite.maps.validation import BBox

# Chromium on two cores without a GPU draws this many in about a second, and pans at 60 frames per second.
MAX_FEATURES = 50_000
MAX_VERTICES = 500_000
MAX_DATA_BYTES = 8_000_000  # compressed; the page has a third more
_DECIMALS = 6  # of degrees: 0.1 m, less than a pixel at zoom 20
_COMPRESSION_LEVEL = 6
_FROM_THE_SERVER = "upload the frame and let the server draw it: gdf.carto.to_table(name).map()"

GeometryArray = npt.NDArray[np.object_]
Positions = npt.NDArray[np.intp]


@dataclass(frozen=True, slots=True)
class FeatureStyle:
    """How a feature is drawn.

    Attributes
    ----------
    color : str
        CSS color of the marker, line or area.
    opacity : float
        Of that color.
    marker_width : float
        Diameter of points, in pixels.
    line_width : float
        In pixels.
    stroke : str or None
        CSS color of the outline of points and polygons. None: no outline.
    stroke_width : float
        In pixels.
    stroke_opacity : float
    """

    color: str
    opacity: float = 0.9
    marker_width: float = 8
    line_width: float = 2
    stroke: str | None = "#ffffff"
    stroke_width: float = 1
    stroke_opacity: float = 1

    def content(self) -> dict[str, Any]:
        """Return the style as features.js reads it."""
        return {
            "color": self.color,
            "opacity": self.opacity,
            "markerWidth": self.marker_width,
            "lineWidth": self.line_width,
            "stroke": self.stroke,
            "strokeWidth": self.stroke_width if self.stroke else 0,
            "strokeOpacity": self.stroke_opacity,
        }


@dataclass(frozen=True)
class Features:
    """Features with their styles and properties, in the order in which they are drawn.

    Attributes
    ----------
    geometries : ndarray of shapely geometries
        In EPSG:4326 and two dimensions; none is missing or empty.
    styles : sequence of FeatureStyle
    style_numbers : ndarray of int
        Index of the style of each feature.
    properties : mapping of str to list
        JSON values by column, for popups.
    growth : sequence of (int, float)
        Zooms from which on the markers of points have another width in pixels, ascending.
    """

    geometries: GeometryArray
    styles: Sequence[FeatureStyle]
    style_numbers: npt.NDArray[np.intp]
    properties: Mapping[str, Sequence[Any]]
    growth: Sequence[tuple[int, float]] = ()

    def at_zoom(self, zoom: float) -> Features:
        """Return the features with the marker widths of a zoom."""
        width = next((width for start, width in reversed(self.growth) if zoom >= start), None)
        if width is None:
            return self
        return replace(self, styles=[replace(style, marker_width=width) for style in self.styles], growth=())

    @property
    def bbox(self) -> BBox | None:
        """Extent in degrees: west, south, east, north; None if there are no features.

        East is above 180 if the features are on both sides of the 180th meridian, and closer to each other across it.
        """
        if not len(self.geometries):
            return None
        west, south, east, north = shapely.bounds(self.geometries).T
        shift = np.where(east < 0, 360, 0)
        direct = float(west.min()), float(east.max())
        across = float((west + shift).min()), float((east + shift).max())
        left, right = min(direct, across, key=lambda sides: sides[1] - sides[0])
        return left, float(south.min()), right, float(north.max())

    @cached_property
    def data(self) -> str:
        """The features as GeoJSON, gzipped, in base64.

        Raises
        ------
        ValueError
            If it has more than ``MAX_DATA_BYTES``.
        """
        content = b'{"type":"FeatureCollection","features":[' + ",".join(self._members()).encode() + b"]}"
        compressed = gzip.compress(content, _COMPRESSION_LEVEL, mtime=0)
        if len(compressed) > MAX_DATA_BYTES:
            size, limit = len(compressed) / 1e6, MAX_DATA_BYTES / 1e6
            raise ValueError(
                f"the features have {size:,.1f} MB of compressed data, and a page has room for {limit:,.0f} MB: pass"
                f" fewer columns as popup and hover, or {_FROM_THE_SERVER}"
            )
        return b64encode(compressed).decode()

    def _members(self) -> Iterator[str]:
        """Yield the features as GeoJSON texts."""
        rounded = shapely.transform(self.geometries, lambda degrees: degrees.round(_DECIMALS))
        names = list(self.properties)
        rows = zip(*self.properties.values(), strict=True) if names else ((),) * len(rounded)
        texts: list[str] = shapely.to_geojson(rounded).tolist()
        for geometry, style, row in zip(texts, self.style_numbers.tolist(), rows, strict=True):
            properties = json.dumps(dict(zip(names, row, strict=True)))
            yield f'{{"type":"Feature","style":{style},"properties":{properties},"geometry":{geometry}}}'


@dataclass(frozen=True, slots=True)
class FeatureLayer:
    """A layer of a page whose features the page contains.

    Attributes
    ----------
    features : Features
    title : str
    legends : sequence of dict
    popup, hover : sequence of str
        Columns that are displayed on click, and while the pointer is over a feature.
    """

    features: Features
    title: str = ""
    legends: Sequence[Mapping[str, Any]] = ()
    popup: Sequence[str] = ()
    hover: Sequence[str] = ()

    def content(self, server: object = None) -> dict[str, Any]:
        """Return what features.js reads."""
        return {
            "type": "features",
            "title": self.title,
            "legends": list(self.legends),
            "popup": list(self.popup),
            "hover": list(self.hover),
            "styles": [style.content() for style in self.features.styles],
            "growth": [list(step) for step in self.features.growth],
            "data": self.features.data,
        }


def check_frame(frame: gpd.GeoDataFrame) -> None:
    """Raise ValueError if a frame has no active geometry or CRS, or too many features or vertices for a page."""
    name = frame.active_geometry_name
    if name is None:
        raise ValueError("the GeoDataFrame has no active geometry column: choose one with set_geometry")
    if frame.crs is None:
        raise ValueError(
            f"geometry column {name!r} has no CRS; if it holds longitudes and latitudes, use gdf.set_crs(4326)"
        )
    vertices = shapely.get_num_coordinates(np.asarray(frame.geometry.array))
    counts = (("features", int((vertices > 0).sum()), MAX_FEATURES), ("vertices", int(vertices.sum()), MAX_VERTICES))
    for noun, count, limit in counts:
        if count > limit:
            raise ValueError(
                f"the frame has {count:,} {noun}, and a page draws at most {limit:,} itself: {_FROM_THE_SERVER}"
            )


def drawable_geometries(frame: gpd.GeoDataFrame) -> tuple[GeometryArray, Positions]:
    """Return the geometries of a frame that can be drawn, and the positions of their rows.

    Returns
    -------
    geometries : ndarray of shapely geometries
        In EPSG:4326 and two dimensions, without missing and empty ones.
    positions : ndarray of int

    Raises
    ------
    ValueError
        If the frame has no active geometry or no CRS, has too many features or vertices to be drawn by a page, or has
        coordinates that are not finite.
    """
    check_frame(frame)
    series = frame.geometry
    name = frame.active_geometry_name
    present = np.flatnonzero(~(series.isna() | series.is_empty).to_numpy())
    series = series.iloc[present]
    geometries = shapely.force_2d(to_lon_lat(series, str(name), has_z=False))
    coordinates, owners = shapely.get_coordinates(geometries, return_index=True)
    bad = ~np.isfinite(coordinates).all(axis=1)
    if bad.any():
        raise ValueError(
            f"geometry column {name!r} has coordinates that are NaN or infinite in"
            f" {row_name(series.index, int(owners[bad.argmax()]))}: set the geometry to None"
        )
    return geometries, present


def property_values(frame: pd.DataFrame, columns: Sequence[str], positions: Positions) -> dict[str, list[Any]]:
    """Return the values of columns in some rows of a frame as JSON values."""
    labels: dict[str, int] = {}
    for number, label in enumerate(frame.columns):
        labels.setdefault(str(label), number)
    return {column: json_values(frame.iloc[positions, labels[column]]) for column in columns}
