"""A request: method, path, body and timeouts, the User-Agent, and the API key in the Authorization header."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import requests

from cartoframes_lite.credentials import Credentials

CONNECT_TIMEOUT_S = 10.0
READ_TIMEOUT_S = 300.0
STATEMENT_TIMEOUT_S = 3600.0  # longer than the statement timeout of any account
COPY_TIMEOUT_S = 3600.0  # copyfrom responds only after the database has stored all rows

Statuses = tuple[int, ...]
OK: Statuses = (200,)


@dataclass(frozen=True, slots=True)
class Request:
    """A request to an account.

    Attributes
    ----------
    method, path : str
        The path is relative to the base URL of the account.
    idempotent : bool
        Whether it may be sent again if the server may already have executed it.
    arguments : callable
        Returns the keyword arguments for requests, with a new body for each attempt.
    expect : tuple of int
        Status codes of a successful response.
    is_aborted : callable
        Whether the body could not be generated, so that the request must not be sent again.
    statement_timeout_s : float or None
        Maximum time to wait for the response to an SQL statement, in seconds; None for other requests. When it is up,
        the statement may still be running, so it is not sent again.
    """

    method: str
    path: str
    idempotent: bool
    arguments: Callable[[], dict[str, Any]]
    expect: Statuses = OK
    is_aborted: Callable[[], bool] = bool  # returns False
    statement_timeout_s: float | None = None


def compose(
    method: str,
    path: str,
    *,
    idempotent: bool,
    query: Mapping[str, Any] | None = None,
    form: Mapping[str, Any] | None = None,
    json_body: Any = None,
    expect: Statuses = OK,
    statement_timeout_s: float | None = None,
) -> Request:
    """Compose a request; ValueError or TypeError if the body cannot be serialized to JSON."""
    timeout_s = READ_TIMEOUT_S if statement_timeout_s is None else statement_timeout_s
    arguments: dict[str, Any] = {"params": query, "data": form, "timeout": (CONNECT_TIMEOUT_S, timeout_s)}
    if json_body is not None:
        try:
            arguments["data"] = json.dumps(json_body, allow_nan=False).encode()
        except RecursionError:
            raise ValueError("the request body is nested too deeply for JSON, or contains itself") from None
        arguments["headers"] = {"Content-Type": "application/json"}
    return Request(method, path, idempotent, arguments.copy, expect, statement_timeout_s=statement_timeout_s)


class BasicAuth(requests.auth.AuthBase):
    """Basic authentication in UTF-8; set explicitly, so that .netrc does not override it."""

    def __init__(self, credentials: Credentials) -> None:
        self._credentials = credentials

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        if not self._credentials.is_public:
            pair = f"{self._credentials.username}:{self._credentials.api_key}".encode()
            request.headers["Authorization"] = f"Basic {base64.b64encode(pair).decode()}"
        return request


def no_auth(request: requests.PreparedRequest) -> requests.PreparedRequest:
    """Prevent requests from reading .netrc."""
    return request


@cache  # reading the metadata of the package takes as long as composing a request
def user_agent() -> str:
    """Return the User-Agent header of this package."""
    try:
        return f"cartoframes_lite/{version('cartoframes_lite')}"
    except PackageNotFoundError:  # run from a source tree that is not installed
        return "cartoframes_lite"
