from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest

from cartoframes_lite._client.import_codes import describe
from cartoframes_lite._client.imports import ImportOptions
from cartoframes_lite._client.syncs import Sync, Syncs
from cartoframes_lite.credentials import Credentials
from tests.http_servers import ScriptedServer, response

ACCOUNT = Credentials("ann", base_url="http://localhost/user/ann")
ANSWER = {
    "id": "5c",
    "name": "t",
    "state": "success",
    "interval": "900",
    "url": "http://x/y.csv",
    "ran_at": "2026-01-02T03:04:05+00:00",
    "run_at": "2026-01-02T03:19:05Z",
    "retried_times": 0,
    "error_code": None,
    "error_message": None,
}


def sync_response(**members: object) -> bytes:
    return response("200 OK", json.dumps({**ANSWER, **members}).encode())


def test_create_a_sync(scripted_server: ScriptedServer) -> None:
    service = Syncs(scripted_server.play(sync_response(data_import={"item_queue_id": "1f"})))
    sync, import_id = service.create("http://x/y.csv", 900, ImportOptions(type_guessing=False))
    scripted_server.close()
    assert import_id == "1f"
    assert (sync.interval_s, sync.run_at) == (900, datetime(2026, 1, 2, 3, 19, 5, tzinfo=UTC))
    sent = json.loads(scripted_server.heads[0].partition(b"\r\n\r\n")[2])
    assert (sent["url"], sent["interval"], sent["type_guessing"]) == ("http://x/y.csv", 900, False)


@pytest.mark.parametrize(("interval_s", "error"), [(899, ValueError), (900.0, TypeError), (True, TypeError)])
def test_create_and_update_check_the_interval(
    interval_s: int, error: type[Exception], scripted_server: ScriptedServer
) -> None:
    service = Syncs(scripted_server.play())
    with pytest.raises(error, match="interval"):
        service.create("http://x", interval_s, ImportOptions())
    with pytest.raises(error, match="interval"):
        service.update("5c", interval_s=interval_s)


def test_update_returns_the_new_state(scripted_server: ScriptedServer) -> None:
    changed = Syncs(scripted_server.play(response("200 OK", b"{}"), sync_response(interval=1800))).update(
        "5c", interval_s=1800
    )
    assert changed.interval_s == 1800


@pytest.mark.parametrize("enqueued", [True, False])
def test_force_returns_whether_it_is_enqueued(enqueued: bool, scripted_server: ScriptedServer) -> None:
    service = Syncs(scripted_server.play(response("200 OK", json.dumps({"enqueued": enqueued}).encode())))
    assert service.force("5c") is enqueued
    scripted_server.close()
    assert scripted_server.heads[0].startswith(b"PUT /user/ann/api/v1/synchronizations/5c/sync_now ")


def test_a_failed_sync_has_its_title() -> None:
    sync = Sync.from_response({**ANSWER, "state": "failure", "error_code": 1100}, ACCOUNT)
    assert sync.error is not None
    assert (sync.error.code, sync.error.title) == (1100, "Download file not found")
    assert Sync.from_response(ANSWER, ACCOUNT).error is None


@pytest.mark.parametrize("has_advice", [True, False])
def test_a_failed_sync_has_the_advice_once(has_advice: bool) -> None:
    title, what_about, source = describe(1100)
    message = f"{title} {what_about}" if has_advice else title
    failed = {**ANSWER, "state": "failure", "error_code": 1100, "error_message": message}
    error = Sync.from_response(failed, ACCOUNT).error
    assert error is not None
    assert (error.what_about, error.source) == (what_about, source)
    assert str(error).count("Provided URL doesn't return a file") == 1


def test_delete_a_sync(scripted_server: ScriptedServer) -> None:
    Syncs(scripted_server.play(response("204 No Content"))).delete("5c")
