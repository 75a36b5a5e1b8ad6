"""Number, types and extent of the geometries of a query."""

from __future__ import annotations

from dataclasses import dataclass

from cartoframes_lite.maps.styling.cartocss import SHAPES, Shape, shapes_of
from cartoframes_lite.maps.styling.density import Box
from cartoframes_lite.maps.styling.queries import LayerQueries

_MAX_ROWS = 200_000  # beyond, the figures are those of the first rows
_EDGES = ("xmin", "ymin", "xmax", "ymax")


@dataclass(frozen=True, slots=True)
class Geometries:
    """Geometries of a query.

    Attributes
    ----------
    shapes : tuple of {"point", "line", "polygon"}
        Of points, if there are no geometries; all, if not all rows were read.
    rows : int
        Number of geometries that were read.
    box : tuple of (west, south, east, north) or None
        Their extent in EPSG:3857.
    types : frozenset of str
        PostGIS's names, such as "MULTIPOINT".
    """

    shapes: tuple[Shape, ...]
    rows: int
    box: Box | None
    types: frozenset[str] = frozenset()


def geometries_sql(query: str) -> str:
    """Compose the query for number, types and extent of the geometries of a query."""
    edges = ", ".join(f"ST_{edge}(ST_Extent(g)) AS {edge}" for edge in _EDGES)
    return (
        f"SELECT GeometryType(g) AS type, count(*) AS count, {edges} FROM (SELECT the_geom_webmercator AS g"
        f" FROM ({query}\n) AS source LIMIT {_MAX_ROWS}) AS geometries WHERE g IS NOT NULL GROUP BY 1"
    )


def read_geometries(queries: LayerQueries, query: str) -> Geometries:
    """Return number, types and extent of the geometries of a query."""
    rows = queries.rows(geometries_sql(query))
    types = frozenset(str(row["type"]) for row in rows)
    shapes = shapes_of(types) or ("point",)
    count = sum(int(row["count"]) for row in rows)
    boxes = [tuple(float(row[edge]) for edge in _EDGES) for row in rows if row["xmin"] is not None]
    if not boxes:
        return Geometries(shapes, count, None, types)
    west, south, east, north = zip(*boxes, strict=True)
    # Further rows may have other types.
    shapes = SHAPES if count >= _MAX_ROWS and len(shapes) > 1 else shapes
    return Geometries(shapes, count, (min(west), min(south), max(east), max(north)), types)
