"""A named map that was deleted or closed shows nothing more at its URLs."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import pytest

from tests.security.api_calls import APICalls
from tests.security.test_maps_access import NODES, PATHS, PICTURES, VIEWS, layer, template

ROWS = (
    "SELECT cartodb_id, a, b, ST_SetSRID(ST_MakePoint(a, 0), 3857) AS the_geom_webmercator FROM bystander WHERE a >= {}"
)
RIGHT = {"auth_token": "right"}
OPENED = {"method": "token", "valid_tokens": ["right", "other"]}
TEMPLATE = template(
    {"version": "1.8.0", "layers": [layer(ROWS.format(0))], "dataviews": VIEWS, "analyses": NODES}, auth=OPENED
)


def with_sql(query: str) -> dict[str, Any]:
    changed = deepcopy(TEMPLATE)
    changed["layergroup"]["layers"][0]["options"]["sql"] = query
    return changed


CLOSED = {
    "deleted": None,
    "token revoked": {**TEMPLATE, "auth": {"method": "token", "valid_tokens": ["other"]}},
    "another query": with_sql(ROWS.format(2)),
    "made anew": "again",
}


@pytest.fixture
def opened(api_calls: APICalls) -> tuple[APICalls, list[str]]:
    """Return the API calls without a key, and all URLs of an instance with content."""
    assert api_calls.call("POST", "/api/v1/map/named", json=TEMPLATE).status_code == 200
    public = api_calls.public()
    made = public.call("POST", "/api/v1/map/named/t", json={}, params=RIGHT)
    token = made.json()["layergroupid"]
    addresses = [f"/api/v1/map/{token}/{path}" for path in PATHS if "cluster" not in path]
    addresses += [f"/api/v1/map/static/{path.format(token)}" for path in PICTURES]
    for address in addresses:
        response = public.call("GET", address, params=RIGHT)
        assert response.status_code == 200, (address, response.text)
    return public, addresses


@pytest.mark.parametrize("change", CLOSED)
def test_an_instance_ends_with_its_template(
    api_calls: APICalls, opened: tuple[APICalls, list[str]], change: str
) -> None:
    public, addresses = opened
    after = CLOSED[change]
    if isinstance(after, dict):
        assert api_calls.call("PUT", "/api/v1/map/named/t", json=after).status_code == 200
    else:
        assert api_calls.call("DELETE", "/api/v1/map/named/t").status_code == 204
    if after == "again":
        other = with_sql(ROWS.format(2))
        assert api_calls.call("POST", "/api/v1/map/named", json=other).status_code == 200
    for address in addresses:
        response = public.call("GET", address, params=RIGHT)
        assert response.status_code in (400, 403, 404), (address, response.text)
        assert "secret" not in response.text
    if change == "deleted":
        for address in addresses:  # nor with the master key: there is no such map
            assert api_calls.call("GET", address).status_code == 400


def test_an_instance_outlives_a_change_of_other_things(api_calls: APICalls, opened: tuple[APICalls, list[str]]) -> None:
    public, addresses = opened
    changed = {**TEMPLATE, "view": {"zoom": 3}, "auth": {"method": "token", "valid_tokens": ["right"]}}
    assert api_calls.call("PUT", "/api/v1/map/named/t", json=changed).status_code == 200
    assert {public.call("GET", address, params=RIGHT).status_code for address in addresses} == {200}
    other = {"auth_token": "other"}
    assert {public.call("GET", address, params=other).status_code for address in addresses} == {403}


# What lets the public see rows, and takes it away again without a change of a table.
RIGHTS = {
    "function": (
        "CREATE FUNCTION shown() RETURNS SETOF bystander LANGUAGE sql SECURITY DEFINER AS 'SELECT * FROM bystander';"
        " GRANT EXECUTE ON FUNCTION shown() TO publicuser",
        "shown()",
        "REVOKE ALL ON FUNCTION shown() FROM publicuser, PUBLIC",
    ),
    "view": (
        "CREATE VIEW shown AS SELECT * FROM bystander; GRANT SELECT ON shown TO publicuser",
        "shown",
        "REVOKE ALL ON shown FROM publicuser",
    ),
    "row security": (
        "CREATE TABLE shown AS SELECT * FROM bystander; GRANT SELECT ON shown TO publicuser;"
        " SELECT CDB_TableMetadataTouch('shown')",
        "shown",
        "ALTER TABLE shown ENABLE ROW LEVEL SECURITY",
    ),
}


@pytest.mark.parametrize("kind", RIGHTS)
def test_revoked_rights_hide_tiles_immediately(api_calls: APICalls, kind: str) -> None:
    given, source, taken = RIGHTS[kind]
    api_calls.run(given)
    public = api_calls.public()
    shown = layer(ROWS.format(0).replace("bystander", source))
    token = public.call("POST", "/api/v1/map", json={"version": "1.8.0", "layers": [shown]}).json()["layergroupid"]
    addresses = [f"/api/v1/map/{token}/{path}" for path in ("0/0/0/0.png", "0/0/0/0.grid.json", "0/0/0/0.mvt")]
    before = [public.call("GET", address).content for address in addresses]
    api_calls.run(taken)
    for address, seen in zip(addresses, before, strict=True):
        response = public.call("GET", address)
        assert response.status_code != 200 or response.content != seen, address
