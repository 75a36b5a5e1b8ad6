from __future__ import annotations

import gzip
import http.client
import io
import json
import re
import time
import uuid
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
import requests
from psycopg.conninfo import conninfo_to_dict

import cartoframes_lite.local
from cartoframes_lite.local import LocalCarto, Plan
from cartoframes_lite.local.postgres.cluster import open_cluster
from tests.http_servers import FileServer
from tests.local.imports.import_client import Importer

CSV = "name,n\nOslo,1\nBergen,2\n"
RUNNING_FIELDS = {
    *("id", "user_id", "table_id", "data_type", "table_name", "state", "error_code", "queue_id"),
    *("tables_created_count", "synchronization_id", "type_guessing", "quoted_fields_guessing", "content_guessing"),
    *("create_visualization", "visualization_id", "user_defined_limits", "get_error_text", "display_name"),
    *("warnings", "is_raster", "original_url"),
}
FAILED_FIELDS = RUNNING_FIELDS | {"success"}
COMPLETE_FIELDS = FAILED_FIELDS | {"any_table_raster", "derived_visualization_id"}
SMALL = Plan(
    file_bytes=2000,
    concurrent_imports=1,
    private_datasets=False,
    import_timeout_s=1.0,
    download_timeout_s=60.0,
)


@pytest.fixture
def source(file_server: FileServer) -> FileServer:
    return file_server


@pytest.fixture
def importer(carto: LocalCarto) -> Importer:
    return Importer(carto)


@pytest.fixture(scope="module")
def small_server() -> Iterator[LocalCarto]:
    with cartoframes_lite.local.start(user="small", plan=SMALL) as server:
        yield server


@pytest.fixture
def small(small_server: LocalCarto) -> Importer:
    """Start a server with an empty account on a small plan."""
    small_server.reset()
    return Importer(small_server)


def left_behind(carto: LocalCarto) -> list[Path]:
    """Return the files of imports that remain on the server."""
    with psycopg.connect(carto.dsn) as connection:
        directory = Path(connection.info.host)
    return [path for path in directory.rglob("*") if path.name.startswith(("upload_", "import_", "download_", "sync_"))]


# What is imported


def test_file_becomes_a_table(importer: Importer) -> None:
    job = importer.csv("My Cities.csv", CSV)
    assert job.keys() == COMPLETE_FIELDS
    assert (job["state"], job["success"], job["error_code"], job["get_error_text"]) == ("complete", True, None, None)
    assert (job["table_name"], job["display_name"]) == ("my_cities", "My_Cities.csv")
    assert re.fullmatch("/uploads/[0-9a-f]{20}/My_Cities.csv", job["original_url"])
    assert job["user_defined_limits"] == '{"twitter_credits_limit":0}'
    assert (job["data_type"], job["tables_created_count"]) == ("file", 1)
    assert job["id"] == job["queue_id"]
    assert uuid.UUID(job["table_id"])
    assert uuid.UUID(job["user_id"])
    assert (job["is_raster"], job["warnings"], job["visualization_id"]) == (False, None, None)
    assert importer.rows("SELECT name, n FROM my_cities ORDER BY cartodb_id") == [
        {"name": "Oslo", "n": 1},
        {"name": "Bergen", "n": 2},
    ]
    assert importer.tables() == ["my_cities"]
    assert left_behind(importer.carto) == []


def test_raw_body_with_a_name(importer: Importer) -> None:
    for kind in ("application/octet-stream", "application/x-www-form-urlencoded", "application/json"):
        job = importer.run(data=CSV.encode(), params={"filename": "t.csv"}, headers={"Content-Type": kind})
        assert (job["state"], job["data_type"]) == ("complete", "file")
    assert importer.tables() == ["t", "t_1", "t_2"]


def test_parameters_beside_the_file(importer: Importer) -> None:
    files = {"file": ("t.csv", CSV.encode()), "other": ("u.csv", b"a\n1\n")}
    data = {"privacy": "PUBLIC", "type_guessing": "false", "table_name": "Wanted name"}
    job = importer.run(files=files, data=data)
    assert (job["table_name"], job["type_guessing"]) == ("t", False)  # as in CARTO, a file names its table
    assert importer.rows("SELECT n FROM t LIMIT 1", key=None) == [{"n": "1"}]
    assert importer.tables() == ["t"]


@pytest.mark.parametrize(
    ("file_name", "table"),
    [
        ("Čities & töwns.csv", "table_ities_t_wns"),
        ("Weird Filename (2).csv", "weird_filename_2"),
        ("a.b.csv", "a_b"),
        ("2020.csv", "table_2020"),
        ("select.csv", "select_t"),
        ("It's.tsv", "its"),
    ],
)
def test_tables_are_named_after_files(importer: Importer, file_name: str, table: str) -> None:
    assert importer.csv(file_name, CSV)["table_name"] == table


def test_imports_take_the_key_in_body_or_header(importer: Importer) -> None:
    job = importer.run(files={"file": ("t.csv", CSV.encode())}, data={"api_key": importer.key}, key=None)
    assert job["state"] == "complete"
    url = f"{importer.carto.base_url}/api/v1/imports/"
    user = (importer.carto.credentials.username, importer.key)
    assert requests.post(url, files={"file": ("t.csv", CSV.encode())}, auth=user, timeout=10).status_code == 200


def test_url(importer: Importer, source: FileServer) -> None:
    url = source.put("/a%20b", CSV.encode(), Content_Disposition="attachment; filename=cities.csv")
    job = importer.run(json={"url": url, "type_guessing": True, "table_name": "other"})
    assert job.keys() == COMPLETE_FIELDS
    assert (job["state"], job["data_type"], job["original_url"]) == ("complete", "url", url)
    assert (job["table_name"], job["display_name"]) == ("cities", "a b")
    assert left_behind(importer.carto) == []


def test_url_of_this_server(importer: Importer) -> None:
    importer.rows("CREATE TABLE t AS SELECT 7 AS i")
    query = f"q=SELECT+i+FROM+t&format=csv&filename=again&api_key={importer.key}"
    job = importer.run(json={"url": f"{importer.carto.base_url}/api/v2/sql?{query}"})
    assert job["table_name"] == "again"
    assert importer.rows("SELECT i FROM again") == [{"i": 7}]


def test_query(importer: Importer) -> None:
    job = importer.run(json={"sql": "SELECT 1 AS i", "table_name": "from_query"})
    assert (job["data_type"], job["table_name"], job["tables_created_count"]) == ("query", "from_query", 0)
    assert (job["display_name"], job["original_url"]) == (job["id"], "")
    assert importer.run(json={"sql": "SELECT 1 AS i", "table_name": "From query"})["table_name"] == "from_query_1"
    assert importer.rows("SELECT i FROM from_query") == [{"i": 1}]
    job = importer.run(json={"sql": "SELECT 1/0"})
    assert (job["state"], job["error_code"]) == ("failure", 8003)


def test_query_overwrites_a_table_of_other_columns(importer: Importer) -> None:
    importer.csv("t.csv", CSV)
    before = importer.send("GET", "viz/t").json()["id"]
    body = {"sql": "SELECT 'x' AS n, 1.5 AS other", "table_name": "t", "collision_strategy": "overwrite"}
    job = importer.run(json=body)
    assert (job["state"], job["table_name"]) == ("complete", "t")
    assert importer.rows("SELECT * FROM t")[0].keys() >= {"n", "other"}
    assert importer.rows("SELECT n, other FROM t") == [{"n": "x", "other": 1.5}]
    assert importer.send("GET", "viz/t").json()["id"] == before


def test_copy_of_a_table(importer: Importer) -> None:
    importer.csv("t.csv", CSV)
    job = importer.run(params={"table_copy": "t"})
    assert (job["data_type"], job["table_name"], job["tables_created_count"]) == ("query", "untitled_table", 0)
    job = importer.run(params={"table_copy": "t", "table_name": "t"})
    assert job["table_name"] == "t_1"
    assert importer.rows("SELECT name FROM t_1 ORDER BY cartodb_id") == [{"name": "Oslo"}, {"name": "Bergen"}]
    assert importer.run(params={"table_copy": "nothing; DROP TABLE t"})["error_code"] == 8003


def test_several_tables_and_a_map(importer: Importer) -> None:
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as writer:
        writer.writestr("a.csv", CSV)
        writer.writestr("b.csv", CSV)
    parameters = {"create_vis": "true", "privacy": "link"}
    job = importer.run(files={"file": ("both.zip", archive.getvalue())}, params=parameters)
    assert (job["state"], job["tables_created_count"], job["create_visualization"]) == ("complete", 2, True)
    assert (job["table_name"], importer.tables()) == ("b", ["a", "b"])
    made = importer.send("GET", f"viz/{job['visualization_id']}").json()
    assert (made["type"], made["privacy"], made["name"]) == ("derived", "LINK", "A")
    assert job["derived_visualization_id"] == job["visualization_id"]
    for table in importer.tables():
        assert importer.send("GET", f"viz/{table}").json()["privacy"] == "LINK"


def test_members_of_an_archive_that_fail(importer: Importer) -> None:
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as writer:
        writer.writestr("a.csv", CSV)
        writer.writestr("b.csv", "")
    job = importer.run(files={"file": ("both.zip", archive.getvalue())})
    assert (job["state"], job["success"], job["table_name"]) == ("complete", True, "a")
    assert (job["error_code"], job["get_error_text"]["title"], job["tables_created_count"]) == (1005, "Empty file", 2)


def test_archive_with_too_many_tables(importer: Importer) -> None:
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as writer:
        for number in range(27):
            writer.writestr(f"t{number:02}.csv", "a\n1\n")
    job = importer.run(files={"file": ("many.zip", archive.getvalue())})
    assert (job["state"], job["error_code"], job["tables_created_count"]) == ("complete", None, 26)
    assert (job["warnings"], len(importer.tables())) == ({"max_tables_per_import": 26}, 26)


def test_nothing_to_import_is_a_job_that_fails(importer: Importer) -> None:
    for arguments in ({}, {"json": {}}, {"json": {"url": "", "sql": None}}, {"data": {"privacy": "public"}}):
        job = importer.run(**arguments)
        assert (job["state"], job["success"], job["error_code"]) == ("failure", False, 99999)
    job = importer.run(json={"table_name": "t"})
    assert (job["error_code"], job["get_error_text"]["title"]) == (99999, "Unknown")


def test_other_services_cannot_be_reached(importer: Importer) -> None:
    job = importer.run(json={"service_name": "dropbox", "service_item_id": "1"})
    assert (job["error_code"], job["get_error_text"]["source"]) == (1012, "external")


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"url": "not a url"}, "Invalid URL, cannot connect dataset: not a url"),
        ({"url": "ldap://h/t.csv"}, "Invalid URL, cannot connect dataset: ldap://h/t.csv"),
        ({"url": "http://h/ä.csv"}, "Invalid URL, cannot connect dataset: http://h/ä.csv"),
        ({"url": "http://h:x/"}, "Invalid URL, cannot connect dataset: http://h:x/"),
        ({"remote_visualization_id": str(uuid.uuid4())}, "Illegal external load"),
        ({"connector": {"provider": "oracle"}}, "Invalid provider Provider: oracle"),
        ({"connector": {"table": "t"}}, "Provider not defined"),
        ({"connector": "{"}, "the connector is not valid JSON"),
        ({"service_item_id": {"a": 1}}, "service_item_id field should be empty or a string"),
        ({"user_defined_limits": "x"}, "user_defined_limits must be an object"),
        ({"collision_strategy": "rename"}, "collision_strategy Invalid collision strategy"),
        ({"collision_strategy": ""}, "collision_strategy Invalid collision strategy"),
        (
            {"privacy": "password"},
            "Unknown value 'password' for 'privacy'. Allowed values are: private, public and link",
        ),
    ],
)
def test_requests_that_are_refused(importer: Importer, body: dict[str, Any], message: str) -> None:
    response = importer.send("POST", "imports", json={"sql": "SELECT 1 AS i", **body})
    assert (response.status_code, response.json()) == (400, {"errors": {"imports": message}})
    assert importer.tables() == []


def test_limits_of_the_user_are_stored_as_text(importer: Importer) -> None:
    job = importer.run(json={"sql": "SELECT 1 AS i", "user_defined_limits": {"twitter_credits_limit": "7", "a": "é"}})
    assert job["user_defined_limits"] == '{"twitter_credits_limit":7,"a":"é"}'


# Failures


def test_failure_says_why_and_leaves_nothing(importer: Importer) -> None:
    job = importer.run(files={"file": ("t.xyz", b"\x00\x01\x02")})
    assert job.keys() == FAILED_FIELDS
    assert (job["state"], job["success"], job["error_code"]) == ("failure", False, 1002)
    assert job["get_error_text"]["title"] == "Unsupported/Unrecognized file type"
    assert job["get_error_text"].keys() == {"title", "what_about", "source"}
    assert (job["table_name"], job["table_id"], job["tables_created_count"]) == (None, None, None)
    assert job["warnings"] is None
    assert importer.tables() == []
    assert left_behind(importer.carto) == []


@pytest.mark.parametrize(
    ("status", "code", "message"),
    [
        (401, 1101, "This usually means CARTO is not authorized to retrieve this file."),
        (403, 1001, "Tip: Should you be using 'https' instead of 'http' in your URL?"),
        (404, 1100, "This usually means no file was found at the specified URL."),
        (418, 1001, "This usually means an unknown client error has occured."),
        (500, 1001, "Try again later!"),
    ],
)
def test_url_that_is_refused(importer: Importer, source: FileServer, status: int, code: int, message: str) -> None:
    job = importer.run(json={"url": source.put("/t.csv", b"", status=status)})
    assert job.keys() == FAILED_FIELDS | {"http_response_code", "http_response_code_message"}
    assert (job["error_code"], job["http_response_code"], job["warnings"]) == (code, str(status), None)
    assert message in job["http_response_code_message"]


def test_url_of_a_private_address(importer: Importer, source: FileServer) -> None:
    for url in ("http://10.0.0.1/t.csv", source.redirect("/t.csv", "http://169.254.169.254/latest/meta-data")):
        assert importer.run(json={"url": url})["error_code"] == 1101


def test_password_of_a_url_does_not_show(importer: Importer, source: FileServer) -> None:
    source.put("/t.csv", CSV.encode())
    job = importer.run(json={"url": f"http://user:secret@127.0.0.1:{source.server_port}/t.csv"})
    assert job["state"] == "complete"
    assert job["original_url"] == f"http://user:***@127.0.0.1:{source.server_port}/t.csv"
    assert "secret" not in json.dumps(job)


def test_broken_uploads(importer: Importer) -> None:
    kind = {"Content-Type": "multipart/form-data; boundary=x"}
    begin = b'--x\r\nContent-Disposition: form-data; name="file"; filename="t.csv"\r\n\r\na\n1\n'
    for body in (begin, b"--y\r\n", b""):
        assert importer.send("POST", "imports", data=body, headers=kind).status_code == 400
    kind = {"Content-Type": "application/json"}
    assert importer.send("POST", "imports", data=b"{", headers=kind).json().keys() == {"errors"}
    assert importer.send("POST", "imports", data=b"{", headers=kind).status_code == 400
    assert importer.tables() == []
    assert left_behind(importer.carto) == []


def test_upload_that_breaks_off(importer: Importer) -> None:
    host, port = importer.carto.base_url.split("/")[2].split(":")
    connection = http.client.HTTPConnection(host, int(port), timeout=10)
    connection.putrequest("POST", f"/api/v1/imports?api_key={importer.key}&filename=t.csv")
    connection.putheader("Content-Length", "1000000")
    connection.endheaders(b"a\n1\n")
    connection.close()
    assert importer.csv("u.csv", CSV)["state"] == "complete"
    assert importer.tables() == ["u"]
    assert left_behind(importer.carto) == []


# Parameters


@pytest.mark.parametrize(
    ("name", "value", "meant"),
    [
        ("type_guessing", "false", False),
        ("type_guessing", False, False),
        ("type_guessing", "False", True),
        ("quoted_fields_guessing", "false", False),
        ("quoted_fields_guessing", "0", True),
        ("content_guessing", "true", True),
        ("content_guessing", True, True),
        ("content_guessing", "True", False),
        ("create_vis", "True", False),
        ("create_vis", "true", True),
    ],
)
def test_booleans_are_read_as_carto_does(
    importer: Importer, source: FileServer, name: str, value: Any, meant: bool
) -> None:
    job = importer.run(json={"url": source.put("/t.csv", CSV.encode()), name: value})
    assert job["create_visualization" if name == "create_vis" else name] is meant
    assert (job["visualization_id"] is not None) == (name == "create_vis" and meant)


def test_collision_strategies(importer: Importer) -> None:
    importer.csv("t.csv", CSV, privacy="public")
    assert importer.csv("t.csv", "name,n\nRome,3\n")["table_name"] == "t_1"
    skipped = importer.csv("t.csv", "name,n\nRome,3\n", collision_strategy="skip")
    assert (skipped["state"], skipped["success"], skipped["error_code"]) == ("complete", True, 1022)
    assert (skipped["tables_created_count"], skipped["table_name"], skipped["table_id"]) == (0, None, None)
    query = {"sql": "SELECT 1 AS i", "table_name": "t", "collision_strategy": "skip"}
    skipped = importer.run(json=query)
    assert (skipped["state"], skipped["error_code"], skipped["table_name"]) == ("complete", 1022, "t")
    assert len(importer.rows("SELECT 1 FROM t")) == 2
    replaced = importer.csv("t.csv", "name,n\nRome,3\n", collision_strategy="overwrite")
    assert (replaced["state"], replaced["table_name"]) == ("complete", "t")
    # What is replaced stays as public as it was.
    assert importer.rows("SELECT name FROM t", key=None) == [{"name": "Rome"}]
    refused = importer.csv("t.csv", "other\n1\n", collision_strategy="overwrite")
    assert (refused["state"], refused["error_code"]) == ("failure", 2012)
    assert importer.rows("SELECT name FROM t") == [{"name": "Rome"}]
    assert importer.tables() == ["t", "t_1"]


@pytest.mark.parametrize(("privacy", "status"), [("private", 403), ("Link", 200), ("PUBLIC", 200), (None, 403)])
def test_privacy(importer: Importer, privacy: str | None, status: int) -> None:
    importer.csv("t.csv", CSV, **({} if privacy is None else {"privacy": privacy}))
    seen = importer.rows("SELECT * FROM t", key=None)
    assert (seen if isinstance(seen, int) else 200) == status
    assert importer.send("GET", "viz/t").json()["privacy"] == (privacy or "private").upper()


def test_unknown_privacy(importer: Importer) -> None:
    response = importer.send("POST", "imports", files={"file": ("t.csv", CSV.encode())}, params={"privacy": "secret"})
    message = "Unknown value 'secret' for 'privacy'. Allowed values are: private, public and link"
    assert (response.status_code, response.json()) == (400, {"errors": {"imports": message}})
    assert left_behind(importer.carto) == []


def test_connector(importer: Importer) -> None:
    connection = {"server": "127.0.0.1", "port": 1, "database": "d", "username": "u", "password": "secret"}
    connector = {"provider": "postgres", "connection": connection, "table": "t"}
    for body in ({"connector": connector}, {"connector": json.dumps({"connector": connector})}):
        job = importer.run(json=body)
        assert (job["data_type"], job["error_code"]) == ("datasource", 1500)
        assert "secret" not in json.dumps(job)
    beside = {"connector": {"provider": "postgres", "connection": connection}, "schema": "s"}
    assert importer.send("POST", "imports", json=beside).status_code == 400
    assert importer.run(json={**beside, "table": "t"})["error_code"] == 1500


# Who may, and what is listed


def test_only_the_master_key_imports(importer: Importer) -> None:
    grants = [{"type": "apis", "apis": ["sql"]}]
    body = {"name": "regular", "grants": grants}
    url = importer.carto.base_url + "/api/v3/api_keys"
    made = requests.post(url, json=body, params={"api_key": importer.key}, timeout=10).json()
    identity = importer.post(json={"sql": "SELECT 1 AS i"})
    importer.wait(identity)
    for key in (None, "wrong", made["token"]):
        for method, path in (("POST", "imports"), ("GET", "imports"), ("GET", f"imports/{identity}")):
            assert importer.send(method, path, key=key).status_code == 401
        assert importer.send("POST", "imports", key=key, files={"file": ("t.csv", b"a\n1\n")}).status_code == 401
    assert importer.tables() == ["untitled_table"]
    assert left_behind(importer.carto) == []


def test_running_imports_are_listed(importer: Importer, source: FileServer) -> None:
    def listed() -> Any:
        return importer.send("GET", "imports/").json()

    assert listed() == {"imports": [], "success": True}
    importer.wait(importer.post(json={"sql": "SELECT 1 AS i"}))
    first = importer.post(json={"url": source.hang("/t.csv")})
    importer.carto.advance_clock(60)
    second = importer.post(json={"url": source.hang("/t.csv")})
    assert listed() == {"imports": [second, first], "success": True}
    assert importer.send("GET", f"imports/{first}").json().keys() == RUNNING_FIELDS
    importer.carto.advance_clock(86400 - 30)
    assert listed()["imports"] == [second]
    source.released.set()
    importer.wait(second)
    assert listed()["imports"] == []


@pytest.mark.parametrize("unknown", [str(uuid.UUID(int=7)), "x"])
def test_unknown_import(importer: Importer, unknown: str) -> None:
    response = importer.send("GET", f"imports/{unknown}")
    assert (response.status_code, response.content) == (404, b"")


# Limits of the plan, and ends from outside


def test_file_that_is_too_big(small: Importer, source: FileServer) -> None:
    assert small.csv("t.csv", "a\n" + "1\n" * 999)["state"] == "complete"
    big = b"a\n" + b"1\n" * 1_000_000
    for arguments in (
        {"files": {"file": ("t.csv", big)}},
        {"data": big, "params": {"filename": "t.csv"}},
        {"json": {"url": source.put("/t.csv", big)}},
        {"json": {"url": source.put("/t.csv", gzip.compress(big), Content_Encoding="gzip")}},
    ):
        assert small.run(**arguments)["error_code"] == 6666
    assert small.tables() == ["t"]
    assert left_behind(small.carto) == []


def test_slots(small: Importer, source: FileServer) -> None:
    first = small.post(json={"url": source.hang("/t.csv")})
    response = small.send("POST", "imports", files={"file": ("t.csv", b"a\n1\n")}, params={"privacy": "nonsense"})
    message = "We're sorry but you're already using your allowed 1 import slots"
    assert (response.status_code, response.json()) == (429, {"errors": {"imports": message}})
    assert small.send("GET", f"imports/{first}").json()["state"] in ("pending", "uploading")
    source.released.set()
    assert small.wait(first)["error_code"] == 1001
    assert small.csv("t.csv", CSV)["state"] == "complete"
    assert left_behind(small.carto) == []


def test_import_that_takes_too_long(small: Importer) -> None:
    job = small.run(json={"sql": "SELECT pg_sleep(30)::text AS t"})
    assert (job["state"], job["error_code"]) == ("failure", 6667)
    assert small.tables() == []


def test_connector_that_takes_too_long(small: Importer) -> None:
    other = open_cluster()
    try:
        known = conninfo_to_dict(other.dsn)
        connection = {"server": known["host"], "database": known["dbname"], "username": known["user"]}
        query = {"sql_query": "SELECT i FROM generate_series(1, 9) i WHERE pg_sleep(9) IS NOT NULL", "import_as": "t"}
        job = small.run(json={"connector": {"provider": "postgres", "connection": connection, **query}})
    finally:
        other.stop()
    assert (job["state"], job["error_code"]) == ("failure", 6667)
    assert small.tables() == []


def test_an_unexpected_error_ends_only_the_import(
    carto_in_process: LocalCarto, caplog: pytest.LogCaptureFixture
) -> None:
    importer = Importer(carto_in_process)
    importer.csv("t.csv", CSV)
    with psycopg.connect(importer.carto.dsn, autocommit=True) as admin, psycopg.connect(importer.carto.dsn) as other:
        other.execute("LOCK TABLE public.t")
        files = {"file": ("t.csv", CSV.encode())}
        identity = importer.post(files=files, params={"collision_strategy": "overwrite"})
        end = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
        give_up = time.monotonic() + 120
        while not admin.execute(end).fetchall():
            assert time.monotonic() < give_up
            time.sleep(0.02)
        job = importer.wait(identity)
    assert (job["state"], job["error_code"], job["get_error_text"]["source"]) == ("failure", 99999, "cartodb")
    assert job["warnings"] is None
    assert "import failed with an unexpected exception" in caplog.messages
    assert importer.csv("t.csv", CSV)["table_name"] == "t_1"
    assert importer.tables() == ["t", "t_1"]


def test_concurrent_imports_get_different_names(importer: Importer) -> None:
    content = "name\n" + "Oslo\n" * 5000
    identities = [importer.post(files={"file": ("t.csv", content.encode())}) for _ in range(3)]
    jobs = [importer.wait(identity) for identity in identities]
    assert sorted(job["table_name"] for job in jobs) == ["t", "t_1", "t_2"]
    assert len({job["table_id"] for job in jobs}) == 3


def test_plan_without_private_datasets(small: Importer) -> None:
    response = small.send("POST", "imports", json={"sql": "SELECT 1 AS i", "privacy": "private"})
    assert response.status_code == 400
    assert response.json()["errors"]["imports"] == (
        "Your account type (ENTERPRISE) does not allow to create private datasets."
        " Check https://carto.com/pricing for more info."
    )
    small.run(json={"sql": "SELECT 1 AS i", "table_name": "t"})
    assert small.rows("SELECT i FROM t", key=None) == [{"i": 1}]


def test_reset_ends_imports(importer: Importer, source: FileServer) -> None:
    importer.post(json={"url": source.hang("/t.csv")})
    importer.post(json={"sql": "SELECT pg_sleep(30)::text AS t"})
    importer.carto.reset()
    assert importer.send("GET", "imports").json()["imports"] == []
    for _ in range(3):
        assert importer.csv("t.csv", CSV)["state"] == "complete"
    assert importer.tables() == ["t", "t_1", "t_2"]
    assert left_behind(importer.carto) == []


def test_a_restart_fails_unfinished_imports(tmp_path: Path, source: FileServer) -> None:
    with cartoframes_lite.local.start(user="again", data_dir=tmp_path / "data") as server:
        before = Importer(server)
        done = before.csv("t.csv", CSV)
        hanging = before.post(json={"url": source.hang("/t.csv")})
        with psycopg.connect(server.dsn) as connection:
            connection.execute(
                "INSERT INTO cartodb_local.imports SELECT (jsonb_populate_record(i, %s)).*"
                " FROM cartodb_local.imports i WHERE state = 'complete'",
                [json.dumps({"id": str(uuid.UUID(int=1)), "state": "importing", "success": None})],
            )
    with cartoframes_lite.local.start(user="again", data_dir=tmp_path / "data") as server:
        after = Importer(server)
        assert after.send("GET", f"imports/{done['id']}").json() == done
        for identity in (hanging, str(uuid.UUID(int=1))):
            job = after.send("GET", f"imports/{identity}").json()
            assert (job["state"], job["success"], job["error_code"]) == ("failure", False, 6671)
        assert after.tables() == ["t"]
