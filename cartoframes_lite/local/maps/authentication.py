"""Authentication and rate limits of the Maps API."""

from __future__ import annotations

from starlette.concurrency import run_in_threadpool

from cartoframes_lite.local.http.authentication import basic_credentials
from cartoframes_lite.local.http.rate_limits import RateLimits
from cartoframes_lite.local.maps.errors import MapError
from cartoframes_lite.local.maps.layergroups import Layergroup, Layergroups, unknown_map
from cartoframes_lite.local.maps.requests import MapsRequest
from cartoframes_lite.local.maps.templates import Template, Templates, is_authorized
from cartoframes_lite.local.state import State

# Differs from the message of the SQL API.
_RATE_LIMIT_MESSAGE = "You are over platform's limits: too many requests. Please contact us to know more details"


class MapsAuthenticator:
    """Authenticate requests to the Maps API.

    Parameters
    ----------
    state : State
        Holds the API keys.
    limits : RateLimits
    layergroups : Layergroups
    templates : Templates
    """

    def __init__(self, state: State, limits: RateLimits, layergroups: Layergroups, templates: Templates) -> None:
        self._state, self._limits, self._layergroups, self._templates = state, limits, layergroups, templates

    def authenticate(self, maps_request: MapsRequest) -> None:
        """Set the API key of a request; raise MapError if it is unknown or does not grant access to the Maps API.

        The user name of a Basic header is ignored, as in CARTO.
        """
        basic = basic_credentials(maps_request.request.headers.get("authorization", ""))
        body = maps_request.body if isinstance(maps_request.body, dict) else {}
        tokens = [basic[1]] if basic else []
        tokens += [
            str(source.get(name) or "") for source in (maps_request.query, body) for name in ("api_key", "map_key")
        ]
        token = next(filter(None, tokens), None)
        if token is None:
            return
        maps_request.key = self._state.key(token)
        if maps_request.key is None:
            raise MapError("Unauthorized", status=401, kind="auth", subtype="api-key-not-found")
        if "maps" not in maps_request.key.apis:
            raise _forbidden()

    def count(self, maps_request: MapsRequest, kind: str) -> None:
        """Count a request against the rate limit of a kind of endpoint; raise MapError if it is exceeded."""
        decision = self._limits.take(kind)
        maps_request.headers.update(decision.headers)
        if not decision.allowed:
            raise MapError(_RATE_LIMIT_MESSAGE, status=429, kind="limit", subtype="rate-limit")

    def require_master(self, maps_request: MapsRequest, action: str) -> None:
        """Raise MapError unless the request has the master key."""
        if maps_request.key is None:
            raise MapError(f"Only authenticated users can {action} templated maps", status=403)
        if maps_request.key.kind != "master":
            raise _forbidden()

    def role_of(self, maps_request: MapsRequest) -> str:
        """Return the database role of the API key of a request."""
        key = maps_request.key or self._state.key(None)
        assert key is not None  # a default key always exists
        return key.role

    async def open(self, maps_request: MapsRequest) -> tuple[Layergroup, str]:
        """Return the map in the path of a request, and the database role to read it with.

        An API key takes precedence over the tokens of a template, as in CARTO.
        """
        identity, is_signed = self._parse_token(maps_request.text("token"))
        group = self._layergroups.find(identity)
        template = await self._current_template(group)
        if maps_request.key is not None or not is_signed:
            return group, self.role_of(maps_request)
        if template is None or not is_authorized(template.auth, maps_request.auth_tokens):
            raise MapError("Sorry, you are unauthorized (permission denied)", status=403)
        return group, self._state.owner_role

    async def _current_template(self, group: Layergroup) -> Template | None:
        """Return the current template of a map; raise MapError if its map has changed or it was deleted."""
        if group.template is None:
            return None
        template: Template | None = await run_in_threadpool(self._templates.current, group.template)
        if template is None or not template.is_same_map(group.template):
            self._layergroups.drop(group.id)
            raise unknown_map(group.id)
        return template

    def _parse_token(self, token: str) -> tuple[str, bool]:
        """Parse ``[user@[template@]]id[:time]``; return the id and whether there is a user."""
        parts = token.partition(":")[0].split("@")
        if len(parts) > 1 and parts[0] not in ("", self._state.user):
            message = f'Cannot use map signature of user "{parts[0]}" on db of user "{self._state.user}"'
            raise MapError(message, status=403)
        return parts[-1], len(parts) > 1


def _forbidden() -> MapError:
    return MapError("Forbidden", status=403, kind="auth", subtype="api-key-does-not-grant-access")
