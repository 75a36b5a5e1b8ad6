from __future__ import annotations

import json

import pytest

from cartoframes_lite._client.sql import SQL
from cartoframes_lite._client.sql_batch import Batch
from cartoframes_lite._client.transaction import run
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


def test_statements_that_are_too_long_for_a_job(scripted_server: ScriptedServer) -> None:
    """Whatever the key is: the master key would not help."""
    with pytest.raises(QueryTimeout, match="smaller parts") as caught:
        tried(scripted_server, TOO_LONG, statements="SELECT " + "1" * 20_000)
    assert "master key" not in str(caught.value.hint)


def test_statements_with_errors_become_no_job(scripted_server: ScriptedServer) -> None:
    with pytest.raises(SQLError, match="syntax"):
        tried(scripted_server, response("400 Bad Request", b'{"error":["syntax error"]}'))
