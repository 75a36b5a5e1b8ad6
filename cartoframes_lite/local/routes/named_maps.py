"""``/api/v1/map/named``: templates of maps, and their instances."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from starlette.responses import Response
from starlette.routing import Route

from ..maps import config, metadata
from ..maps.entrance import MapsDoor, Visit
from ..maps.json_input import JSONInputError, parse_json
from ..maps.layergroups import Layergroups
from ..maps.refusals import MapError
from ..maps.templates import Template, Templates, is_authorized
from ..maps.tiles import Tiles
from ..state import State
from .map_tiles import answer_tile
from .map_visits import MapRoutes, answered, base_url, in_thread, require_json
from .maps import read_filters

_CALLBACK = "callback parameter should be present and be a function name"


def routes(state: State, door: MapsDoor, layergroups: Layergroups, templates: Templates, tiles: Tiles) -> list[Route]:
    """Return the routes of named maps."""
    make = MapRoutes(door)

    async def index(visit: Visit) -> Response:
        door.require_master(visit, "list")
        return answered(visit, {"template_ids": await in_thread(templates.names)})

    async def create(visit: Visit) -> Response:
        door.require_master(visit, "create")
        require_json(visit, "POST template data")
        template = await in_thread(templates.create, _without_key(visit.body))
        return answered(visit, {"template_id": template.name})

    async def show(visit: Visit) -> Response:
        door.require_master(visit, "get")
        name = _name(visit)
        template = await in_thread(templates.find, name)
        if template is None:
            raise MapError(f"Cannot find template '{name}' of user '{state.user}'", status=404)
        return answered(visit, {"template": template.content})

    async def update(visit: Visit) -> Response:
        door.require_master(visit, "update")
        require_json(visit, "PUT template data")
        template = await in_thread(templates.update, _name(visit), _without_key(visit.body))
        return answered(visit, {"template_id": template.name})

    async def delete(visit: Visit) -> Response:
        door.require_master(visit, "delete")
        await in_thread(templates.delete, _name(visit))
        return Response(status_code=204)

    async def instantiate(visit: Visit) -> Response:
        require_json(visit)
        parameters = visit.body if isinstance(visit.body, Mapping) else {}
        if visit.request.method == "GET":
            parameters = _jsonp_parameters(visit)
        template = await open_template(state, templates, visit)
        content = template.instance(parameters)
        read = config.read(content, read_filters(visit))
        group, updated = await layergroups.instantiate(content, read, state.owner_role, template=template)
        token = f"{state.user}@{template.fingerprint[:8]}@{group.id}:{int(updated.timestamp() * 1000)}"
        return answered(visit, metadata.describe(group, token, updated, base_url=base_url(visit, state.user)))

    async def show_tile(visit: Visit) -> Response:
        template = await open_template(state, templates, visit)
        group = await layergroups.instance(template.instance({}), state.owner_role, template=template)
        return await answer_tile(visit, tiles, group, state.owner_role, visit.text("layers"))

    return [
        make.route("/named", GET=("named_list", index), POST=("named_create", create)),
        make.route(
            "/named/{template}",
            GET=("named_get", show),
            PUT=("named_update", update),
            DELETE=("named_delete", delete),
            POST=("named", instantiate),
        ),
        make.route("/named/{template}/jsonp", GET=("named", instantiate)),
        make.route("/named/{template}/{layers}/{z}/{x}/{file}", GET=("named_tiles", show_tile)),
    ]


async def open_template(state: State, templates: Templates, visit: Visit) -> Template:
    """Return the template that a request names; raise MapError if its tokens do not open it."""
    name = _name(visit)
    template: Template | None = await in_thread(templates.find, name)
    if template is None:
        raise MapError(f"Template '{name}' of user '{state.user}' not found", status=404)
    if not is_authorized(template.auth, visit.auth_tokens):
        raise MapError("Unauthorized template instantiation", status=403)
    return template


def read_parameters(visit: Visit) -> Mapping[str, Any]:
    """Return the values for placeholders in a query string."""
    try:
        found = parse_json(str(visit.query.get("config") or "{}"))
    except JSONInputError:
        raise MapError("Invalid config parameter, should be a valid JSON") from None
    return found if isinstance(found, Mapping) else {}


def _name(visit: Visit) -> str:
    """Return the name of the template in the path, where the user's may stand before it."""
    return visit.text("template").rpartition("@")[2]


def _without_key(body: Any) -> Any:
    """Return a body without the key that some clients put into it."""
    return {name: item for name, item in body.items() if name != "api_key"} if isinstance(body, dict) else body


def _jsonp_parameters(visit: Visit) -> Mapping[str, Any]:
    """Return the parameters of an instantiation by GET."""
    if not visit.query.get("callback"):
        raise MapError(_CALLBACK)
    return read_parameters(visit)
