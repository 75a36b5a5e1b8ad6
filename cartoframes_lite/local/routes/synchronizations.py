"""``/api/v1/synchronizations``: tables that are loaded again from their source, at intervals."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from typing import Any

from starlette.responses import Response
from starlette.routing import Route

from ..imports.queue import TooManyImportsError
from ..rails import Call, RefusedError, answer, route
from ..state import State
from ..syncs.schedule import MIN_INTERVAL_S, Syncs
from .imports import read_options, read_order, too_many

_PATH = "/api/v1/synchronizations"
_DEFAULT_INTERVAL_S = 3600
_MAX_INTERVAL_S = 2**31 - 1
_OPTIONS = ("type_guessing", "quoted_fields_guessing", "content_guessing")


def routes(state: State, syncs: Syncs) -> list[Route]:
    """Return the routes, below the user's path."""

    def index(call: Call) -> Response:
        call.require_master()
        found = syncs.all()
        return answer({"synchronizations": found, "total_entries": len(found)})

    def create(call: Call) -> Response:
        call.require_master()
        interval_s = _interval(call.parameters, _DEFAULT_INTERVAL_S)
        if interval_s < MIN_INTERVAL_S:
            raise RefusedError(
                400, f"Interval must be at least {MIN_INTERVAL_S} seconds: give a longer one than {interval_s}"
            )
        order = read_order({**call.parameters, "collision_strategy": None, "privacy": None}, state)
        if order.data_type not in ("url", "datasource", "external_table"):
            raise RefusedError(400, "Nothing to synchronize: give a url or a connector")
        try:
            created = syncs.create(replace(order, synchronization_id=str(uuid.uuid4())), interval_s)
        except TooManyImportsError:
            raise RefusedError(429, too_many(state)) from None
        return answer(created)

    def show(call: Call) -> Response:
        call.require_master()
        return answer(find(call))

    def update(call: Call) -> Response:
        call.require_master()
        find(call)
        return answer(syncs.update(call.request.path_params["id"], _changes(call.body)))

    def delete(call: Call) -> Response:
        call.require_master()
        find(call)
        syncs.delete(call.request.path_params["id"])
        return Response(status_code=204)

    def progress(call: Call) -> Response:
        call.require_master()
        return answer({"state": find(call)["state"]})

    def force(call: Call) -> Response:
        call.require_master()
        identity = find(call)["id"]
        return answer({"enqueued": syncs.force(identity), "synchronization_id": identity})

    def find(call: Call) -> dict[str, Any]:
        try:
            return syncs.find(call.request.path_params["id"])
        except LookupError:
            raise RefusedError(404) from None

    return [
        *route(state, _PATH, GET=index, POST=create),
        *route(state, _PATH + "/{id}", GET=show, PUT=update, DELETE=delete),
        *route(state, _PATH + "/{id}/sync_now", GET=progress, PUT=force),
    ]


def _changes(body: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a request wants changed. The interval may be a short one, as CARTO lets it be."""
    changes: dict[str, Any] = {}
    if body.get("interval") is not None:
        changes["interval_s"] = _interval(body, _DEFAULT_INTERVAL_S)
    if isinstance(body.get("url"), str):
        changes["url"] = body["url"]
    options = read_options(body)
    changes |= {name: getattr(options, name) for name in _OPTIONS if name in body}
    return changes


def _interval(parameters: Mapping[str, Any], default: int) -> int:
    """Return the parameter ``interval``, a number or its text."""
    given = parameters.get("interval")
    interval_s = default if given is None else -1
    if isinstance(given, str | int) and not isinstance(given, bool):
        with suppress(ValueError):
            interval_s = int(given)
    if not 0 <= interval_s <= _MAX_INTERVAL_S:
        raise RefusedError(400, f"interval is a number of seconds, not {given!r}")
    return interval_s
