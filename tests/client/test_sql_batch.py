from __future__ import annotations

import json
from typing import Any

import pytest

from cartoframes_lite._client.sql_batch import Batch
from cartoframes_lite.errors import JobError, PermissionDenied

from .conftest import Wire, response


def job(**fields: Any) -> bytes:
    return response("200 OK", json.dumps({"job_id": "1", **fields}).encode())


@pytest.mark.parametrize("query", ["select 1", ["select 1", "select 2"], {"query": [{"query": "select 1"}]}], ids=str)
def test_forms_of_a_job(wire: Wire, query: Any) -> None:
    batch = Batch(wire.play(job(status="pending")))
    assert batch.create(query)["job_id"] == "1"
    wire.close()
    assert json.loads(wire.heads[0].partition(b"\r\n\r\n")[2]) == {"query": query}


@pytest.mark.parametrize("status", ["failed", "cancelled", "unknown"])
def test_a_job_that_is_not_done_is_an_error(wire: Wire, status: str) -> None:
    batch = Batch(wire.play(job(status=status, failed_reason="division by zero")))
    with pytest.raises(JobError, match="division by zero"):
        batch.wait("1")


def test_a_job_that_is_done(wire: Wire) -> None:
    assert Batch(wire.play(job(status="running"), job(status="done"))).wait("1")["status"] == "done"


def test_a_job_over_16_kb_is_refused_here(wire: Wire) -> None:
    with pytest.raises(ValueError, match="16384"):
        Batch(wire.play()).create("x" * 16_384)


def test_only_the_master_key_may(wire: Wire) -> None:
    with pytest.raises(PermissionDenied):
        Batch(wire.play(response("403 Forbidden", b'{"error":["permission denied"]}'))).create("select 1")
