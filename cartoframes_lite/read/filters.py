"""Spatial filters of a read, ``bbox`` and ``mask``, as in ``geopandas.read_file``."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import geopandas as gpd
import numpy as np
import shapely
from pyproj import CRS, Transformer
from pyproj.exceptions import CRSError, ProjError

from cartoframes_lite._codec.bad_value import short_repr
from cartoframes_lite._codec.frame import THE_GEOM, WEB_MERCATOR
from cartoframes_lite._codec.geometry import LON_LAT
from cartoframes_lite._codec.literals import geometry_literal
from cartoframes_lite._codec.names import quote
from cartoframes_lite._codec.pgtypes import Kind, SourceColumn
from cartoframes_lite.read.antimeridian import bounding_boxes, crosses_edge, to_lon_lat
from cartoframes_lite.read.options import BBox, Bounds, Mask

_LON_LAT_SRID = 4326
_MAX_LITERAL = 900_000  # the SQL API accepts queries of 1 MB


@dataclass(frozen=True, slots=True)
class SpatialFilter:
    """Select rows whose geometry intersects a box or a geometry.

    Attributes
    ----------
    shape : shapely.Geometry
    crs : pyproj.CRS
        Of the shape.
    lon_lat : shapely.Geometry
        The shape in EPSG:4326.
    boxes : tuple of tuple
        The box in EPSG:4326, or two at the antimeridian; empty for a mask.
    """

    shape: shapely.Geometry
    crs: CRS
    lon_lat: shapely.Geometry
    boxes: tuple[Bounds, ...] = ()

    def condition(self, columns: Sequence[SourceColumn]) -> str:
        """Compose the SQL condition for a source with these columns.

        Raises
        ------
        ValueError
            If there is no geometry column, or the shape cannot be reprojected to its CRS.
        """
        column = _geometry_column(columns)
        name = quote(column.name) if column.pgtype == "geometry" else f"{quote(column.name)}::geometry"
        if column.srid > 0 or column.name == THE_GEOM:
            # A geometry of this SRID on the other side, so that the index of the column is used.
            return f"ST_Intersects({name}, {self._literal(column.srid if column.srid > 0 else _LON_LAT_SRID)})"
        srid = f"coalesce(nullif(ST_SRID({name}), 0), {_LON_LAT_SRID})"
        shape = f"ST_Transform({self._literal(_LON_LAT_SRID)}, {srid})"
        return f"ST_Intersects(ST_SetSRID({name}, {srid}), {shape})"

    def _literal(self, srid: int) -> str:
        text = geometry_literal(self._shape_in(srid), srid)
        if len(text) > _MAX_LITERAL:
            raise ValueError(
                f"the mask has {shapely.get_num_coordinates(self.shape)} coordinates, too many for a query of 1 MB:"
                " simplify it, e.g. with mask.simplify(0.001)"
            )
        return text

    def _shape_in(self, srid: int) -> shapely.Geometry:
        """Return the shape in the CRS of an SRID."""
        try:
            crs = LON_LAT if srid == _LON_LAT_SRID else CRS.from_epsg(srid)
            if self.crs.equals(crs, ignore_axis_order=True):
                return self.shape
            if srid == _LON_LAT_SRID:
                return self.lon_lat
            transformer = Transformer.from_crs(LON_LAT, crs, always_xy=True)
            projected = [_box(transformer.transform_bounds(*box)) for box in self.boxes] or [
                gpd.GeoSeries([self.lon_lat], crs=LON_LAT).to_crs(crs).iloc[0]
            ]
        except (CRSError, ProjError) as error:
            raise ValueError(f"bbox or mask cannot be reprojected to the SRID {srid} of the column: {error}") from error
        for one in projected:
            _check_finite(one, f"bbox or mask, reprojected to the SRID {srid} of the column,")
        if crosses_edge(self.lon_lat, crs):
            raise ValueError(
                f"bbox or mask crosses an edge of the CRS of the column, SRID {srid}, where its coordinates jump: pass"
                " a part of it, on one side of the edge"
            )
        return shapely.union_all(projected) if len(projected) > 1 else projected[0]


def spatial_filter(bbox: BBox | None, mask: Mask | None) -> SpatialFilter | None:
    """Return the filter for the arguments of a read; None if there is none.

    Raises
    ------
    TypeError, ValueError
        If an argument is invalid, or both are given.
    """
    if bbox is not None and mask is not None:
        raise ValueError("bbox and mask exclude each other: pass one of them")
    if bbox is not None:
        boxes = _boxes(bbox)
        shape = shapely.union_all([_box(bounds) for bounds in boxes])
        return SpatialFilter(shape, LON_LAT, shape, boxes)
    return None if mask is None else _mask(mask)


def _geometry_column(columns: Sequence[SourceColumn]) -> SourceColumn:
    """Return the column that is filtered: ``the_geom``, else the first geometry, but that for maps only if alone."""
    found = {column.name: column for column in columns if column.rule.kind is Kind.GEOMETRY}
    if not found:
        raise ValueError(f"bbox and mask require a geometry column, and there are only {[one.name for one in columns]}")
    if THE_GEOM in found:
        return found[THE_GEOM]
    return next((column for name, column in found.items() if name != WEB_MERCATOR), next(iter(found.values())))


def _boxes(bbox: Any) -> tuple[Bounds, ...]:
    """Return the box in EPSG:4326, as two if it crosses the antimeridian."""
    if isinstance(bbox, gpd.GeoSeries | gpd.GeoDataFrame | shapely.Geometry):
        found = _mask(bbox, "bbox")
        try:
            return bounding_boxes(found.lon_lat, found.shape, found.crs)
        except ValueError as error:
            raise ValueError(f"bbox cannot be reprojected to longitudes and latitudes: {error}") from error
    try:
        west, south, east, north = (float(value) for value in bbox)
    except (TypeError, ValueError):
        raise TypeError(
            f"bbox must be (minx, miny, maxx, maxy) in EPSG:4326, or geometries, not {short_repr(bbox)}"
        ) from None
    if not all(map(math.isfinite, (west, south, east, north))) or west > east or south > north:
        raise ValueError(
            f"bbox must be (minx, miny, maxx, maxy) with minx <= maxx and miny <= maxy, not {bbox}; for a box across"
            " the antimeridian, pass its two parts as mask"
        )
    return ((west, south, east, north),)


def _box(bounds: Bounds) -> shapely.Geometry:
    """Return a box as a valid geometry, also if it has no area."""
    west, south, east, north = bounds
    if west == east and south == north:
        return shapely.Point(west, south)
    if west == east or south == north:
        return shapely.LineString([(west, south), (east, north)])
    return shapely.box(west, south, east, north)


def _mask(mask: Any, argument: str = "mask") -> SpatialFilter:
    crs = LON_LAT
    if isinstance(mask, gpd.GeoSeries | gpd.GeoDataFrame):
        crs, mask = CRS(_with_crs(mask, argument).crs), mask.geometry.union_all()
    elif isinstance(mask, Mapping):
        try:
            mask = shapely.geometry.shape(mask.get("geometry", mask))
        except (AttributeError, KeyError, TypeError, ValueError, shapely.errors.ShapelyError) as error:
            raise ValueError(f"mask is not a GeoJSON geometry: {short_repr(mask)}") from error
    elif isinstance(mask, shapely.Geometry):
        srid = int(shapely.get_srid(mask))
        try:
            crs = CRS.from_epsg(srid) if srid > 0 else LON_LAT
        except CRSError as error:
            raise ValueError(f"{argument} has SRID {srid}, which is not an EPSG code") from error
    else:
        raise TypeError(f"mask must be a geometry, GeoSeries, GeoDataFrame or dict, not {short_repr(mask)}")
    if mask is None or mask.is_empty:
        raise ValueError(f"{argument} has no geometry, so that no row could intersect it")
    _check_finite(mask, argument)
    mask = shapely.force_2d(mask)
    try:
        lon_lat = to_lon_lat(mask, crs)
    except (ProjError, ValueError) as error:
        raise ValueError(f"{argument} cannot be reprojected to longitudes and latitudes: {error}") from error
    _check_finite(lon_lat, f"{argument}, reprojected to longitudes and latitudes,")
    return SpatialFilter(mask, crs, lon_lat)


def _with_crs(geometries: Any, argument: str) -> Any:
    if geometries.crs is None:
        raise ValueError(f"{argument} has no CRS; if it holds longitudes and latitudes, pass {argument}.set_crs(4326)")
    return geometries


def _check_finite(shape: shapely.Geometry, what: str) -> None:
    if not np.isfinite(shapely.get_coordinates(shape)).all():
        raise ValueError(f"{what} has coordinates that are NaN or infinite: check its CRS")
