"""Read the parameters of a request for a synchronization."""

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
    """Return what a request wants changed. The interval may be a short one, as CARTO lets it be."""
    changes: dict[str, Any] = {}
    if body.get("interval") is not None:
        changes["interval_s"] = read_interval_s(body, DEFAULT_INTERVAL_S)
    if isinstance(body.get("url"), str):
        changes["url"] = body["url"]
    options = read_options(body)
    changes |= {name: getattr(options, name) for name in _OPTIONS if name in body}
    return changes


def read_interval_s(parameters: Mapping[str, Any], default: int) -> int:
    """Return the parameter ``interval``, a number or its text."""
    given = parameters.get("interval")
    interval_s = default if given is None else -1
    if isinstance(given, str | int) and not isinstance(given, bool):
        with suppress(ValueError):
            interval_s = int(given)
    if not 0 <= interval_s <= _MAX_INTERVAL_S:
        raise PlatformError(400, f"interval is a number of seconds, not {given!r}")
    return interval_s
