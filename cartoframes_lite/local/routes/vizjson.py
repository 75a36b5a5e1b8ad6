"""``/api/v2/viz/{id}/viz``, ``/api/v3/viz/{id}/viz`` and static images of datasets and maps."""

from __future__ import annotations

import hashlib
import re
from base64 import b64encode
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from starlette.responses import Response
from starlette.routing import Route

from cartoframes_lite.local.catalog.map_layers import SavedLayers
from cartoframes_lite.local.catalog.named_map_templates import auth_token, template_name
from cartoframes_lite.local.catalog.visualizations import Catalog, Visualization
from cartoframes_lite.local.catalog.vizjson import VizjsonSource, vizjson2, vizjson3
from cartoframes_lite.local.http.platform import PlatformError, PlatformRequest, platform_response, route
from cartoframes_lite.local.routes.viewable import find_viewable
from cartoframes_lite.local.serializers import format_datetime
from cartoframes_lite.local.state import State

_MIN_PIXELS, _MAX_PIXELS = 2, 8192


def routes(state: State, catalog: Catalog, layers: SavedLayers) -> list[Route]:
    """Return the routes, below the user's path."""

    def datasets_of(found: Visualization) -> list[Visualization]:
        return [found] if found.is_dataset else catalog.datasets_by_map([found.id]).get(found.id, [])

    def respond(call: PlatformRequest, describe: Callable[[VizjsonSource], dict[str, Any]]) -> Response:
        found = find_viewable(call, catalog)
        datasets = datasets_of(found)
        changes = [dataset.table_updated_at for dataset in datasets] or [found.updated_at]
        source = VizjsonSource(
            visualization=found,
            layers=layers.of(found),
            settings=layers.settings(found),
            datasets=datasets,
            user=state.user,
            maps_api_url=f"{call.request.base_url}user/{{user}}",
            account_url=call.account_url,
            auth_tokens=[auth_token(state, found)],
            updated_at=format_datetime(max(changes)),
        )
        response = platform_response(describe(source))
        if found.is_accessible_to_all:
            response.headers.update(_cache_headers(state, found, datasets))
            response.headers["Cache-Control"] = f"no-cache,{response.headers['Cache-Control']}"
        return response

    def static_image(call: PlatformRequest) -> Response:
        found = find_viewable(call, catalog)
        parameters = call.request.path_params
        width, height = (_pixels(parameters[name]) for name in ("width", "height"))
        path = f"api/v1/map/static/named/{template_name(found.id)}/{width}/{height}.png"
        headers = {"Location": f"{call.account_url}/{path}", **_cache_headers(state, found, datasets_of(found))}
        return Response(status_code=302, headers=headers)

    return [
        *route(state, "/api/v2/viz/{id}/viz", GET=partial(respond, describe=vizjson2)),
        *route(state, "/api/v3/viz/{id}/viz", GET=partial(respond, describe=vizjson3)),
        *route(state, "/api/v2/viz/{id}/static/{width}/{height}.png", GET=static_image),
    ]


def _pixels(text: str) -> int:
    """Return a size in pixels; text after the digits is ignored, as in CARTO."""
    digits = re.match(r"[0-9]{1,6}", text)
    size = int(digits[0]) if digits else 0
    if not _MIN_PIXELS <= size <= _MAX_PIXELS:
        raise PlatformError(400)
    return size


def _cache_headers(state: State, one: Visualization, datasets: Sequence[Visualization]) -> dict[str, str]:
    """Return the headers for caches of responses about a dataset or map."""
    tables = ",".join(sorted(".".join(dataset.table) for dataset in datasets))
    with state.admin() as connection:
        database = connection.info.dbname
    digest = b64encode(hashlib.sha256(one.id.encode()).digest()).decode()
    return {
        "X-Cache-Channel": f"{database}:{tables},{one.id}:vizjson",
        "Surrogate-Key": f"rj rv:{digest[:6]}",
        "Cache-Control": "max-age=86400,must-revalidate, public",
    }
