"""``/api/v3/tags``: the tags of the account's datasets and maps, with the numbers of their uses."""

from __future__ import annotations

import json

from starlette.responses import Response
from starlette.routing import Route

from cartoframes_lite.local.catalog.search_parameters import text_parameter
from cartoframes_lite.local.catalog.tags import VALID_TYPES, count_tags
from cartoframes_lite.local.catalog.visualizations import Catalog
from cartoframes_lite.local.http.paging import linked_page, read_page
from cartoframes_lite.local.http.platform import CauseError, PlatformRequest, platform_response, route
from cartoframes_lite.local.state import State

_PER_PAGE = 6
_DEFAULT_TYPES = ("table", "derived", "remote")


def routes(state: State, catalog: Catalog) -> list[Route]:
    """Return the routes, below the user's path."""

    def index(call: PlatformRequest) -> Response:
        call.require_master()
        page = read_page(call, per_page=_PER_PAGE)
        types = tuple(text_parameter(call, "types").split(",")) if text_parameter(call, "types") else _DEFAULT_TYPES
        if not set(types) <= set(VALID_TYPES):
            message = f"Wrong 'types' parameter combination. Valid values to combine: {json.dumps(VALID_TYPES)}"
            raise CauseError(400, message)
        tags = count_tags(catalog, types, text_parameter(call, "q").split())
        return platform_response(linked_page(call, page, page.of(tags), len(tags)))

    return route(state, "/api/v3/tags", jsonp=False, GET=index)
