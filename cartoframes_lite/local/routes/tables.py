"""``/api/v1/tables``: the tables behind datasets. CARTO has no list of them here."""

from __future__ import annotations

from starlette.responses import Response
from starlette.routing import Route

from ..catalogue import datasets
from ..catalogue.changing import change, check_details, check_privacy
from ..catalogue.entries import Catalogue, Visualization
from ..catalogue.members import Members
from ..imports.files import normalise
from ..rails import Call, RefusedError, answer, route
from ..state import State
from .presented import Presenter
from .refusals import refusals

# Types of columns as CARTO's dashboard calls them; others keep PostgreSQL's names.
_TYPES = {
    **dict.fromkeys(("smallint", "integer", "bigint", "numeric", "real", "double precision"), "number"),
    **dict.fromkeys(("text", "character varying", "character"), "string"),
    **dict.fromkeys(("date", "timestamp without time zone", "timestamp with time zone"), "date"),
}
_CHANGEABLE: tuple[str, ...] = ("name", "description", "privacy")


def routes(state: State, catalogue: Catalogue, members: Members) -> list[Route]:
    """Return the routes, below the user's path."""

    def find(call: Call) -> Visualization:
        call.require_master()
        with refusals():
            return catalogue.of_table(call.request.path_params["id"])

    def presented(call: Call, dataset: Visualization) -> Response:
        presenter = Presenter(state, catalogue, members, call.request, owner=True)
        return answer(presenter.table(dataset, datasets.count_rows(state, *dataset.table)))

    def create(call: Call) -> Response:
        call.require_master()
        name = call.parameters.get("name") or "untitled_table"
        if not isinstance(name, str):
            raise RefusedError(400, ["name is a text"])
        details = {key: call.body[key] for key in ("description", "privacy") if call.body.get(key) is not None}
        with refusals():
            check_details(None, details)
            if "privacy" in details:
                check_privacy(state, None, details["privacy"])
            dataset = catalogue.of_table(datasets.create_empty(state, normalise(name)))
            return presented(call, change(state, catalogue, dataset, details))

    def show(call: Call) -> Response:
        return presented(call, find(call))

    def update(call: Call) -> Response:
        dataset = find(call)
        wanted = {name: call.body[name] for name in _CHANGEABLE if name in call.body}
        with refusals():
            return presented(call, change(state, catalogue, dataset, wanted))

    def columns(call: Call) -> Response:
        dataset = find(call)
        assert dataset.table_oid is not None  # that of a dataset
        with state.admin() as connection:
            found = datasets.columns(connection, dataset.table_oid)
        return answer([[name, _TYPES.get(kind, kind)] for name, kind in found])

    return [
        *route(state, "/api/v1/tables", POST=create),
        *route(state, "/api/v1/tables/{id}", GET=show, PUT=update),
        *route(state, "/api/v1/tables/{id}/columns", GET=columns),
    ]
