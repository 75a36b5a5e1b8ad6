"""``/api/v1/viz``: the account's datasets and maps as CARTO's dashboard sees them, and who may read them."""

from __future__ import annotations

from typing import Any

from starlette.responses import Response
from starlette.routing import Route

from ..catalogue.changing import InvalidError, change, check_details, check_privacy
from ..catalogue.entries import MAP_PRIVACIES, Catalogue, Visualization
from ..catalogue.listing import ORDERS, Search, search
from ..catalogue.members import Members
from ..rails import Call, RefusedError, answer, positive, route
from ..state import State
from .presented import Presenter
from .refusals import refusals

_TYPES = ("table", "derived", "remote", "slide", "kuviz")
_PER_PAGE = 20
_DEPENDENTS = 10
_PARTS = (
    "table",
    "table_size_and_row_count",
    "stats",
    "likes",
    "liked",
    "permission",
    "synchronization",
    "uses_builder_features",
    "auth_tokens",
)


def routes(state: State, catalogue: Catalogue, members: Members) -> list[Route]:
    """Return the routes, below the user's path."""

    def presenter(call: Call) -> Presenter:
        return Presenter(state, catalogue, members, call.request, owner=call.key.kind == "master")

    def find(call: Call) -> Visualization:
        with refusals():
            found = catalogue.find(call.request.path_params["id"])
        if call.key.kind != "master" and found.privacy not in ("public", "link"):
            raise RefusedError(404)
        return found

    def index(call: Call) -> Response:
        wanted, master = _search(call), call.key.kind == "master"
        dependents = _whole(call, "with_dependent_visualizations", _DEPENDENTS)
        hidden = frozenset(part for part in _PARTS if _said(call, f"show_{part}") == "false")
        if _nobody_has(call):
            return answer({"visualizations": [], "total_entries": 0, **(_totals(0, 0) if master else {})})
        found = search(state, catalogue, wanted)
        shown = presenter(call).all(found.visualizations, hidden=hidden, dependents=dependents)
        totals = _totals(found.all, found.locked) if master and _said(call, "load_totals") != "false" else {}
        return answer({"visualizations": shown, "total_entries": found.total, **totals})

    def create(call: Call) -> Response:
        call.require_master()
        with refusals():
            made = _new_map(call, state, catalogue)
            return answer(presenter(call).one(change(state, catalogue, made, call.body)))

    def show(call: Call) -> Response:
        return answer(presenter(call).one(find(call)))

    def update(call: Call) -> Response:
        call.require_master()
        found = find(call)
        if call.body.get("id") != found.id:
            raise RefusedError(403)
        with refusals():
            return answer(presenter(call).one(change(state, catalogue, found, call.body)))

    def delete(call: Call) -> Response:
        call.require_master()
        with refusals():
            catalogue.delete(find(call))
        return Response(status_code=204)

    return [
        *route(state, "/api/v1/viz", GET=index, POST=create),
        *route(state, "/api/v1/viz/{id}", GET=show, PUT=update, DELETE=delete),
    ]


def _new_map(call: Call, state: State, catalogue: Catalogue) -> Visualization:
    """Make a map of the tables and the name that a request says; what else it says comes next."""
    tables, privacy = call.body.get("tables", []), call.body.get("privacy")
    if call.body.get("type", "derived") != "derived":
        raise InvalidError("only maps can be made here: type is derived")
    if not isinstance(tables, list) or not all(isinstance(table, str) for table in tables):
        raise InvalidError("tables is a list of names")
    if privacy is None:
        privacy = "private" if state.plan.private_datasets else "public"
    checked = check_privacy(state, None, privacy)
    check_details(None, call.body)
    name = call.body.get("name") or (tables[0] if tables else "untitled map")
    try:
        map_id = catalogue.create_map(name, tables, "private" if checked == "password" else checked)
    except LookupError as error:
        raise InvalidError(f"there is no table {error.args[0]!r}") from None
    return catalogue.find(map_id)


def _search(call: Call) -> Search:
    """Read what is searched for."""
    types = _list(call, "types") or _list(call, "type") or ("derived",)
    if not set(types) <= set(_TYPES):
        raise RefusedError(400, f"Wrong 'type' parameter value. Valid values are {', '.join(_TYPES)}", name="error")
    privacy, locked, master = _said(call, "privacy") or None, _said(call, "locked"), call.key.kind == "master"
    if privacy not in (None, *MAP_PRIVACIES):
        raise RefusedError(400, f"Wrong 'privacy' parameter value: {privacy}", name="error")
    return Search(
        types,
        page=positive(call, "page", 1, name="error"),
        per_page=positive(call, "per_page", _PER_PAGE, name="error"),
        order=_order(call),
        words=tuple(str(call.parameters.get("q", "")).split()),
        tags=_list(call, "tags", lower=False),
        privacy=privacy,
        locked={"true": True, "false": False}.get(locked),
        published=_said(call, "only_published") == "true",
        listed=not master,
        bbox=_bbox(call),
    )


def _order(call: Call) -> tuple[tuple[str, str], ...]:
    """Read by what is ordered. CARTO takes several, and goes down unless told otherwise."""
    names, directions = _list(call, "order") or ("updated_at",), _list(call, "order_direction") or ("desc",)
    if not set(names) <= set(ORDERS):
        raise RefusedError(400, f"Wrong 'order' parameter value. Valid values are {', '.join(ORDERS)}", name="error")
    if not set(directions) <= {"asc", "desc"} or len(directions) not in (1, len(names)):
        message = "Wrong 'order_direction' parameter value. Valid values are asc, desc"
        raise RefusedError(400, message, name="error")
    return tuple(zip(names, directions * len(names) if len(directions) == 1 else directions, strict=True))


def _bbox(call: Call) -> tuple[float, float, float, float] | None:
    """Read a box: west, south, east, north."""
    text = _said(call, "bbox")
    if not text:
        return None
    try:
        west, south, east, north = map(float, text.split(","))
    except ValueError:
        raise RefusedError(400, "Wrong 'bbox' parameter value: west,south,east,north", name="error") from None
    return west, south, east, north


def _nobody_has(call: Call) -> bool:
    """Tell whether what is asked for does not exist here: likes, and what others share with the account."""
    return (
        _said(call, "only_liked") == "true" or _said(call, "only_shared") == "true" or _said(call, "shared") == "only"
    )


def _totals(everything: int, locked: int) -> dict[str, Any]:
    """Return the numbers beside a page."""
    return {"total_user_entries": everything, "total_locked": locked, "total_likes": 0, "total_shared": 0}


def _whole(call: Call, name: str, default: int) -> int:
    """Read a number; what is not one is 0, as for CARTO."""
    try:
        return max(0, int(call.parameters.get(name, default)))
    except (TypeError, ValueError):
        return 0


def _said(call: Call, name: str) -> str:
    """Read a word in lower case; empty if it is missing."""
    value = call.parameters.get(name, "")
    return str(value).strip().lower()


def _list(call: Call, name: str, *, lower: bool = True) -> tuple[str, ...]:
    """Read words with commas between them, or a repeated parameter."""
    value = call.parameters.get(name, "")
    text = ",".join(map(str, value)) if isinstance(value, list) else str(value)
    words = (word.strip() for word in (text.lower() if lower else text).split(","))
    return tuple(word for word in words if word)
