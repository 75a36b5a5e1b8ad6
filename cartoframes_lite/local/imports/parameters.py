"""Parse the parameters of Import API requests."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from cartoframes_lite.local.http.platform import PlatformError
from cartoframes_lite.local.http.request_bodies import load_json, replace_surrogates
from cartoframes_lite.local.http.responses import RequestError
from cartoframes_lite.local.imports import connectors
from cartoframes_lite.local.imports.files import ImportRefused, Options
from cartoframes_lite.local.imports.requests import NO_SOURCE, ImportRequest, InputFile
from cartoframes_lite.local.plan import Plan
from cartoframes_lite.local.state import State

_PRIVACIES = ("public", "private", "link")
_STRATEGIES = ("skip", "overwrite")
_NO_SERVICE = ImportRefused(1012, "this server does not support datasources of other services")


def no_slot_message(state: State) -> str:
    """Return the error message for an import when all slots are in use."""
    slots = state.plan.concurrent_imports
    return f"We're sorry but you're already using your allowed {slots} import slots"


def read_import_request(
    parameters: Mapping[str, Any], state: State, input_file: InputFile | None = None
) -> ImportRequest:
    """Convert the parameters of an HTTP request into an import request.

    Parameters
    ----------
    parameters : mapping
        Booleans may be strings. Only the lower case opposite of the default has an effect, as in CARTO.
    state : State
    input_file : InputFile, optional
        The uploaded file.

    Raises
    ------
    PlatformError
        400 for an unknown privacy or one that the plan does not allow.
    """
    strategy = _text(parameters, "collision_strategy")
    limits = parameters.get("user_defined_limits") or {}
    return ImportRequest(
        **_source(parameters, input_file),
        input_file=input_file,
        options=read_options(parameters),
        collision_strategy=strategy if strategy in _STRATEGIES else None,
        privacy=_privacy(parameters, state.plan),
        create_vis=is_on(parameters, "create_vis"),
        user_defined_limits=limits if isinstance(limits, str) else json.dumps(limits),
    )


def read_options(parameters: Mapping[str, Any]) -> Options:
    """Return the guessing options."""
    return Options(
        type_guessing=not _is_off(parameters, "type_guessing"),
        quoted_fields_guessing=not _is_off(parameters, "quoted_fields_guessing"),
        content_guessing=is_on(parameters, "content_guessing"),
    )


def is_on(parameters: Mapping[str, Any], name: str) -> bool:
    """Return whether a parameter is true or ``"true"``; ``"True"`` does not count."""
    value = parameters.get(name)
    return value is True or value == "true"


def _is_off(parameters: Mapping[str, Any], name: str) -> bool:
    value = parameters.get(name)
    return value is False or value == "false"


def _source(parameters: Mapping[str, Any], input_file: InputFile | None) -> dict[str, Any]:
    """Return the fields of `ImportRequest` that describe the source; the first one given wins."""
    name = _text(parameters, "table_name")
    if input_file is not None:
        return {"data_type": "file", "table_name": name}
    if url := _text(parameters, "url"):
        return {"data_type": "url", "url": url, "table_name": name}
    if connector := parameters.get("connector"):
        return {"data_type": "datasource", "table_name": name, **_connector(connector, parameters)}
    if _text(parameters, "remote_visualization_id"):
        return {"data_type": "external_table", "error": _NO_SERVICE}
    if table := _text(parameters, "table_copy"):
        return {"data_type": "table", "table": table, "table_name": name}
    if query := _text(parameters, "sql"):
        return {"data_type": "query", "query": query, "table_name": name}
    if _text(parameters, "service_name"):
        return {"data_type": "datasource", "error": _NO_SERVICE}
    if name:
        return {"data_type": "table", "table": name}
    return {"data_type": "file", "error": NO_SOURCE}


def _connector(connector: Any, parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields of `ImportRequest` for a connector: JSON text or an object, merged with its siblings."""
    siblings = {
        name: parameters[name]
        for name in ("schema", "table", "sql_query", "import_as", "encoding")
        if parameters.get(name)
    }
    try:
        content = replace_surrogates(load_json(connector)) if isinstance(connector, str) else connector
        return {"connector": {**siblings, **connectors.unwrap_parameters(content)}}
    except RequestError:
        return {"error": ImportRefused(1502, "the connector is not valid JSON")}
    except ImportRefused as error:
        return {"error": error}


def _privacy(parameters: Mapping[str, Any], plan: Plan) -> str | None:
    """Return the privacy of the new tables; None if not given."""
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
    """Return a string parameter; None if it is blank or of another type."""
    value = parameters.get(name)
    return value if isinstance(value, str) and value.strip() else None
