"""Layers that a request for a tile or static image selects."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from cartoframes_lite.local.maps.config import MapLayer
from cartoframes_lite.local.maps.errors import MapError
from cartoframes_lite.local.maps.layergroups import Layergroup
from cartoframes_lite.local.maps.templates import Template


def select_layers(group: Layergroup, selection: str) -> Sequence[MapLayer]:
    """Return the selected layers, from bottom to top.

    Parameters
    ----------
    group : Layergroup
    selection : str
        "all", "mapnik", or a comma-separated list of ids or indexes.

    Raises
    ------
    MapError
        If a layer does not exist.
    """
    layers = group.config.layers
    if selection == "all":
        return layers
    if selection == "mapnik":
        return group.config.queried
    selected = []
    for name in selection.split(","):
        layer = group.config.layer(name)
        if layer is None:
            raise MapError(f"Layer '{name}' not found in layergroup")
        selected.append(layer)
    return list({layer.index: layer for layer in sorted(selected, key=lambda layer: layer.index)}.values())


def preview_layers(template: Template, group: Layergroup) -> Sequence[MapLayer]:
    """Return the layers that are visible according to ``preview_layers`` of the template; all if none would be."""
    visibility = template.view.get("preview_layers")
    if not isinstance(visibility, Mapping):
        return group.config.layers
    hidden = {str(name) for name, visible in visibility.items() if visible is False}
    visible_layers = [layer for layer in group.config.layers if not {layer.id, str(layer.index)} & hidden]
    return visible_layers or group.config.layers
