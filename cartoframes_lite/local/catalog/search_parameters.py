"""Parse the parameters of a catalog search."""

from __future__ import annotations

from dataclasses import replace

from cartoframes_lite.local.catalog.search import ORDERS, UNCOMBINED_ORDERS, Search
from cartoframes_lite.local.http.paging import read_order, read_page
from cartoframes_lite.local.http.platform import PlatformError, PlatformRequest

_COMBINED_ORDERS = [name for name in ORDERS if name not in UNCOMBINED_ORDERS]


def read_search(call: PlatformRequest) -> Search:
    """Parse the search criteria of a request.

    Raises
    ------
    PlatformError
        400 for an invalid page, order or box.
    """
    page = read_page(call, name="error")
    types, text = read_types(call), text_parameter(call, "q")
    search = Search(
        types,
        offset=page.offset,
        limit=page.per_page,
        order=read_order(call, tuple(ORDERS), combinations=_COMBINED_ORDERS, name="error"),
        text=text if text.strip() else "",
        tags=_split(text_parameter(call, "tags")),
        published=is_true(call, "only_published"),
        displayed=is_true(call, "only_with_display_name"),
        bbox=_bbox(call, types),
        listed=not call.is_owner,
    )
    return _with_filters_of_owner(call, search) if call.is_owner else search


def _with_filters_of_owner(call: PlatformRequest, search: Search) -> Search:
    """Add the filters that only the owner of the account may use; for others CARTO ignores them."""
    privacy = call.parameters.get("privacy")
    return replace(
        search,
        privacy=None if privacy is None else str(privacy),
        locked={"true": True, "false": False}.get(text_parameter(call, "locked")),
        liked=is_true(call, "only_liked"),
        vector=is_true(call, "exclude_raster"),
        nothing=_is_shared_only(call) or is_true(call, "subscribed") or is_true(call, "sample"),
    )


def _is_shared_only(call: PlatformRequest) -> bool:
    """Return whether only datasets and maps of other accounts are requested; there are none."""
    shared = text_parameter(call, "shared")
    return shared == "only" or (shared not in ("yes", "no") and is_true(call, "only_shared"))


def read_types(call: PlatformRequest) -> tuple[str, ...]:
    """Parse the parameters ``types`` and ``type``; the default is "derived", maps."""
    return _split(text_parameter(call, "types")) or (text_parameter(call, "type") or "derived",)


def _split(text: str) -> tuple[str, ...]:
    """Split a text at commas; as in Ruby, empty items at the end are dropped and others are kept."""
    items = text.split(",")
    while items and not items[-1]:
        items.pop()
    return tuple(items)


def _bbox(call: PlatformRequest, types: tuple[str, ...]) -> tuple[float, float, float, float] | None:
    """Parse a bounding box: west, south, east, north in degrees."""
    text = call.parameters.get("bbox")
    if text is not None and types != ("table",):
        raise PlatformError(400, "Filter by bbox is only supported for type table", name="error")
    if text is None or not str(text).strip():
        return None
    try:
        sides = [float(part) for part in str(text).split(",")]
    except ValueError:
        raise PlatformError(400, "all bounding box parameters must be floats", name="error") from None
    if len(sides) != 4:
        message = "bounding box must have 4 coordinates: minx, miny, maxx, maxy"
        raise PlatformError(400, message, name="error")
    return sides[0], sides[1], sides[2], sides[3]


def text_parameter(call: PlatformRequest, name: str) -> str:
    """Return a parameter as text; ``""`` if missing."""
    value = call.parameters.get(name)
    return "" if value is None else str(value)


def is_true(call: PlatformRequest, name: str) -> bool:
    """Return whether a parameter is ``true``; as in CARTO, any other text is false."""
    value = call.parameters.get(name)
    return value is True or value == "true"
