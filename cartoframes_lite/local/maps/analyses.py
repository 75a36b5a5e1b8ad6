"""Analysis nodes of a map, with the filters of dataviews; only analyses of type ``source`` are supported."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from psycopg import sql

from cartoframes_lite.local.maps.errors import MapError
from cartoframes_lite.local.maps.number_parsing import parse_number
from cartoframes_lite.local.maps.queries import statement


class _Dataview(Protocol):
    """The attributes of a dataview that its filter needs."""

    @property
    def name(self) -> str: ...
    @property
    def type(self) -> str: ...
    @property
    def source(self) -> str: ...
    @property
    def options(self) -> Mapping[str, Any]: ...


@dataclass(frozen=True, slots=True)
class Node:
    """An analysis node: a named query.

    Attributes
    ----------
    name : str
    text : str
        The query without filters.
    filters : mapping of str to Composable
        Query template and condition of each filter, by name of its dataview.
    """

    name: str
    text: str
    filters: Mapping[str, tuple[str, sql.Composable]]

    @property
    def id(self) -> str:
        """Identifier of the node in URLs."""
        return hashlib.sha1(self.query().encode(), usedforsecurity=False).hexdigest()

    def query(self, *, without: Collection[str] = ()) -> str:
        """Return the query with the filters of all dataviews except some."""
        text = self.text
        for name, (template, condition) in self.filters.items():
            if name not in without:
                text = template.format(text, condition.as_string())
        return text


# Same text as in CARTO: the response to an instantiation contains the query of each node.
_CATEGORY = "SELECT *\nFROM ({}) _camshaft_category_filter\nWHERE {}"
_RANGE = "SELECT * FROM ({}) _camshaft_range_filter WHERE {}"


def parse_nodes(items: Any, dataviews: Iterable[_Dataview], filters: Mapping[str, Any]) -> dict[str, Node]:
    """Parse the analyses of a map.

    Parameters
    ----------
    items : object
        Member ``analyses`` of the MapConfig.
    dataviews : iterable of Dataview
    filters : mapping
        Filters by name of the dataview.

    Raises
    ------
    MapError
        If an analysis is not of type ``source``, or a filter is invalid.
    """
    if not isinstance(items, list):
        raise MapError("`analyses` must be an array", kind="analysis")
    filters_by_source: dict[str, dict[str, tuple[str, sql.Composable]]] = {}
    for dataview in dataviews:
        if isinstance(content := filters.get(dataview.name), Mapping):
            filters_by_source.setdefault(dataview.source, {})[dataview.name] = _filter(dataview, content)
    nodes: dict[str, Node] = {}
    for item in items:
        if not isinstance(item, Mapping) or not item.get("id"):
            raise MapError("Missing or invalid `id` of an analysis", kind="analysis")
        if item.get("type") != "source":
            raise MapError(f'Unknown analysis type "{item.get("type")}"', kind="analysis")
        query = item["params"].get("query") if isinstance(item.get("params"), Mapping) else None
        if not isinstance(query, str) or not query.strip():
            raise MapError('Missing required param "query"', kind="analysis")
        name = str(item["id"])
        nodes[name] = Node(name, query, filters_by_source.get(name, {}))
    return nodes


def _filter(dataview: _Dataview, content: Mapping[str, Any]) -> tuple[str, sql.Composable]:
    """Parse the filter of a dataview into a query template and a condition."""
    # Unquoted if the name needs no quotes, as in CARTO.
    column = _identifier(str(dataview.options.get("column")))
    if dataview.type == "histogram":
        bounds = [(word, content.get(word)) for word in ("min", "max")]
        signs = {"min": ">=", "max": "<="}
        numbers = [(signs[word], value) for word, value in bounds if _is_number(value)]
        if not numbers:
            raise MapError("Range filter expect to have at least one value in min or max numeric params")
        if len(numbers) == 2:
            between = sql.SQL("{} BETWEEN {} AND {}").format(column, *(sql.Literal(value) for _, value in numbers))
            return _RANGE, between
        [(sign, value)] = numbers
        return _RANGE, sql.SQL("{} {} {}").format(column, statement(sign), sql.Literal(value))
    accepted, rejected = content.get("accept"), content.get("reject")
    if not isinstance(accepted, list) and not isinstance(rejected, list):
        raise MapError("Category filter expects at least one array in accept or reject params")
    conditions: list[sql.Composable] = []
    for values, word, constant in ((accepted, "IN", "0 = 1"), (rejected, "NOT IN", "1 = 1")):
        if isinstance(values, list):
            values_list = sql.SQL(",").join(_value(index, value) for index, value in enumerate(values))
            condition = sql.SQL("{} {} ({})").format(column, statement(word), values_list)
            conditions.append(condition if values else statement(constant))
    return _CATEGORY, sql.SQL(" AND ").join(conditions)


def _identifier(name: str) -> sql.Composable:
    return statement(name) if name.isidentifier() and name.isascii() and name.islower() else sql.Identifier(name)


def _value(index: int, value: Any) -> sql.Composable:
    """Return a category as a literal: dollar-quoted as in CARTO, unless the text contains a dollar sign."""
    if _is_number(value):
        return sql.Literal(value)
    quote, text = f"$escape_{index}$", str(value)
    return statement(f"{quote}{text}{quote}") if "$" not in text else sql.Literal(text)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and math.isfinite(parse_number(value))
