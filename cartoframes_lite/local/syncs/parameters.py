"""Parse the parameters of Synchronization API requests."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cartoframes_lite.local.http.platform import PlatformError
from cartoframes_lite.local.imports.parameters import is_on, read_options, read_source, text_parameter, to_integer
from cartoframes_lite.local.imports.requests import NO_SOURCE, ImportRequest

DEFAULT_INTERVAL_S = 3600
MIN_INTERVAL_S = 900
_MAX_INTERVAL_S = 2**31 - 1
_OPTIONS = ("type_guessing", "quoted_fields_guessing", "content_guessing")


def read_sync_request(parameters: Mapping[str, Any], sync_id: str) -> tuple[ImportRequest, int]:
    """Return the first import of a new synchronization and its interval in seconds.

    Parameters
    ----------
    parameters : mapping
        As for imports; privacy and collision strategy are ignored. Without a source the import fails, as in CARTO.
    sync_id : str

    Raises
    ------
    PlatformError
        400 if the interval is too short, or for an invalid URL or connector.
    """
    interval_s = _interval_s(parameters.get("interval", DEFAULT_INTERVAL_S))
    if interval_s < MIN_INTERVAL_S:
        raise PlatformError(400, "Invalid interval: Sync interval must be at least 15 minutes")
    source = read_source(parameters) or {"data_type": "datasource", "error": NO_SOURCE}
    request = ImportRequest(
        **source,
        table_name=text_parameter(parameters, "table_name"),
        options=read_options(parameters),
        create_vis=is_on(parameters, "create_vis"),
        synchronization_id=sync_id,
    )
    return request, interval_s


def read_changes(body: Mapping[str, Any]) -> dict[str, Any]:
    """Return the changes in an update request. As in CARTO, the minimum interval is not enforced here."""
    changes: dict[str, Any] = {}
    if "interval" in body:
        changes["interval_s"] = _interval_s(body["interval"])
    if isinstance(body.get("url"), str):
        changes["url"] = body["url"]
    options = read_options(body)
    changes |= {name: getattr(options, name) for name in _OPTIONS if name in body}
    return changes


def _interval_s(value: object) -> int:
    """Return an interval in seconds; like CARTO, read text without a number as 0."""
    interval_s = to_integer(value)
    if not -_MAX_INTERVAL_S <= interval_s <= _MAX_INTERVAL_S:
        raise PlatformError(400, f"invalid interval {value!r}: give a number of seconds")
    return interval_s
