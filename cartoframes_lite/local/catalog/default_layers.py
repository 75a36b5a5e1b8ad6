"""Default layers, overlays and settings of maps, as CARTO's Builder creates them."""

from __future__ import annotations

import math
import uuid
from collections.abc import Mapping, Sequence
from typing import Any

STYLE_VERSION = "2.1.1"
_LIMITS = (-179.0, -85.0511, 179.0, 85.0511)  # west, south, east and north of CARTO's largest view
_MAX_ZOOM = 18
_POINT_STYLE = """  marker-width: 7;
  marker-fill: #EE4D5A;
  marker-fill-opacity: 0.9;
  marker-line-color: #FFFFFF;
  marker-line-width: 1;
  marker-line-opacity: 1;
  marker-placement: point;
  marker-type: ellipse;
  marker-allow-overlap: true;"""
_LINE_STYLE = """  line-color: #4CC8A3;
  line-width: 1.5;
  line-opacity: 1;"""
_POLYGON_STYLE = """  polygon-fill: #826DBA;
  polygon-opacity: 0.9;
  ::outline {
    line-color: #FFFFFF;
    line-width: 1;
    line-opacity: 0.5;
  }"""
_STYLES = (_POINT_STYLE, _LINE_STYLE, _POLYGON_STYLE)
_ANY_STYLE = "\n".join(
    f"#layer['mapnik::geometry_type'={number}] {{\n{style}\n}}" for number, style in enumerate(_STYLES, 1)
)
_STYLES_BY_TYPE = {
    f"ST_{multi}{name}": f"#layer {{\n{style}\n}}"
    for name, style in zip(("Point", "LineString", "Polygon"), _STYLES, strict=True)
    for multi in ("", "Multi")
}
_TILES = "https://{{s}}.basemaps.cartocdn.com/rastertiles/{}/{{z}}/{{x}}/{{y}}.png"
_BASEMAP: dict[str, Any] = {
    "urlTemplate": _TILES.format("voyager_nolabels"),
    "subdomains": "abcd",
    "minZoom": "0",
    "maxZoom": "18",
    "name": "Voyager",
    "className": "voyager_labels",
    "attribution": '© <a href="http://www.openstreetmap.org/copyright">OpenStreetMap</a> contributors'
    ' © <a href="https://carto.com/about-carto/">CARTO</a>',
}
_LABELS = {"urlTemplate": _TILES.format("voyager_only_labels")}
BASEMAP_LAYER = {"kind": "tiled", "options": {**_BASEMAP, "labels": _LABELS}}
LABELS_LAYER = {
    "kind": "tiled",
    "options": {
        **{name: value for name, value in _BASEMAP.items() if name != "className"},
        **_LABELS,
        "type": "Tiled",
        "name": "Voyager Labels",
    },
}
_OVERLAYS = (
    (2, "share", "", 20, 20),
    (3, "search", "", 60, 20),
    (6, "zoom", '<a href="#zoom_in" class="zoom_in">+</a> <a href="#zoom_out" class="zoom_out">-</a>', 20, 20),
    (8, "loader", '<div class="loader" original-title=""></div>', 20, 150),
    (9, "logo", "", 10, 40),
)


def data_layer(table: str, user: str, geometry_types: Sequence[str]) -> dict[str, Any]:
    """Return the data layer of a table.

    Parameters
    ----------
    table, user : str
        Name of the table and of its owner.
    geometry_types : sequence of str
        Geometry types of its rows, such as ``ST_Point``; the first one determines the style.

    Returns
    -------
    dict
        With the keys ``kind``, ``options``, ``infowindow`` and ``tooltip``.
    """
    options = {
        "query": "",
        "opacity": 0.99,
        "auto_bound": False,
        "interactivity": "cartodb_id",
        "debug": False,
        "visible": True,
        "extra_params": {"cache_policy": "persist"},
        "tile_style_history": [],
        "style_version": STYLE_VERSION,
        "table_name": table,
        "user_name": user,
        "tile_style": _STYLES_BY_TYPE.get(geometry_types[0] if geometry_types else "", _ANY_STYLE),
    }
    infowindow = {"template_name": "table/views/infowindow_light", "fields": []}
    return {"kind": "carto", "options": options, "infowindow": infowindow, "tooltip": {"fields": []}}


def overlays(visualization_id: str) -> list[dict[str, Any]]:
    """Return the overlays of a map; their ids are derived from its id."""
    return [
        {
            "id": str(uuid.uuid5(uuid.UUID(visualization_id), name)),
            "order": order,
            "type": name,
            "template": template,
            "options": {"display": True, "x": x, "y": y},
            "visualization_id": visualization_id,
        }
        for order, name, template, x, y in _OVERLAYS
    ]


def settings(changed: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings of a map: the defaults, replaced by those that were changed."""
    west, south, east, north = _LIMITS
    merged: dict[str, Any] = {
        "bounding_box_ne": _pair(north, east),
        "bounding_box_sw": _pair(south, west),
        "center": "[30, 0]",
        "provider": "leaflet",
        "view_bounds_ne": _pair(north, east),
        "view_bounds_sw": _pair(south, west),
        "zoom": 3,
        "legends": True,
        "scrollwheel": False,
        **changed,
    }
    defaults = {"dashboard_menu": True, "layer_selector": False}
    defaults |= {name: merged[name] for name in ("legends", "scrollwheel")}
    return {**merged, "options": {**defaults, **merged.get("options", {})}}


def view_of(bounds: tuple[float, float, float, float]) -> dict[str, Any]:
    """Return the settings of a map that shows a box (west, south, east, north) in degrees."""
    west, east = (min(max(bounds[index], _LIMITS[0]), _LIMITS[2]) for index in (0, 2))
    south, north = (min(max(bounds[index], _LIMITS[1]), _LIMITS[3]) for index in (1, 3))
    view: dict[str, Any] = {"view_bounds_ne": _pair(north, east), "view_bounds_sw": _pair(south, west)}
    view["center"] = f"[{(north + south) / 2},{(east + west) / 2}]"
    size = max(east - west, north - south)
    if size > 0:  # a single point keeps the default zoom, as in CARTO
        view["zoom"] = min(max(round(math.log2(360 / size)), 1), _MAX_ZOOM)
    return view


def _pair(latitude: float, longitude: float) -> str:
    """Return coordinates as CARTO writes them."""
    return f"[{_number(latitude)}, {_number(longitude)}]"


def _number(value: float) -> str:
    """Return a number as text, without a fraction if it has none."""
    return str(int(value)) if value.is_integer() else str(value)
