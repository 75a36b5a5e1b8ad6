"""Queries of maps change nothing, and leave no settings for the next query."""

from __future__ import annotations

import pytest

from tests.security.api_calls import APICalls
from tests.security.db_snapshot import differences
from tests.security.test_maps_access import STYLE

WRITER = """
    CREATE TABLE written (a int);
    CREATE FUNCTION write_something() RETURNS int LANGUAGE plpgsql {definer} AS $$
    BEGIN
        INSERT INTO written VALUES (1);
        RETURN 1;
    END $$;
    CREATE FUNCTION open_the_session() RETURNS text LANGUAGE plpgsql {definer} AS $$
    BEGIN
        PERFORM set_config('default_transaction_read_only', 'off', false);
        PERFORM set_config('session_replication_role', 'origin', false);
        SET default_transaction_read_only = off;
        RETURN current_setting('default_transaction_read_only');
    EXCEPTION WHEN OTHERS THEN
        RETURN sqlerrm;
    END $$;
    CREATE FUNCTION open_the_transaction() RETURNS text LANGUAGE plpgsql {definer} AS $$
    BEGIN
        SET TRANSACTION READ WRITE;
        RETURN 'open';
    END $$;
"""
OPENING = [
    "set_config('default_transaction_read_only', 'off', false)",
    "set_config('transaction_read_only', 'off', false)",
    "set_config('transaction_read_only', 'off', true)",
    "open_the_session()",
    "open_the_transaction()",
]
PLACES = ("all/0/0/0.png", "all/0/0/0.mvt", "0/0/0/0.grid.json", "0/attributes/1", "1/attributes/1", "dataview/v")


def layer(expression: str) -> dict[str, object]:
    query = (
        f"SELECT 1 AS cartodb_id, {expression}::text AS b, ST_SetSRID(ST_MakePoint(0, 0), 3857) AS the_geom_webmercator"
    )
    attributes = {"id": "cartodb_id", "columns": ["b"]}
    options = {"sql": query, **STYLE, "attributes": attributes, "interactivity": ["cartodb_id", "b"]}
    return {"type": "mapnik", "options": options}


@pytest.mark.parametrize(
    ("kind", "definer"),
    [
        ("public", "SECURITY DEFINER"),
        ("public", ""),
        ("master", ""),
        pytest.param("master", "SECURITY DEFINER", marks=pytest.mark.slow),  # the owner has these rights without it
    ],
)
def test_layers_cannot_disable_read_only_for_the_next(
    api_calls: APICalls, db_snapshots, kind: str, definer: str
) -> None:
    api_calls.run(WRITER.format(definer=definer))
    api_calls.run("GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA public TO PUBLIC")
    client = api_calls if kind == "master" else api_calls.public()
    nodes = [{"id": "n", "type": "source", "params": {"query": layer("write_something()")["options"]["sql"]}}]  # type: ignore[index]  # of nested members
    views = {"v": {"type": "aggregation", "source": {"id": "n"}, "options": {"column": "b", "aggregation": "count"}}}
    before = db_snapshots.snapshot()
    for opening in OPENING:
        for layers in ([layer(opening), layer("write_something()")], [layer("write_something()"), layer(opening)]):
            config = {"version": "1.8.0", "layers": layers}
            for described in (config, {**config, "analyses": nodes, "dataviews": views}):
                made = client.call("POST", "/api/v1/map", json=described)
                if made.status_code != 200:
                    continue
                for _ in range(2):  # the second time, with the session of the first
                    for place in PLACES:
                        client.call("GET", f"/api/v1/map/{made.json()['layergroupid']}/{place}")
    assert api_calls.run("SELECT count(*) AS n FROM written") == [{"n": 0}]
    assert differences(before, db_snapshots.snapshot()) == {}


def test_settings_of_a_layer_are_invisible_to_the_next(api_calls: APICalls) -> None:
    changing = layer("set_config('search_path', 'pg_catalog', false)")
    seen = layer("current_setting('search_path')")
    made = api_calls.call("POST", "/api/v1/map", json={"version": "1.8.0", "layers": [changing, seen]})
    path = f"/api/v1/map/{made.json()['layergroupid']}"
    assert api_calls.call("GET", f"{path}/0/attributes/1").json() == {"b": "pg_catalog"}
    grids = [api_calls.call("GET", f"{path}/{number}/0/0/0.grid.json").json() for number in (0, 1)]
    assert [grid["data"]["1"]["b"] == "pg_catalog" for grid in grids] == [True, False]
