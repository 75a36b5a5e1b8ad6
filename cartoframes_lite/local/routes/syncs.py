"""``/api/v1/synchronizations``: reload tables from their source at intervals."""

from __future__ import annotations

import uuid
from typing import Any

from starlette.responses import Response
from starlette.routing import Route

from cartoframes_lite.local.http.platform import PlatformError, PlatformRequest, platform_response, route
from cartoframes_lite.local.state import State
from cartoframes_lite.local.syncs.parameters import read_changes, read_sync_request
from cartoframes_lite.local.syncs.schedule import Syncs

_PATH = "/api/v1/synchronizations"


def routes(state: State, syncs: Syncs) -> list[Route]:
    """Return the routes, below the user's path."""

    def index(call: PlatformRequest) -> Response:
        call.require_master()
        found = syncs.all()
        return platform_response({"synchronizations": found, "total_entries": len(found)})

    def create(call: PlatformRequest) -> Response:
        call.require_master()
        request, interval_s = read_sync_request(call.parameters, str(uuid.uuid4()))
        return platform_response(syncs.create(request, interval_s))

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
