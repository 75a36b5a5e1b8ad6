"""vizjson: the description of a dataset or map from which CARTO.js builds it, in versions 2 and 3."""

from __future__ import annotations

import html
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cartoframes_lite.local.catalog import default_layers
from cartoframes_lite.local.catalog.map_layers import SavedLayer
from cartoframes_lite.local.catalog.named_map_templates import template_name
from cartoframes_lite.local.catalog.visualizations import Visualization
from cartoframes_lite.local.clock import iso_time

_OVERLAY_MEMBERS = ("type", "order", "options", "template")
_POPUP_MEMBERS = ("fields", "template_name", "template", "alternative_names", "width", "maxHeight")


@dataclass(frozen=True, slots=True)
class VizjsonSource:
    """The objects that a vizjson describes.

    Attributes
    ----------
    visualization : Visualization
    layers : sequence of SavedLayer
    settings : mapping
        Settings of the map.
    datasets : sequence of Visualization
        Datasets that it shows.
    user : str
    maps_api_url : str
        Root of the Maps API; ``{user}`` stands for the user.
    account_url : str
        Base URL of the account.
    auth_tokens : sequence of str
    updated_at : str
        Last change of its layers.
    """

    visualization: Visualization
    layers: Sequence[SavedLayer]
    settings: Mapping[str, Any]
    datasets: Sequence[Visualization]
    user: str
    maps_api_url: str
    account_url: str
    auth_tokens: Sequence[str]
    updated_at: str

    @property
    def is_named_map(self) -> bool:
        """Whether the map needs its named map because it has a password or shows private tables."""
        private = any(dataset.privacy in ("private", "password") for dataset in self.datasets)
        return private or self.visualization.privacy == "password"

    @property
    def attribution(self) -> str:
        """Attributions of the datasets."""
        return ", ".join(dataset.attributions for dataset in self.datasets if dataset.attributions)

    @property
    def ordered_layers(self) -> list[SavedLayer]:
        """The basemap, then the layers with data, then the other base layers."""
        base = [layer for layer in self.layers if layer.is_base]
        return [*base[:1], *(layer for layer in self.layers if not layer.is_base), *base[1:]]


def vizjson2(source: VizjsonSource) -> dict[str, Any]:
    """Return a vizjson of version 0.1.0."""
    one, settings = source.visualization, source.settings
    content: dict[str, Any] = {
        "id": one.id,
        "version": "0.1.0",
        "title": one.name,
        "description": _paragraphs(one.description),
        "scrollwheel": settings["scrollwheel"],
        "legends": settings["legends"],
        "url": None,
        "map_provider": settings["provider"],
        "bounds": _bounds(settings),
        "center": settings["center"],
        "zoom": settings["zoom"],
        "updated_at": source.updated_at,
        "layers": _layers2(source),
        "overlays": _overlays(one),
        "prev": None,
        "next": None,
        "transition_options": one.transition_options,
    }
    return content | ({"auth_tokens": list(source.auth_tokens)} if one.privacy == "password" else {})


def vizjson3(source: VizjsonSource) -> dict[str, Any]:
    """Return a vizjson of version 3.0.0."""
    one, settings = source.visualization, source.settings
    datasource = {"user_name": source.user, "maps_api_template": source.maps_api_url, "stat_tag": one.id}
    if source.is_named_map:
        datasource["template_name"] = template_name(one.id)
    return {
        "bounds": _bounds(settings),
        "center": settings["center"],
        "datasource": datasource,
        "description": _paragraphs(one.description),
        "options": settings["options"],
        "id": one.id,
        "layers": [_layer3(layer, source) for layer in source.ordered_layers],
        "map_provider": settings["provider"],
        "overlays": _overlays(one),
        "title": one.name,
        "updated_at": iso_time(one.updated_at),
        "user": {"fullname": source.user, "avatar_url": None, "profile_url": source.account_url},
        "version": "3.0.0",
        "widgets": [],
        "zoom": settings["zoom"],
        "analyses": [],
    }


def _layers2(source: VizjsonSource) -> list[dict[str, Any]]:
    """Return the layers of version 2: those with data are one layergroup or named map."""
    base = [_base_layer2(layer) for layer in source.layers if layer.is_base]
    carto = [layer for layer in source.layers if layer.kind == "carto"]
    if not carto:
        return base
    kind = "namedmap" if source.is_named_map else "layergroup"
    options: dict[str, Any] = {
        "user_name": source.user,
        "maps_api_template": source.maps_api_url,
        "sql_api_template": source.maps_api_url,
        "filter": "mapnik",
    }
    if source.is_named_map:
        options |= {
            "type": kind,
            "named_map": {
                "name": template_name(source.visualization.id),
                "stat_tag": source.visualization.id,
                "params": {f"layer{index}": int(_is_visible(layer)) for index, layer in enumerate(carto)},
                "layers": [_named_layer2(layer) for layer in carto],
            },
        }
    else:
        options["layer_definition"] = {
            "stat_tag": source.visualization.id,
            "version": "1.0.1",
            "layers": [_data_layer2(layer) for layer in carto],
        }
    options["attribution"] = source.attribution
    group = {"type": kind, **({"order": 1} if source.is_named_map else {}), "options": options}
    return [*base[:1], group, *base[1:]]


def _base_layer2(layer: SavedLayer) -> dict[str, Any]:
    """Return a base layer of version 2."""
    return {
        "options": dict(layer.options),
        "infowindow": layer.infowindow,
        "tooltip": layer.tooltip,
        "id": layer.id,
        "order": layer.position,
        "type": layer.kind,
    }


def _data_layer2(layer: SavedLayer) -> dict[str, Any]:
    """Return a layer with data of version 2."""
    return {
        "id": layer.id,
        "type": "CartoDB",
        "infowindow": _popup(layer.infowindow),
        "tooltip": _popup(layer.tooltip),
        "legend": layer.options.get("legend"),
        "order": layer.position,
        "visible": _is_visible(layer),
        "options": {
            "layer_name": layer.name,
            "cartocss": layer.cartocss,
            "cartocss_version": layer.options.get("style_version"),
            "interactivity": layer.options.get("interactivity"),
            "sql": layer.query,
        },
    }


def _named_layer2(layer: SavedLayer) -> dict[str, Any]:
    """Return a layer of a named map of version 2: without its query."""
    return {
        "id": layer.id,
        "layer_name": layer.name,
        "interactivity": layer.options.get("interactivity"),
        "visible": _is_visible(layer),
    }


def _layer3(layer: SavedLayer, source: VizjsonSource) -> dict[str, Any]:
    """Return a layer of version 3; that of a named map is without its query."""
    if layer.is_base:
        return {"id": layer.id, "type": layer.kind, "options": dict(layer.options)}
    options = {"layer_name": layer.name, "cartocss": layer.cartocss, "attribution": source.attribution}
    described: dict[str, Any] = {
        "id": layer.id,
        "type": "torque" if layer.kind == "torque" else "CartoDB",
        "visible": _is_visible(layer),
        "legends": [],
    }
    popups = {"infowindow": _popup(layer.infowindow), "tooltip": _popup(layer.tooltip)}
    if source.is_named_map:
        filled = {name: popup for name, popup in popups.items() if popup and popup.get("fields")}
        return {**described, **filled, "options": options}
    options |= {"cartocss_version": str(layer.options.get("style_version")), "sql": layer.query}
    return {**described, **popups, "options": options}


def _popup(popup: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """Return the public members of an infowindow or tooltip."""
    return None if popup is None else {name: popup[name] for name in _POPUP_MEMBERS if name in popup}


def _paragraphs(text: str | None) -> str | None:
    """Return a description as HTML, None if it is blank. Of Markdown, only paragraphs are supported."""
    if text is None or not text.strip():
        return None
    return "\n".join(f"<p>{html.escape(part.strip())}</p>\n" for part in re.split(r"\n[ \t]*\n", text.strip()))


def _overlays(one: Visualization) -> list[dict[str, Any]]:
    """Return the overlays."""
    return [{name: overlay[name] for name in _OVERLAY_MEMBERS} for overlay in default_layers.overlays(one.id)]


def _bounds(settings: Mapping[str, Any]) -> list[Any]:
    """Return the southwestern and the northeastern corner of the view, each as latitude and longitude."""
    return [json.loads(settings["view_bounds_sw"]), json.loads(settings["view_bounds_ne"])]


def _is_visible(layer: SavedLayer) -> bool:
    """Return whether a layer is visible at first."""
    return bool(layer.options.get("visible", True))
