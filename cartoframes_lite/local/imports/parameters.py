"""Read the parameters of a request for an import."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from cartoframes_lite.local.http.platform import PlatformError
from cartoframes_lite.local.http.request_bodies import load_json, replace_surrogates
from cartoframes_lite.local.http.responses import RequestError
from cartoframes_lite.local.imports import connectors
from cartoframes_lite.local.imports.files import ImportRefused, Options
from cartoframes_lite.local.imports.requests import NOTHING, ImportRequest, NamedFile
from cartoframes_lite.local.plan import Plan
from cartoframes_lite.local.state import State

_PRIVACIES = ("public", "private", "link")
_STRATEGIES = ("skip", "overwrite")
_NO_SERVICE = ImportRefused(1012, "this server has no datasources of other services")


def no_slot_message(state: State) -> str:
    """Return the message for an import that finds no slot."""
    slots = state.plan.concurrent_imports
    return f"We're sorry but you're already using your allowed {slots} import slots"


def read_import_request(
    parameters: Mapping[str, Any], state: State, document: NamedFile | None = None
) -> ImportRequest:
    """Make an order of the parameters of a request.

    Parameters
    ----------
    parameters : mapping
        Booleans may be texts: of ``true`` and ``false`` the one counts that is not the default, in lower case.
    state : State
    document : NamedFile, optional
        The file that was uploaded.

    Raises
    ------
    PlatformError
        400 for a privacy that there is not, or that the plan does not have.
    """
    strategy = _text(parameters, "collision_strategy")
    limits = parameters.get("user_defined_limits") or {}
    return ImportRequest(
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


def _what(parameters: Mapping[str, Any], document: NamedFile | None) -> dict[str, Any]:
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
        content = replace_surrogates(load_json(given)) if isinstance(given, str) else given
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
        raise PlatformError(400, f"Unknown value '{given}' for 'privacy'. Allowed values are: {allowed}")
    if privacy == "private" and not plan.private_datasets:
        raise PlatformError(400, "Your account type (FREE) does not allow to create private datasets.")
    return privacy


def _text(parameters: Mapping[str, Any], name: str) -> str | None:
    """Return a parameter that is a text; None if it is empty or something else."""
    value = parameters.get(name)
    return value if isinstance(value, str) and value.strip() else None
