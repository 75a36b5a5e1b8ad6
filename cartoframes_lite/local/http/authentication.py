"""Who asks and for what: parameters of a request, and which api key it stands on."""

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
    """A request that has been let in.

    Attributes
    ----------
    key : Key
        The key whose role the request runs as.
    parameters : dict
        Those of the query string and the body; the body's win. A repeated one is a list.
    query, body : dict
        The two apart.
    headers : dict
        Rate limit headers for the response.
    """

    key: Key
    parameters: Parameters
    query: Parameters
    body: Parameters
    headers: dict[str, str] = field(default_factory=dict)


class NotAuthenticatedError(Exception):
    """The request was not let in.

    Attributes
    ----------
    reason : RequestError
    headers : dict
        Rate limit headers for the response.
    """

    def __init__(self, reason: RequestError, headers: dict[str, str]) -> None:
        super().__init__(reason.message)
        self.reason, self.headers = reason, headers


class Authenticator:
    """Lets requests in: the rate limit first, then the key.

    Parameters
    ----------
    state : State
        Knows the keys.
    limits : RateLimits
    """

    def __init__(self, state: State, limits: RateLimits) -> None:
        self._state, self._limits = state, limits

    def authenticate(
        self, request: Request, kind: str, *, body: Parameters | None = None, master: bool = False
    ) -> AuthenticatedRequest:
        """Count and authenticate a request.

        Parameters
        ----------
        request : Request
        kind : str
            Kind of endpoint, for the rate limit.
        body : dict, optional
            Parameters of the body, if the endpoint takes any.
        master : bool
            Whether only the master key will do.

        Raises
        ------
        NotAuthenticatedError
            429 over the limit, 401 for an unknown key, 403 for one that may not.
        """
        verdict = self._limits.take(kind)
        if not verdict.allowed:
            reason = RequestError(RATE_LIMIT_MESSAGE, status=429, context="limit", detail="rate-limit")
            raise NotAuthenticatedError(reason, verdict.headers)
        query = query_parameters(request)
        try:
            key = self._find_key(request, query, body or {}, master=master)
        except RequestError as reason:
            raise NotAuthenticatedError(reason, verdict.headers) from None
        headers = {**verdict.headers, "Vary": "Authorization"}
        return AuthenticatedRequest(key, {**query, **(body or {})}, query, body or {}, headers)

    def _find_key(self, request: Request, query: Parameters, body: Parameters, *, master: bool) -> Key:
        """Return the key of a request.

        The first token found decides the role. When the query string or the body name a key beside the
        header, that one has to be good, too.
        """
        basic = basic_credentials(request.headers.get("authorization", ""))
        if basic and basic[0] != self._state.user:
            raise RequestError("permission denied", status=403)
        candidates = [basic[1]] if basic else []
        candidates += [
            str(source[name]) for source in (query, body) for name in ("api_key", "map_key") if source.get(name)
        ]
        token = candidates[0] if candidates else None
        also = body.get("api_key", query.get("api_key", token))
        key, named = self._state.key(token), self._state.key(None if also is None else str(also))
        if key is None or named is None:
            raise RequestError("Unauthorized", status=401)
        if "sql" not in key.apis or "sql" not in named.apis:
            raise RequestError("forbidden", status=403)
        if master and not key.kind == named.kind == "master":
            raise RequestError("permission denied", status=403)
        return key


def basic_credentials(header: str) -> tuple[str, str] | None:
    """Return user and password of a Basic ``Authorization`` header, None if it is another or broken."""
    scheme, _, encoded = header.strip().partition(" ")
    if scheme.lower() != "basic":
        return None
    try:
        user, colon, password = base64.b64decode(encoded.strip(), validate=True).decode().partition(":")
    except ValueError:  # no base64, or no text in it
        return None
    return (user, password) if colon else None


def query_parameters(request: Request) -> Parameters:
    """Return the parameters of the query string; a repeated one is a list."""
    return collect(request.query_params.multi_items())
