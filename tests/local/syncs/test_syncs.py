from __future__ import annotations

import json
import re
import time
import uuid
from datetime import UTC, datetime, timedelta
from email.utils import formatdate, parsedate_to_datetime
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import psycopg
import pytest
import requests
from psycopg.conninfo import conninfo_to_dict

import cartoframes_lite.local
from cartoframes_lite.local import LocalCarto
from cartoframes_lite.local.postgres.cluster import open_cluster
from tests.http_servers import FileServer
from tests.local.imports.import_client import Importer

HOUR = 3600
FIELDS = {
    *("id", "name", "interval", "url", "state", "created_at", "updated_at", "run_at", "retried_times", "log_id"),
    *("error_code", "error_message", "ran_at", "modified_at", "etag", "checksum", "user_id", "service_name"),
    *("service_item_id", "type_guessing", "quoted_fields_guessing", "content_guessing", "visualization_id"),
    "from_external_source",
}


@pytest.fixture
def source(file_server: FileServer) -> FileServer:
    return file_server


@pytest.fixture
def importer(carto: LocalCarto) -> Importer:
    return Importer(carto)


def create(importer: Importer, **body: Any) -> dict[str, Any]:
    response = importer.send("POST", "synchronizations", json=body)
    assert response.status_code == 200, response.text
    created: dict[str, Any] = response.json()
    return created


def synchronized(importer: Importer, url: str, **body: Any) -> dict[str, Any]:
    """Make a synchronization and wait for its first import."""
    return importer.sync(create(importer, url=url, interval=HOUR, **body)["id"])


def run_again(importer: Importer, sync: dict[str, Any], seconds: float = HOUR + 1) -> dict[str, Any]:
    """Advance the clock to the next run and wait for its end."""
    ran_at = importer.send("GET", f"synchronizations/{sync['id']}").json()["ran_at"]
    importer.carto.advance_clock(seconds)
    give_up = time.monotonic() + 15
    while time.monotonic() < give_up:
        found = importer.sync(sync["id"])
        if found["ran_at"] != ran_at:
            return found
        time.sleep(0.02)
    raise AssertionError("the synchronization does not run")


def names(importer: Importer) -> list[str]:
    return [row["name"] for row in importer.rows("SELECT name FROM t ORDER BY cartodb_id")]


def moment(text: str) -> datetime:
    return datetime.fromisoformat(text)


def test_first_import_runs_at_once(importer: Importer, source: FileServer) -> None:
    url = source.put("/t.csv", b"name\nOslo\n", ETag='"1"', Last_Modified="Sat, 01 Jan 2022 00:00:00 GMT")
    created = create(importer, url=url, interval="3600")
    assert created.keys() == FIELDS | {"data_import"}
    assert (created["state"], created["interval"], created["url"]) == ("queued", 3600, url)
    assert (created["name"], created["etag"], created["checksum"], created["retried_times"]) == (None, None, "", 0)
    assert moment(created["run_at"]) == moment(created["created_at"]) + timedelta(hours=1)
    assert created["ran_at"] == created["created_at"]
    assert re.fullmatch(r"[0-9-]{10}T[0-9:]{8}\.[0-9]{3}Z", created["created_at"])
    assert created["data_import"]["endpoint"] == "/api/v1/imports"
    job = importer.wait(created["data_import"]["item_queue_id"])
    assert (job["state"], job["synchronization_id"], job["table_name"]) == ("complete", created["id"], "t")
    done = importer.sync(created["id"])
    assert done.keys() == FIELDS
    assert (done["state"], done["name"], done["etag"]) == ("success", "t", "1")
    assert (done["run_at"], done["ran_at"]) == (created["run_at"], created["ran_at"])
    assert done["visualization_id"] == importer.send("GET", "viz/t").json()["id"]
    assert done["modified_at"] == "2022-01-01T00:00:00.000Z"
    assert done["checksum"]
    assert uuid.UUID(done["user_id"])
    assert job["user_id"] == done["user_id"]
    assert importer.send("GET", "synchronizations/").json() == {"synchronizations": [done], "total_entries": 1}
    assert importer.send("GET", f"synchronizations/{done['id']}/sync_now").json() == {"state": "success"}
    assert names(importer) == ["Oslo"]


def test_import_is_complete_after_its_synchronization(importer: Importer, source: FileServer) -> None:
    url = source.put("/t.csv", b"name\nOslo\n")
    response = source.responses["/t.csv"]
    with psycopg.connect(importer.carto.dsn) as blocking:

        def answer_with_lock(request: BaseHTTPRequestHandler) -> None:
            blocking.execute("LOCK TABLE cartodb_local.synchronizations IN SHARE MODE")
            response(request)

        source.responses["/t.csv"] = answer_with_lock
        created = create(importer, url=url, interval=HOUR)
        identity = created["data_import"]["item_queue_id"]
        give_up = time.monotonic() + 15
        waiting = "SELECT 1 FROM pg_locks WHERE NOT granted AND relation = 'cartodb_local.synchronizations'::regclass"
        while not blocking.execute(waiting).fetchone() and time.monotonic() < give_up:
            time.sleep(0.02)
        state = "SELECT state FROM cartodb_local.imports WHERE id::text = %s"
        assert blocking.execute(state, [identity]).fetchone() == ("importing",)
    assert importer.wait(identity)["state"] == "complete"
    assert importer.send("GET", f"synchronizations/{created['id']}").json()["name"] == "t"


def test_first_import_may_make_a_map(importer: Importer, source: FileServer) -> None:
    sync = synchronized(importer, source.put("/t.csv", b"name\nOslo\n"), create_vis=True)
    assert importer.send("GET", f"viz/{sync['visualization_id']}").json()["type"] == "table"
    [a_map] = importer.send("GET", "viz").json()["visualizations"]
    assert a_map["type"] == "derived"


def test_changed_source_replaces_the_rows_of_the_table(importer: Importer, source: FileServer) -> None:
    sync = synchronized(importer, source.put("/t.csv", b"name\nOslo\n"))
    importer.rows("CREATE VIEW v AS SELECT name FROM t; GRANT SELECT ON t TO publicuser; CREATE INDEX mine ON t (name)")
    before = importer.rows("SELECT 't'::regclass::oid AS oid")
    source.put("/t.csv", b"name\nRome\nParis\n")
    after = run_again(importer, sync)
    assert (after["state"], after["error_code"], after["retried_times"]) == ("success", None, 0)
    assert moment(after["ran_at"]) >= moment(sync["ran_at"]) + timedelta(hours=1)
    assert moment(after["run_at"]) == moment(after["ran_at"]) + timedelta(hours=1)
    assert names(importer) == ["Rome", "Paris"]
    assert importer.rows("SELECT count(*) AS n FROM v") == [{"n": 2}]
    assert importer.rows("SELECT count(*) AS n FROM t", key=None) == [{"n": 2}]
    assert importer.rows("SELECT 't'::regclass::oid AS oid") == before
    assert importer.tables() == ["t"]


def test_nothing_happens_before_its_time(importer: Importer, source: FileServer) -> None:
    synchronized(importer, source.put("/t.csv", b"name\nOslo\n"))
    importer.carto.advance_clock(HOUR - 60)
    time.sleep(0.2)
    assert len(source.requests) == 1


@pytest.mark.parametrize("validator", ["ETag", "Last_Modified", "none"])
def test_unchanged_source_is_not_loaded_again(importer: Importer, source: FileServer, validator: str) -> None:
    values = {"ETag": '"1"', "Last_Modified": "Sat, 01 Jan 2022 00:00:00 GMT"}
    sent = {validator: values[validator]} if validator in values else {}
    sync = synchronized(importer, source.put("/t.csv", b"name\nOslo\n", **sent))
    importer.rows("UPDATE t SET name = 'Bergen'")
    after = run_again(importer, sync)
    assert (after["state"], after["etag"]) == ("success", "1" if "ETag" in sent else None)
    assert len(source.requests) == 2
    assert names(importer) == ["Bergen"]


def test_a_change_within_the_second_of_the_one_before_is_loaded(importer: Importer, source: FileServer) -> None:
    just_now = formatdate(time.time() + 2, usegmt=True)  # still so when it is fetched
    sync = synchronized(importer, source.put("/t.csv", b"name\nOslo\n", Last_Modified=just_now))
    source.put("/t.csv", b"name\nRome\n", Last_Modified=just_now)
    assert moment(run_again(importer, sync)["modified_at"]) == parsedate_to_datetime(just_now)
    assert names(importer) == ["Rome"]


def test_changed_columns_change_those_of_the_table(importer: Importer, source: FileServer) -> None:
    sync = synchronized(importer, source.put("/t.csv", b"name,before\nOslo,1\n"))
    importer.rows("GRANT SELECT ON t TO publicuser")
    before = importer.rows("SELECT 't'::regclass::oid AS oid")
    source.put("/t.csv", b"name,after\nRome,x\n")
    assert run_again(importer, sync)["state"] == "success"
    assert importer.rows("SELECT cartodb_id, name, after FROM t", key=None) == [
        {"cartodb_id": 1, "name": "Rome", "after": "x"}
    ]
    assert importer.rows("SELECT 't'::regclass::oid AS oid") == before
    assert importer.tables() == ["t"]
    source.put("/t.csv", b"name,after\nParis,y\n")
    assert run_again(importer, sync)["state"] == "success"
    assert names(importer) == ["Paris"]


def test_changed_columns_of_a_table_with_views_keep_the_old_rows(importer: Importer, source: FileServer) -> None:
    sync = synchronized(importer, source.put("/t.csv", b"name,before\nOslo,1\n"))
    importer.rows("CREATE VIEW v AS SELECT before FROM t")
    source.put("/t.csv", b"name,after\nRome,x\n")
    after = run_again(importer, sync)
    assert (after["state"], after["error_code"]) == ("failure", 2013)
    assert after["error_message"] == "Cannot overwrite table"
    assert importer.rows("SELECT name, before FROM t") == [{"name": "Oslo", "before": 1}]
    assert importer.tables() == ["t"]


def test_failure_keeps_the_last_good_rows_and_is_tried_again_ten_times(importer: Importer, source: FileServer) -> None:
    sync = synchronized(importer, source.put("/t.csv", b"name\nOslo\n"))
    source.put("/t.csv", b"", status=404)
    for attempt in range(1, 11):
        after = run_again(importer, sync)
        assert (after["state"], after["error_code"], after["retried_times"]) == ("failure", 1100, attempt)
        assert after["error_message"] == "Download file not found"
        assert names(importer) == ["Oslo"]
    asked = len(source.requests)
    importer.carto.advance_clock(10 * HOUR)
    time.sleep(0.2)
    assert len(source.requests) == asked
    source.put("/t.csv", b"name\nRome\n")
    assert importer.send("PUT", f"synchronizations/{sync['id']}/sync_now").json()["enqueued"] is True
    after = run_again(importer, sync, 0)
    assert (after["state"], after["error_code"], after["error_message"], after["retried_times"]) == (
        *("success", None, None),
        0,
    )
    assert names(importer) == ["Rome"]


def test_failed_first_import_is_tried_again(importer: Importer, source: FileServer) -> None:
    sync = synchronized(importer, source.put("/t.csv", b"", status=500))
    assert (sync["state"], sync["error_code"], sync["name"], sync["retried_times"]) == ("failure", 1001, None, 0)
    assert sync["error_message"] == (
        "Download error The remote URL returned an error. Please verify your file is available at that URL."
    )
    after = run_again(importer, sync)
    assert (after["state"], after["retried_times"], after["error_message"]) == ("failure", 1, "Download error")
    source.put("/t.csv", b"name\nOslo\n")
    after = run_again(importer, sync)
    assert (after["state"], after["name"]) == ("success", "t")
    assert names(importer) == ["Oslo"]


def test_renamed_table_is_followed(importer: Importer, source: FileServer) -> None:
    sync = synchronized(importer, source.put("/t.csv", b"name\nOslo\n"))
    importer.rows("ALTER TABLE t RENAME TO u")
    assert importer.send("GET", f"synchronizations/{sync['id']}").json()["name"] == "u"
    source.put("/t.csv", b"name\nRome\n")
    after = run_again(importer, sync)
    assert (after["state"], after["name"]) == ("success", "u")
    assert importer.rows("SELECT name FROM u") == [{"name": "Rome"}]
    assert importer.tables() == ["u"]


@pytest.mark.parametrize("how", ["sql", "viz"])
def test_a_deleted_table_takes_its_synchronization_along(how: str, importer: Importer, source: FileServer) -> None:
    sync = synchronized(importer, source.put("/t.csv", b"name\nOslo\n"))
    if how == "sql":
        importer.rows("DROP TABLE t")
    else:
        identity = importer.send("GET", "viz/t").json()["id"]
        assert importer.send("DELETE", f"viz/{identity}").status_code == 204
    importer.rows("CREATE TABLE t AS SELECT 'mine' AS precious")
    assert importer.send("GET", f"synchronizations/{sync['id']}").status_code == 404
    importer.carto.advance_clock(2 * HOUR)
    time.sleep(0.2)
    assert len(source.requests) == 1
    assert importer.rows("SELECT precious FROM t") == [{"precious": "mine"}]


def test_requested_name_is_shown_before_the_import(importer: Importer, source: FileServer) -> None:
    created = create(importer, url=source.put("/t.csv", b"", status=500), table_name="wanted", create_vis=True)
    assert created["name"] == "wanted"
    sync = importer.sync(created["id"])
    source.put("/t.csv", b"name\nOslo\n")
    after = run_again(importer, sync)
    assert (after["state"], after["name"]) == ("success", "t")  # as in CARTO, the file names the table
    [a_map] = importer.send("GET", "viz").json()["visualizations"]
    assert a_map["type"] == "derived"


@pytest.mark.parametrize("interval", [899, "0", -1, "often", True, None, 60.5])
def test_short_intervals_are_refused(interval: object, importer: Importer) -> None:
    refused = importer.send("POST", "synchronizations", json={"url": "http://127.0.0.1:1/x.csv", "interval": interval})
    assert refused.status_code == 400
    assert refused.json() == {"errors": "Invalid interval: Sync interval must be at least 15 minutes"}
    assert importer.send("GET", "synchronizations").json() == {"synchronizations": [], "total_entries": 0}


@pytest.mark.parametrize("url", ["not a url", "x.csv", "file:///etc/passwd", "http://h/a b"])
def test_invalid_urls_are_refused(url: str, importer: Importer) -> None:
    refused = importer.send("POST", "synchronizations", json={"url": url, "interval": 900})
    assert (refused.status_code, refused.json()) == (400, {"errors": f"Invalid URL, cannot connect dataset: {url}"})
    assert importer.send("GET", "synchronizations").json()["synchronizations"] == []


def test_force(importer: Importer, source: FileServer) -> None:
    sync = synchronized(importer, source.put("/t.csv", b"name\nOslo\n"))
    path = f"synchronizations/{sync['id']}/sync_now"
    source.put("/t.csv", b"name\nRome\n")
    refused = importer.send("PUT", path)
    assert (refused.status_code, refused.json()) == (200, {"enqueued": False, "synchronization_id": sync["id"]})
    importer.carto.advance_clock(901)
    assert importer.send("PUT", path).json() == {"enqueued": True, "synchronization_id": sync["id"]}
    assert importer.send("PUT", path).json()["enqueued"] is False
    assert run_again(importer, sync, 0)["state"] == "success"
    assert names(importer) == ["Rome"]
    assert importer.send("PUT", path).json()["enqueued"] is False


def test_interval(importer: Importer, source: FileServer) -> None:
    url = source.put("/t.csv", b"name\nOslo\n")
    response = importer.send("POST", "synchronizations", json={"url": url, "interval": 2**31})
    assert response.status_code == 400
    assert isinstance(response.json()["errors"], str)
    assert importer.send("GET", "synchronizations").json() == {"synchronizations": [], "total_entries": 0}
    sync = importer.sync(create(importer, url=url)["id"])
    assert sync["interval"] == 3600
    changed = importer.send("PUT", f"synchronizations/{sync['id']}", json={"interval": 60})
    assert (changed.status_code, changed.json()["interval"]) == (200, 60)
    source.put("/t.csv", b"name\nRome\n")
    assert run_again(importer, sync, 61)["state"] == "success"
    assert names(importer) == ["Rome"]


def test_update(importer: Importer, source: FileServer) -> None:
    sync = synchronized(importer, source.put("/t.csv", b"name\nOslo\n", ETag='"1"'))
    path = f"synchronizations/{sync['id']}/"
    unchanged = importer.send("PUT", path, json={}).json()
    assert {**unchanged, "updated_at": ""} == {**sync, "updated_at": ""}
    url = source.put("/u.csv", b"name\n7\n", ETag='"1"')
    changed = importer.send("PUT", path, json={"url": url, "type_guessing": False}).json()
    assert (changed["url"], changed["type_guessing"], changed["etag"]) == (url, False, None)
    assert run_again(importer, sync)["state"] == "success"
    assert importer.rows("SELECT name FROM t") == [{"name": "7"}]
    # Sent back as it was shown, it changes nothing.
    shown = importer.send("GET", path).json()
    assert {**importer.send("PUT", path, json=shown).json(), "updated_at": ""} == {**shown, "updated_at": ""}


def test_deleted_synchronization_leaves_the_table(importer: Importer, source: FileServer) -> None:
    sync = synchronized(importer, source.put("/t.csv", b"name\nOslo\n"))
    deleted = importer.send("DELETE", f"synchronizations/{sync['id']}")
    assert (deleted.status_code, deleted.content) == (204, b"")
    importer.carto.advance_clock(2 * HOUR)
    time.sleep(0.2)
    assert len(source.requests) == 1
    assert names(importer) == ["Oslo"]
    for method in ("GET", "PUT", "DELETE"):
        assert importer.send(method, f"synchronizations/{sync['id']}").status_code == 404
        assert importer.send(method, "synchronizations/x").status_code == 404
    assert importer.send("PUT", f"synchronizations/{sync['id']}/sync_now").status_code == 404


def test_nothing_to_synchronize(importer: Importer) -> None:
    for body in ({}, {"interval": 3600}, {"sql": "SELECT 1"}, {"table_name": "t"}):
        sync = importer.sync(create(importer, **body)["id"])
        assert (sync["state"], sync["error_code"]) == ("failure", 99999)


def test_password_does_not_show_and_is_kept(importer: Importer, source: FileServer) -> None:
    source.put("/t.csv", b"name\nOslo\n")
    url = f"http://user:secret@127.0.0.1:{source.server_port}/t.csv"
    sync = synchronized(importer, url)
    assert sync["url"] == url.replace("secret", "***")
    importer.send("PUT", f"synchronizations/{sync['id']}", json=sync)
    source.put("/t.csv", b"name\nRome\n")
    after = run_again(importer, sync)
    assert source.requests[0][1]["authorization"] == source.requests[1][1]["authorization"]
    assert "secret" not in json.dumps(after)
    source.put("/t.csv", b"", status=401)
    assert "secret" not in json.dumps(run_again(importer, sync))


def test_only_the_master_key_synchronizes(importer: Importer, source: FileServer) -> None:
    sync = synchronized(importer, source.put("/t.csv", b"name\nOslo\n"))
    url = importer.carto.base_url + "/api/v3/api_keys"
    body = {"name": "regular", "grants": [{"type": "apis", "apis": ["sql"]}]}
    made = requests.post(url, json=body, params={"api_key": importer.key}, timeout=10).json()
    one = f"synchronizations/{sync['id']}"
    for key in (None, "wrong", made["token"]):
        for method, path in (
            *(("GET", "synchronizations"), ("POST", "synchronizations"), ("GET", one), ("PUT", one), ("DELETE", one)),
            *(("GET", f"{one}/sync_now"), ("PUT", f"{one}/sync_now")),
        ):
            assert importer.send(method, path, key=key, json={"url": "http://127.0.0.1/"}).status_code == 401


def test_connector_is_loaded_again(importer: Importer) -> None:
    other = open_cluster()
    try:
        known = conninfo_to_dict(other.dsn)
        with psycopg.connect(other.dsn, autocommit=True) as there:
            there.execute("CREATE TABLE t AS SELECT 'Oslo' AS name")
            connection = {"server": known["host"], "port": known["port"], "database": known["dbname"]}
            connection |= {"username": known["user"], "password": "secret"}
            connector = {"provider": "postgres", "connection": connection, "table": "t"}
            sync = importer.sync(create(importer, connector=connector, interval=HOUR)["id"])
            assert (sync["state"], sync["url"], sync["service_name"]) == ("success", None, "connector")
            assert "secret" not in json.dumps(sync)
            there.execute("UPDATE t SET name = 'Rome'")
            assert run_again(importer, sync)["state"] == "success"
            assert names(importer) == ["Rome"]
            there.execute("DROP TABLE t")
            after = run_again(importer, sync)
            assert (after["state"], after["error_code"]) == ("failure", 1500)
            assert names(importer) == ["Rome"]
    finally:
        other.stop()


def test_new_synchronizations_need_no_slot(importer: Importer, source: FileServer) -> None:
    sync = synchronized(importer, source.put("/u.csv", b"name\nOslo\n"))
    importer.carto.advance_clock(901)
    url = source.hang("/t.csv")
    for _ in range(4):
        create(importer, url=url)
    assert importer.send("GET", "synchronizations").json()["total_entries"] == 5
    forced = importer.send("PUT", f"synchronizations/{sync['id']}/sync_now")
    assert (forced.status_code, forced.json()["enqueued"]) == (200, False)
    importer.post(json={"url": url})


def test_reset_forgets_synchronizations(importer: Importer, source: FileServer) -> None:
    synchronized(importer, source.put("/t.csv", b"name\nOslo\n"))
    create(importer, url=source.hang("/u.csv"))
    importer.carto.reset()
    assert importer.send("GET", "synchronizations").json() == {"synchronizations": [], "total_entries": 0}
    assert importer.tables() == []
    assert synchronized(importer, f"{source.url}/t.csv")["state"] == "success"


def test_restart_goes_on(tmp_path: Path, source: FileServer) -> None:
    url = source.put("/t.csv", b"name\nOslo\n")
    with cartoframes_lite.local.start(user="again", data_dir=tmp_path / "data") as server:
        before = Importer(server)
        sync = synchronized(before, url)
        begun = create(before, url=source.hang("/u.csv"))
        before.sync(begun["id"], "created", "queued", "syncing")
    source.put("/t.csv", b"name\nRome\n")
    source.put("/u.csv", b"name\nParis\n")
    with cartoframes_lite.local.start(user="again", data_dir=tmp_path / "data") as server:
        after = Importer(server)
        assert after.send("GET", f"synchronizations/{sync['id']}").json() == sync
        with psycopg.connect(server.dsn, autocommit=True) as connection:
            connection.execute("UPDATE cartodb_local.synchronizations SET state = 'queued' WHERE name IS NULL")
        assert run_again(after, sync)["state"] == "success"
        assert names(after) == ["Rome"]
        assert run_again(after, begun)["state"] == "success"
        assert after.tables() == ["t", "u"]


def test_interrupted_run_is_made_up_for_at_the_start(tmp_path: Path, source: FileServer) -> None:
    url = source.put("/t.csv", b"name\nOslo\n")
    with cartoframes_lite.local.start(user="again", data_dir=tmp_path / "data") as server:
        sync = synchronized(Importer(server), url)
        with psycopg.connect(server.dsn, autocommit=True) as connection:  # as if it had been killed
            connection.execute("UPDATE cartodb_local.synchronizations SET state = 'syncing'")
    source.put("/t.csv", b"name\nRome\n")
    with cartoframes_lite.local.start(user="again", data_dir=tmp_path / "data") as server:
        after = Importer(server)
        assert after.sync(sync["id"])["state"] == "success"
        assert names(after) == ["Rome"]
        assert moment(after.sync(sync["id"])["ran_at"]) <= datetime.now(UTC)
