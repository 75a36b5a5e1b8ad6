from __future__ import annotations

import gzip
import json
import socket
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import urlencode, urlsplit

import psycopg
import pytest
import requests

import cartoframes_lite.local
from cartoframes_lite.local import LocalCarto
from tests.local.sql_client import SQLClient, error_of


@pytest.mark.parametrize(
    ("expression", "value", "field"),
    [
        ("9007199254740993::int8", 9007199254740992, {"type": "number", "pgtype": "int8"}),
        ("1.5::numeric", 1.5, {"type": "number", "pgtype": "numeric"}),
        ("123456789012345678901234567890::numeric", 1.2345678901234568e29, {"type": "number", "pgtype": "numeric"}),
        ("'NaN'::float8", "NaN", {"type": "number", "pgtype": "float8"}),
        ("'-Infinity'::float4", "-Infinity", {"type": "number", "pgtype": "float4"}),
        ("5e-324::float8", 5e-324, {"type": "number", "pgtype": "float8"}),
        ("true", True, {"type": "boolean", "pgtype": "bool"}),
        ("NULL::text", None, {"type": "string", "pgtype": "text"}),
        ("'a\"\\ñ😀'::text", 'a"\\ñ😀', {"type": "string", "pgtype": "text"}),
        ("date '2020-02-03'", "2020-02-03T00:00:00Z", {"type": "date", "pgtype": "date"}),
        ("date '0860-01-01'", "860-01-01T00:00:00Z", {"type": "date", "pgtype": "date"}),
        ("date '0044-03-15 BC'", "-43-03-15T00:00:00Z", {"type": "date", "pgtype": "date"}),
        ("timestamptz '2020-01-01 00:30:00.75+02'", "2019-12-31T22:30:00Z", {"type": "date", "pgtype": "timestamptz"}),
        ("timestamp 'infinity'", "Infinity", {"type": "date", "pgtype": "timestamp"}),
        ("time '12:34:56'", "12:34:56", {"type": "date", "pgtype": "time"}),
        ("interval '1 day 2 hours'", {"days": 1, "hours": 2}, {"type": "number", "pgtype": "interval"}),
        ("interval '-1.5 seconds'", {"seconds": -1, "milliseconds": -500}, {"type": "number", "pgtype": "interval"}),
        ("'\\xdead'::bytea", {"type": "Buffer", "data": [222, 173]}, {"type": "bytea", "pgtype": "bytea"}),
        (
            "'{\"a\": [1, 1e400, 9007199254740993, -0]}'::json",
            {"a": [1, None, 9007199254740992, 0]},
            {"type": "JSON", "pgtype": "JSON"},
        ),
        ("('[' || repeat('9', 5000) || ']')::jsonb", [None], {"type": "jsonb", "pgtype": "jsonb"}),
        ("array['a', NULL, '', 'x,\"y\"']", ["a", None, "", 'x,"y"'], {"type": "string[]", "pgtype": "_text"}),
        ("array[[1,2],[3,4]]", [[1, 2], [3, 4]], {"type": "number[]", "pgtype": "_int4"}),
        ("'(1,2)'::point", {"x": 1, "y": 2}, {"type": "number", "pgtype": "point"}),
        (
            "ST_SetSRID(ST_MakePoint(1, 2), 4326)::geometry(Point, 4326)",
            "0101000020E6100000000000000000F03F0000000000000040",
            {"type": "geometry", "wkbtype": "Point", "dims": 2, "srid": 4326},
        ),
    ],
)
def test_a_value_is_what_javascript_makes_of_it(
    sql: SQLClient, expression: str, value: object, field: dict[str, object]
) -> None:
    response = sql.run(f"SELECT {expression} AS x")
    assert response["rows"] == [{"x": value}]
    assert response["fields"] == {"x": field}


def test_a_type_of_the_account_is_unknown(sql: SQLClient) -> None:
    sql.run("CREATE TYPE mood AS ENUM ('ok')")
    oid = sql.value("SELECT 'mood'::regtype::oid::int8")
    assert sql.run("SELECT 'ok'::mood AS m")["fields"] == {"m": {"type": f"unknown({oid})"}}


def test_columns_of_one_name_become_one(sql: SQLClient) -> None:
    assert sql.run("SELECT 1 AS a, 2 AS b, 3 AS a")["rows"] == [{"a": 3, "b": 2}]


def test_rows_of_all_statements_are_joined(sql: SQLClient) -> None:
    response = sql.run("SELECT 1 AS a; SELECT 2 AS b UNION ALL SELECT 3 ORDER BY 1")
    assert response["rows"] == [{"a": 1}, {"b": 2}, {"b": 3}]
    assert response["total_rows"] == 2


def test_statements_of_one_request_are_one_transaction(sql: SQLClient) -> None:
    assert sql.send("CREATE TABLE t (a int); INSERT INTO t SELECT 1/0").status_code == 400
    assert error_of(sql.send("SELECT * FROM t")) == 'relation "t" does not exist'


def test_session_state_does_not_reach_the_next_request(sql: SQLClient) -> None:
    for change in (
        "BEGIN; CREATE TABLE t (a int)",
        "SET search_path = pg_catalog",
        "CREATE TEMP TABLE scratch (a int)",
    ):
        sql.run(change)
    for name in ("t", "scratch"):
        assert sql.send(f"SELECT * FROM {name}").status_code == 400
    assert "public" in sql.value("SHOW search_path")


def test_notices_and_warnings_are_listed(sql: SQLClient) -> None:
    response = sql.run("DO $$BEGIN RAISE NOTICE 'n%', 1; RAISE NOTICE 'n2'; RAISE WARNING 'w'; END$$")
    assert (response["notices"], response["warnings"]) == (["n1", "n2"], ["w"])


def test_total_rows_of_a_write_is_what_it_changed(sql: SQLClient) -> None:
    sql.run("CREATE TABLE t (a int)")
    response = sql.run("INSERT INTO t SELECT generate_series(1, 7)")
    assert (response["rows"], response["total_rows"], response["fields"]) == ([], 7, {})


def test_pages_start_at_zero(sql: SQLClient) -> None:
    query = "SELECT generate_series(1, 9) AS a;"
    assert [row["a"] for row in sql.run(query, rows_per_page=4, page=1)["rows"]] == [5, 6, 7, 8]
    assert len(sql.run(query, rows_per_page=4)["rows"]) == 9
    assert len(sql.run(query, page=1)["rows"]) == 9


def test_order_by_is_an_identifier(sql: SQLClient) -> None:
    query = 'SELECT a, 10 - a AS "B" FROM generate_series(1, 3) a'
    assert [row["a"] for row in sql.run(query, order_by="B", sort_order="asc")["rows"]] == [3, 2, 1]
    refused = sql.send(query, order_by='a"; DROP TABLE x; --')
    assert "does not exist" in error_of(refused)


def test_skipped_fields_are_nowhere(sql: SQLClient) -> None:
    response = sql.run("SELECT 1 AS a, 2 AS b, 3 AS c", skipfields="a,c")
    assert (response["rows"], list(response["fields"])) == ([{"b": 2}], ["b"])


def test_errors_after_the_first_row_have_status_200(sql: SQLClient) -> None:
    response = sql.send("SELECT 1 / (3 - n) AS x FROM generate_series(1, 5) n")
    assert response.status_code == 200
    assert response.json()["error"] == ["division by zero"]
    assert response.json()["rows"] == [{"x": 0}, {"x": 1}]


def test_errors_of_later_statements_follow_earlier_rows(sql: SQLClient) -> None:
    response = sql.send("SELECT 1 AS a; SELECT nope")
    assert (response.status_code, response.json()["rows"]) == (200, [{"a": 1}])
    assert response.json()["error"] == ['column "nope" does not exist']


def test_jsonp_calls_a_safe_name(sql: SQLClient) -> None:
    response = sql.get("SELECT 1 AS a", callback="alert(1);cb")
    assert response.text.startswith("alert1cb({")
    assert response.text.endswith("})")
    failed = sql.get("selec", callback="cb")
    assert failed.status_code == 200
    assert failed.headers["content-type"].startswith("text/javascript")
    assert "syntax error" in failed.text


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "PATCH", "DELETE"])
def test_any_method_queries(sql: SQLClient, method: str) -> None:
    response = requests.request(method, sql.url, params={"q": "SELECT 1 AS a"}, timeout=10)
    assert response.json()["rows"] == [{"a": 1}]


def test_head_and_options_have_no_body(sql: SQLClient) -> None:
    for method in ("HEAD", "OPTIONS"):
        response = requests.request(method, sql.url, params={"q": "SELECT 1"}, timeout=10)
        assert (response.status_code, response.content) == (200, b"")


def test_the_body_goes_before_the_query_string(sql: SQLClient) -> None:
    response = requests.post(sql.url, params={"q": "SELECT 1 AS a"}, json={"q": "SELECT 2 AS a"}, timeout=10)
    assert response.json()["rows"] == [{"a": 2}]


def test_the_format_may_be_a_suffix(sql: SQLClient) -> None:
    response = requests.get(f"{sql.url}.csv", params={"q": "SELECT 1 AS a"}, timeout=10)
    assert response.text == "a\r\n1\r\n"


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({}, "You must indicate a sql query"),
        ({"q": "SELECT 1", "format": "xlsx"}, "Invalid format: xlsx"),
        ({"q": "SELECT 1", "dp": "x"}, "dp must be a number"),
    ],
)
def test_wrong_parameters_are_named(sql: SQLClient, parameters: dict[str, str], message: str) -> None:
    response = requests.get(sql.url, params=parameters, timeout=10)
    assert (response.status_code, error_of(response)) == (400, message)


def test_an_empty_query_is_no_error(sql: SQLClient) -> None:
    assert sql.run("")["rows"] == []
    assert sql.run(" ; ")["rows"] == []


@pytest.mark.parametrize("body", [b"[1]", b'"x"', b"null", b"5", b"", b"{}"])
def test_json_bodies_without_an_object_have_no_parameters(sql: SQLClient, body: bytes) -> None:
    response = requests.post(sql.url, body, headers={"Content-Type": "application/json"}, timeout=10)
    assert (response.status_code, error_of(response)) == (400, "You must indicate a sql query")


@pytest.mark.parametrize("body", [b'{"q": ', b'{"q" 1}', b"\xff", b"[" * 50_000])
def test_a_body_that_is_no_json_is_refused(sql: SQLClient, body: bytes) -> None:
    response = requests.post(sql.url, body, headers={"Content-Type": "application/json"}, timeout=10)
    assert response.status_code == 400
    assert error_of(response)


def test_what_postgresql_cannot_take_is_refused(sql: SQLClient) -> None:
    response = requests.post(sql.url, json={"q": "SELECT 1\0; SELECT 2"}, timeout=10)
    assert (response.status_code, error_of(response)) == (400, "invalid message format")


def test_half_a_character_is_replaced(sql: SQLClient) -> None:
    response = requests.post(sql.url, json={"q": "SELECT '\ud800' AS \"\udfff\""}, timeout=10)
    assert response.json()["rows"] == [{"\ufffd": "\ufffd"}]
    response = requests.post(sql.url, json={"q": "SELECT 1", "format": "\ud800"}, timeout=10)
    assert (response.status_code, error_of(response)) == (400, "Invalid format: ?")


def test_heads_over_8_kb_close_the_connection(sql: SQLClient) -> None:
    response = sql.get("SELECT 1 -- " + "x" * 9000)
    assert (response.status_code, response.content) == (431, b"")
    assert sql.run("SELECT 1 AS a -- " + "x" * 100_000)["rows"] == [{"a": 1}]


def test_permission_denied_is_403(sql: SQLClient) -> None:
    sql.run("CREATE TABLE secret (a int)")
    response = sql.with_key(None).send("SELECT * FROM secret")
    assert (response.status_code, error_of(response)) == (403, "permission denied for table secret")


def test_copy_is_not_for_this_endpoint(sql: SQLClient) -> None:
    sql.run("CREATE TABLE t (a int)")
    refused = sql.send("COPY t FROM STDIN")
    assert (refused.status_code, error_of(refused)) == (400, "COPY from stdin failed: No source stream defined")
    assert sql.run("COPY (SELECT generate_series(1, 50000)) TO STDOUT")["rows"] == []
    assert sql.run("SELECT 1 AS a")["rows"] == [{"a": 1}]


def test_many_rows_are_streamed(sql: SQLClient) -> None:
    response = sql.run("SELECT n, repeat('x', 50) AS t FROM generate_series(1, 50000) n")
    assert len(response["rows"]) == response["total_rows"] == 50_000
    assert response["rows"][-1]["n"] == 50_000


def test_a_client_that_leaves_stops_its_query(sql: SQLClient) -> None:
    host, port = sql.base_url.split("/")[2].split(":")
    path = requests.Request("GET", sql.url, params={"q": "SELECT pg_sleep(600)", "api_key": sql.key}).prepare().path_url
    with socket.create_connection((host, int(port))) as connection:
        connection.sendall(f"GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
        _wait_until(lambda: running(sql) == 1)
    _wait_until(lambda: running(sql) == 0)


def running(sql: SQLClient) -> int:
    return (
        int(sql.value("SELECT count(*) FROM pg_stat_activity WHERE state = 'active' AND query LIKE '%sleep(6%0)%'")) - 1
    )


def _wait_until(condition: Callable[[], bool]) -> None:
    give_up = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < give_up
        time.sleep(0.02)


@pytest.fixture(scope="module")
def hasty() -> Iterator[SQLClient]:
    with cartoframes_lite.local.start(user="tester", statement_timeout_s=0.3, rate_limit=(100, 100)) as server:
        yield SQLClient(server.base_url, server.credentials.api_key)


@pytest.mark.parametrize("format", ["json", "geojson", "csv", "gpkg"])
def test_statement_timeouts_are_429_with_detail_datasource(hasty: SQLClient, format: str) -> None:
    response = hasty.send("SELECT pg_sleep(5), NULL AS the_geom", format=format)
    assert response.status_code == 429
    body = response.json()
    assert (body["context"], body["detail"]) == ("limit", "datasource")
    assert "timeout" in body["error"][0]
    assert "retry-after" not in response.headers


@pytest.mark.parametrize("format", ["json", "geojson"])
def test_timeouts_after_the_first_row_have_status_200(hasty: SQLClient, format: str) -> None:
    response = hasty.send(
        "SELECT n, NULL::geometry AS the_geom, CASE WHEN n > 3 THEN pg_sleep(60) END FROM generate_series(1, 5) n",
        format=format,
    )
    body = response.json()
    assert (response.status_code, len(body["rows" if format == "json" else "features"])) == (200, 3)
    assert error_of(response).startswith("You are over platform's limits: SQL query timeout error.")
    assert "detail" not in body
    assert "context" not in body


STUBBORN = "DO $$ BEGIN LOOP BEGIN PERFORM pg_sleep(60); EXCEPTION WHEN query_canceled THEN NULL; END; END LOOP; END $$"


@pytest.mark.parametrize("with_key", [True, False])
@pytest.mark.parametrize(
    "query",
    [
        ";".join(["SELECT pg_sleep(0.2)"] * 50),
        "SET statement_timeout = 0; SELECT pg_sleep(60)",
        "SELECT set_config('statement_timeout', '0', false); SELECT pg_sleep(60)",
        "SELECT set_config('statement_timeout', '0', true) WHERE false; " + STUBBORN,
        STUBBORN,
        f"SET statement_timeout = 0; {STUBBORN}",
    ],
)
def test_the_statement_timeout_covers_the_whole_request(hasty: SQLClient, query: str, with_key: bool) -> None:
    client = hasty if with_key else hasty.with_key(None)
    begun = time.monotonic()
    response = client.send(query)
    assert time.monotonic() - begun < 20
    assert error_of(response).startswith("You are over platform's limits: SQL query timeout error.")
    assert response.status_code == 429 or response.json()["rows"]
    assert client.run("SHOW statement_timeout")["rows"] == [{"statement_timeout": "300ms"}]


def test_a_request_may_set_a_shorter_statement_timeout(sql: SQLClient) -> None:
    assert sql.send("SET LOCAL statement_timeout = 50; SELECT pg_sleep(60)").status_code == 429


def test_the_statements_of_a_job_have_a_timeout_each(hasty: SQLClient) -> None:
    job = hasty.start_job("SET statement_timeout = 0; SELECT pg_sleep(0.3); SELECT pg_sleep(0.3)")
    assert hasty.job_in(job["job_id"], "done", "failed")["status"] == "done"


def test_what_a_client_leaves_running_is_ended(carto: LocalCarto, sql: SQLClient) -> None:
    def running() -> int:
        with psycopg.connect(carto.dsn) as connection:
            query = "SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'DO $$ BEGIN LOOP%' AND state = 'active'"
            return connection.execute(query).fetchone()[0]  # type: ignore[index]  # count gives a row

    public = sql.with_key(None)
    with socket.create_connection(("127.0.0.1", urlsplit(carto.base_url).port)) as connection:
        path = f"{urlsplit(public.url).path}?{urlencode({'q': STUBBORN})}"
        connection.sendall(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        _wait_until(lambda: running() == 1)
    _wait_until(lambda: running() == 0)


def test_copy_and_jobs_are_not_under_the_statement_timeout(hasty: SQLClient) -> None:
    assert hasty.copy_to("COPY (SELECT 1 FROM pg_sleep(0.5)) TO STDOUT").content == b"1\n"
    job = hasty.start_job("SELECT pg_sleep(0.5)")
    assert hasty.job_in(job["job_id"], "done", "failed")["status"] == "done"
    assert hasty.send("SELECT pg_sleep(0.5)").status_code == 429  # the session that COPY used is clean again


@pytest.mark.parametrize("format", ["json", "geojson", "csv"])
@pytest.mark.parametrize("rows", [0, 3])
def test_a_lost_connection_is_told_by_its_error(carto: LocalCarto, sql: SQLClient, format: str, rows: int) -> None:
    query = (
        f"SELECT NULL::geometry AS the_geom, CASE WHEN n > {rows} THEN pg_sleep(60) END FROM generate_series(1, 5) n"
    )
    with ThreadPoolExecutor(1) as pool, psycopg.connect(carto.dsn, autocommit=True) as watching:
        call = pool.submit(sql.send, query, format=format)
        end = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE wait_event = 'PgSleep'"
        while not watching.execute(end).fetchall():
            time.sleep(0.01)
        response = call.result()
    expected = 200 if rows and format != "csv" else 400
    assert (response.status_code, error_of(response)) == (
        expected,
        "terminating connection due to administrator command",
    )
    if expected == 200:
        assert len(response.json()["rows" if format == "json" else "features"]) == rows


def test_an_idle_connection_is_announced_to_be_closed(carto: LocalCarto, sql: SQLClient) -> None:
    for path in ("/api/v2/sql?q=SELECT+1", "/api/v2/sql?q=nope", "/api/v1/map/named", "/nowhere"):
        response = requests.get(carto.base_url + path, timeout=10)
        assert (response.headers["connection"], response.headers["keep-alive"]) == ("keep-alive", "timeout=5")
        response = requests.get(carto.base_url + path, headers={"Connection": "close"}, timeout=10)
        assert (response.headers["connection"], response.headers.get("keep-alive")) == ("close", None)


@pytest.mark.parametrize("path", ["", "/", "/copyfrom", "/copyto", "/job", "/job/1", "/nothing"])
def test_options_are_answered_everywhere(sql: SQLClient, path: str) -> None:
    response = requests.options(sql.url + path, timeout=10)
    assert (response.status_code, response.content) == (200, b"")


def test_a_slash_at_the_end_changes_nothing(sql: SQLClient) -> None:
    key = {"api_key": sql.key or ""}
    assert requests.get(f"{sql.url}/", {"q": "SELECT 1", **key}, timeout=10).status_code == 200
    assert requests.get(f"{sql.url}/copyto/", {"q": "COPY (SELECT 1) TO STDOUT"}, timeout=10).content == b"1\n"
    assert requests.post(f"{sql.url}/job/", params=key, json={"query": "SELECT 1"}, timeout=10).status_code == 201


def test_a_path_that_does_not_exist_is_a_page(sql: SQLClient) -> None:
    response = requests.put(f"{sql.url}/<nothing>", timeout=10)
    assert (response.status_code, response.headers["content-type"]) == (404, "text/html; charset=utf-8")
    assert "<pre>Cannot PUT /user/tester/api/v2/sql/%3Cnothing%3E</pre>" in response.text


def test_errors_ignore_a_callback_in_the_body(sql: SQLClient) -> None:
    assert sql.send("SELECT 1 AS a", callback="f").text.startswith("f({")
    response = sql.send("SELECT nope", callback="f")
    assert (response.status_code, error_of(response)) == (400, 'column "nope" does not exist')


def test_accepting_gzip_is_optional(sql: SQLClient) -> None:
    response = requests.get(sql.url, params={"q": "SELECT 1 AS a"}, headers={"Accept-Encoding": "gzip"}, timeout=10)
    body = response.content
    assert json.loads(gzip.decompress(body) if body[:2] == b"\x1f\x8b" else body)["rows"] == [{"a": 1}]


def test_a_server_with_work_to_do_stops_at_once() -> None:
    server = cartoframes_lite.local.start(user="tester")
    client = SQLClient(server.base_url, server.credentials.api_key)
    client.job_in(client.start_job("SELECT pg_sleep(600)")["job_id"], "running")
    with ThreadPoolExecutor(3) as pool:
        calls = [pool.submit(client.send, "SELECT pg_sleep(600)"), pool.submit(server.reset)]
        time.sleep(0.05)
        begun = time.monotonic()
        server.stop()
        assert time.monotonic() - begun < 300  # not the ten minutes of the queries
        for call in calls:
            call.exception(timeout=60)


@pytest.fixture(scope="module")
def narrow() -> Iterator[SQLClient]:
    plan = cartoframes_lite.local.Plan(row_bytes=2_000_000)
    with cartoframes_lite.local.start(user="tester", plan=plan) as server:
        yield SQLClient(server.base_url, server.credentials.api_key)


@pytest.mark.parametrize("with_key", [True, False])
@pytest.mark.parametrize("format", ["json", "geojson", "csv", "svg", "topojson", "kml"])
def test_oversized_rows_are_refused_before_they_are_buffered(narrow: SQLClient, format: str, with_key: bool) -> None:
    client = narrow if with_key else narrow.with_key(None)
    geometry = "ST_SetSRID(ST_Collect(ARRAY(SELECT ST_MakePoint(n, n) FROM generate_series(1, 150000) n)), 4326)"
    response = client.send(f"SELECT {geometry} AS the_geom, repeat('x', 5000000) AS t", format=format)
    assert (response.status_code, error_of(response)) == (400, "Row too large, was more than 2000000 bytes")
    small = client.run("SELECT repeat('x', 100000) AS t FROM generate_series(1, 50)")  # together they may be larger
    assert small["total_rows"] == 50


def test_a_large_row_after_others_is_told_behind_them(narrow: SQLClient) -> None:
    response = narrow.send(
        "SELECT repeat('x', CASE WHEN n = 3 THEN 100000000 ELSE n END) AS t FROM generate_series(1,3) n"
    )
    assert (response.status_code, len(response.json()["rows"])) == (200, 2)
    assert error_of(response) == "Row too large, was more than 2000000 bytes"


def test_large_rows_are_for_copy_and_jobs(narrow: SQLClient) -> None:
    assert len(narrow.copy_to("COPY (SELECT repeat('x', 20000000)) TO STDOUT").content) == 20_000_001
    job = narrow.start_job("SELECT repeat('x', 20000000)")
    assert narrow.job_in(job["job_id"], "done", "failed")["status"] == "done"


def test_a_name_of_a_file_fits_into_a_head(sql: SQLClient) -> None:
    disposition = sql.send("SELECT 1", filename="x" * 1_000_000).headers["Content-Disposition"]
    assert f"filename={'x' * 200}.json;" in disposition
