"""Find the dataset or map in the path of a request, if its caller may view it."""

from __future__ import annotations

from cartoframes_lite.local.catalog.visualizations import Catalog, Visualization, is_uuid
from cartoframes_lite.local.http.platform import CauseError, PlatformRequest


def find_viewable(call: PlatformRequest, catalog: Catalog) -> Visualization:
    """Return the dataset or map with the id or name in the path.

    Raises
    ------
    CauseError
        404 if it does not exist; 403 if the caller may not view it.
    """
    id_or_name = call.request.path_params["id"]
    try:
        found = catalog.find(id_or_name)
    except LookupError:
        raise CauseError(404, "Visualization does not exist") from None
    if call.is_of_unknown_user and not is_uuid(id_or_name):
        raise CauseError(404, "Visualization does not exist")
    if not (call.is_owner or found.is_accessible_to_all or found.is_password(call.parameters.get("password"))):
        if found.privacy != "password":
            raise CauseError(403, "Visualization not viewable")
        described = {"privacy": found.privacy, "user": {"google_maps_query_string": None}}
        raise CauseError(403, "Visualization not viewable", cause="privacy_password", visualization=described)
    if call.is_of_unknown_user:
        raise CauseError(404, "Visualization of that user does not exist")
    return found


def uuid_parameter(call: PlatformRequest, name: str) -> str:
    """Return an id in the path; raise CauseError (400) if it is not a UUID."""
    value = str(call.request.path_params[name])
    if not is_uuid(value):
        raise CauseError(400, f"Parameter not UUID format. Parameter: {name}. Value: {value}")
    return value
