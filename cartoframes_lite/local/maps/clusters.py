"""The rows of an aggregated point."""

from __future__ import annotations

import re
from typing import Any

from psycopg import sql

from cartoframes_lite.local.maps.errors import MapError
from cartoframes_lite.local.maps.layergroups import Layergroup
from cartoframes_lite.local.maps.queries import GEOMETRY_COLUMN, HALF_WORLD, column_list, fetch_rows, subquery
from cartoframes_lite.local.postgres.session import Session

_MAX_ROWS = 10_000
_INTEGER = re.compile(r"\d{1,18}", re.ASCII)


async def read_cluster(
    session: Session, group: Layergroup, layer_name: str, zoom: str, feature: str
) -> dict[str, list[dict[str, Any]]]:
    """Return the rows in the cell of the aggregated row with a given ``cartodb_id``.

    Raises
    ------
    MapError
    """
    inspected = next((one for one in group.inspected if layer_name in (one.layer.id, str(one.layer.index))), None)
    if inspected is None or inspected.layer.aggregation is None or inspected.layer.sql is None:
        message = f"Map {group.id} has no aggregation defined for layer {layer_name}"
        raise MapError(message, status=400, kind="layer", subtype="aggregation")
    if not _INTEGER.fullmatch(zoom) or not _INTEGER.fullmatch(feature) or int(zoom) > 30:
        raise MapError("Invalid zoom or id of a cluster", status=400)
    cell = 2 * HALF_WORLD / 2 ** int(zoom) / 256 * inspected.layer.aggregation.resolution
    column_names = [column.name for column in inspected.columns if column.name not in ("the_geom", GEOMETRY_COLUMN)]
    cells = [
        sql.SQL("floor({axis}({side}.{geometry}) / {cell})").format(
            axis=sql.SQL("ST_X" if axis == "x" else "ST_Y"),
            side=sql.SQL("cdbq" if side == "all" else "cdb_one"),
            geometry=sql.Identifier(GEOMETRY_COLUMN),
            cell=sql.Literal(cell),
        )
        for axis in "xy"
        for side in ("all", "one")
    ]
    query = sql.SQL(
        "SELECT {columns} FROM (SELECT cdbq.* FROM {source} AS cdbq, {source} AS cdb_one"
        " WHERE cdb_one.cartodb_id = {feature} AND cdbq.{geometry} && ST_Expand(cdb_one.{geometry}, {cell})"
        " AND {x} = {of_x} AND {y} = {of_y} LIMIT {most}) AS cdb_cluster"
    ).format(
        columns=column_list(column_names),
        source=subquery(inspected.layer.sql),
        feature=sql.Literal(int(feature)),
        geometry=sql.Identifier(GEOMETRY_COLUMN),
        cell=sql.Literal(cell),
        x=cells[0],
        of_x=cells[1],
        y=cells[2],
        of_y=cells[3],
        most=sql.Literal(_MAX_ROWS),
    )
    return {"rows": await fetch_rows(session, query)}
