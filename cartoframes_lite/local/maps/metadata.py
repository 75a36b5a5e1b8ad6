"""What the answer to an instantiation tells of a map."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from urllib.parse import quote

from cartoframes_lite.local.maps.config import MapLayer
from cartoframes_lite.local.maps.layer_inspection import InspectedLayer
from cartoframes_lite.local.maps.layergroups import Layergroup

_TILES = "{z}/{x}/{y}"


def describe(group: Layergroup, token: str, updated: datetime, *, base_url: str, api_key: str = "") -> dict[str, Any]:
    """Return the answer to an instantiation.

    Parameters
    ----------
    group : Layergroup
    token : str
        The id of the map for its URLs.
    updated : datetime
        When the tables of the map were changed last.
    base_url : str
        Of the user.
    api_key : str
        That the URLs of tiles need, if any.
    """
    root = f"{base_url}/api/v1/map/{token}"
    query = f"?api_key={quote(api_key, safe='')}" if api_key else ""
    by_index = {shown.layer.index: shown for shown in group.shown}
    layers = [_layer(layer, by_index.get(layer.index), root, query) for layer in group.config.layers]
    formats: dict[str, str] = {}
    if group.shown:
        formats["vector"] = f"{root}/{_TILES}.mvt{query}"
        if group.shown[0].style is not None:
            formats["raster"] = f"{root}/{_TILES}.png{query}"
    metadata: dict[str, Any] = {
        "layers": layers,
        "dataviews": {name: {"url": _urls(f"{root}/dataview/{quote(name)}")} for name in group.config.dataviews},
        "analyses": [],
        "tilejson": {name: _tilejson(url) for name, url in formats.items()},
        "url": {name: {"urlTemplate": url, "subdomains": []} for name, url in formats.items()},
    }
    for node in group.config.nodes.values():
        described = {"status": "ready", "url": _urls(f"{root}/analysis/node/{node.id}"), "query": node.query()}
        metadata["analyses"].append({"nodes": {node.name: described}})
    updated_text = updated.isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return {"layergroupid": token, "metadata": metadata, "last_updated": updated_text}


def _layer(layer: MapLayer, shown: InspectedLayer | None, root: str, query: str) -> dict[str, Any]:
    """Describe a layer."""
    tiles = f"{root}/{quote(layer.id)}/{_TILES}"
    meta: dict[str, Any] = {"stats": {}}
    tilejson: dict[str, Any] = {}
    if shown is not None:
        meta["stats"]["estimatedFeatureCount"] = shown.row_count
        tilejson["vector"] = _tilejson(f"{tiles}.mvt{query}")
        if layer.cartocss is not None:
            meta |= {"cartocss": layer.cartocss, "cartocss_meta": {"rules": []}}
        if layer.aggregation is not None:
            meta["aggregation"] = {"png": shown.aggregated and shown.style is not None, "mvt": shown.aggregated}
    if shown is None or shown.style is not None:
        tilejson["raster"] = _tilejson(f"{tiles}.png{query}")
    if layer.interactivity and "raster" in tilejson:
        tilejson["raster"]["grids"] = [f"{tiles}.grid.json{query}"]
    return {"type": layer.kind, "id": layer.id, "meta": meta, "tilejson": tilejson}


def _tilejson(url: str) -> dict[str, Any]:
    return {"tilejson": "2.2.0", "tiles": [url]}


def _urls(url: str) -> dict[str, str]:
    return {"http": url, "https": url}
