from __future__ import annotations

import io
import json
import time
import urllib.request
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psycopg
import pyogrio
import pytest

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
    give_up = time.monotonic() + 10
    while export["state"] not in FINAL:
        assert export["state"] in ("pending", "exporting", "uploading")
        assert time.monotonic() < give_up
        time.sleep(0.02)
        export = call("GET", f"{EXPORTS}/{export['id']}").json
    return export


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


def test_a_dataset_comes_with_its_rows(call: Call, tmp_path: Path) -> None:
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
    dataset = call("GET", "/api/v1/viz/t").json
    call("PUT", f"/api/v1/viz/{dataset['id']}", {"id": dataset["id"], "description": "Told", "tags": ["x"]})
    archive = exported(call, visualization_id=dataset["id"])
    assert sorted(archive.namelist()) == sorted([f"{dataset['id']}.carto.json", "t.gpkg"])
    described = json.loads(archive.read(f"{dataset['id']}.carto.json"))
    assert described["version"].startswith("2.1.")
    told = described["visualization"]
    assert (told["name"], told["description"], told["tags"]) == ("t", "Told", ["x"])
    assert [one["options"]["table_name"] for one in told["layers"]] == ["t"]
    meta, table = layer(archive, "t.gpkg", tmp_path)
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


def test_a_map_comes_with_all_or_some_of_its_tables(call: Call, tmp_path: Path) -> None:
    for name in ("a", "b"):
        query(call, f"CREATE TABLE {name} AS SELECT generate_series(1, 25000) AS i")
    a_map = call("POST", "/api/v1/viz", {"name": "My map", "tables": ["a", "b"]}).json
    archive = exported(call, visualization_id=a_map["id"])
    assert {"a.gpkg", "b.gpkg"} < set(archive.namelist())
    assert layer(archive, "a.gpkg", tmp_path)[1].num_rows == 25000
    [_, b] = a_map["related_tables"]
    some = exported(call, visualization_id=a_map["id"], user_tables_ids=[b["id"]])
    assert set(some.namelist()) == {f"{a_map['id']}.carto.json", "b.gpkg"}


def test_an_export_can_be_imported(call: Call) -> None:
    query(call, "CREATE TABLE t AS SELECT 'a' AS s, 'SRID=4326;POINT(1 2)'::geometry AS the_geom")
    query(call, "SELECT CDB_CartodbfyTable('t')")
    done = ended(call, call("POST", EXPORTS, {"visualization_id": call("GET", "/api/v1/viz/t").json["id"]}).json)
    query(call, "DROP TABLE t")
    job = call("POST", "/api/v1/imports", {"url": done["url"]}).json["item_queue_id"]
    give_up = time.monotonic() + 20
    while (found := call("GET", f"/api/v1/imports/{job}").json)["state"] not in FINAL:
        assert time.monotonic() < give_up
        time.sleep(0.05)
    assert (found["state"], found["table_name"]) == ("complete", "t")
    rows = query(call, "SELECT s, ST_AsText(the_geom) AS g FROM t")["rows"]
    assert rows == [{"s": "a", "g": "POINT(1 2)"}]


def test_what_cannot_be_exported(call: Call) -> None:
    query(call, "CREATE TABLE t (i int)")
    identity = call("GET", "/api/v1/viz/t").json["id"]
    assert call("POST", EXPORTS, {"visualization_id": "missing"}).status == 404
    assert call("POST", EXPORTS, {}).status == 404
    assert call("POST", EXPORTS, {"visualization_id": identity, "user_tables_ids": 7}).status == 400
    assert call("POST", EXPORTS, {"visualization_id": identity}, key=None).status == 401
    assert call("GET", f"{EXPORTS}/missing").status == 404
    assert call("GET", "/uploads/exports/guess/t.carto", key=None).status == 404


def test_an_export_of_a_table_that_goes_fails(call: Call, carto: LocalCarto) -> None:
    query(call, "CREATE TABLE t (i int)")
    identity = call("GET", "/api/v1/viz/t").json["id"]
    with psycopg.connect(carto.dsn) as connection:
        connection.execute("DROP TABLE t")  # the export waits for this transaction
        begun = call("POST", EXPORTS, {"visualization_id": identity}).json
    failed = ended(call, begun)
    assert (failed["state"], failed["url"]) == ("failure", None)


def test_an_export_of_rows_that_cannot_be_read_fails_and_leaves_no_files(call: Call) -> None:
    query(
        call, "CREATE TABLE t AS SELECT CASE i WHEN 20000 THEN 1e400 ELSE i END AS n FROM generate_series(1, 20000) i"
    )
    identity = call("GET", "/api/v1/viz/t").json["id"]
    failed = ended(call, call("POST", EXPORTS, {"visualization_id": identity}).json)
    assert (failed["state"], failed["url"]) == ("failure", None)
    query(call, "DELETE FROM t WHERE n > 1e300")
    assert exported(call, visualization_id=identity).namelist()[1:] == ["t.gpkg"]


def test_a_reset_ends_exports_and_removes_their_files(state: State) -> None:
    exports = ExportJobs(state, Catalog(state))
    directory = state.directory / "exports"
    with psycopg.connect(state.conninfo(state.owner_role)) as connection:
        connection.execute("CREATE TABLE t AS SELECT generate_series(1, 10) AS i")
    dataset = Catalog(state).find_by_table("t")
    export = exports.create(dataset, None)
    give_up = time.monotonic() + 10
    while export.state not in FINAL:
        assert time.monotonic() < give_up
        time.sleep(0.01)
    assert exports.file(export.token, "t.carto").is_file()
    exports.clear()
    assert not directory.exists()
    with pytest.raises(LookupError):
        exports.find(export.id)
    exports.close()
