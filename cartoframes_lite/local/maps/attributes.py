"""Attributes of one feature."""

from __future__ import annotations

from typing import Any

from psycopg import sql

from ..session import Session
from .layergroups import Layergroup
from .queries import names, rows, subquery
from .refusals import MapError


async def read_attributes(session: Session, group: Layergroup, layer_name: str, feature: str) -> dict[str, Any]:
    """Return the attributes that a layer lets see of a feature.

    Raises
    ------
    MapError
        If the layer lets none be seen, or there is not exactly one such feature.
    """
    layer = group.config.layer(layer_name)
    if layer is None:
        raise MapError(f"Map {group.id} has no layer number {layer_name}")
    if layer.attributes is None or layer.sql is None:
        raise MapError(f"Layer {layer_name} has no exposed attributes")
    query = sql.SQL("SELECT {columns} FROM {source} AS cdbq WHERE {key} = {value} LIMIT 1000").format(
        columns=names(layer.attributes.columns),
        source=subquery(layer.sql),
        key=sql.Identifier(layer.attributes.id),
        value=sql.Literal(feature.replace("\0", "")),
    )
    found = await rows(session, query)
    if not found or any(row != found[0] for row in found):
        message = (
            f"Multiple features ({len(found)}) identified by '{layer.attributes.id}' = {feature} in layer {layer_name}"
        )
        raise MapError(message, status=400 if found else 404)
    return found[0]
