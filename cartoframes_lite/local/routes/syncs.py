"""``/api/v1/synchronizations``: reload tables from their source at intervals."""

from __future__ import annotations

import uuid
from dataclasses import replace
from typing import Any

from starlette.responses import Response
from starlette.routing import Route

from cartoframes_lite.local.http.platform import PlatformError, PlatformRequest, platform_response, route
from cartoframes_lite.local.imports.jobs import TooManyImportsError
from cartoframes_lite.local.imports.parameters import no_slot_message, read_import_request
from cartoframes_lite.local.state import State
from cartoframes_lite.local.syncs.parameters import DEFAULT_INTERVAL_S, read_changes, read_interval_s
from cartoframes_lite.local.syncs.schedule import MIN_INTERVAL_S, Syncs

_PATH = "/api/v1/synchronizations"


def routes(state: State, syncs: Syncs) -> list[Route]:
    """Return the routes, below the user's path."""

    def index(call: PlatformRequest) -> Response:
        call.require_master()
        found = syncs.all()
        return platform_response({"synchronizations": found, "total_entries": len(found)})

    def create(call: PlatformRequest) -> Response:
        call.require_master()
        interval_s = read_interval_s(call.parameters, DEFAULT_INTERVAL_S)
        if interval_s < MIN_INTERVAL_S:
            raise PlatformError(
                400, f"Interval must be at least {MIN_INTERVAL_S} seconds: give a longer one than {interval_s}"
            )
        import_request = read_import_request({**call.parameters, "collision_strategy": None, "privacy": None}, state)
        if import_request.data_type not in ("url", "datasource", "external_table"):
            raise PlatformError(400, "Nothing to synchronize: give a url or a connector")
        try:
            created = syncs.create(replace(import_request, synchronization_id=str(uuid.uuid4())), interval_s)
        except TooManyImportsError:
            raise PlatformError(429, no_slot_message(state)) from None
        return platform_response(created)

    def show(call: PlatformRequest) -> Response:
        call.require_master()
        return platform_response(find(call))

    def update(call: PlatformRequest) -> Response:
        call.require_master()
        find(call)
        return platform_response(syncs.update(call.request.path_params["id"], read_changes(call.body)))

    def delete(call: PlatformRequest) -> Response:
        call.require_master()
        find(call)
        syncs.delete(call.request.path_params["id"])
        return Response(status_code=204)

    def progress(call: PlatformRequest) -> Response:
        call.require_master()
        return platform_response({"state": find(call)["state"]})

    def force(call: PlatformRequest) -> Response:
        call.require_master()
        sync_id = find(call)["id"]
        return platform_response({"enqueued": syncs.force(sync_id), "synchronization_id": sync_id})

    def find(call: PlatformRequest) -> dict[str, Any]:
        try:
            return syncs.find(call.request.path_params["id"])
        except LookupError:
            raise PlatformError(404) from None

    return [
        *route(state, _PATH, GET=index, POST=create),
        *route(state, _PATH + "/{id}", GET=show, PUT=update, DELETE=delete),
        *route(state, _PATH + "/{id}/sync_now", GET=progress, PUT=force),
    ]
