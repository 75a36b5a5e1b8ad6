"""Aggregation of points by grid cell, which limits the size of tiles of large tables."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from psycopg import sql

from cartoframes_lite.local.maps.errors import MapError
from cartoframes_lite.local.maps.queries import GEOMETRY_COLUMN, statement, subquery

_THRESHOLD = 100_000
_MAX_VALUE = 1e15
_FUNCTIONS = {
    "count": "count({})",
    "avg": "avg({})",
    "sum": "sum({})",
    "min": "min({})",
    "max": "max({})",
    "mode": "mode() WITHIN GROUP (ORDER BY {})",
}
_PLACEMENTS = ("centroid", "point-grid", "point-sample")
_COMPARISONS = {
    "equal": "=",
    "not_equal": "<>",
    "greater_than": ">",
    "greater_than_or_equal_to": ">=",
    "less_than": "<",
    "less_than_or_equal_to": "<=",
}
COUNT_COLUMN = "_cdb_feature_count"


@dataclass(frozen=True, slots=True)
class Aggregation:
    """Aggregation options of a layer.

    Attributes
    ----------
    threshold : float
        Minimum number of rows for points to be aggregated.
    resolution : float
        Width of a cell, in pixels.
    placement : str, optional
        Position of the point of a cell. None, without columns, dimensions and filters: each cell is represented by one
        of its rows.
    columns : mapping of str to (str, str)
        Function and column, by name of the aggregate.
    dimensions : mapping of str to str
        Columns to group by in addition to the cell, by name in the result.
    filters : mapping of str to list of dict
        Conditions by name of an aggregate or dimension; a list is joined by OR.
    """

    threshold: float = _THRESHOLD
    resolution: float = 1
    placement: str | None = None
    columns: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    dimensions: Mapping[str, str] = field(default_factory=dict)
    filters: Mapping[str, list[Mapping[str, Any]]] = field(default_factory=dict)

    @property
    def is_sample(self) -> bool:
        """Whether each cell is represented by one of its rows."""
        return self.placement is None and not (self.columns or self.dimensions or self.filters)

    @property
    def column_names(self) -> list[str]:
        """The columns of the result except the geometry, if it is not a sample."""
        return ["cartodb_id", COUNT_COLUMN, *self.columns, *self.dimensions]


def parse_aggregation(content: Any, layer: Mapping[str, Any], *, vector_only: bool) -> Aggregation | None:
    """Parse the option ``aggregation`` of a layer; maps of vector layers only have it by default.

    Raises
    ------
    MapError
    """
    if content is False or (content is None and not vector_only):
        return None
    content = content if isinstance(content, Mapping) else {}
    for name in ("resolution", "threshold"):
        value = content.get(name, 1)
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value <= _MAX_VALUE:
            raise _layer_error(f"Invalid {name}, should be a number greather than 0", layer)
    placement = content.get("placement")
    if placement not in (None, *_PLACEMENTS):
        raise _layer_error(f"Invalid placement. Valid values: {', '.join(_PLACEMENTS)}", layer)
    columns = {str(name): _column(item, layer) for name, item in _object_items(content, "columns", layer)}
    dimensions = {str(name): _dimension(item, layer) for name, item in _object_items(content, "dimensions", layer)}
    filters = {}
    for name, conditions in _object_items(content, "filters", layer):
        if name not in columns and name not in dimensions:
            raise _layer_error(f"Invalid filtered column: {name}", layer)
        filters[str(name)] = [_check_filter(item, layer) for item in _as_list(conditions)]
    return Aggregation(
        content.get("threshold", _THRESHOLD), content.get("resolution", 1), placement, columns, dimensions, filters
    )


def query(aggregation: Aggregation, text: str, box: sql.Composable, resolution: float) -> sql.Composed:
    """Return the query for the aggregated rows of a tile.

    Parameters
    ----------
    aggregation : Aggregation
    text : str
        The query of the layer.
    box : Composable
        Extent of the tile: expression for a geometry in EPSG:3857.
    resolution : float
        Meters per pixel.
    """
    cell = resolution * aggregation.resolution
    source = subquery(text, box=box, resolution=resolution)
    points = sql.SQL(
        "(SELECT *, ST_X({geometry}) AS cdb_x, ST_Y({geometry}) AS cdb_y,"
        " floor(ST_X({geometry}) / {cell}) AS cdb_cell_x, floor(ST_Y({geometry}) / {cell}) AS cdb_cell_y"
        " FROM {source} AS cdb_source WHERE {geometry} && {box}) AS cdb_points"
    ).format(
        geometry=sql.Identifier(GEOMETRY_COLUMN),
        cell=sql.Literal(cell),
        source=source,
        box=box,
    )
    return _sample_query(points, source) if aggregation.is_sample else _group_query(aggregation, points, cell)


def _sample_query(points: sql.Composable, source: sql.Composable) -> sql.Composed:
    """Return the query for the first row of each cell.

    The cells are found by hashing, which is several times as fast as a window function: that sorts all rows. The full
    join can only be a hash or merge join; PostgreSQL underestimates the rows of small boxes, and would choose a nested
    loop for any other join.
    """
    return sql.SQL(
        "(SELECT DISTINCT ON (cartodb_id) * FROM (WITH cdb_cells AS MATERIALIZED ("
        "SELECT min(cartodb_id) AS cdb_id, count(*) AS {count} FROM {points} GROUP BY cdb_cell_x, cdb_cell_y)"
        " SELECT cdb_sample.*, cdb_cells.{count} FROM (SELECT * FROM {source} AS cdb_all"
        " WHERE cartodb_id = ANY (ARRAY(SELECT cdb_id FROM cdb_cells))) AS cdb_sample"
        " FULL JOIN cdb_cells ON cdb_sample.cartodb_id = cdb_cells.cdb_id OFFSET 0) AS cdb_joined"
        " WHERE {geometry} IS NOT NULL ORDER BY cartodb_id)"
    ).format(count=sql.Identifier(COUNT_COLUMN), points=points, source=source, geometry=sql.Identifier(GEOMETRY_COLUMN))


def _group_query(aggregation: Aggregation, points: sql.Composable, cell: float) -> sql.Composed:
    """Return the query for the aggregates of each cell."""
    aggregates = {COUNT_COLUMN: sql.SQL("count(*)"), **_aggregates(aggregation)}
    outputs = [sql.SQL("{} AS {}").format(value, sql.Identifier(name)) for name, value in aggregates.items()]
    dimensions = [
        sql.SQL("{} AS {}").format(sql.Identifier(column), sql.Identifier(name))
        for name, column in aggregation.dimensions.items()
    ]
    groups: list[sql.Composable] = [statement("cdb_cell_x"), statement("cdb_cell_y")]
    groups += [sql.Identifier(column) for column in aggregation.dimensions.values()]
    return sql.SQL(
        "(SELECT min(cartodb_id) AS cartodb_id, {point} AS {geometry}, {outputs} FROM {points}"
        " GROUP BY {groups}{having})"
    ).format(
        point=_point(aggregation, cell),
        geometry=sql.Identifier(GEOMETRY_COLUMN),
        outputs=sql.SQL(", ").join([*outputs, *dimensions]),
        points=points,
        groups=sql.SQL(", ").join(groups),
        having=_having(aggregation, aggregates),
    )


def _point(aggregation: Aggregation, cell: float) -> sql.Composable:
    """Return the expression for the point of a cell; by default, that of its first row."""
    match aggregation.placement:
        case "centroid":
            return statement("ST_SetSRID(ST_MakePoint(avg(cdb_x), avg(cdb_y)), 3857)")
        case "point-grid":
            middle = "ST_SetSRID(ST_MakePoint((cdb_cell_x + 0.5) * {cell}, (cdb_cell_y + 0.5) * {cell}), 3857)"
            return sql.SQL(middle).format(cell=sql.Literal(cell))
    return sql.SQL("(array_agg({} ORDER BY cartodb_id))[1]").format(sql.Identifier(GEOMETRY_COLUMN))


def _aggregates(aggregation: Aggregation) -> dict[str, sql.Composable]:
    """Return the expressions of the aggregates."""
    return {
        name: statement(_FUNCTIONS[function]).format(
            statement("*") if column == "*" and function == "count" else sql.Identifier(column)
        )
        for name, (function, column) in aggregation.columns.items()
    }


def _having(aggregation: Aggregation, aggregates: Mapping[str, sql.Composable]) -> sql.Composable:
    """Return the HAVING clause of the filters."""
    clauses: list[sql.Composable] = []
    for name, conditions in aggregation.filters.items():
        value = aggregates[name] if name in aggregates else sql.Identifier(aggregation.dimensions[name])
        alternatives = [sql.SQL(" AND ").join(_conditions(value, condition)) for condition in conditions]
        clauses.append(sql.SQL("({})").format(sql.SQL(" OR ").join(alternatives)))
    return sql.SQL(" HAVING {}").format(sql.SQL(" AND ").join(clauses)) if clauses else sql.SQL("")


def _conditions(value: sql.Composable, condition: Mapping[str, Any]) -> list[sql.Composable]:
    """Return the SQL conditions of a filter."""
    conditions: list[sql.Composable] = []
    for operator, operand in condition.items():
        if operator in ("in", "not_in"):
            items = sql.SQL(", ").join(map(sql.Literal, _as_list(operand)))
            conditions.append(sql.SQL("{} {} ({})").format(value, statement(operator.replace("_", " ")), items))
        else:
            conditions.append(
                sql.SQL("{} {} {}").format(value, statement(_COMPARISONS[operator]), sql.Literal(operand))
            )
    return conditions


def _object_items(content: Mapping[str, Any], name: str, layer: Mapping[str, Any]) -> Iterable[tuple[str, Any]]:
    """Return the items of an option that must be an object."""
    option = content.get(name) or {}
    if not isinstance(option, Mapping):
        raise _layer_error(f"Invalid {name}, should be an object", layer)
    return option.items()


def _column(item: Any, layer: Mapping[str, Any]) -> tuple[str, str]:
    """Parse an aggregate: function and column."""
    item = item if isinstance(item, Mapping) else {}
    function, column = item.get("aggregate_function"), item.get("aggregated_column")
    if not isinstance(function, str) or function not in _FUNCTIONS:
        message = f"Unsupported aggregation function {function}, valid ones: {', '.join(_FUNCTIONS)}"
        raise _layer_error(message, layer)
    if not isinstance(column, str) or not column:
        raise _layer_error("Invalid aggregated column, should be a non empty string", layer)
    return str(function), column


def _dimension(item: Any, layer: Mapping[str, Any]) -> str:
    """Parse a dimension: a column. Time dimensions are not supported."""
    column = item.get("column") if isinstance(item, Mapping) and "group" not in item else item
    if not isinstance(column, str) or not column:
        raise _layer_error("Invalid dimension, should be the name of a column", layer)
    return column


def _check_filter(condition: Any, layer: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the filter; raise MapError if it is empty or has unknown operators."""
    if not isinstance(condition, Mapping) or not condition:
        raise _layer_error("Invalid filter, should be an object", layer)
    for operator, operand in condition.items():
        if operator not in (*_COMPARISONS, "in", "not_in"):
            raise _layer_error(f"Invalid filter parameter name: {operator}", layer)
        if not all(isinstance(value, str | int | float) for value in _as_list(operand)):
            raise _layer_error(f"Invalid filter parameter: {operator}", layer)
        if isinstance(operand, list) and (operator not in ("in", "not_in") or not operand):
            raise _layer_error(f"Invalid filter parameter: {operator}", layer)
    return condition


def _as_list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _layer_error(message: str, layer: Mapping[str, Any]) -> MapError:
    return MapError(message, kind="layer", layer=layer)
