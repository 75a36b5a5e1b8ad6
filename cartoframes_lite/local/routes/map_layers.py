"""``/api/v1/maps``, their layers, and the overlays of ``/api/v1/viz/{id}``."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from starlette.responses import Response
from starlette.routing import Route

from cartoframes_lite.local.catalog import default_layers
from cartoframes_lite.local.catalog.map_layers import BASE_KINDS, KINDS, SavedLayer, SavedLayers
from cartoframes_lite.local.catalog.visualizations import Catalog, Visualization
from cartoframes_lite.local.http.platform import CauseError, PlatformError, PlatformRequest, platform_response, route
from cartoframes_lite.local.routes.viewable import uuid_parameter
from cartoframes_lite.local.state import State

_FIXED_OPTIONS = ("table_name", "user_name")
_MAP_OPTIONS = ("dashboard_menu", "legends", "scrollwheel", "layer_selector")
# Settings of a map with the types of their values; CARTO stores pairs of coordinates as text.
_PAIRS = ("bounding_box_ne", "bounding_box_sw", "center", "view_bounds_ne", "view_bounds_sw")
_SETTINGS: dict[str, type] = {"provider": str, "zoom": int, "legends": bool, "scrollwheel": bool}


def routes(state: State, catalog: Catalog, layers: SavedLayers) -> list[Route]:
    """Return the routes, below the user's path."""
    return [*_map_routes(state, catalog, layers), *_layer_routes(state, catalog, layers)]


def _map_routes(state: State, catalog: Catalog, layers: SavedLayers) -> list[Route]:
    """Return the routes of the settings and overlays of maps."""

    def show_map(call: PlatformRequest) -> Response:
        found = _find_map(call, catalog)
        return platform_response({"id": found.map_id, "user_id": state.user_id, **layers.settings(found)})

    def update_map(call: PlatformRequest) -> Response:
        found = _find_map(call, catalog)
        catalog.update_details(found.id, {"map_settings": {**found.map_settings, **_read_settings(call.body)}})
        return show_map(call)

    def overlays(call: PlatformRequest) -> Response:
        if not call.is_owner:
            raise PlatformError(401)
        visualization_id = uuid_parameter(call, "visualization_id")
        try:
            found = catalog.find(visualization_id)
        except LookupError:
            raise CauseError(404, f"Visualization not found: {visualization_id}") from None
        return platform_response([] if found.map_id is None else default_layers.overlays(found.id))

    return [
        *route(state, "/api/v1/maps/{map_id}", GET=show_map, PUT=update_map),
        *route(state, "/api/v2/maps/{map_id}", GET=show_map, PUT=update_map),
        *route(state, "/api/v1/viz/{visualization_id}/overlays", GET=overlays),
    ]


def _layer_routes(state: State, catalog: Catalog, layers: SavedLayers) -> list[Route]:
    """Return the routes of the layers of maps."""

    def find_map(call: PlatformRequest) -> Visualization:
        call.require_master()
        uuid_parameter(call, "map_id")
        return _find_map(call, catalog)

    def find_layer(call: PlatformRequest) -> SavedLayer:
        return _layer_of(layers.of(find_map(call)), call.request.path_params["id"])

    def index(call: PlatformRequest) -> Response:
        found = [_serialize(layer) for layer in layers.of(find_map(call))]
        return platform_response({"layers": found, "total_entries": len(found)})

    def show(call: PlatformRequest) -> Response:
        return platform_response(_serialize(find_layer(call)))

    def create(call: PlatformRequest) -> Response:
        found = find_map(call)
        values = _read_layer(call.body)
        if values.get("kind") not in KINDS:
            raise CauseError(422, "Kind is not included in the list")
        if values["kind"] not in BASE_KINDS:
            dataset = _check_data_layer(state, catalog, found, layers.of(found), values["options"])
            values["dataset_id"] = dataset.id
            if dataset.privacy in ("private", "password") and state.plan.private_datasets:
                catalog.set_privacy(found.id, "private")
        layer_id = layers.add(found, values)
        return platform_response(_serialize(_layer_of(layers.of(found), layer_id)))

    def update(call: PlatformRequest) -> Response:
        layer = find_layer(call)
        layers.update(layer, _without_fixed_options(layer, _read_layer(call.body)))
        return show(call)

    def update_all(call: PlatformRequest) -> Response:
        found, items = find_map(call), call.body.get("layers")
        if not isinstance(items, list) or not items or not all(isinstance(item, Mapping) for item in items):
            raise CauseError(404, "Layer not found")
        known = layers.of(found)
        changes = [(_layer_of(known, item.get("id")), _read_layer(item)) for item in items]
        for layer, values in changes:
            layers.update(layer, _without_fixed_options(layer, values))
        known = layers.of(found)
        updated = [_serialize(_layer_of(known, layer.id)) for layer, _ in changes]
        return platform_response({"layers": updated} if len(updated) > 1 else updated[0])

    def delete(call: PlatformRequest) -> Response:
        layers.delete(find_layer(call))
        return Response(status_code=204)

    return [
        *route(state, "/api/v1/maps/{map_id}/layers", GET=index, POST=create, PUT=update_all),
        *route(state, "/api/v1/maps/{map_id}/layers/{id}", GET=show, PUT=update, DELETE=delete),
    ]


def _find_map(call: PlatformRequest, catalog: Catalog) -> Visualization:
    """Return the dataset or map with the map in the path; raise PlatformError (401, 404) if the caller has none."""
    call.require_master()
    try:
        return catalog.find_by_map(call.request.path_params["map_id"])
    except LookupError:
        raise CauseError(404, "Map not found") from None


def _serialize(layer: SavedLayer) -> dict[str, Any]:
    """Return the API representation of a layer."""
    return {
        "options": dict(layer.options),
        "kind": layer.kind,
        "infowindow": layer.infowindow,
        "tooltip": layer.tooltip,
        "id": layer.id,
        "order": layer.position,
    }


def _layer_of(layers: list[SavedLayer], layer_id: object) -> SavedLayer:
    """Return the layer with an id; raise CauseError (404) if it does not exist."""
    for layer in layers:
        if layer.id == layer_id:
            return layer
    raise CauseError(404, "Layer not found")


def _read_layer(body: Mapping[str, Any]) -> dict[str, Any]:
    """Return the attributes of a layer in a request; raise CauseError (422) if one is invalid."""
    values = {name: body[name] for name in ("options", "kind", "infowindow", "tooltip") if name in body}
    for name in ("options", "infowindow", "tooltip"):
        if values.get(name) is not None and not isinstance(values[name], Mapping):
            raise CauseError(422, f"{name.capitalize()} must be an object")
    if isinstance(body.get("order"), int):
        values["position"] = int(body["order"])  # true is 1, as in CARTO
    return {**values, "options": values.get("options") or {}} if "options" in values or "kind" in values else values


def _without_fixed_options(layer: SavedLayer, values: dict[str, Any]) -> dict[str, Any]:
    """Return the changes of a layer without those of its table and user."""
    if "kind" in values and values["kind"] not in KINDS:
        raise CauseError(422, "Kind is not included in the list")
    if "options" in values:
        options = {name: value for name, value in values["options"].items() if name not in _FIXED_OPTIONS}
        fixed = {name: layer.options[name] for name in _FIXED_OPTIONS if name in layer.options}
        values = {**values, "options": {**options, **fixed}}
    return values


def _check_data_layer(
    state: State, catalog: Catalog, visualization: Visualization, layers: list[SavedLayer], options: Mapping[str, Any]
) -> Visualization:
    """Return the dataset of a new layer; raise CauseError if the layer cannot be added."""
    data_layers = [layer for layer in layers if not layer.is_base]
    if len(data_layers) >= state.plan.layers:
        raise CauseError(422, "Cannot add more layers to this visualization")
    if visualization.is_dataset and data_layers:
        raise CauseError(422, "Cannot add more layers of this type")
    try:
        return catalog.find_by_table(str(options.get("table_name")))
    except LookupError:
        raise CauseError(403, "You do not have permission in the layer you are trying to add") from None


def _read_settings(body: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings of a map in a request; raise CauseError (422) if one is invalid."""
    settings: dict[str, Any] = {}
    for name in _PAIRS:
        if body.get(name) not in (None, ""):
            settings[name] = body[name] if isinstance(body[name], str) else json.dumps(body[name])
            if not _is_pair(settings[name]):
                raise CauseError(422, f"{name} must be a pair of coordinates")
    for name, kind in _SETTINGS.items():
        if body.get(name) not in (None, ""):
            if type(body[name]) is not kind:
                raise CauseError(422, f"{name} must be of type {kind.__name__}")
            settings[name] = body[name]
    options = body.get("options")
    if options is not None:
        if not isinstance(options, Mapping) or not set(options) <= set(_MAP_OPTIONS):
            raise CauseError(422, f"Options must be an object with the members {', '.join(_MAP_OPTIONS)}")
        if set(options) != set(_MAP_OPTIONS) or not all(isinstance(value, bool) for value in options.values()):
            raise CauseError(422, f"Options must have the boolean members {', '.join(_MAP_OPTIONS)}")
        settings["options"] = dict(options)
    return settings


def _is_pair(text: str) -> bool:
    """Return whether a text is a JSON array of two numbers."""
    try:
        pair = json.loads(text)
    except ValueError:
        return False
    return isinstance(pair, list) and len(pair) == 2 and all(type(number) in (int, float) for number in pair)
