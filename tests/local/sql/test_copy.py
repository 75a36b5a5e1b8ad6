from __future__ import annotations

import gzip
import json
import os
import random
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest
import requests

from cartoframes_lite.local import LocalCarto, Plan, start
from tests.local.sql_client import SQLClient, error_of

COPY_IN = "COPY t (a, b) FROM STDIN WITH (FORMAT csv)"
ROWS = b'1,x\n2,\n3,""\n'


@pytest.fixture(autouse=True)
def table(sql: SQLClient) -> None:
    sql.run("CREATE TABLE t (a int, b text)")


def count(sql: SQLClient) -> int:
    return int(sql.value("SELECT count(*) FROM t"))


def test_rows_go_in_and_come_out(sql: SQLClient) -> None:
    answer = sql.copy_from(COPY_IN, ROWS)
    assert answer.status_code == 200
    assert answer.json()["total_rows"] == 3
    assert answer.json()["time"] > 0
    assert sql.copy_to("COPY (SELECT * FROM t ORDER BY a) TO STDOUT WITH (FORMAT csv)").content == ROWS


def test_binary_goes_through_unchanged(sql: SQLClient) -> None:
    sql.run("INSERT INTO t SELECT n, repeat('é', n % 50) FROM generate_series(1, 100000) n")
    data = sql.copy_to("COPY (SELECT * FROM t ORDER BY a) TO STDOUT WITH (FORMAT binary)").content
    sql.run("TRUNCATE t")
    assert sql.copy_from("COPY t FROM STDIN WITH (FORMAT binary)", data).json()["total_rows"] == 100_000
    assert sql.copy_to("COPY (SELECT * FROM t ORDER BY a) TO STDOUT WITH (FORMAT binary)").content == data


def test_a_chunked_body_is_taken_as_well(sql: SQLClient) -> None:
    assert sql.copy_from(COPY_IN, iter([b"1,x\n2", b",y\n"])).json()["total_rows"] == 2


def test_gzip_is_unpacked(sql: SQLClient) -> None:
    rows = b"".join(b"%d,%d\n" % (n, n) for n in range(100_000))
    assert sql.copy_from(COPY_IN, gzip.compress(rows), Content_Encoding="gzip").json()["total_rows"] == 100_000


def test_gzip_uploads_with_several_members(sql: SQLClient) -> None:
    packed = gzip.compress(b"1,a\n") + gzip.compress(b"2,b\n") + b"\0\0\0"
    assert sql.copy_from(COPY_IN, packed, Content_Encoding="gzip").json()["total_rows"] == 2
    assert sql.copy_from(COPY_IN, iter([packed[:-2], b"\0", b"\0"]), Content_Encoding="gzip").status_code == 200


@pytest.mark.parametrize("damage", [lambda data: data[:-10], lambda data: data[:-9] + b"xxxxxxxxx", lambda _: ROWS])
def test_broken_gzip_commits_nothing(sql: SQLClient, damage: object) -> None:
    assert callable(damage)
    packed = gzip.compress(b"".join(b"%d,%d\n" % (n, random.getrandbits(60)) for n in range(50_000)))
    answer = sql.copy_from(COPY_IN, damage(packed), Content_Encoding="gzip")
    assert answer.status_code == 400
    assert error_of(answer).startswith("Error while gunzipping: ")
    assert count(sql) == 0


@pytest.mark.parametrize("body", [b"", b"a,b\n"])
def test_no_rows_are_an_error(sql: SQLClient, body: bytes) -> None:
    answer = sql.copy_from("COPY t FROM STDIN WITH (FORMAT csv, HEADER)", body)
    assert (answer.status_code, error_of(answer)) == (400, "No rows copied")


def test_a_bad_row_is_reported_during_the_upload(carto: LocalCarto, sql: SQLClient) -> None:
    with upload(carto, sql, b"not a number,x\n" + ROWS * 100_000, missing=1_000_000_000) as connection:
        answer = b""
        while not answer.endswith(b"}"):  # head and body may come apart
            part = connection.recv(4096)
            assert part
            answer += part
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert b'invalid input syntax for type integer: \\"not a number\\"' in answer
    assert count(sql) == 0


def test_notices_of_a_trigger_do_not_end_an_upload(sql: SQLClient) -> None:
    sql.run(
        "CREATE FUNCTION shout() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN RAISE NOTICE 'row %', NEW.a;"
        " PERFORM set_config('TimeZone', 'Etc/GMT' || NEW.a % 9, false); RETURN NEW; END$$;"
        "CREATE TRIGGER shout BEFORE INSERT ON t FOR EACH ROW EXECUTE FUNCTION shout()"
    )
    blocks = (b"".join(b"%d,x\n" % n for n in range(start, start + 1000)) for start in range(0, 50_000, 1000))
    assert sql.copy_from(COPY_IN, blocks).json()["total_rows"] == 50_000
    assert count(sql) == 50_000


@pytest.mark.parametrize("encoding", ["", "Content-Encoding: gzip\r\n"])
def test_a_client_that_leaves_commits_nothing_and_leaves_nothing(
    carto: LocalCarto, sql: SQLClient, encoding: str
) -> None:
    rows = ROWS * 20_000
    with upload(carto, sql, gzip.compress(rows) if encoding else rows, missing=1, header=encoding):
        time.sleep(0.2)
    with psycopg.connect(carto.dsn, autocommit=True) as watching:
        give_up = time.monotonic() + 120
        while _locks(watching) or _open_transactions(watching):
            assert time.monotonic() < give_up
            time.sleep(0.02)
    assert count(sql) == 0
    sql.run("ALTER TABLE t ADD COLUMN c int")


def upload(carto: LocalCarto, sql: SQLClient, body: bytes, *, missing: int, header: str = "") -> socket.socket:
    """Send an upload but for its last bytes."""
    host, port = carto.base_url.split("/")[2].split(":")
    request = requests.Request("POST", f"{sql.url}/copyfrom", params={"q": COPY_IN, "api_key": sql.key}).prepare()
    connection = socket.create_connection((host, int(port)), timeout=10)
    head = f"POST {request.path_url} HTTP/1.1\r\nHost: {host}\r\nContent-Length: {len(body) + missing}\r\n{header}\r\n"
    connection.sendall(head.encode() + body)
    return connection


def _locks(connection: psycopg.Connection[tuple[int]]) -> int:
    row = connection.execute("SELECT count(*) FROM pg_locks WHERE relation = to_regclass('public.t')").fetchone()
    assert row is not None
    return row[0]


def _open_transactions(connection: psycopg.Connection[tuple[int]]) -> int:
    row = connection.execute(
        "SELECT count(*) FROM pg_stat_activity WHERE state LIKE 'idle in transaction%' AND pid <> pg_backend_pid()"
    ).fetchone()
    assert row is not None
    return row[0]


def test_a_reader_that_leaves_stops_the_copy(carto: LocalCarto, sql: SQLClient) -> None:
    query = "COPY (SELECT repeat('x', 1000), generate_series(1, 100000000)) TO STDOUT"
    with sql.copy_to(query, stream=True) as answer:
        assert answer.raw.read(1000)
    with psycopg.connect(carto.dsn, autocommit=True) as watching:
        give_up = time.monotonic() + 120
        while watching.execute(
            "SELECT 1 FROM pg_stat_activity WHERE query LIKE 'COPY%' AND state = 'active'"
        ).fetchone():
            assert time.monotonic() < give_up
            time.sleep(0.02)


def test_an_error_after_the_first_block_is_appended(sql: SQLClient) -> None:
    answer = sql.copy_to("COPY (SELECT 1 / (30000 - n), 'x' FROM generate_series(1, 40000) n) TO STDOUT")
    assert answer.status_code == 200
    assert answer.content.endswith(b'\n{"error":["division by zero"]}')


@pytest.mark.parametrize("rows", [0, 3, 500])
def test_an_error_after_a_few_rows_comes_alone(sql: SQLClient, rows: int) -> None:
    query = f"COPY (SELECT 1 / ({rows + 1} - n), 'x' FROM generate_series(1, {rows + 5}) n) TO STDOUT"
    answer = sql.copy_to(query)
    assert (answer.status_code, error_of(answer)) == (400, "division by zero")
    assert answer.headers["content-disposition"] == "inline"


def test_copy_timeouts_look_like_query_timeouts(carto: LocalCarto, sql: SQLClient) -> None:
    def cancelled(rows: int) -> requests.Response:
        query = f"COPY (SELECT repeat('x', 100), CASE WHEN n > {rows} THEN pg_sleep(60) END"
        with ThreadPoolExecutor(1) as pool:
            answer = pool.submit(sql.copy_to, f"{query} FROM generate_series(1, {rows + 1}) n) TO STDOUT")
            while not in_backends(carto, "pg_cancel_backend", "COPY (SELECT repeat%"):
                time.sleep(0.01)
            return answer.result()

    early, late = cancelled(1), cancelled(1000)
    assert (early.status_code, early.json()["detail"]) == (429, "datasource")
    assert late.status_code == 200
    assert json.loads(late.content[late.content.rindex(b'{"error"') :]) == early.json()


def in_backends(carto: LocalCarto, function: str, query: str) -> bool:
    """Call a function with the id of the process that waits in a query; return False if there is none yet."""
    with psycopg.connect(carto.dsn, autocommit=True) as connection:
        return bool(
            connection.execute(
                f"SELECT {function}(pid) FROM pg_stat_activity WHERE query LIKE %s"
                " AND state = 'active' AND wait_event IN ('PgSleep', 'ClientRead')",
                (query,),
            ).fetchall()
        )


@pytest.mark.parametrize(("rows", "status"), [(1, 400), (1000, 200)])
def test_a_lost_connection_ends_a_download_with_its_error(
    carto: LocalCarto, sql: SQLClient, rows: int, status: int
) -> None:
    query = f"COPY (SELECT repeat('x', 100), CASE WHEN n > {rows} THEN pg_sleep(60) END"
    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(sql.copy_to, f"{query} FROM generate_series(1, {rows + 1}) n) TO STDOUT")
        while not in_backends(carto, "pg_terminate_backend", "COPY (SELECT repeat%"):
            time.sleep(0.01)
        assert answer.result().status_code == status
        assert answer.result().content.endswith(b'{"error":["terminating connection due to administrator command"]}')


def test_a_lost_connection_refuses_an_upload(carto: LocalCarto, sql: SQLClient) -> None:
    ended = threading.Event()

    def body() -> Iterator[bytes]:
        yield ROWS
        while not in_backends(carto, "pg_terminate_backend", "COPY t %"):
            time.sleep(0.01)
        ended.set()
        for _ in range(50):
            yield ROWS
            time.sleep(0.01)

    answer = sql.copy_from(COPY_IN, body())
    assert ended.is_set()
    assert (answer.status_code, error_of(answer)) == (400, "terminating connection due to administrator command")
    assert count(sql) == 0


@contextmanager
def holding(hold_s: float) -> Iterator[tuple[LocalCarto, SQLClient]]:
    """Start a server that holds the table of an abandoned upload for some time."""
    with start(user="tester", abandoned_upload_s=hold_s) as carto:
        sql = SQLClient(carto.base_url, carto.credentials.api_key)
        sql.run("CREATE TABLE t (a int, b text)")
        yield carto, sql


def abandon_upload(carto: LocalCarto, sql: SQLClient, body: bytes) -> None:
    """Send an upload whose client is gone before the COPY begins; return when it has begun."""
    with psycopg.connect(carto.dsn) as connection:
        connection.execute("LOCK TABLE t IN EXCLUSIVE MODE")  # it may be measured
        upload(carto, sql, body, missing=1000).close()
        give_up = time.monotonic() + 120
        while connection.execute("SELECT FROM pg_locks WHERE relation = 't'::regclass AND NOT granted").rowcount == 0:
            assert time.monotonic() < give_up
            time.sleep(0.01)


@pytest.mark.parametrize("body", [b"", ROWS])
def test_a_disconnected_upload_locks_the_table_briefly(body: bytes) -> None:
    with holding(3.0) as (carto, sql):
        begun = time.monotonic()
        abandon_upload(carto, sql, body)
        blocked = sql.send("SET lock_timeout = '50ms'; DROP TABLE t")
        assert error_of(blocked) == "canceling statement due to lock timeout"
        sql.run("DROP TABLE t")
        assert time.monotonic() - begun > 3.0


def test_a_reset_ends_an_abandoned_upload() -> None:
    with holding(600.0) as (carto, sql):
        abandon_upload(carto, sql, ROWS)
        begun = time.monotonic()
        carto.reset()
        sql.run("CREATE TABLE t ()")
        assert time.monotonic() - begun < 300


@pytest.mark.parametrize(
    ("path", "query", "message"),
    [
        ("copyfrom", "COPY (SELECT 1) TO STDOUT", "Connection terminated"),
        ("copyto", "COPY t FROM STDIN", "Connection terminated"),
        ("copyto", "SELECT 1", "SQL must start with COPY"),
        ("copyfrom", " COPY t FROM STDIN", "SQL must start with COPY"),
        ("copyto", "", "SQL must start with COPY"),
    ],
)
def test_a_query_that_does_not_copy_is_refused(sql: SQLClient, path: str, query: str, message: str) -> None:
    answer = requests.post(f"{sql.url}/{path}", b"1,x\n", params={"q": query, "api_key": sql.key}, timeout=10)
    assert (answer.status_code, error_of(answer)) == (400, message)


def test_a_copy_without_a_query_is_refused(sql: SQLClient) -> None:
    for path in ("copyfrom", "copyto"):
        answer = requests.post(f"{sql.url}/{path}", b"1,x\n", params={"api_key": sql.key}, timeout=10)
        assert (answer.status_code, error_of(answer)) == (400, "SQL is missing")


@pytest.mark.parametrize(
    ("query", "status"),
    [(f"{COPY_IN}; {COPY_IN}", 400), (f"{COPY_IN}; COPY t TO STDOUT", 200), (f"{COPY_IN}; SELECT 1 / 0", 400)],
)
def test_a_second_statement_does_not_stop_the_server(sql: SQLClient, query: str, status: int) -> None:
    assert sql.copy_from(query, ROWS).status_code == status
    assert count(sql) == (3 if status == 200 else 0)


def test_a_second_download_is_left_out(sql: SQLClient) -> None:
    assert sql.copy_to("COPY (SELECT 1) TO STDOUT; COPY (SELECT 2) TO STDOUT").content == b"1\n"


@pytest.mark.parametrize(("method", "path"), [("GET", "copyfrom"), ("PUT", "copyfrom"), ("DELETE", "copyto")])
def test_other_methods_do_not_exist(sql: SQLClient, method: str, path: str) -> None:
    answer = requests.request(method, f"{sql.url}/{path}", params={"q": COPY_IN, "api_key": sql.key}, timeout=10)
    assert answer.status_code == 404


def test_uploads_ignore_a_key_in_the_body(sql: SQLClient) -> None:
    answer = sql.with_key(None).copy_from(COPY_IN, {"api_key": sql.key or ""})
    assert (answer.status_code, error_of(answer)) == (403, "permission denied for table t")


@pytest.mark.parametrize(
    ("filename", "encoded"),
    [
        ("a b.csv", "a%20b.csv"),
        ("日 a\r\nb.csv", "%E6%97%A5%20a%0D%0Ab.csv"),
        (
            "x!~*'()_-.;,/?:@&=+$#\"%<>{}|^`[]\\",
            "x!~*'()_-.%3B%2C%2F%3F%3A%40%26%3D%2B%24%23%22%25%3C%3E%7B%7D%7C%5E%60%5B%5D%5C",
        ),
        ("", "carto-sql-copyto.dmp"),
        (0, "carto-sql-copyto.dmp"),
        (5, "5"),
        (["a", None, ["b", True]], "a%2C%2Cb%2Ctrue"),
        ({"a": 1}, "%5Bobject%20Object%5D"),
    ],
)
def test_a_name_of_a_file_is_percent_encoded(sql: SQLClient, filename: object, encoded: str) -> None:
    query = {"q": "COPY (SELECT 1) TO STDOUT", "filename": filename}
    answer = requests.post(f"{sql.url}/copyto", json=query, timeout=10)
    assert answer.headers["content-disposition"] == f"attachment; filename={encoded}"


def test_half_a_character_is_no_name_of_a_file(sql: SQLClient) -> None:
    query = {"q": "COPY (SELECT 1) TO STDOUT", "filename": "\ud800"}
    answer = requests.post(f"{sql.url}/copyto", json=query, timeout=10)
    assert (answer.status_code, error_of(answer)) == (400, "URI malformed")


def test_the_quota_holds(sql: SQLClient) -> None:
    quota = sql.value("SELECT _CDB_UserQuotaInBytes()")
    sql.run("SELECT CDB_SetUserQuotaInBytes(100000)")
    try:
        answer = sql.copy_from(COPY_IN, b"1,x\n" * 100_000)
        assert (answer.status_code, error_of(answer)) == (400, "DB Quota exceeded")
        assert count(sql) == 0
        assert sql.copy_from(COPY_IN, b"1,x\n").status_code == 200
    finally:
        sql.run(f"SELECT CDB_SetUserQuotaInBytes({quota})")


def test_copies_run_side_by_side(sql: SQLClient) -> None:
    rows = b"".join(b"%d,%s\n" % (n, b"x" * 80) for n in range(20_000))

    def both(_: int) -> tuple[int, int]:
        sent = sql.copy_from(COPY_IN, rows).json()["total_rows"]
        return sent, len(sql.copy_to("COPY (SELECT generate_series(1, 20000)) TO STDOUT").content)

    with ThreadPoolExecutor(8) as pool:
        assert set(pool.map(both, range(16))) == {(20_000, 108_894)}
    assert count(sql) == 16 * 20_000


@pytest.fixture(scope="module")
def alone() -> Iterator[tuple[SQLClient, int]]:
    """Start a server in a process of its own, whose memory is that of the server alone."""
    command = [sys.executable, "-m", "cartoframes_lite.local", "--user", "tester", "--api-key", "secret"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        base_url = process.stdout.readline().strip()
        yield SQLClient(base_url, "secret"), process.pid
    finally:
        process.terminate()
        process.communicate(timeout=20)


@pytest.mark.skipif(not os.path.exists("/proc/self/status"), reason="memory is read from /proc")
@pytest.mark.parametrize("packed", [False, True])
def test_streaming_100_mb_takes_little_server_memory(alone: tuple[SQLClient, int], packed: bool) -> None:
    sql, pid = alone
    sql.run("DROP TABLE IF EXISTS big; CREATE TABLE big (a int, b text)")
    block = b"".join(b"%d,%s\n" % (n, b"x" * 1000) for n in range(1000))
    data: object = (block for _ in range(100))
    headers = {}
    if packed:  # 100 MB that weigh next to nothing on the wire
        data, headers = gzip.compress(block * 100, 1), {"Content_Encoding": "gzip"}
    sql.copy_from("COPY big FROM STDIN WITH (FORMAT csv)", block)
    before = _peak_bytes(pid)
    answer = sql.copy_from("COPY big FROM STDIN WITH (FORMAT csv) WHERE a % 100 = 0", data, **headers)
    assert answer.json()["total_rows"] == 1000
    query = "COPY (SELECT repeat('x', 1000) FROM generate_series(1, 100000)) TO STDOUT"
    with sql.copy_to(query, stream=True) as download:
        time.sleep(0.5)  # a reader that is slow to begin: the server must wait, not collect
        assert sum(len(part) for part in download.iter_content(1 << 20)) == 100_100_000
    assert _peak_bytes(pid) - before < 40_000_000


def _peak_bytes(pid: int) -> int:
    [line] = [line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("VmHWM")]
    return int(line.split()[1]) * 1024


def test_uploads_below_the_minimum_rate_are_rejected() -> None:
    plan = Plan(upload_bytes=10, upload_window_s=0.5)
    with start(user="tester", api_key="key", plan=plan) as server:
        url = f"{server.base_url}/api/v2/sql"
        auth = ("tester", "key")
        requests.post(url, data={"q": "CREATE TABLE t (a int, b text)"}, auth=auth, timeout=20)

        def copied(blocks: int, pause_s: float) -> requests.Response:
            def body() -> Iterator[bytes]:
                for _ in range(blocks):
                    yield b"1,text of a row\n"
                    time.sleep(pause_s)

            return requests.post(f"{url}/copyfrom", params={"q": COPY_IN}, data=body(), auth=auth, timeout=20)

        assert copied(20, 0.05).json()["total_rows"] == 20
        slow = copied(2, 2)
        assert (slow.status_code, slow.json()) == (
            400,
            {"error": ["Connection closed by server: input data too slow"]},
        )
        count = requests.get(url, params={"q": "SELECT count(*) FROM t"}, auth=auth, timeout=20)
        assert count.json()["rows"] == [{"count": 20}]
