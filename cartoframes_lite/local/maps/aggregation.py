"""Points of one cell taken together, so that a tile of millions of rows stays small."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from psycopg import sql

from cartoframes_lite.local.maps.errors import MapError
from cartoframes_lite.local.maps.queries import GEOMETRY_COLUMN, Box, envelope, statement, subquery

_THRESHOLD = 100_000
_LARGEST = 1e15
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
OWN_COLUMNS = frozenset({"cdb_x", "cdb_y", "cdb_cell_x", "cdb_cell_y", "cdb_place"})
"""What a query of samples has beside the columns of the layer."""


@dataclass(frozen=True, slots=True)
class Aggregation:
    """How points are taken together.

    Attributes
    ----------
    threshold : float
        From how many rows on.
    resolution : float
        Pixels of a cell.
    placement : str, optional
        Where the point of a cell is. With neither this nor columns nor dimensions, it is a whole row of the cell.
    columns : mapping of str to (str, str)
        Function and column, by the name of the result.
    dimensions : mapping of str to str
        Columns whose values are kept apart.
    filters : mapping of str to list of dict
        Which results are shown; any of the list will do.
    """

    threshold: float = _THRESHOLD
    resolution: float = 1
    placement: str | None = None
    columns: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    dimensions: Mapping[str, str] = field(default_factory=dict)
    filters: Mapping[str, list[Mapping[str, Any]]] = field(default_factory=dict)

    @property
    def is_sample(self) -> bool:
        """Whether whole rows stand for cells."""
        return self.placement is None and not (self.columns or self.dimensions or self.filters)

    @property
    def column_names(self) -> list[str]:
        """The columns of the result other than the geometry, unless it is a sample."""
        return ["cartodb_id", COUNT_COLUMN, *self.columns, *self.dimensions]


def read(content: Any, layer: Mapping[str, Any], *, vector_only: bool) -> Aggregation | None:
    """Read the option of a layer; maps of vector tiles alone have it unless it is false.

    Raises
    ------
    MapError
    """
    if content is False or (content is None and not vector_only):
        return None
    content = content if isinstance(content, Mapping) else {}
    for name in ("resolution", "threshold"):
        value = content.get(name, 1)
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value <= _LARGEST:
            raise _refusal(f"Invalid {name}, should be a number greather than 0", layer)
    placement = content.get("placement")
    if placement not in (None, *_PLACEMENTS):
        raise _refusal(f"Invalid placement. Valid values: {', '.join(_PLACEMENTS)}", layer)
    columns = {str(name): _column(item, layer) for name, item in _members(content, "columns", layer)}
    dimensions = {str(name): _dimension(item, layer) for name, item in _members(content, "dimensions", layer)}
    filters = {}
    for name, conditions in _members(content, "filters", layer):
        if name not in columns and name not in dimensions:
            raise _refusal(f"Invalid filtered column: {name}", layer)
        filters[str(name)] = [_checked(item, layer) for item in _listed(conditions)]
    return Aggregation(
        content.get("threshold", _THRESHOLD), content.get("resolution", 1), placement, columns, dimensions, filters
    )


def query(aggregation: Aggregation, text: str, box: Box, resolution: float) -> sql.Composed:
    """Return the query of a tile's cells.

    Parameters
    ----------
    aggregation : Aggregation
    text : str
        The query of the layer.
    box : tuple of float
        Of the tile.
    resolution : float
        Meters of a pixel.
    """
    cell = resolution * aggregation.resolution
    points = sql.SQL(
        "(SELECT *, ST_X({geometry}) AS cdb_x, ST_Y({geometry}) AS cdb_y,"
        " floor(ST_X({geometry}) / {cell}) AS cdb_cell_x, floor(ST_Y({geometry}) / {cell}) AS cdb_cell_y"
        " FROM {source} AS cdb_source WHERE {geometry} && {box}) AS cdb_points"
    ).format(
        geometry=sql.Identifier(GEOMETRY_COLUMN),
        cell=sql.Literal(cell),
        source=subquery(text, box=box, resolution=resolution),
        box=envelope(box),
    )
    return _sampled(points) if aggregation.is_sample else _grouped(aggregation, points, cell)


def _sampled(points: sql.Composable) -> sql.Composed:
    """Return the query of the first row of each cell.

    The source is read once. Joined with itself it would be read for each cell: PostgreSQL expects few rows in small
    boxes, where towns have many.
    """
    return sql.SQL(
        "(SELECT * FROM (SELECT *, row_number() OVER (cdb_cell ORDER BY cartodb_id) AS cdb_place,"
        " count(*) OVER cdb_cell AS {count} FROM {points} WINDOW cdb_cell AS (PARTITION BY cdb_cell_x, cdb_cell_y))"
        " AS cdb_cells WHERE cdb_place = 1)"
    ).format(count=sql.Identifier(COUNT_COLUMN), points=points)


def _grouped(aggregation: Aggregation, points: sql.Composable, cell: float) -> sql.Composed:
    """Return the query of the results of each cell."""
    results = {COUNT_COLUMN: sql.SQL("count(*)"), **_results(aggregation)}
    shown = [sql.SQL("{} AS {}").format(value, sql.Identifier(name)) for name, value in results.items()]
    kept = [
        sql.SQL("{} AS {}").format(sql.Identifier(column), sql.Identifier(name))
        for name, column in aggregation.dimensions.items()
    ]
    groups: list[sql.Composable] = [statement("cdb_cell_x"), statement("cdb_cell_y")]
    groups += [sql.Identifier(column) for column in aggregation.dimensions.values()]
    return sql.SQL(
        "(SELECT min(cartodb_id) AS cartodb_id, {point} AS {geometry}, {shown} FROM {points} GROUP BY {groups}{having})"
    ).format(
        point=_point(aggregation, cell),
        geometry=sql.Identifier(GEOMETRY_COLUMN),
        shown=sql.SQL(", ").join([*shown, *kept]),
        points=points,
        groups=sql.SQL(", ").join(groups),
        having=_having(aggregation, results),
    )


def _point(aggregation: Aggregation, cell: float) -> sql.Composable:
    """Return the point of a cell: where one of its rows is unless told otherwise."""
    match aggregation.placement:
        case "centroid":
            return statement("ST_SetSRID(ST_MakePoint(avg(cdb_x), avg(cdb_y)), 3857)")
        case "point-grid":
            middle = "ST_SetSRID(ST_MakePoint((cdb_cell_x + 0.5) * {cell}, (cdb_cell_y + 0.5) * {cell}), 3857)"
            return sql.SQL(middle).format(cell=sql.Literal(cell))
    return sql.SQL("(array_agg({} ORDER BY cartodb_id))[1]").format(sql.Identifier(GEOMETRY_COLUMN))


def _results(aggregation: Aggregation) -> dict[str, sql.Composable]:
    """Return the expressions of the aggregated columns."""
    return {
        name: statement(_FUNCTIONS[function]).format(
            statement("*") if column == "*" and function == "count" else sql.Identifier(column)
        )
        for name, (function, column) in aggregation.columns.items()
    }


def _having(aggregation: Aggregation, results: Mapping[str, sql.Composable]) -> sql.Composable:
    """Return the clause of the filters."""
    clauses: list[sql.Composable] = []
    for name, conditions in aggregation.filters.items():
        value = results[name] if name in results else sql.Identifier(aggregation.dimensions[name])
        alternatives = [sql.SQL(" AND ").join(_conditions(value, condition)) for condition in conditions]
        clauses.append(sql.SQL("({})").format(sql.SQL(" OR ").join(alternatives)))
    return sql.SQL(" HAVING {}").format(sql.SQL(" AND ").join(clauses)) if clauses else sql.SQL("")


def _conditions(value: sql.Composable, condition: Mapping[str, Any]) -> list[sql.Composable]:
    """Return what a filter asks of a value."""
    found: list[sql.Composable] = []
    for word, wanted in condition.items():
        if word in ("in", "not_in"):
            listed = sql.SQL(", ").join(map(sql.Literal, _listed(wanted)))
            found.append(sql.SQL("{} {} ({})").format(value, statement(word.replace("_", " ")), listed))
        else:
            found.append(sql.SQL("{} {} {}").format(value, statement(_COMPARISONS[word]), sql.Literal(wanted)))
    return found


def _members(content: Mapping[str, Any], name: str, layer: Mapping[str, Any]) -> Iterable[tuple[str, Any]]:
    """Return the members of an option that is an object."""
    found = content.get(name) or {}
    if not isinstance(found, Mapping):
        raise _refusal(f"Invalid {name}, should be an object", layer)
    return found.items()


def _column(item: Any, layer: Mapping[str, Any]) -> tuple[str, str]:
    """Read an aggregated column."""
    item = item if isinstance(item, Mapping) else {}
    function, column = item.get("aggregate_function"), item.get("aggregated_column")
    if not isinstance(function, str) or function not in _FUNCTIONS:
        message = f"Unsupported aggregation function {function}, valid ones: {', '.join(_FUNCTIONS)}"
        raise _refusal(message, layer)
    if not isinstance(column, str) or not column:
        raise _refusal("Invalid aggregated column, should be a non empty string", layer)
    return str(function), column


def _dimension(item: Any, layer: Mapping[str, Any]) -> str:
    """Read a dimension: a column; grouped times are not offered."""
    column = item.get("column") if isinstance(item, Mapping) and "group" not in item else item
    if not isinstance(column, str) or not column:
        raise _refusal("Invalid dimension, should be the name of a column", layer)
    return column


def _checked(condition: Any, layer: Mapping[str, Any]) -> Mapping[str, Any]:
    """Refuse a filter with words that there are not, or without any."""
    if not isinstance(condition, Mapping) or not condition:
        raise _refusal("Invalid filter, should be an object", layer)
    for word, wanted in condition.items():
        if word not in (*_COMPARISONS, "in", "not_in"):
            raise _refusal(f"Invalid filter parameter name: {word}", layer)
        if not all(isinstance(value, str | int | float) for value in _listed(wanted)):
            raise _refusal(f"Invalid filter parameter: {word}", layer)
        if isinstance(wanted, list) and (word not in ("in", "not_in") or not wanted):
            raise _refusal(f"Invalid filter parameter: {word}", layer)
    return condition


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _refusal(message: str, layer: Mapping[str, Any]) -> MapError:
    return MapError(message, kind="layer", layer=layer)
