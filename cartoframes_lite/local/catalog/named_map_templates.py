"""Templates of the named maps of datasets and maps, which CARTO maintains in addition to those of clients.

They are derived from the catalog when they are requested, so that they are always up to date.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from cartoframes_lite.local.catalog.map_layers import SavedLayer, SavedLayers
from cartoframes_lite.local.catalog.visualizations import Catalog, Visualization
from cartoframes_lite.local.state import State

_PREFIX = "tpl_"
_NAME = re.compile(r"tpl_([0-9a-f]{8}_[0-9a-f]{4}_[0-9a-f]{4}_[0-9a-f]{4}_[0-9a-f]{12})")


def template_name(visualization_id: str) -> str:
    """Return the name of the named map of a dataset or map."""
    return _PREFIX + visualization_id.replace("-", "_")


def auth_token(state: State, visualization: Visualization) -> str:
    """Return the token for the named map of a private dataset or map, or of one with a password.

    A private one has the token of the account, one with a password its own. They change with the master key.
    """
    subject = visualization.id if visualization.privacy == "password" else state.user_id
    return hmac.new(state.master_key.token.encode(), subject.encode(), hashlib.sha256).hexdigest()[:32]


class NamedMapTemplates:
    """The templates of the account's datasets and maps.

    Parameters
    ----------
    state : State
    catalog : Catalog
    layers : SavedLayers
    """

    def __init__(self, state: State, catalog: Catalog, layers: SavedLayers) -> None:
        self._state, self._catalog, self._layers = state, catalog, layers

    def find(self, name: str) -> dict[str, Any] | None:
        """Return the template with a name; None if there is no such dataset or map, or it has no layers with data."""
        match = _NAME.fullmatch(name)
        if match is None:
            return None
        try:
            visualization = self._catalog.find(match[1].replace("_", "-"))
        except LookupError:
            return None
        layers = [layer for layer in self._layers.of(visualization) if layer.kind == "carto"]
        return self._template(visualization, layers) if layers else None

    def _template(self, visualization: Visualization, layers: Sequence[SavedLayer]) -> dict[str, Any]:
        """Return the template of a dataset or map with data layers."""
        auth: dict[str, Any] = {"method": "open"}
        if visualization.privacy in ("private", "password"):
            auth = {"method": "token", "valid_tokens": [auth_token(self._state, visualization)]}
        return {
            "name": template_name(visualization.id),
            "auth": auth,
            "version": "0.0.1",
            "placeholders": {
                f"layer{index}": {"type": "number", "default": int(bool(layer.options.get("visible", True)))}
                for index, layer in enumerate(layers)
            },
            "layergroup": {
                "version": "1.5.0",
                "layers": [_layer(layer, index) for index, layer in enumerate(layers)],
                "stat_tag": visualization.id,
                "dataviews": {},
                "analyses": [],
            },
            "view": self._view(visualization, layers),
        }

    def _view(self, visualization: Visualization, layers: Sequence[SavedLayer]) -> dict[str, Any]:
        """Return the view of static images."""
        settings = self._layers.settings(visualization)
        latitude, longitude = json.loads(settings["center"])
        (south, west), (north, east) = (json.loads(settings[f"view_bounds_{name}"]) for name in ("sw", "ne"))
        return {
            "zoom": settings["zoom"],
            "center": {"lng": longitude, "lat": latitude},
            "bounds": {"west": west, "south": south, "east": east, "north": north},
            "preview_layers": {layer.id: bool(layer.options.get("visible", True)) for layer in layers},
        }


def _layer(layer: SavedLayer, index: int) -> dict[str, Any]:
    """Return a layer of a template; the placeholder ``layer<index>`` hides it."""
    query = f"SELECT * FROM ({layer.query}) AS wrapped_query WHERE <%= layer{index} %>=1"
    options: dict[str, Any] = {
        "cartocss": layer.cartocss,
        "cartocss_version": layer.options.get("style_version"),
        "sql": query,
    }
    hovered, clicked = _columns(layer.tooltip), _columns(layer.infowindow)
    if clicked:
        options["attributes"] = {"id": "cartodb_id", "columns": clicked}
    if hovered or clicked:
        options["interactivity"] = ",".join([*hovered, *(["cartodb_id"] if clicked else [])])
    return {"id": layer.id, "type": "cartodb", "options": options}


def _columns(popup: Mapping[str, Any] | None) -> list[str]:
    """Return the columns that an infowindow or tooltip shows."""
    fields = (popup or {}).get("fields")
    fields = fields if isinstance(fields, list) else []
    return [str(field["name"]) for field in fields if isinstance(field, Mapping) and "name" in field]
