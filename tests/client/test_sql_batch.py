from __future__ import annotations

import json
from typing import Any

import pytest

from cartoframes_lite._client.sql_batch import Batch
from cartoframes_lite.errors import JobError, PermissionDenied
from tests.http_servers import ScriptedServer, response


def job(**fields: Any) -> bytes:
    return response("200 OK", json.dumps({"job_id": "1", **fields}).encode())


@pytest.mark.parametrize("query", ["select 1", ["select 1", "select 2"], {"query": [{"query": "select 1"}]}], ids=str)
def test_forms_of_a_job(scripted_server: ScriptedServer, query: Any) -> None:
    batch = Batch(scripted_server.play(job(status="pending")))
    assert batch.create(query)["job_id"] == "1"
    scripted_server.close()
    assert json.loads(scripted_server.heads[0].partition(b"\r\n\r\n")[2]) == {"query": query}


@pytest.mark.parametrize("status", ["failed", "cancelled", "unknown"])
def test_a_job_that_is_not_done_is_an_error(scripted_server: ScriptedServer, status: str) -> None:
    batch = Batch(scripted_server.play(job(status=status, failed_reason="division by zero")))
    with pytest.raises(JobError, match="division by zero"):
        batch.wait("1")


def test_a_job_that_is_done(scripted_server: ScriptedServer) -> None:
    assert Batch(scripted_server.play(job(status="running"), job(status="done"))).wait("1")["status"] == "done"


def test_a_job_over_16_kb_is_refused_here(scripted_server: ScriptedServer) -> None:
    with pytest.raises(ValueError, match="16384"):
        Batch(scripted_server.play()).create("x" * 16_384)


def test_batch_jobs_need_the_master_key(scripted_server: ScriptedServer) -> None:
    with pytest.raises(PermissionDenied):
        Batch(scripted_server.play(response("403 Forbidden", b'{"error":["permission denied"]}'))).create("select 1")
