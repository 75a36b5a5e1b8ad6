"""Authentication of SQL API requests: parameters, rate limit, API key."""

from __future__ import annotations

import base64
from dataclasses import dataclass, field

from starlette.requests import Request

from cartoframes_lite.local.http.rate_limits import RateLimits
from cartoframes_lite.local.http.request_bodies import Parameters, collect
from cartoframes_lite.local.http.responses import RATE_LIMIT_MESSAGE, RequestError
from cartoframes_lite.local.state import Key, State


@dataclass(slots=True)
class AuthenticatedRequest:
    """A request that passed the rate limit and has a valid key.

    Attributes
    ----------
    key : Key
        The key whose role the request runs as.
    parameters : dict
        Parameters of the query string and the body; the body takes precedence. A repeated parameter is a list.
    query, body : dict
        Parameters of the query string, and of the body.
    headers : dict
        Headers of the response: rate limit, ``Vary``.
    """

    key: Key
    parameters: Parameters
    query: Parameters
    body: Parameters
    headers: dict[str, str] = field(default_factory=dict)


class NotAuthenticatedError(Exception):
    """The request is over the rate limit, or its key is unknown or not allowed.

    Attributes
    ----------
    reason : RequestError
        Error to respond with.
    headers : dict
        Rate limit headers of the response.
    """

    def __init__(self, reason: RequestError, headers: dict[str, str]) -> None:
        super().__init__(reason.message)
        self.reason, self.headers = reason, headers


class Authenticator:
    """Check the rate limit, then the key, of each request.

    Parameters
    ----------
    state : State
        Provides the keys.
    limits : RateLimits
    """

    def __init__(self, state: State, limits: RateLimits) -> None:
        self._state, self._limits = state, limits

    def authenticate(
        self, request: Request, kind: str, *, body: Parameters | None = None, master: bool = False
    ) -> AuthenticatedRequest:
        """Count a request against the rate limit and authenticate it.

        Parameters
        ----------
        request : Request
        kind : str
            Kind of endpoint, for the rate limit.
        body : dict, optional
            Parameters of the body, if the endpoint accepts a body.
        master : bool
            Whether the endpoint requires the master key.

        Raises
        ------
        NotAuthenticatedError
            429 over the rate limit, 401 for an unknown key, 403 for a key without access.
        """
        decision = self._limits.take(kind)
        if not decision.allowed:
            reason = RequestError(RATE_LIMIT_MESSAGE, status=429, context="limit", detail="rate-limit")
            raise NotAuthenticatedError(reason, decision.headers)
        query = query_parameters(request)
        try:
            key = self._find_key(request, query, body or {}, master=master)
        except RequestError as reason:
            raise NotAuthenticatedError(reason, decision.headers) from None
        headers = {**decision.headers, "Vary": "Authorization"}
        return AuthenticatedRequest(key, {**query, **(body or {})}, query, body or {}, headers)

    def _find_key(self, request: Request, query: Parameters, body: Parameters, *, master: bool) -> Key:
        """Return the key of a request.

        The first token found determines the role: header, query string, body. If the query string or the body has
        an ``api_key`` in addition to the header, that key must be valid too.
        """
        basic = basic_credentials(request.headers.get("authorization", ""))
        if basic and basic[0] != self._state.user:
            raise RequestError("permission denied", status=403)
        candidates = [basic[1]] if basic else []
        candidates += [
            str(source[name]) for source in (query, body) for name in ("api_key", "map_key") if source.get(name)
        ]
        token = candidates[0] if candidates else None
        second_token = body.get("api_key", query.get("api_key", token))
        key, second_key = self._state.key(token), self._state.key(None if second_token is None else str(second_token))
        if key is None or second_key is None:
            raise RequestError("Unauthorized", status=401)
        if "sql" not in key.apis or "sql" not in second_key.apis:
            raise RequestError("forbidden", status=403)
        if master and not key.kind == second_key.kind == "master":
            raise RequestError("permission denied", status=403)
        return key


def basic_credentials(header: str) -> tuple[str, str] | None:
    """Return user and password of a Basic ``Authorization`` header, None for another scheme or a malformed header."""
    scheme, _, encoded = header.strip().partition(" ")
    if scheme.lower() != "basic":
        return None
    try:
        user, colon, password = base64.b64decode(encoded.strip(), validate=True).decode().partition(":")
    except ValueError:  # not base64, or not UTF-8
        return None
    return (user, password) if colon else None


def query_parameters(request: Request) -> Parameters:
    """Return the parameters of the query string; a repeated parameter is a list."""
    return collect(request.query_params.multi_items()) if request.scope["query_string"] else {}
