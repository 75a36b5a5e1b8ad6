from __future__ import annotations

import json
import re

import pytest

from cartoframes_lite import Client, Credentials
from cartoframes_lite._client.sql import SQL
from cartoframes_lite._client.sql_batch import Batch
from cartoframes_lite._client.transaction import _create_function, run
from cartoframes_lite.errors import JobError, QueryTimeout, SQLError
from tests.http_servers import ScriptedServer, response

TOO_LONG = response("429 Too Many Requests", b'{"error":["timeout"],"context":"limit","detail":"datasource"}')
OK = response("200 OK", b'{"rows":[],"total_rows":3}')
DENIED = response("403 Forbidden", b'{"error":["permission denied"]}')


def job(status: str) -> bytes:
    return response("200 OK", json.dumps({"job_id": "1", "status": status, "failed_reason": "no room"}).encode())


def tried(scripted_server: ScriptedServer, *responses: bytes, statements: str = "SELECT 1") -> object:
    transport = scripted_server.play(*responses)
    return run(SQL(transport), Batch(transport), statements, what="publishing 't'")


def test_quick_statements_become_no_job(scripted_server: ScriptedServer) -> None:
    assert tried(scripted_server, OK) == {"rows": [], "total_rows": 3}


def test_timed_out_statements_become_a_batch_job(scripted_server: ScriptedServer) -> None:
    tried(scripted_server, TOO_LONG, job("pending"), job("done"), statements="BEGIN; COMMIT")
    scripted_server.close()
    assert json.loads(scripted_server.heads[1].partition(b"\r\n\r\n")[2]) == {"query": "BEGIN; COMMIT"}


def test_a_job_that_fails_says_why(scripted_server: ScriptedServer) -> None:
    with pytest.raises(JobError, match="no room"):
        tried(scripted_server, TOO_LONG, job("pending"), job("failed"))


def test_timed_out_statements_ask_for_the_master_key(scripted_server: ScriptedServer) -> None:
    with pytest.raises(QueryTimeout, match=r"publishing 't' takes longer.*nothing was changed") as caught:
        tried(scripted_server, TOO_LONG, DENIED)
    assert "master key" in str(caught.value.hint)


def test_long_statements_run_as_a_function(scripted_server: ScriptedServer) -> None:
    tried(scripted_server, TOO_LONG, OK, job("pending"), job("done"), OK, statements="SELECT " + "1" * 20_000)
    scripted_server.close()
    query = json.loads(scripted_server.heads[2].partition(b"\r\n\r\n")[2])["query"]
    assert re.fullmatch(r"SET TRANSACTION ISOLATION LEVEL READ COMMITTED;\nSELECT cfl_job_[0-9a-f]{16}\(\)", query)
    assert b"DROP+FUNCTION+IF+EXISTS+cfl_job_" in scripted_server.heads[4]


def test_long_statements_leave_no_function(credentials: Credentials) -> None:
    client = Client(credentials)
    functions = "SELECT count(*)::int AS n FROM pg_proc WHERE starts_with(proname::text, 'cfl_job_')"

    def timed_out(statements: str) -> object:
        limited = f"SET statement_timeout = '50ms'; {statements}"
        return run(client.sql, client.batch, limited, what="the test")

    client.sql.send("CREATE TABLE t (a int)")
    stale = _create_function("cfl_job_0123456789abcdef", "SELECT 1").replace("+ interval", "- interval")
    client.sql.send(stale)
    client.sql.send(_create_function("cfl_job_of_another_process", "SELECT 1"))
    padding = "-- " + "x" * 20_000
    wait = "SELECT pg_sleep(0.2)"
    assert timed_out(f"DO $$BEGIN RAISE NOTICE 'begun'; END$$; INSERT INTO t VALUES (1); {wait}; {padding}")
    with pytest.raises(JobError, match="division by zero") as caught:
        timed_out(f"INSERT INTO t VALUES (2); {wait}; SELECT 1 / 0; {padding}")
    assert caught.value.job is not None
    assert client.sql.rows("SELECT a FROM t") == [{"a": 1}]
    assert client.sql.rows(functions) == [{"n": 1}]


def test_statements_that_are_too_long_for_any_api(scripted_server: ScriptedServer) -> None:
    """Whatever the key is: the master key would not help."""
    with pytest.raises(QueryTimeout, match="smaller parts") as caught:
        tried(scripted_server, TOO_LONG, statements="SELECT " + "1" * 999_900)
    assert "master key" not in str(caught.value.hint)


def test_statements_with_errors_become_no_job(scripted_server: ScriptedServer) -> None:
    with pytest.raises(SQLError, match="syntax"):
        tried(scripted_server, response("400 Bad Request", b'{"error":["syntax error"]}'))
