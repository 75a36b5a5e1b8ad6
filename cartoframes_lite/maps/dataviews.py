"""Dataviews of a MapConfig for the widgets of a map, and what its page needs to display them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cartoframes_lite._client import Client
from cartoframes_lite._codec.names import quote
from cartoframes_lite._codec.pgtypes import family
from cartoframes_lite.maps.styling.options import suggest
from cartoframes_lite.maps.widgets import Categories, Formula, Histogram, Widget

_OPERATION_TITLES = {"sum": "Sum of", "avg": "Average", "min": "Smallest", "max": "Largest"}
_TIMES = ("date", "timestamp", "timestamptz")


@dataclass(frozen=True, slots=True)
class WidgetColumns:
    """The columns of a layer that the dataview of a widget reads.

    They are expressions of the columns that the widget names, because the filters of the Maps API neither quote names
    nor compare dates.

    Attributes
    ----------
    column : str
        Values of bars, categories or a formula; empty if rows are counted.
    value : str
        Values that categories aggregate; empty if rows are counted.
    is_time : bool
        Whether the values are seconds since 1970-01-01 UTC.
    """

    column: str
    value: str = ""
    is_time: bool = False


def widget_name(number: int) -> str:
    """Return the name of the dataview of a widget."""
    return f"widget_{number}"


def page_widget(number: int, widget: Widget, columns: WidgetColumns, layer: int) -> dict[str, Any]:
    """Return the content of a widget for its page.

    Parameters
    ----------
    number : int
        Position among the widgets of the map.
    widget : Widget
    columns : WidgetColumns
    layer : int
        Index of its layer among all layers of the page.
    """
    content = {
        "name": widget_name(number),
        "layer": layer,
        "type": type(widget).__name__.lower(),
        "title": _title(widget),
        "column": columns.column,
    }
    match widget:
        case Histogram():
            return content | {"bins": int(widget.bins), "isTime": columns.is_time}
        case Categories():
            return content | {"limit": int(widget.limit), "operation": widget.operation, "value": columns.value}
        case Formula():
            return content | {"operation": widget.operation}


def add_dataviews(
    client: Client,
    config: Mapping[str, Any],
    widgets: Mapping[int, tuple[int, Widget]],
    known_types: Mapping[int, Mapping[str, str]],
) -> tuple[dict[str, Any], dict[int, WidgetColumns]]:
    """Add the dataviews of widgets to a MapConfig.

    The queries of their layers become analysis nodes, which the filters of the dataviews apply to.

    Parameters
    ----------
    client : Client
        Used to query the columns of the layers.
    config : mapping
    widgets : mapping of int to (int, Widget)
        Index of the layer in the MapConfig and widget, by the position of the widget on the map.
    known_types : mapping of int to mapping
        Types of columns by name, by the index of the layer; those of other layers are queried.

    Returns
    -------
    config : dict
    columns : dict of int to WidgetColumns
        By the position of the widget.

    Raises
    ------
    ValueError
        If a layer lacks a column of its widget, or the column has a type that the widget cannot display; or if the
        layer has no query.
    """
    changed = dict(config, layers=[dict(layer) for layer in config["layers"]])
    nodes = {str(node.get("id")): dict(node) for node in config.get("analyses") or ()}
    dataviews = dict(config.get("dataviews") or {})
    all_columns: dict[int, WidgetColumns] = {}
    for index in sorted({index for index, _ in widgets.values()}):
        node = _node_of(changed["layers"][index], index, nodes)
        types = known_types.get(index) or column_types(client, node["params"]["query"])
        expressions: list[str] = []
        for number, (at, widget) in widgets.items():
            if at == index:
                all_columns[number] = _columns(number, widget, types, expressions)
                dataviews[widget_name(number)] = _dataview(widget, all_columns[number], node["id"])
        if expressions:
            node["params"] = {"query": _extend(node["params"]["query"], expressions)}
    return {**changed, "analyses": list(nodes.values()), "dataviews": dataviews}, all_columns


def column_types(client: Client, query: str) -> dict[str, str]:
    """Return the types of the columns of a query by name."""
    return {column.name: column.pgtype for column in client.sql.columns(f"({query}\n) AS source")}


def check_widget(widget: Widget, types: Mapping[str, str]) -> None:
    """Raise ValueError if a layer lacks a column of a widget, or the widget cannot display its values.

    Parameters
    ----------
    widget : Widget
    types : mapping
        PostgreSQL types of the columns of the layer by name.
    """
    _columns(0, widget, types, [])


def _node_of(layer: dict[str, Any], index: int, nodes: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """Return the analysis node of a layer; if it has a query instead, make that a node."""
    options = dict(layer.get("options") or {})
    if isinstance(source := options.get("source"), Mapping) and (node := nodes.get(str(source.get("id")))):
        node["params"] = dict(node["params"])
        return node
    query = options.pop("sql", None)
    if not isinstance(query, str):
        raise ValueError(f"layer {index} has no query, so that it cannot have widgets")
    name = f"cfl_layer_{index}"
    nodes[name] = {"id": name, "type": "source", "params": {"query": query}}
    layer["options"] = {**options, "source": {"id": name}}
    return nodes[name]


def _columns(number: int, widget: Widget, types: Mapping[str, str], expressions: list[str]) -> WidgetColumns:
    """Return the columns of a widget, and append their expressions."""

    def add(expression: str, suffix: str = "column") -> str:
        name = f"cfl_{widget_name(number)}_{suffix}"
        expressions.append(f"{expression} AS {name}")
        return name

    if widget.column is None:
        return WidgetColumns("")
    check_has_column(widget, widget.column, types)
    kind = family(types[widget.column])
    name = quote(widget.column)
    match widget:
        case _ if kind == "geometry":
            raise ValueError(f"{widget!r}: column {widget.column!r} is a geometry, which widgets do not display")
        case Histogram() if kind in _TIMES:
            return WidgetColumns(add(f"date_part('epoch', {name})"), is_time=True)
        case Categories():
            value = "" if widget.value is None else add(_number(widget, widget.value, types), "value")
            return WidgetColumns(add(f"{name}::text"), value)
        case _:
            return WidgetColumns(add(_number(widget, widget.column, types)))


def _number(widget: Widget, column: str, types: Mapping[str, str]) -> str:
    """Return the name of a numeric column in SQL; raise ValueError if it is of another type."""
    check_has_column(widget, column, types)
    if family(types[column]) != "number":
        raise not_numeric(widget, column, types[column])
    return quote(column)


def check_has_column(widget: Widget, column: str, available: Iterable[str]) -> None:
    """Raise ValueError if a layer has no such column."""
    if column not in available:
        raise ValueError(f"{widget!r}: the layer has no column {column!r}. {suggest(column, available)}")


def not_numeric(widget: Widget, column: str, kind: str) -> ValueError:
    """Return the error for a column that a widget cannot aggregate."""
    advice = f" or a date: use Categories({widget.column!r})" if isinstance(widget, Histogram) else ""
    return ValueError(f"{widget!r}: column {column!r} is of type {kind}, not a number{advice}")


def _dataview(widget: Widget, columns: WidgetColumns, node: str) -> dict[str, Any]:
    """Return the dataview of a widget."""
    match widget:
        case Histogram():
            options: dict[str, Any] = {"column": columns.column, "bins": int(widget.bins)}
            kind = "histogram"
        case Categories():
            options = {"column": columns.column, "aggregation": widget.operation}
            options |= {"aggregationColumn": columns.value} if columns.value else {}
            kind = "aggregation"
        case Formula():
            options = {"operation": widget.operation} | ({"column": columns.column} if columns.column else {})
            kind = "formula"
    return {"type": kind, "source": {"id": node}, "options": options}


def _extend(query: str, expressions: Sequence[str]) -> str:
    """Return a query with more columns."""
    return f"SELECT *, {', '.join(expressions)} FROM ({query}\n) AS source"


def _title(widget: Widget) -> str:
    """Return the title of a widget."""
    if widget.title is not None:
        return widget.title
    match widget:
        case Formula(operation="count"):
            return "Rows"
        case Formula():
            return f"{_OPERATION_TITLES[widget.operation]} {widget.column}"
        case Categories() if widget.value is not None:
            return f"{_OPERATION_TITLES[widget.operation]} {widget.value} by {widget.column}"
        case _:
            return widget.column
