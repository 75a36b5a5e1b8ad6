"""MapError, and the mapping of errors to HTTP statuses and error responses of the Maps API."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import psycopg

from cartoframes_lite.local.http.responses import QUERY_CANCELED, TIMEOUT_MESSAGE, RequestError
from cartoframes_lite.local.postgres.errors import SQLError


class MapError(Exception):
    """An error response of the Maps API.

    Parameters
    ----------
    message : str
    status : int, optional
        HTTP status. None: derived from the message, as in CARTO.
    kind, subtype : str
        Members ``type`` and ``subtype`` of the error response.
    layer : mapping, optional
        ``id``, ``index`` and ``type`` of the layer.
    analysis : mapping, optional
        ``id``, ``node_id`` and ``type`` of the analysis.
    """

    def __init__(
        self,
        message: str,
        *,
        status: int | None = None,
        kind: str = "unknown",
        subtype: str = "",
        layer: Mapping[str, Any] | None = None,
        analysis: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(message)
        self.message, self.kind, self.subtype, self.layer, self.analysis = message, kind, subtype, layer, analysis
        self.status = _status(message) if status is None else status


def error_status(error: Exception) -> tuple[int, dict[str, Any]]:
    """Map an error to an HTTP status and the JSON body of the response."""
    match error:
        case SQLError(sqlstate=code, message=text) if code == QUERY_CANCELED and text.startswith("canceling"):
            error = MapError(TIMEOUT_MESSAGE, status=429, kind="limit", subtype="datasource")
        case SQLError(sqlstate=""):  # no connection
            error = MapError(error.message, status=503)
        case SQLError():
            error = MapError(error.message)
        case RequestError():
            error = MapError(error.message, status=error.status)
        case psycopg.OperationalError():
            error = MapError(str(error).strip(), status=503)
        case psycopg.DataError() | UnicodeError():  # NUL or a lone surrogate in a value
            error = MapError(f"invalid character in a value: {error}", status=400)
        case MapError():
            pass
        case _:
            raise error
    context: dict[str, Any] = {"type": error.kind, "message": error.message}
    if error.subtype:
        context["subtype"] = error.subtype
    if error.layer is not None:
        context["layer"] = dict(error.layer)
    if error.analysis is not None:
        context["analysis"] = dict(error.analysis)
    return error.status, {"errors": [error.message], "errors_with_context": [context]}


def _status(message: str) -> int:
    """Derive the HTTP status from a message, as CARTO does."""
    if "permission denied" in message:
        return 403
    if "does not exist" not in message or any(map(_reports_missing_function, message.splitlines())):
        return 400
    return 403 if " role " in message else 404


def _reports_missing_function(line: str) -> bool:
    """Return whether a line of a message reports a missing function."""
    _, separator, rest = line.partition("function ")
    return bool(separator) and " does not exist" in rest
