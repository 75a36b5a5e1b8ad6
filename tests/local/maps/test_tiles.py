from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor

import psycopg
import pytest
import requests

import cartoframes_lite.local
from cartoframes_lite.local import LocalCarto
from cartoframes_lite.local.maps.error_tile import error_tile
from cartoframes_lite.local.maps.tile_cache import TileCache
from tests.local.maps.maps_client import PUBLIC, TOWNS, Call, described, instantiate, mapnik, refusal, size_of
from tests.local.maps.vector_tiles import read_tile
from tests.local.sql_client import SQLClient

STYLED = {"cartocss": "#l { marker-width: 10; }", "cartocss_version": "2.3.0"}


@pytest.fixture(autouse=True)
def towns(sql: SQLClient) -> None:
    sql.run(TOWNS)


def names(call: Call, path: str, **options: object) -> list[str]:
    response = call("GET", path, **options)
    if response.status == 204:
        return []
    assert response.status == 200, response.body
    return [feature["name"] for layer in read_tile(response.body).values() for feature in layer]


def test_vector_tile_has_the_features_in_it(call: Call) -> None:
    path = instantiate(call, described(mapnik()))
    assert sorted(names(call, f"{path}/0/0/0.mvt")) == ["North", "South", "West"]
    assert [names(call, f"{path}/1/{x}/{y}.mvt") for x in (0, 1) for y in (0, 1)] == [
        ["West"],
        [],
        ["North"],
        ["South"],
    ]


def test_vector_tile_attributes_are_numbers_and_text(call: Call) -> None:
    path = instantiate(call, described(mapnik("SELECT * FROM towns WHERE name = 'South'")))
    [feature] = read_tile(call("GET", f"{path}/1/1/1.mvt").body)["layer0"]
    assert {name: feature[name] for name in ("cartodb_id", "name", "people", "height")} == {
        "cartodb_id": 2,
        "name": "South",
        "people": 20,
        "height": "2.5",  # a numeric is text, as PostGIS writes it
    }
    assert not {"the_geom", "the_geom_webmercator", "seen"} & feature.keys()


@pytest.mark.parametrize("place", ["0/0/1", "0/0/-1", "31/0/0", "-1/0/0", "x/0/0"])
def test_tile_coordinates_are_validated(call: Call, place: str) -> None:
    path = instantiate(call, described(mapnik()))
    status, message = refusal(call("GET", f"{path}/{place}.mvt"))
    assert (status, message.startswith("Invalid tile")) == (400, True)


def test_layers_are_selected_by_id_or_index(call: Call) -> None:
    layers = [{"id": name, **mapnik()} for name in ("a", "b", "c")]
    path = instantiate(call, described(*layers))
    found = {chosen: list(read_tile(call("GET", f"{path}/{chosen}/0/0/0.mvt").body)) for chosen in ("all", "1", "c,a")}
    assert found == {"all": ["a", "b", "c"], "1": ["b"], "c,a": ["a", "c"]}
    assert refusal(call("GET", f"{path}/d/0/0/0.mvt")) == (400, "Layer 'd' not found in layergroup")


def test_table_changes_invalidate_cached_tiles(call: Call, sql: SQLClient) -> None:
    path = instantiate(call, described(mapnik("SELECT * FROM towns WHERE people > 15")))
    assert sorted(names(call, f"{path}/0/0/0.mvt")) == ["South", "West"]
    sql.run("UPDATE towns SET people = 11 WHERE name = 'West'")
    assert names(call, f"{path}/0/0/0.mvt") == ["South"]


def test_each_table_of_a_map_invalidates_cached_tiles(call: Call, sql: SQLClient) -> None:
    sql.run("CREATE TABLE shown (kind text); SELECT CDB_CartodbfyTable('shown')")
    path = instantiate(call, described(mapnik("SELECT t.* FROM towns t, shown WHERE t.name = shown.kind")))
    for name in ("North", "South"):
        sql.run(f"DELETE FROM shown; INSERT INTO shown (kind) VALUES ('{name}')")
        assert [names(call, f"{path}/0/0/0.mvt") for _ in range(2)] == [[name], [name]]


def test_overlapping_transactions_invalidate_cached_tiles(call: Call, sql: SQLClient, carto: LocalCarto) -> None:
    path = instantiate(call, described(mapnik("SELECT * FROM towns WHERE people > 15")))
    with psycopg.connect(carto.dsn) as early:
        early.execute("SELECT now()")  # the time of all that it does
        sql.run("UPDATE towns SET people = 11 WHERE name = 'West'")
        assert names(call, f"{path}/0/0/0.mvt") == ["South"]
        early.execute("UPDATE towns SET people = 21 WHERE name = 'North'")
        assert names(call, f"{path}/0/0/0.mvt") == ["South"]
    assert sorted(names(call, f"{path}/0/0/0.mvt")) == ["North", "South"]


@pytest.mark.parametrize("touched", [False, True])
def test_unchanged_tables_use_cached_tiles(call: Call, sql: SQLClient, touched: bool) -> None:
    if touched:
        sql.run("DELETE FROM towns WHERE false")
    path = instantiate(call, described(mapnik("SELECT *, clock_timestamp()::text AS name_at FROM towns")))
    made, again = (call("GET", f"{path}/0/0/0.mvt").body for _ in range(2))
    assert made == again
    sql.run("UPDATE towns SET people = people")
    assert call("GET", f"{path}/0/0/0.mvt").body != made


@pytest.mark.parametrize(
    "change",
    [
        "ALTER people TYPE integer USING people + 1",
        "DROP people",
        "RENAME people TO persons",
        "ADD added int DEFAULT 7",
    ],
)
def test_changed_columns_invalidate_cached_tiles(call: Call, sql: SQLClient, change: str) -> None:
    config = described(mapnik("SELECT * FROM towns WHERE name = 'West'"))

    def properties() -> dict[str, object]:
        path = instantiate(call, config)
        [feature] = read_tile(call("GET", f"{path}/0/0/0.mvt").body)["layer0"]
        return {name: feature[name] for name in feature if name != "cartodb_id"}

    before = properties()
    sql.run(f"ALTER TABLE towns {change}")
    expected = {
        "ALTER": before | {"people": 31},
        "DROP": {"name": "West"},
        "RENAME": {"name": "West", "persons": 30},
        "ADD": before | {"added": 7},
    }
    assert before == {"name": "West", "people": 30}
    assert properties() == expected[change.split()[0]]


def test_lost_connections_leave_tiles_fresh(call: Call, sql: SQLClient, carto: LocalCarto) -> None:
    path = instantiate(call, described(mapnik("SELECT *, clock_timestamp()::text AS made_at FROM towns")))
    before = call("GET", f"{path}/0/0/0.mvt").body
    with psycopg.connect(carto.dsn, autocommit=True) as admin:
        admin.execute(
            "SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity"
            " WHERE usename <> current_user AND datname = current_database()"
        )
        admin.execute("UPDATE towns SET people = 21 WHERE name = 'North'")
    for _ in range(3):  # the first ones may find out that connections are lost
        after = call("GET", f"{path}/0/0/0.mvt")
        assert (after.status, after.body != before) == (200, True)
    assert call("GET", f"{path}/0/0/0.mvt").body == after.body


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("1/-1/0.mvt", 200),
        ("all/1/1/0.mvt", 200),
        ("1/1/0.mvt/0/0", 404),
        ("1/1/0", 400),
        ("1/1/0.mvt.gz", 400),
        ("9999999999999999999/1/0.mvt", 400),
        (f"1/{'9' * 5000}/0.mvt", 400),
        ("%D9%A1/1/0.mvt", 200),
    ],
)
def test_paths_of_tiles(call: Call, path: str, status: int) -> None:
    assert call("GET", f"{instantiate(call, described(mapnik()))}/{path}").status == status


def test_tiles_do_not_share_settings(call: Call) -> None:
    looking = """pg_backend_pid() AS pid, current_setting('search_path') AS path,
        (SELECT count(*)::int FROM pg_locks l WHERE locktype = 'advisory' AND l.pid = pg_backend_pid()) AS locks"""
    leaving = """set_config('search_path', 'pg_catalog', false) AS path, pg_advisory_lock(21)::text AS locked,
        set_config('statement_timeout', '1', false) AS wait"""
    looks, leaves = (
        instantiate(call, described(mapnik(f"SELECT *, {what} FROM towns WHERE name = 'West'")))
        for what in (looking, leaving)
    )

    def properties(path: str) -> dict[str, object]:
        [feature] = read_tile(call("GET", f"{path}.mvt").body)["layer0"]
        return {name: feature[name] for name in feature if name != "cartodb_id"}

    before = properties(f"{looks}/0/0/0")
    assert properties(f"{leaves}/0/0/0")["path"] == "pg_catalog"
    after = properties(f"{looks}/1/0/0")
    assert (after, after["locks"]) == (before, 0)


def test_concurrent_tiles(call: Call, sql: SQLClient) -> None:
    path = instantiate(call, described(mapnik("SELECT *, pg_sleep(0.02)::text AS slept FROM towns")))
    wanted = {(0, 0): ["West"], (0, 1): [], (1, 0): ["North"], (1, 1): ["South"]}
    with ThreadPoolExecutor(8) as pool:
        for _ in range(2):
            places = list(wanted) * 8
            found = list(pool.map(lambda place: names(call, f"{path}/1/{place[0]}/{place[1]}.mvt"), places))
            assert found == [wanted[place] for place in places]
            sql.run("UPDATE towns SET name = upper(name)")
            wanted = {place: [name.upper() for name in found] for place, found in wanted.items()}


def test_cached_tiles_are_per_role(call: Call, sql: SQLClient) -> None:
    sql.run(PUBLIC)
    path = instantiate(call, described(mapnik()))
    assert names(call, f"{path}/0/0/0.mvt", key=None)
    sql.run("REVOKE SELECT ON towns FROM publicuser")
    assert names(call, f"{path}/0/0/0.mvt")
    assert refusal(call("GET", f"{path}/0/0/0.mvt", key=None)) == (403, "permission denied for table towns")


def test_dropped_tables_have_no_tiles(call: Call, sql: SQLClient) -> None:
    path = instantiate(call, described(mapnik()))
    assert names(call, f"{path}/0/0/0.mvt")
    sql.run("DROP TABLE towns")
    assert refusal(call("GET", f"{path}/0/0/0.mvt")) == (404, 'relation "towns" does not exist')


@pytest.mark.parametrize(("suffix", "size"), [(".png", 256), ("@2x.png", 512), (".png32", 256)])
def test_png_tile(call: Call, suffix: str, size: int) -> None:
    path = instantiate(call, described(mapnik(**STYLED)))
    response = call("GET", f"{path}/1/1/0{suffix}")
    assert (response.status, size_of(response.body)) == (200, (size, size))
    empty = call("GET", f"{path}/5/31/31{suffix}")
    assert (size_of(empty.body), len(empty.body) < len(response.body)) == ((size, size), True)


def test_plain_layers_cover_the_layers_below(call: Call) -> None:
    plain = {"type": "plain", "options": {"color": "#ff0000"}}
    above = call("GET", f"{instantiate(call, described(mapnik(**STYLED), plain))}/0/0/0.png")
    alone = call("GET", f"{instantiate(call, described(plain))}/0/0/0.png")
    below = call("GET", f"{instantiate(call, described(plain, mapnik(**STYLED)))}/0/0/0.png")
    assert above.body == alone.body != below.body


def test_utfgrid_has_the_features_of_its_cells(call: Call) -> None:
    path = instantiate(call, described(mapnik(interactivity=["name"], **STYLED)))
    grid = call("GET", f"{path}/0/1/1/0.grid.json").json
    assert len(grid["grid"]) == 64
    assert grid["keys"] == ["", "1"]
    assert grid["data"]["1"]["name"] == "North"


def test_utfgrid_has_null_for_unsupported_types(call: Call) -> None:
    query = """SELECT *, date '2024-01-02' AS d, jsonb '[1]' AS j, time '01:02' AS t, ARRAY[1] AS a, 'NaN'::float8 AS f,
        1.50 AS n, true AS b, 'x '::char(3) AS c, 9007199254740993 AS i FROM towns"""
    names = ["name", "i", "d", "j", "t", "a", "seen", "f", "n", "b", "c"]
    path = instantiate(call, described(mapnik(query, interactivity=names, **STYLED)))
    [row] = call("GET", f"{path}/0/1/1/0.grid.json").json["data"].values()
    assert list(row) == sorted(names)
    nothing = dict.fromkeys(("a", "d", "f", "j", "seen", "t"))
    assert row == {**nothing, "name": "North", "i": 9007199254740993, "n": 1.5, "b": True, "c": "x  "}
    [feature] = read_tile(call("GET", f"{path}/1/1/0.mvt").body)["layer0"]
    assert not {"a", "d", "j", "seen", "t"} & feature.keys()
    assert (feature["n"], feature["b"]) == ("1.50", True)


def test_utfgrid_of_a_hundred_columns(call: Call) -> None:
    names = [f"c{number}" for number in range(120)]
    query = f"SELECT *, {', '.join(f'{number} AS {name}' for number, name in enumerate(names))} FROM towns"
    path = instantiate(call, described(mapnik(query, interactivity=names, **STYLED)))
    [row] = call("GET", f"{path}/0/1/1/0.grid.json").json["data"].values()
    assert row["c119"] == 119


def test_layers_without_interactivity_have_no_utfgrid(call: Call) -> None:
    path = instantiate(call, described(mapnik(**STYLED)))
    assert refusal(call("GET", f"{path}/0/1/1/0.grid.json")) == (400, "Tileset has no interactivity")


def test_points_are_aggregated(call: Call, sql: SQLClient) -> None:
    sql.run("""
        CREATE TABLE crowd AS SELECT i % 3 AS kind, i AS weight,
            ST_SetSRID(ST_MakePoint(10 + i * 1e-6, 20), 4326) AS the_geom FROM generate_series(1, 9) i;
        SELECT CDB_CartodbfyTable('crowd');
        ANALYZE crowd;""")
    heavy = {"total": {"aggregate_function": "sum", "aggregated_column": "weight"}}

    def features(**aggregation: object) -> list[dict[str, object]]:
        layer = mapnik("SELECT * FROM crowd", aggregation={"threshold": 1, **aggregation})
        response = call("GET", f"{instantiate(call, described(layer))}/3/4/3.mvt")
        return read_tile(response.body)["layer0"]

    [sample] = features()
    assert (sample["_cdb_feature_count"], sample["weight"]) == (9, sample["cartodb_id"])
    for placement in ("centroid", "point-grid", "point-sample"):
        [cell] = features(placement=placement, columns=heavy)
        assert cell == {"cartodb_id": 1, "_cdb_feature_count": 9, "total": 45}
    kinds = features(dimensions={"kind": "kind"}, columns=heavy, placement="centroid")
    assert sorted((cell["kind"], cell["total"]) for cell in kinds) == [(0, 18), (1, 12), (2, 15)]
    filtered = features(columns=heavy, dimensions={"kind": "kind"}, filters={"total": [{"greater_than": 14}]})
    assert sorted(cell["total"] for cell in filtered) == [15, 18]
    assert features(threshold=10) != [sample]


def test_feature_attributes(call: Call) -> None:
    attributes = {"id": "cartodb_id", "columns": ["name", "height", "seen"]}
    path = instantiate(call, described(mapnik(attributes=attributes), mapnik()))
    found = call("GET", f"{path}/0/attributes/1").json
    assert found == {"name": "North", "height": 1.5, "seen": "2024-01-01T00:00:00.000Z"}
    assert refusal(call("GET", f"{path}/1/attributes/1")) == (400, "Layer 1 has no exposed attributes")
    assert refusal(call("GET", f"{path}/0/attributes/x"))[0] == 400
    assert call("GET", f"{path}/0/attributes/1e0").json == found  # a number, however it is written
    for missing in ("1.5", "-1", "9" * 20, "null"):
        assert refusal(call("GET", f"{path}/0/attributes/{missing}"))[0] == 404


def test_error_tile_is_a_vector_tile() -> None:
    assert {name: len(layer) for name, layer in read_tile(error_tile()).items()} == {
        "errorTileSquareLayer": 1,
        "errorTileStripesLayer": 1,
    }


def test_tile_cache_drops_the_least_recently_used() -> None:
    cache = TileCache()
    tile = bytes(20 * 1024 * 1024)
    for key in "abc":
        cache.put(key, tile, "state")
    cache.get("a", "state")
    cache.put("d", tile, "state")
    assert [key for key in "abcd" if cache.get(key, "state")] == ["a", "c", "d"]
    assert cache.get("d", "another state") is None


def test_nul_and_surrogates_are_rejected(call: Call) -> None:
    attributes = {"id": "name", "columns": ["name"]}
    path = instantiate(call, described(mapnik(attributes=attributes)))
    assert refusal(call("GET", f"{path}/0/attributes/a%00b"))[0] == 404
    aggregation = {"threshold": 1, "dimensions": {"name": "name"}, "filters": {"name": [{"equal": "\0"}]}}
    assert refusal(call("POST", "/api/v1/map", described(mapnik(aggregation=aggregation))))[0] == 400
    aggregation["filters"] = {"name": [{"equal": "\ud800"}]}
    assert refusal(call("POST", "/api/v1/map", described(mapnik(aggregation=aggregation))))[0] == 400


def test_timeouts_of_vector_tiles_return_the_error_tile() -> None:
    with cartoframes_lite.local.start(user="tester", statement_timeout_s=0.3) as server:
        key = server.credentials.api_key
        place = "SELECT * FROM (VALUES (ST_SetSRID(ST_MakePoint(0, 0), 3857))) v (the_geom_webmercator), pg_sleep(1)"
        config = described(mapnik(place))
        made = requests.post(f"{server.base_url}/api/v1/map", params={"api_key": key}, json=config, timeout=10)
        assert made.status_code == 200, made.text
        url = f"{server.base_url}/api/v1/map/{made.json()['layergroupid']}/0/0/0"
        late = requests.get(f"{url}.mvt", timeout=10)
        assert (late.status_code, late.headers["content-type"]) == (429, "application/x-protobuf")
        assert set(read_tile(late.content)) == {"errorTileSquareLayer", "errorTileStripesLayer"}


def test_huge_labels_do_not_block_other_requests(call: Call) -> None:
    sql = "SELECT cartodb_id, repeat('long ', 1000000) AS name, the_geom_webmercator FROM towns WHERE name = 'North'"
    css = "#l { text-name: [name]; text-face-name: 'DejaVu Sans Book'; text-size: 10; text-allow-overlap: true; }"
    path = instantiate(call, described(mapnik(sql, cartocss=css, cartocss_version="2.3.0")))
    began = time.monotonic()
    assert call("GET", f"{path}/0/0/0.png").status == 200
    assert time.monotonic() - began < 60
