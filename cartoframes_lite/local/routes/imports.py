"""``/api/v1/imports``: bring in a file, a URL, a query or a table of another database, and see how it goes."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import psycopg
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from ..answers import RequestError
from ..bodies import load_json, whole_characters
from ..imports import connectors
from ..imports.files import ImportRefused, Options
from ..imports.orders import NOTHING, Document, Order
from ..imports.queue import Imports, TooManyImportsError
from ..imports.receiving import Received, receive
from ..plan import Plan
from ..rails import Call, RefusedError, answer, route
from ..state import State

_PATH = "/api/v1/imports"
_PRIVACIES = ("public", "private", "link")
_STRATEGIES = ("skip", "overwrite")
_TOO_BIG = 6666
_NO_SERVICE = ImportRefused(1012, "this server has no datasources of other services")


def routes(state: State, imports: Imports) -> list[Route]:
    """Return the routes, below the user's path."""

    async def create(request: Request) -> Response:
        received = Received()
        try:
            refuse_others(Call(request, {}, state))
            received = await receive(request, state.directory, state.plan.file_bytes)
            return await run_in_threadpool(_create, Call(request, received.parameters, state), received, imports, state)
        except RequestError as error:
            received.discard()
            return refusal(error.status, error.message)
        except RefusedError as error:
            received.discard()
            return refusal(error.status, error.message)
        except psycopg.DataError as error:  # NUL in a text
            return refusal(400, str(error))

    def index(call: Call) -> Response:
        call.require_master()
        return answer({"imports": imports.recent(), "success": True})

    def show(call: Call) -> Response:
        call.require_master()
        try:
            return answer(imports.find(call.request.path_params["id"]))
        except LookupError:
            raise RefusedError(404, "Import not found") from None

    return [
        *(Route(_PATH + end, create, methods=["POST"]) for end in ("", "/")),
        *route(state, _PATH, GET=index),
        *route(state, _PATH + "/{id}", GET=show),
    ]


def refuse_others(call: Call) -> None:
    """Refuse, before its body is read, a request whose head names a key that is not the master key."""
    if call.key.kind == "regular":
        raise RefusedError(401)


def refusal(status: int, message: Any) -> Response:
    """Return the answer to a request for an import that is refused."""
    return Response(status_code=status) if message is None else answer({"errors": {"imports": message}}, status)


def too_many(state: State) -> str:
    """Return the message for an import that finds no slot."""
    slots = state.plan.concurrent_imports
    return f"We're sorry but you're already using your allowed {slots} import slots"


def read_order(parameters: Mapping[str, Any], state: State, document: Document | None = None) -> Order:
    """Make an order of the parameters of a request.

    Parameters
    ----------
    parameters : mapping
        Booleans may be texts: of ``true`` and ``false`` the one counts that is not the default, in lower case.
    state : State
    document : Document, optional
        The file that was uploaded.

    Raises
    ------
    RefusedError
        400 for a privacy that there is not, or that the plan does not have.
    """
    strategy = _text(parameters, "collision_strategy")
    limits = parameters.get("user_defined_limits") or {}
    return Order(
        **_what(parameters, document),
        document=document,
        options=read_options(parameters),
        collision_strategy=strategy if strategy in _STRATEGIES else None,
        privacy=_privacy(parameters, state.plan),
        create_vis=is_on(parameters, "create_vis"),
        user_defined_limits=limits if isinstance(limits, str) else json.dumps(limits),
    )


def read_options(parameters: Mapping[str, Any]) -> Options:
    """Return which guessing is wanted."""
    return Options(
        type_guessing=not _is_off(parameters, "type_guessing"),
        quoted_fields_guessing=not _is_off(parameters, "quoted_fields_guessing"),
        content_guessing=is_on(parameters, "content_guessing"),
    )


def is_on(parameters: Mapping[str, Any], name: str) -> bool:
    """Tell whether a parameter is set to true: ``True``, as Python writes it, is not."""
    value = parameters.get(name)
    return value is True or value == "true"


def _is_off(parameters: Mapping[str, Any], name: str) -> bool:
    value = parameters.get(name)
    return value is False or value == "false"


def _create(call: Call, received: Received, imports: Imports, state: State) -> Response:
    """Queue the import that a request asks for."""
    call.require_master()
    document = None if received.path is None else Document(received.path, received.name)
    order = read_order(call.parameters, state, document)
    if received.too_big:
        refused = ImportRefused(_TOO_BIG, f"the file has more than {state.plan.file_bytes} bytes")
        order = Order(data_type="file", document=document, refusal=refused)
    try:
        identity = imports.add(order)
    except TooManyImportsError:
        raise RefusedError(429, too_many(state)) from None
    return answer({"item_queue_id": identity, "success": True})


def _what(parameters: Mapping[str, Any], document: Document | None) -> dict[str, Any]:
    """Return the members of an order that say what is to be imported: the first of what is given."""
    name = _text(parameters, "table_name")
    if document is not None:
        return {"data_type": "file", "table_name": name}
    if url := _text(parameters, "url"):
        return {"data_type": "url", "url": url, "table_name": name}
    if connector := parameters.get("connector"):
        return {"data_type": "datasource", "table_name": name, **_connector(connector, parameters)}
    if _text(parameters, "remote_visualization_id"):
        return {"data_type": "external_table", "refusal": _NO_SERVICE}
    if table := _text(parameters, "table_copy"):
        return {"data_type": "table", "table": table, "table_name": name}
    if query := _text(parameters, "sql"):
        return {"data_type": "query", "query": query, "table_name": name}
    if _text(parameters, "service_name"):
        return {"data_type": "datasource", "refusal": _NO_SERVICE}
    if name:
        return {"data_type": "table", "table": name}
    return {"data_type": "file", "refusal": NOTHING}


def _connector(given: Any, parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Return the member of an order for a connector, which may be text and have parameters beside it."""
    beside = {
        name: parameters[name]
        for name in ("schema", "table", "sql_query", "import_as", "encoding")
        if parameters.get(name)
    }
    try:
        content = whole_characters(load_json(given)) if isinstance(given, str) else given
        return {"connector": {**beside, **connectors.parameters(content)}}
    except RequestError:
        return {"refusal": ImportRefused(1502, "the connector is not JSON")}
    except ImportRefused as refused:
        return {"refusal": refused}


def _privacy(parameters: Mapping[str, Any], plan: Plan) -> str | None:
    """Return the privacy that new tables get."""
    given = parameters.get("privacy")
    if given is None or given == "":
        return None
    privacy = str(given).lower()
    if privacy not in _PRIVACIES:
        allowed = ", ".join(_PRIVACIES)
        raise RefusedError(400, f"Unknown value '{given}' for 'privacy'. Allowed values are: {allowed}")
    if privacy == "private" and not plan.private_datasets:
        raise RefusedError(400, "Your account type (FREE) does not allow to create private datasets.")
    return privacy


def _text(parameters: Mapping[str, Any], name: str) -> str | None:
    """Return a parameter that is a text; None if it is empty or something else."""
    value = parameters.get(name)
    return value if isinstance(value, str) and value.strip() else None
