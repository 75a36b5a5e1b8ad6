from __future__ import annotations

import io
import json
import re
import time
import urllib.request
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import psycopg
import pyogrio
import pytest
import requests

from cartoframes_lite.local import LocalCarto
from cartoframes_lite.local.catalog.exports import ExportJobs
from cartoframes_lite.local.catalog.visualizations import Catalog
from cartoframes_lite.local.state import State

Call = Callable[..., Any]
EXPORTS = "/api/v3/visualization_exports"
FINAL = ("complete", "failure")


def query(call: Call, q: str) -> Any:
    answer = call("POST", "/api/v2/sql", {"q": q})
    assert answer.status == 200, answer.body
    return answer.json


def ended(call: Call, export: Any) -> Any:
    give_up = time.monotonic() + 120
    while export["state"] not in FINAL:
        assert export["state"] in ("pending", "exporting", "uploading")
        assert time.monotonic() < give_up
        time.sleep(0.02)
        export = call("GET", f"{EXPORTS}/{export['id']}").json
    return export


def make_map(call: Call, *tables: str, name: str = "m") -> Any:
    """Create a map of tables, which are cartodbfied unless they are datasets already."""
    for table in tables:
        if call("GET", f"/api/v1/viz/{table}").status == 404:
            query(call, f"SELECT CDB_CartodbfyTable('{table}')")
            call("GET", "/api/v1/viz")  # registers it
    made = call("POST", "/api/v1/viz", {"name": name, "tables": list(tables)})
    assert made.status == 200, made.body
    return made.json


def make_public(call: Call, visualization: Any) -> None:
    """Publish a map, or make a dataset public."""
    path = f"/api/v1/viz/{visualization['id']}"
    assert call("PUT", path, {"id": visualization["id"], "privacy": "PUBLIC"}).status == 200
    if visualization["type"] == "derived":
        assert call("POST", f"/api/v3/viz/{visualization['id']}/mapcaps", {}).status == 201


def exported(call: Call, **body: Any) -> zipfile.ZipFile:
    begun = call("POST", EXPORTS, body)
    assert begun.status == 201, begun.body
    done = ended(call, begun.json)
    assert done["state"] == "complete"
    with urllib.request.urlopen(done["url"], timeout=10) as response:  # without any key
        return zipfile.ZipFile(io.BytesIO(response.read()))


def layer(archive: zipfile.ZipFile, name: str, directory: Path) -> Any:
    path = Path(archive.extract(name, directory))
    return pyogrio.read_arrow(path, layer=path.stem)


def test_map_comes_with_the_rows_of_its_table(call: Call, tmp_path: Path) -> None:
    query(
        call,
        "CREATE TABLE t AS SELECT i, 2.5::numeric AS n, i > 1 AS b, 'ä ' || i AS s, date '2020-02-03' AS d,"
        " timestamptz '2020-02-03 04:05:06.789123+00' AS m, 9007199254740993 + i AS big, '\\xff00'::bytea AS y,"
        " '{1,2}'::int[] AS l, i * 10 AS fid,"
        " ('SRID=4326;POINT Z (' || i || ' 2 3)')::geometry(PointZ,4326) AS the_geom,"
        " NULL::geometry(PointZ,3857) AS the_geom_webmercator"
        " FROM generate_series(1, 3) i",
    )
    query(call, "SELECT CDB_CartodbfyTable('t')")
    query(call, "INSERT INTO t (m) VALUES ('infinity')")
    a_map = make_map(call, "t")
    call("PUT", f"/api/v1/viz/{a_map['id']}", {"id": a_map["id"], "description": "Told", "tags": ["x"]})
    archive = exported(call, visualization_id=a_map["id"])
    folder = a_map["id"]
    assert sorted(archive.namelist()) == [f"{folder}/{folder}.carto.json", f"{folder}/t.gpkg"]
    described = json.loads(archive.read(f"{folder}/{folder}.carto.json"))
    assert described["version"].startswith("2.1.")
    told = described["visualization"]
    assert (told["name"], told["description"], told["tags"]) == ("m", "Told", ["x"])
    assert [one["options"]["table_name"] for one in told["layers"]] == ["t"]
    meta, table = layer(archive, f"{folder}/t.gpkg", tmp_path)
    assert (meta["crs"], meta["geometry_name"]) == ("EPSG:4326", "the_geom")
    assert "the_geom_webmercator" not in table.column_names
    rows = table.to_pylist()
    assert [row["cartodb_id"] for row in rows] == [1, 2, 3, 4]
    assert [row["fid"] for row in rows] == [10, 20, 30, None]
    assert rows[0]["big"] == 9007199254740994
    assert (rows[0]["n"], rows[0]["b"], rows[0]["s"], rows[0]["y"], rows[0]["l"]) == (
        2.5,
        False,
        "ä 1",
        b"\xff\x00",
        "{1,2}",
    )
    assert str(rows[0]["d"]) == "2020-02-03"
    assert rows[0]["m"].isoformat().startswith("2020-02-03T04:05:06.789")
    assert rows[3]["m"] is None
    assert [row["the_geom"] is None for row in rows] == [False, False, False, True]


def test_map_comes_with_all_or_some_of_its_tables(call: Call, tmp_path: Path) -> None:
    for name in ("a", "b"):
        query(call, f"CREATE TABLE {name} AS SELECT generate_series(1, 25000) AS i")
    a_map = make_map(call, "a", "b", name="My/map?")
    folder, ids = a_map["id"], {table["name"]: table["id"] for table in a_map["related_tables"]}
    archive = exported(call, visualization_id=folder)
    assert {f"{folder}/a.gpkg", f"{folder}/b.gpkg"} < set(archive.namelist())
    assert layer(archive, f"{folder}/a.gpkg", tmp_path)[1].num_rows == 25000
    for some in ([ids["b"]], ids["b"]):
        files = exported(call, visualization_id=folder, user_tables_ids=some).namelist()
        assert set(files) == {f"{folder}/{folder}.carto.json", f"{folder}/b.gpkg"}
    both = exported(call, visualization_id=folder, user_tables_ids=f"{ids['a']},{ids['b']}")
    assert sorted(both.namelist()) == sorted(archive.namelist())
    done = ended(call, call("POST", EXPORTS, {"visualization_id": folder}).json)
    name = unquote(done["url"].rpartition("/")[2])
    assert re.fullmatch(r"My_map_ \(on \d{4}-\d\d-\d\d at \d\d\.\d\d\.\d\d\)\.carto", name)


def test_export_can_be_imported(call: Call) -> None:
    query(call, "CREATE TABLE t AS SELECT 'a' AS s, 'SRID=4326;POINT(1 2)'::geometry AS the_geom")
    done = ended(call, call("POST", EXPORTS, {"visualization_id": make_map(call, "t")["id"]}).json)
    query(call, "DROP TABLE t")
    job = call("POST", "/api/v1/imports", {"url": done["url"]}).json["item_queue_id"]
    give_up = time.monotonic() + 120
    while (found := call("GET", f"/api/v1/imports/{job}").json)["state"] not in FINAL:
        assert time.monotonic() < give_up
        time.sleep(0.05)
    assert (found["state"], found["table_name"]) == ("complete", "t")
    rows = query(call, "SELECT s, ST_AsText(the_geom) AS g FROM t")["rows"]
    assert rows == [{"s": "a", "g": "POINT(1 2)"}]


def test_export_is_pending_at_first(call: Call, carto: LocalCarto) -> None:
    query(call, "CREATE TABLE t (i int)")
    a_map = make_map(call, "t")
    begun = call("POST", EXPORTS, {"visualization_id": a_map["id"]}).json
    assert sorted(begun) == ["created_at", "id", "state", "updated_at", "url", "user_id", "visualization_id"]
    assert (begun["visualization_id"], begun["state"], begun["url"]) == (a_map["id"], "pending", None)
    assert begun["user_id"] == call("GET", "/api/v3/me").json["user_data"]["id"]
    ended(call, begun)
    file = requests.get(
        f"{carto.base_url}{EXPORTS}/{begun['id']}/download",
        {"api_key": carto.credentials.api_key or ""},
        timeout=10,
    )
    assert (file.status_code, file.headers["Content-Type"], file.content[:2]) == (200, "application/zip", b"PK")
    forbidden = {"errors": "You don't have permission to access that resource", "errors_cause": None}
    for path in (f"{EXPORTS}/{begun['id']}", f"{EXPORTS}/{begun['id']}/download"):
        refused = call("GET", path, key=None)
        assert (refused.status, refused.json) == (403, forbidden)


@pytest.mark.parametrize(
    ("name", "header"),
    [
        ('My: "map"', r'attachment; filename="My_ _map_ \(on [0-9-]{10} at [0-9.]{8}\)\.carto"'),
        ("Städte", r"attachment; filename\*=utf-8''St%C3%A4dte%20%28on%20.*\.carto"),
        ("a\nb", r"attachment; filename\*=utf-8''a%0Ab%20%28on%20.*\.carto"),
    ],
)
def test_downloads_have_the_file_name(call: Call, carto: LocalCarto, name: str, header: str) -> None:
    query(call, "CREATE TABLE t (i int)")
    done = ended(call, call("POST", EXPORTS, {"visualization_id": make_map(call, "t", name=name)["id"]}).json)
    key = carto.credentials.api_key or ""
    for url in (done["url"], f"{carto.base_url}{EXPORTS}/{done['id']}/download"):
        found = requests.get(url, {"api_key": key}, timeout=10).headers["Content-Disposition"]
        assert re.fullmatch(header, found), found


def test_public_map_is_exported_without_a_key(call: Call) -> None:
    query(call, "CREATE TABLE t (i int); CREATE TABLE secret (i int)")
    a_map = make_map(call, "t", "secret")
    make_public(call, call("GET", "/api/v1/viz/t").json)
    denied = call("POST", EXPORTS, {"visualization_id": a_map["id"]}, key=None)
    assert (denied.status, denied.json["errors"]) == (403, 'Errors: ["User Must be able to view the visualization"]')
    make_public(call, a_map)
    begun = call("POST", EXPORTS, {"visualization_id": a_map["id"]}, key=None)
    assert (begun.status, begun.json["user_id"]) == (201, None)
    done = ended(call, begun.json)
    assert call("GET", f"{EXPORTS}/{done['id']}", key=None).json == done
    with urllib.request.urlopen(done["url"], timeout=10) as response:
        names = zipfile.ZipFile(io.BytesIO(response.read())).namelist()
    assert sorted(names) == [f"{a_map['id']}/{a_map['id']}.carto.json", f"{a_map['id']}/t.gpkg"]


def test_maps_and_exports_that_are_unknown(call: Call) -> None:
    unknown = "00000000-0000-4000-8000-00000000dead"
    for visualization_id in (unknown, "missing", ""):
        refused = call("POST", EXPORTS, {"visualization_id": visualization_id})
        message = f"Visualization not found: {visualization_id}"
        assert (refused.status, refused.json) == (404, {"errors": message, "errors_cause": None})
    for path in (unknown, f"{unknown}/download"):
        refused = call("GET", f"{EXPORTS}/{path}")
        message = f"Visualization export not found: {unknown}"
        assert (refused.status, refused.json) == (404, {"errors": message, "errors_cause": None})
    assert call("GET", f"{EXPORTS}/missing").status == 400
    assert call("GET", "/uploads/exports/guess/t.carto", key=None).status == 404


def test_datasets_and_other_tables_are_refused(call: Call) -> None:
    query(call, "CREATE TABLE t (i int); CREATE TABLE u (i int)")
    a_map, other = make_map(call, "t"), make_map(call, "u")["related_tables"][0]["id"]
    refused = call("POST", EXPORTS, {"visualization_id": call("GET", "/api/v1/viz/t").json["id"]})
    message = 'Errors: ["Visualization Only derived visualizations can be exported"]'
    assert (refused.status, refused.json) == (422, {"errors": message, "errors_cause": None})
    refused = call("POST", EXPORTS, {"visualization_id": a_map["id"], "user_tables_ids": other})
    message = f'Errors: ["User tables ids User table {other} is not related to visualization {a_map["id"]}"]'
    assert (refused.status, refused.json) == (422, {"errors": message, "errors_cause": None})


def test_export_of_a_table_that_goes_fails(call: Call, carto: LocalCarto) -> None:
    query(call, "CREATE TABLE t (i int)")
    identity = make_map(call, "t")["id"]
    with psycopg.connect(carto.dsn) as connection:
        connection.execute("DROP TABLE t")  # the export waits for this transaction
        begun = call("POST", EXPORTS, {"visualization_id": identity}).json
    failed = ended(call, begun)
    assert (failed["state"], failed["url"]) == ("failure", None)
    assert call("GET", f"{EXPORTS}/{begun['id']}/download").status == 404


def test_rows_that_cannot_be_read_fail_an_export(call: Call) -> None:
    query(
        call, "CREATE TABLE t AS SELECT CASE i WHEN 20000 THEN 1e400 ELSE i END AS n FROM generate_series(1, 20000) i"
    )
    identity = make_map(call, "t")["id"]
    failed = ended(call, call("POST", EXPORTS, {"visualization_id": identity}).json)
    assert (failed["state"], failed["url"]) == ("failure", None)
    query(call, "DELETE FROM t WHERE n > 1e300")
    assert exported(call, visualization_id=identity).namelist()[1:] == [f"{identity}/t.gpkg"]


def test_a_reset_ends_exports_and_removes_their_files(state: State) -> None:
    exports = ExportJobs(state, Catalog(state))
    directory = state.directory / "exports"
    catalog = Catalog(state)
    pending = exports.create(catalog.find(catalog.insert_map("m", "private", {})), None)
    export = exports.find(pending.id)
    give_up = time.monotonic() + 120
    while export.state not in FINAL:
        assert time.monotonic() < give_up
        time.sleep(0.01)
    assert exports.file(export).is_file()
    exports.clear()
    assert not directory.exists()
    with pytest.raises(LookupError):
        exports.find(export.id)
    exports.close()
