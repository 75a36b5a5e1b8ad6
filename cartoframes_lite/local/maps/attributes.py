"""Attributes of one feature."""

from __future__ import annotations

import re
from typing import Any

from psycopg import sql

from cartoframes_lite.local.maps.errors import MapError
from cartoframes_lite.local.maps.layergroups import Layergroup
from cartoframes_lite.local.maps.queries import column_list, fetch_rows, subquery
from cartoframes_lite.local.postgres.session import Session

# CARTO interpolates the id into the query unquoted, so that numbers of any size and notation compare as numbers.
_NUMBER = re.compile(r"[-+]?\d+(?:\.\d+)?(?:e[-+]?\d{1,2})?", re.ASCII | re.IGNORECASE)
_MAX_INTEGER_DIGITS = 9  # digits; shorter ids are untyped literals, which compare with text columns too


async def read_attributes(session: Session, group: Layergroup, layer_name: str, feature: str) -> dict[str, Any]:
    """Return the exposed attributes of a feature.

    Raises
    ------
    MapError
        If the layer exposes no attributes, or the id does not identify exactly one feature.
    """
    layer = group.config.layer(layer_name)
    if layer is None:
        raise MapError(f"Map {group.id} has no layer number {layer_name}")
    if layer.attributes is None or layer.sql is None:
        raise MapError(f"Layer {layer_name} has no exposed attributes")
    query = sql.SQL("SELECT {columns} FROM {source} AS cdbq WHERE {key} = {value} LIMIT 1000").format(
        columns=column_list(layer.attributes.columns),
        source=subquery(layer.sql),
        key=sql.Identifier(layer.attributes.id),
        value=_value(feature.replace("\0", "")),
    )
    matches = await fetch_rows(session, query)
    if not matches or any(row != matches[0] for row in matches):
        condition = f"'{layer.attributes.id}' = {feature}"
        message = f"Multiple features ({len(matches)}) identified by {condition} in layer {layer_name}"
        raise MapError(message, status=400 if matches else 404)
    return matches[0]


def _value(feature: str) -> sql.Composable:
    """Return an id as an SQL expression."""
    if feature.lower() == "null":
        return sql.SQL("NULL")
    is_integer = feature.isdecimal() and len(feature) <= _MAX_INTEGER_DIGITS
    return sql.SQL("{}::numeric" if _NUMBER.fullmatch(feature) and not is_integer else "{}").format(
        sql.Literal(feature)
    )
