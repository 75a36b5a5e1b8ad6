"""Parse the parameters of Synchronization API requests."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from cartoframes_lite.local.http.platform import PlatformError
from cartoframes_lite.local.imports.parameters import read_options

DEFAULT_INTERVAL_S = 3600
_MAX_INTERVAL_S = 2**31 - 1
_OPTIONS = ("type_guessing", "quoted_fields_guessing", "content_guessing")


def read_changes(body: Mapping[str, Any]) -> dict[str, Any]:
    """Return the changes in an update request. As in CARTO, the minimum interval is not enforced here."""
    changes: dict[str, Any] = {}
    if body.get("interval") is not None:
        changes["interval_s"] = read_interval_s(body, DEFAULT_INTERVAL_S)
    if isinstance(body.get("url"), str):
        changes["url"] = body["url"]
    options = read_options(body)
    changes |= {name: getattr(options, name) for name in _OPTIONS if name in body}
    return changes


def read_interval_s(parameters: Mapping[str, Any], default: int) -> int:
    """Return the parameter ``interval`` in seconds, given as a number or a string."""
    given = parameters.get("interval")
    interval_s = default if given is None else -1
    if isinstance(given, str | int) and not isinstance(given, bool):
        with suppress(ValueError):
            interval_s = int(given)
    if not 0 <= interval_s <= _MAX_INTERVAL_S:
        raise PlatformError(400, f"invalid interval {given!r}: give a number of seconds")
    return interval_s
