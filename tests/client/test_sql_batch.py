from __future__ import annotations

import json
import pickle
from typing import Any

import pytest

from cartoframes_lite._client import Client
from cartoframes_lite._client.sql_batch import Batch
from cartoframes_lite.credentials import Credentials
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


@pytest.mark.parametrize("query", ["", "  ", [], ["SELECT 1", ""], {}, 5, None, ["SELECT 1", 2]])
def test_a_job_without_statement_is_refused(query: Any, scripted_server: ScriptedServer) -> None:
    with pytest.raises(TypeError, match="statement"):
        Batch(scripted_server.play()).create(query)


def test_a_job_over_16_kb_is_refused_here(scripted_server: ScriptedServer) -> None:
    with pytest.raises(ValueError, match="16384"):
        Batch(scripted_server.play()).create("x" * 16_384)


def test_batch_jobs_need_the_master_key(scripted_server: ScriptedServer) -> None:
    with pytest.raises(PermissionDenied):
        Batch(scripted_server.play(response("403 Forbidden", b'{"error":["permission denied"]}'))).create("select 1")


def test_a_job_has_its_own_methods(credentials: Credentials) -> None:
    batch = Client(credentials).batch
    with pytest.raises(JobError, match="division by zero"):
        batch.create("SELECT 1/0").wait()
    job = batch.create(["SELECT 1", "SELECT 2"])
    assert dict(job)["job_id"] == job.id
    assert job.refresh().id == job.id
    finished = job.wait(timeout_s=60, progress=False)
    assert (finished.status, finished.done, finished.failed_reason) == ("done", True, None)
    assert finished.created_at is not None
    assert "done, 2 of 2 queries finished" in finished._repr_html_()
    assert str(credentials.api_key) not in repr(finished)
    assert pickle.loads(pickle.dumps(finished)) == finished
    running = batch.create("SELECT pg_sleep(600)")
    assert running.cancel().status == "cancelled"
    with pytest.raises(JobError, match="cancelled"):
        running.wait()


def test_waiting_shows_the_progress_of_a_job(
    scripted_server: ScriptedServer, capsys: pytest.CaptureFixture[str]
) -> None:
    def state(status: str, *steps: str) -> bytes:
        return job(status=status, query=[{"query": "SELECT 1", "status": step} for step in steps])

    first, last = state("running", "done", "running"), state("done", "done", "done")
    batch = Batch(scripted_server.play(first, first, last))
    assert "running, 1 of 2 queries finished" in batch.read("1")._repr_html_()
    assert batch.wait("1", progress=True).done
    shown = capsys.readouterr().err
    assert "batch job: running |" in shown
    assert "1/2 [" in shown


def test_a_job_shows_its_last_state_after_waiting(scripted_server: ScriptedServer) -> None:
    held = Batch(scripted_server.play(job(status="running"), job(status="running"), job(status="done"))).read("1")
    assert held.wait(progress=False) is held
    assert "status='done'" in repr(held)
    assert "<td style='text-align:left'>done</td>" in held._repr_html_()


def test_a_job_shows_why_waiting_failed(scripted_server: ScriptedServer) -> None:
    states = [job(status="pending"), job(status="running"), job(status="failed", failed_reason="division by zero")]
    held = Batch(scripted_server.play(*states)).read("1")
    assert held in {held.refresh()}
    assert held.status == "running"
    with pytest.raises(JobError):
        held.wait(progress=False)
    assert "failed" in repr(held)
    assert "division by zero" in held._repr_html_()
