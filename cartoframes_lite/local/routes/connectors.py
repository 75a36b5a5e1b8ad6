"""``/api/v1/connectors``: providers of connectors, and tables of other databases."""

from __future__ import annotations

from starlette.responses import Response
from starlette.routing import Route

from cartoframes_lite.local.http.platform import PlatformError, PlatformRequest, platform_response, route
from cartoframes_lite.local.imports import providers
from cartoframes_lite.local.imports.files import ImportJobError
from cartoframes_lite.local.imports.providers import InvalidParametersError
from cartoframes_lite.local.state import State

_PATH = "/api/v1/connectors"
_PROVIDER_PATH = _PATH + "/{provider}"


def routes(state: State) -> list[Route]:
    """Return the routes, below the user's path."""

    def index(call: PlatformRequest) -> Response:
        call.require_master()
        return platform_response(providers.providers())

    def show(call: PlatformRequest) -> Response:
        call.require_master()
        provider = call.request.path_params["provider"]
        if provider != providers.POSTGRES:
            raise PlatformError(422, f"Provider {provider} unknown")
        return platform_response(providers.information())

    def connect(call: PlatformRequest) -> Response:
        call.require_master()
        try:
            _require_provider(call)
            providers.connect(state, call.parameters)
        except (PlatformError, InvalidParametersError) as error:
            return platform_response({"connected": False, "errors": str(error)}, 422)
        except ImportJobError as error:
            return platform_response({"connected": False, "errors": error.detail}, 400)
        return platform_response({"connected": True})

    def tables(call: PlatformRequest) -> Response:
        call.require_master()
        provider = _require_provider(call)
        try:
            return platform_response(providers.list_tables(state, call.parameters))
        except InvalidParametersError as error:
            raise PlatformError(422, str(error)) from error
        except ImportJobError as error:
            raise PlatformError(400, f"Error connecting to provider {provider}, {error.detail}") from error

    def projects(call: PlatformRequest) -> Response:
        call.require_master()
        raise PlatformError(422, f"Provider {_require_provider(call)} doesn't support list projects")

    def dry_run(call: PlatformRequest) -> Response:
        call.require_master()
        raise PlatformError(422, f"Provider {_require_provider(call)} doesn't support dry runs")

    return [
        *route(state, _PATH, GET=index),
        *route(state, _PROVIDER_PATH, GET=show),
        *route(state, _PROVIDER_PATH + "/connect", GET=connect),
        *route(state, _PROVIDER_PATH + "/tables", GET=tables),
        *route(state, _PROVIDER_PATH + "/projects", GET=projects, POST=projects),
        *route(state, _PROVIDER_PATH + "/dryrun", POST=dry_run),
    ]


def _require_provider(call: PlatformRequest) -> str:
    """Return the provider of the path; raise PlatformError (422) if it is unknown."""
    provider = str(call.request.path_params["provider"])
    if provider != providers.POSTGRES:
        raise PlatformError(422, f"Invalid provider Provider: {provider}")
    return provider
