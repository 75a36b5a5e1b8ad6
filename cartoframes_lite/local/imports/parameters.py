"""Parse the parameters of Import API requests."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from cartoframes_lite.local.catalog.account import ACCOUNT_TYPE
from cartoframes_lite.local.http.platform import PlatformError
from cartoframes_lite.local.http.request_bodies import load_json, replace_surrogates
from cartoframes_lite.local.http.responses import RequestError
from cartoframes_lite.local.imports import connectors
from cartoframes_lite.local.imports.files import GuessingOptions, ImportJobError
from cartoframes_lite.local.imports.requests import NO_SOURCE, ImportRequest, InputFile
from cartoframes_lite.local.plan import Plan
from cartoframes_lite.local.state import State

_PRIVACIES = ("private", "public", "link")
_STRATEGIES = ("skip", "overwrite", None)
_NO_SERVICE = ImportJobError(1012, "this server does not support datasources of other services")
# Characters of a URL, as Ruby's URI.parse accepts them: others must be percent-encoded.
_URL = re.compile(r"""[^\x00-\x20\x7f-\U0010ffff"<>\\^`{|}]+""")
_SCHEMES = ("http", "https", "ftp")
_INTEGER = re.compile(r"\s*([+-]?[0-9]{1,18})")


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
        400 for parameters that CARTO rejects before it creates an import.
    """
    limits = _limits(parameters)
    if not isinstance(parameters.get("service_item_id"), str | None):
        raise PlatformError(400, "service_item_id field should be empty or a string")
    privacy = _privacy(parameters, state.plan)
    source = _source(parameters, input_file)
    strategy = parameters.get("collision_strategy")
    if strategy not in _STRATEGIES:
        raise PlatformError(400, "collision_strategy Invalid collision strategy")
    return ImportRequest(
        **source,
        options=read_options(parameters),
        collision_strategy=strategy,
        privacy=privacy,
        create_vis=is_on(parameters, "create_vis"),
        user_defined_limits=limits,
    )


def read_options(parameters: Mapping[str, Any]) -> GuessingOptions:
    """Return the guessing options."""
    return GuessingOptions(
        type_guessing=not _is_off(parameters, "type_guessing"),
        quoted_fields_guessing=not _is_off(parameters, "quoted_fields_guessing"),
        content_guessing=is_on(parameters, "content_guessing"),
    )


def is_on(parameters: Mapping[str, Any], name: str) -> bool:
    """Return whether a parameter is true or ``"true"``; ``"True"`` does not count."""
    value = parameters.get(name)
    return value is True or value == "true"


def to_integer(value: object) -> int:
    """Convert a parameter to an integer as Ruby's ``to_i`` does: text without leading digits is 0."""
    if isinstance(value, float):
        return int(value) if abs(value) < 2**63 else 0
    found = _INTEGER.match(str(value))
    return int(found[1]) if found else 0


def read_source(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields of `ImportRequest` of a source that is not on this server: a URL or a connector.

    Raises
    ------
    PlatformError
        400 for an invalid URL or connector, or an entry of CARTO's data library, which this server does not have.
    """
    if url := text_parameter(parameters, "url"):
        _check_url(url)
        return {"data_type": "url", "url": url}
    if connector := parameters.get("connector"):
        return {"data_type": "datasource", "connector": _connector(connector, parameters)}
    if text_parameter(parameters, "remote_visualization_id"):
        raise PlatformError(400, "Illegal external load")
    return {}


def text_parameter(parameters: Mapping[str, Any], name: str) -> str | None:
    """Return a string parameter; None if it is blank or of another type."""
    value = parameters.get(name)
    return value if isinstance(value, str) and value.strip() else None


def _source(parameters: Mapping[str, Any], input_file: InputFile | None) -> dict[str, Any]:
    """Return the fields of `ImportRequest` that describe the source; the first one given wins."""
    if remote := read_source(parameters):
        return {**remote, "input_file": None}
    if input_file is not None:
        return {"data_type": "file", "input_file": input_file}
    name = text_parameter(parameters, "table_name")
    if table := text_parameter(parameters, "table_copy"):
        return {"data_type": "query", "table": table, "table_name": name}
    if query := text_parameter(parameters, "sql"):
        return {"data_type": "query", "query": query, "table_name": name}
    error = _NO_SERVICE if text_parameter(parameters, "service_name") else NO_SOURCE
    return {"data_type": "datasource", "error": error}


def _check_url(url: str) -> None:
    """Raise PlatformError (400) for a text that is not a URL; CARTO also rejects private hosts and unusual ports."""
    try:
        parts = urlsplit(url)
        valid = bool(_URL.fullmatch(url)) and parts.scheme in _SCHEMES and bool(parts.hostname) and parts.port != 0
    except ValueError:  # raised for an invalid port
        valid = False
    if not valid:
        raise PlatformError(400, f"Invalid URL, cannot connect dataset: {url}")


def _connector(connector: Any, parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Return the parameters of a connector: JSON text or an object, merged with its siblings."""
    siblings = {
        name: parameters[name]
        for name in ("schema", "table", "sql_query", "import_as", "encoding")
        if parameters.get(name)
    }
    try:
        content = replace_surrogates(load_json(connector)) if isinstance(connector, str) else connector
        found = {**siblings, **connectors.unwrap_parameters(content)}
        connectors.check_parameters(found)
        return found
    except RequestError:
        raise PlatformError(400, "the connector is not valid JSON") from None
    except ImportJobError as error:
        raise PlatformError(400, error.detail) from error


def _limits(parameters: Mapping[str, Any]) -> str:
    """Return the JSON that is stored for the parameter ``user_defined_limits``."""
    given = parameters.get("user_defined_limits", {})
    if not isinstance(given, Mapping):
        raise PlatformError(400, "user_defined_limits must be an object")
    credits_limit = to_integer(given.get("twitter_credits_limit"))
    return json.dumps({**given, "twitter_credits_limit": credits_limit}, ensure_ascii=False, separators=(",", ":"))


def _is_off(parameters: Mapping[str, Any], name: str) -> bool:
    value = parameters.get(name)
    return value is False or value == "false"


def _privacy(parameters: Mapping[str, Any], plan: Plan) -> str | None:
    """Return the privacy of the new tables; None if not given."""
    given = parameters.get("privacy")
    if given is None or given == "":
        return None
    privacy = str(given).lower()
    if privacy not in _PRIVACIES:
        raise PlatformError(400, f"Unknown value '{given}' for 'privacy'. Allowed values are: private, public and link")
    if privacy == "private" and not plan.private_datasets:
        raise PlatformError(
            400,
            f"Your account type ({ACCOUNT_TYPE}) does not allow to create private datasets."
            " Check https://carto.com/pricing for more info.",
        )
    return privacy
