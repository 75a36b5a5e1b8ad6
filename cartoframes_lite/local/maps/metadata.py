"""Response to an instantiation: URLs and metadata of layers, dataviews and analyses."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from urllib.parse import quote

from cartoframes_lite.local.maps.config import MapLayer
from cartoframes_lite.local.maps.layer_inspection import InspectedLayer
from cartoframes_lite.local.maps.layergroups import Layergroup

_TILES = "{z}/{x}/{y}"


def describe(group: Layergroup, token: str, updated: datetime, *, base_url: str, api_key: str = "") -> dict[str, Any]:
    """Return the response to an instantiation.

    Parameters
    ----------
    group : Layergroup
    token : str
        Identifier of the map in URLs.
    updated : datetime
        When the tables of the map last changed.
    base_url : str
        Base URL of the user.
    api_key : str
        API key to include in tile URLs; empty for none.
    """
    root = f"{base_url}/api/v1/map/{token}"
    query = f"?api_key={quote(api_key, safe='')}" if api_key else ""
    by_index = {inspected.layer.index: inspected for inspected in group.inspected}
    layers = [_layer(layer, by_index.get(layer.index), root, query) for layer in group.config.layers]
    formats: dict[str, str] = {}
    if group.inspected:
        formats["vector"] = f"{root}/{_TILES}.mvt{query}"
        if group.inspected[0].style is not None:
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


def _layer(layer: MapLayer, inspected: InspectedLayer | None, root: str, query: str) -> dict[str, Any]:
    """Describe a layer."""
    tiles = f"{root}/{quote(layer.id)}/{_TILES}"
    meta: dict[str, Any] = {"stats": {}}
    tilejson: dict[str, Any] = {}
    if inspected is not None:
        meta["stats"]["estimatedFeatureCount"] = inspected.row_count
        tilejson["vector"] = _tilejson(f"{tiles}.mvt{query}")
        if layer.cartocss is not None:
            meta |= {"cartocss": layer.cartocss, "cartocss_meta": {"rules": []}}
        if layer.aggregation is not None:
            meta["aggregation"] = {
                "png": inspected.aggregated and inspected.style is not None,
                "mvt": inspected.aggregated,
            }
    if inspected is None or inspected.style is not None:
        tilejson["raster"] = _tilejson(f"{tiles}.png{query}")
    if layer.interactivity and "raster" in tilejson:
        tilejson["raster"]["grids"] = [f"{tiles}.grid.json{query}"]
    return {"type": layer.kind, "id": layer.id, "meta": meta, "tilejson": tilejson}


def _tilejson(url: str) -> dict[str, Any]:
    return {"tilejson": "2.2.0", "tiles": [url]}


def _urls(url: str) -> dict[str, str]:
    return {"http": url, "https": url}
