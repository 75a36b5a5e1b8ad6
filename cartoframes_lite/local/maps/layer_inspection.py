"""Inspection of the queries of layers and analyses in PostgreSQL."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime

from psycopg import sql

from cartoframes_lite.local.maps import aggregation
from cartoframes_lite.local.maps.analyses import Node
from cartoframes_lite.local.maps.cartocss import Style, StyleError, parse
from cartoframes_lite.local.maps.config import MapConfig, MapLayer
from cartoframes_lite.local.maps.errors import MapError, error_status
from cartoframes_lite.local.maps.queries import (
    DRAWABLE_OIDS,
    GEOMETRY_COLUMN,
    Column,
    column_list,
    columns_of,
    envelope,
    estimated_rows,
    fetch_rows,
    statement,
    subquery,
)
from cartoframes_lite.local.postgres.errors import SQLError
from cartoframes_lite.local.postgres.session import Session


@dataclass(frozen=True, slots=True, eq=False)  # hashed by identity, as a key of caches
class InspectedLayer:
    """A query layer, with its columns, row count and style.

    Attributes
    ----------
    layer : MapLayer
    columns : tuple of Column
        Columns of the query.
    row_count : int
        Estimate of the PostgreSQL planner.
    aggregated : bool
        Whether points are aggregated, because there are at least ``threshold`` rows.
    style : Style, optional
        Parsed CartoCSS.
    cells : tuple of Column
        Columns of the aggregated rows.
    """

    layer: MapLayer
    columns: tuple[Column, ...]
    row_count: int
    aggregated: bool
    style: Style | None
    cells: tuple[Column, ...] = ()

    def source(self, box: sql.Composable, resolution: float) -> sql.Composable:
        """Return the query for an extent (an expression) and a resolution in meters per pixel, in parentheses."""
        text = self.layer.sql or ""
        if self.aggregated and self.layer.aggregation is not None:
            return aggregation.query(self.layer.aggregation, text, box, resolution)
        return subquery(text, box=box, resolution=resolution)

    @property
    def drawable_columns(self) -> list[Column]:
        """The columns whose types vector tiles and UTFGrids support."""
        return [one for one in self.cells or self.columns if one.type_oid in DRAWABLE_OIDS]


def parse_styles(config: MapConfig) -> dict[int, Style]:
    """Parse the CartoCSS of all layers, by their index; raise MapError if it is invalid or not supported."""
    return {layer.index: _parse_style(layer, layer.cartocss) for layer in config.queried if layer.cartocss is not None}


def _parse_style(layer: MapLayer, cartocss: str) -> Style:
    try:
        return parse(cartocss, name=f"style{layer.index}")
    except StyleError as error:
        raise MapError(str(error), status=400, kind="layer", layer=layer.context) from error


async def check_node(session: Session, node: Node) -> None:
    """Raise MapError if the query of an analysis fails; a trailing semicolon is an error too, as in CARTO."""
    try:
        await columns_of(session, sql.SQL("({})").format(statement(node.query())))
    except SQLError as error:
        if error_status(error)[0] in (429, 503):
            raise
        context = {"id": node.name, "node_id": node.name, "type": "source"}
        raise MapError(error.message, kind="analysis", analysis=context) from None


async def inspect_layer(session: Session, layer: MapLayer, style: Style | None) -> InspectedLayer:
    """Return a layer with the columns and row count of its query; raise MapError if a column is missing."""
    text = layer.sql or ""
    columns = await columns_of(session, subquery(text))
    required = [GEOMETRY_COLUMN, *layer.interactivity]
    if layer.attributes:
        required += [layer.attributes.id, *layer.attributes.columns]
    if style:
        required += sorted(style.columns)
    row_count = await estimated_rows(session, text)
    aggregated = False
    if layer.aggregation is not None and any(column.name == "cartodb_id" for column in columns):
        aggregated = await _is_aggregated(session, layer.aggregation, text, row_count)
    inspected = InspectedLayer(layer, tuple(columns), row_count, aggregated, style)
    if aggregated:
        inspected = replace(
            inspected, cells=tuple(await columns_of(session, inspected.source(envelope((0.0, 0.0, 1.0, 1.0)), 1.0)))
        )
    available = {column.name for column in (*columns, *inspected.cells)}
    for name in required:
        if name not in available:
            raise MapError(f'column "{name}" does not exist')
    return inspected


async def _is_aggregated(session: Session, options: aggregation.Aggregation, text: str, row_count: int) -> bool:
    """Return whether there are enough rows to aggregate, and their geometries are points."""
    if row_count < options.threshold:
        return False
    query = sql.SQL(
        "SELECT GeometryType({geometry}) AS type FROM {source} AS cdbq WHERE {geometry} IS NOT NULL LIMIT 1"
    )
    geometry_types = await fetch_rows(
        session, query.format(geometry=column_list([GEOMETRY_COLUMN]), source=subquery(text))
    )
    return bool(geometry_types) and geometry_types[0]["type"] == "POINT"


async def last_updated(session: Session, tables: list[str]) -> datetime:
    """Return when any of the tables last changed; 1970-01-01 if that is not available."""
    query = sql.SQL(
        "SELECT extract(epoch FROM max(updated_at))::float8 AS epoch FROM cartodb.cdb_tablemetadata"
        " WHERE tabname = ANY (SELECT to_regclass(name) FROM unnest({}::text[]) name)"
    )
    [row] = await fetch_rows(session, query.format(sql.Literal(tables)))
    return datetime.fromtimestamp(row["epoch"] or 0, UTC)
