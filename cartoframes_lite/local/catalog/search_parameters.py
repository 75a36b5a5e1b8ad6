"""Parse the parameters of a catalog search."""

from __future__ import annotations

from cartoframes_lite.local.catalog.search import ORDERS, Search
from cartoframes_lite.local.catalog.visualizations import MAP_PRIVACIES
from cartoframes_lite.local.http.paging import read_page
from cartoframes_lite.local.http.platform import PlatformError, PlatformRequest

_TYPES = ("table", "derived", "remote", "slide", "kuviz")


def read_search(call: PlatformRequest) -> Search:
    """Parse the search criteria of a request."""
    types = _list(call, "types") or _list(call, "type") or ("derived",)
    if not set(types) <= set(_TYPES):
        raise PlatformError(400, f"Wrong 'type' parameter value. Valid values are {', '.join(_TYPES)}", name="error")
    privacy, locked, master = (
        lowercase_parameter(call, "privacy") or None,
        lowercase_parameter(call, "locked"),
        call.key.kind == "master",
    )
    if privacy not in (None, *MAP_PRIVACIES):
        raise PlatformError(400, f"Wrong 'privacy' parameter value: {privacy}", name="error")
    page = read_page(call, name="error")
    return Search(
        types,
        page=page.number,
        per_page=page.per_page,
        order=_order(call),
        words=tuple(str(call.parameters.get("q", "")).split()),
        tags=_list(call, "tags", lower=False),
        privacy=privacy,
        locked={"true": True, "false": False}.get(locked),
        published=lowercase_parameter(call, "only_published") == "true",
        listed=not master,
        bbox=_bbox(call),
    )


def _order(call: PlatformRequest) -> tuple[tuple[str, str], ...]:
    """Parse the sort order: one or more keys, descending by default."""
    names, directions = _list(call, "order") or ("updated_at",), _list(call, "order_direction") or ("desc",)
    if not set(names) <= set(ORDERS):
        raise PlatformError(400, f"Wrong 'order' parameter value. Valid values are {', '.join(ORDERS)}", name="error")
    if not set(directions) <= {"asc", "desc"} or len(directions) not in (1, len(names)):
        message = "Wrong 'order_direction' parameter value. Valid values are asc, desc"
        raise PlatformError(400, message, name="error")
    return tuple(zip(names, directions * len(names) if len(directions) == 1 else directions, strict=True))


def _bbox(call: PlatformRequest) -> tuple[float, float, float, float] | None:
    """Parse a bounding box: west, south, east, north in degrees."""
    text = lowercase_parameter(call, "bbox")
    if not text:
        return None
    try:
        west, south, east, north = map(float, text.split(","))
    except ValueError:
        raise PlatformError(400, "Wrong 'bbox' parameter value: west,south,east,north", name="error") from None
    return west, south, east, north


def lowercase_parameter(call: PlatformRequest, name: str) -> str:
    """Return a parameter as stripped lower case text; ``""`` if missing."""
    value = call.parameters.get(name, "")
    return str(value).strip().lower()


def _list(call: PlatformRequest, name: str, *, lower: bool = True) -> tuple[str, ...]:
    """Parse a comma-separated or repeated parameter."""
    value = call.parameters.get(name, "")
    text = ",".join(map(str, value)) if isinstance(value, list) else str(value)
    words = (word.strip() for word in (text.lower() if lower else text).split(","))
    return tuple(word for word in words if word)
