from __future__ import annotations

import gzip
import io
import json
import os
import re
import socket
import tracemalloc
import zipfile
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest

from cartoframes_lite._client.import_codes import describe
from cartoframes_lite._client.imports import ImportJob, ImportOptions, Imports
from cartoframes_lite.credentials import Credentials
from cartoframes_lite.dataset import Dataset
from cartoframes_lite.errors import (
    APIError,
    ConnectionFailed,
    ImportFailed,
    IncompleteImportWarning,
    JobError,
    JobTimeout,
    NameTakenWarning,
    PermissionDenied,
    RateLimited,
    ServerError,
    SQLError,
)
from tests.http_servers import ScriptedServer, read_head, response

ACCOUNT = Credentials("ann", base_url="http://localhost/user/ann")
STARTED = response("200 OK", b'{"item_queue_id": "1f", "success": true}')


def job(state: str, **members: object) -> bytes:
    return response("200 OK", json.dumps({"id": "1f", "state": state, **members}).encode())


def test_file_options_are_lower_case_query_parameters(scripted_server: ScriptedServer, tmp_path: Path) -> None:
    path = tmp_path / "My File.CSV"
    path.write_bytes(b"a,b\n1,2\n")
    options = ImportOptions(
        privacy="link", collision_strategy="skip", type_guessing=False, content_guessing=True, create_map=True
    )
    assert Imports(scripted_server.play(STARTED)).create_from_file(path, options) == "1f"
    scripted_server.close()
    head, _, body = scripted_server.heads[0].partition(b"\r\n\r\n")
    line = head.split(b"\r\n")[0].decode()
    for parameter in (
        "type_guessing=false",
        "quoted_fields_guessing=true",
        "content_guessing=true",
        "create_vis=true",
        "privacy=link",
        "collision_strategy=skip",
    ):
        assert parameter in line
    assert b'filename="my_file.CSV"' in body
    assert b"a,b\n1,2\n" in body
    assert b"transfer-encoding" not in head.lower()
    assert int(re.search(rb"(?i)content-length: (\d+)", head)[1]) == len(body)  # type: ignore[index]  # it is there


def test_url_options_are_json(scripted_server: ScriptedServer) -> None:
    Imports(scripted_server.play(STARTED)).create_from_url("https://example.com/Data.CSV?Token=aB", ImportOptions())
    scripted_server.close()
    assert json.loads(scripted_server.heads[0].partition(b"\r\n\r\n")[2]) == {
        "url": "https://example.com/Data.CSV?Token=aB",
        "type_guessing": True,
        "quoted_fields_guessing": True,
        "content_guessing": False,
        "create_vis": False,
    }


def test_a_large_file_is_not_read_into_memory(scripted_server: ScriptedServer, tmp_path: Path) -> None:
    size = 200 << 20
    path = tmp_path / "large.csv"
    with path.open("wb") as file:
        file.truncate(size)
    received = []

    def swallow(connection: socket.socket) -> None:
        got = read_head(connection)
        missing = int(re.search(rb"(?i)content-length: (\d+)", got)[1])  # type: ignore[index]  # it is there
        missing -= len(got.partition(b"\r\n\r\n")[2])
        received.append(missing)
        while missing > 0:
            missing -= len(connection.recv(1 << 20))
        connection.sendall(STARTED)

    service = Imports(scripted_server.play(swallow))
    tracemalloc.start()
    try:
        service.create_from_file(path, ImportOptions(), progress=False)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert received[0] > size - (1 << 20)
    assert peak < 16 << 20


@pytest.mark.parametrize(
    ("file_name", "name", "strategy", "sent"),
    [
        ("X y.csv", None, None, "X y.csv"),
        ("X y.csv", None, "skip", "x_y.csv"),
        ("Tom's (2).CSV", None, "skip", "toms_2.CSV"),
        ("X y.csv", "Stations", None, "stations.csv"),
        ("X y.csv", "Stations.CSV", "overwrite", "stations.csv"),
        ("X y.csv", "Café", None, "caf_.csv"),
        ("X y.csv", "v1.2", None, "v1_2.csv"),
        ("X y.csv", "select", None, "select_t.csv"),
        ("old.v1.csv.gz", "new", None, "new_t.csv.gz"),
        ("old.csv.gz", "2019.csv.gz", None, "table_2019.csv.gz"),
        ("old.geojson.bz2", "towns", None, "towns.geojson.bz2"),
        ("Shapes 1.zip", "towns", None, "Shapes 1.zip"),
        ("Shapes 1.tar.gz", None, "skip", "Shapes 1.tar.gz"),
    ],
)
def test_files_are_sent_under_the_table_name(
    file_name: str, name: str | None, strategy: Any, sent: str, scripted_server: ScriptedServer, tmp_path: Path
) -> None:
    (tmp_path / file_name).write_bytes(b"a\n1\n")
    options = ImportOptions(collision_strategy=strategy)
    Imports(scripted_server.play(STARTED)).create_from_file(tmp_path / file_name, options, name=name)
    scripted_server.close()
    assert f'filename="{sent}"'.encode() in scripted_server.heads[0]
    assert b"table_name" not in scripted_server.heads[0]


def test_a_file_object_has_the_requested_name(scripted_server: ScriptedServer, tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_bytes(b"a\n1\n")
    service = Imports(scripted_server.play(STARTED, STARTED))
    service.create_from_file(io.BytesIO(b"a\n1\n"), ImportOptions(), name="My towns.csv.gz")
    with (tmp_path / "x.csv").open("rb") as file:
        service.create_from_file(file, ImportOptions(), name="My towns")
    scripted_server.close()
    assert b'filename="My towns.csv.gz"' in scripted_server.heads[0]
    assert b'filename="my_towns.csv"' in scripted_server.heads[1]


def test_decompressing_files_have_their_own_size(scripted_server: ScriptedServer, tmp_path: Path) -> None:
    content = b"a,b\n" + b"1,2\n" * 1000
    (tmp_path / "x.gz").write_bytes(gzip.compress(content))
    with zipfile.ZipFile(tmp_path / "x.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("x.csv", content)
    service = Imports(scripted_server.play(*[STARTED] * 3))
    with gzip.open(tmp_path / "x.gz") as packed, zipfile.ZipFile(tmp_path / "x.zip").open("x.csv") as member:
        for file in (packed, member, io.BufferedReader(io.BytesIO(content))):  # type: ignore[arg-type]  # BytesIO is raw
            service.create_from_file(file, ImportOptions(), name="x.csv")  # type: ignore[arg-type]  # GzipFile reads
    scripted_server.close()
    assert all(content in head for head in scripted_server.heads)


def test_a_pipe_raises(scripted_server: ScriptedServer) -> None:
    read, write = os.pipe()
    os.close(write)
    with os.fdopen(read, "rb") as pipe, pytest.raises(ValueError, match="not seekable"):
        Imports(scripted_server.play()).create_from_file(pipe, ImportOptions(), name="x.csv")


def test_a_file_object_is_sent_from_its_beginning(scripted_server: ScriptedServer) -> None:
    file = io.BytesIO(b"a\n1\n")
    file.read()
    Imports(scripted_server.play(STARTED)).create_from_file(file, ImportOptions(), name="x.csv")
    scripted_server.close()
    assert b"a\n1\n" in scripted_server.heads[0]
    assert not file.closed


def test_invalid_files_raise_before_any_request(scripted_server: ScriptedServer, tmp_path: Path) -> None:
    service = Imports(scripted_server.play())
    with pytest.raises(FileNotFoundError):
        service.create_from_file(tmp_path / "nope.csv", ImportOptions())
    with pytest.raises(IsADirectoryError):
        service.create_from_file(tmp_path, ImportOptions())
    with pytest.raises(ValueError, match="extension of its type"):
        service.create_from_file(io.BytesIO(b"a"), ImportOptions())
    with pytest.raises(TypeError, match="binary"):
        service.create_from_file(io.StringIO("a"), ImportOptions(), name="x.csv")  # type: ignore[arg-type]  # tested


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"privacy": "secret"}, ValueError),
        ({"collision_strategy": "replace"}, ValueError),
        ({"type_gessing": False}, TypeError),
    ],
)
def test_invalid_options_raise_before_any_request(
    options: Any, error: type[Exception], scripted_server: ScriptedServer, tmp_path: Path
) -> None:
    (tmp_path / "x.csv").write_bytes(b"a\n1\n")
    service = Imports(scripted_server.play())
    with pytest.raises(error, match=r"'secret'|'replace'|'type_gessing'"):
        service.create_from_url("http://x", options)
    with pytest.raises(error, match=r"'secret'|'replace'|'type_gessing'"):
        service.create_from_file(tmp_path / "x.csv", options)


@pytest.mark.parametrize(("is_there", "sent"), [(True, "overwrite"), (False, None)])
def test_only_existing_tables_of_queries_are_overwritten(
    is_there: bool, sent: str | None, scripted_server: ScriptedServer
) -> None:
    found = response("200 OK", json.dumps({"rows": [{"found": is_there}]}).encode())
    scripted_server.play(found, STARTED, job("pending"))
    account = Credentials("ann", "key", base_url=scripted_server.base_url)
    Dataset.from_query("SELECT 1", account, name="Café", collision_strategy="overwrite", wait=False)
    scripted_server.close()
    body = json.loads(scripted_server.heads[1].partition(b"\r\n\r\n")[2])
    assert (body["table_name"], body.get("collision_strategy")) == ("caf_", sent)


def play_renamed_import(server: ScriptedServer, *renamed: bytes) -> Credentials:
    """Script the import of the table "towns" from a URL, and the responses to its renaming."""
    found = response("200 OK", json.dumps({"rows": [{"found": False}]}).encode())
    entry = {"id": "7", "name": "towns", "type": "table", "privacy": "PRIVATE"}
    finished = job("complete", success=True, table_name="towns", tables_created_count=1)
    server.play(found, STARTED, finished, response("200 OK", json.dumps(entry).encode()), *renamed)
    return Credentials("ann", "key", base_url=server.base_url)


@pytest.mark.parametrize(("kept", "warning"), [("caf_", None), ("caf_1", NameTakenWarning)])
def test_a_renamed_import_has_the_name_of_the_response(
    kept: str, warning: type[Warning] | None, scripted_server: ScriptedServer
) -> None:
    entry = {"id": "7", "name": kept, "type": "table", "privacy": "PRIVATE"}
    account = play_renamed_import(scripted_server, response("200 OK", json.dumps(entry).encode()))
    with pytest.warns(warning) if warning else nullcontext():
        assert Dataset.from_url("http://example.com/towns.csv", account, name="Café").name == kept
    scripted_server.close()
    assert json.loads(scripted_server.heads[4].partition(b"\r\n\r\n")[2]) == {"id": "7", "name": "caf_"}


@pytest.mark.parametrize(
    "renamed",
    [
        [response("200 OK", b'{"id": "7", "name": "towns", "type": "table", "privacy": "PRIVATE"}')],
        [
            response("403 Forbidden"),
            response("200 OK", b'{"result": [{"type": "master"}]}'),
        ],  # denied to the master key
    ],
    ids=["other name", "denied"],
)
def test_an_import_that_is_not_renamed_is_noted(renamed: list[bytes], scripted_server: ScriptedServer) -> None:
    account = play_renamed_import(scripted_server, *renamed)
    with pytest.raises(APIError) as caught:
        Dataset.from_url("http://example.com/towns.csv", account, name="Café")
    assert "The file was imported as 'towns', but not renamed to 'caf_'." in caught.value.__notes__


def test_a_rate_limited_upload_is_sent_again(scripted_server: ScriptedServer, tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    path.write_bytes(b"a\n1\n")
    busy = response("429 Too Many Requests", b'{"errors": {"imports": "slots"}}')
    Imports(scripted_server.play(busy, STARTED)).create_from_file(path, ImportOptions())
    scripted_server.close()
    assert b"a\n1\n" in scripted_server.heads[1]
    assert len(scripted_server.slept) == 1


def test_too_many_running_imports_raise(scripted_server: ScriptedServer) -> None:
    busy = response("429 Too Many Requests", b'{"errors": {"imports": "your allowed 3 import slots"}}')
    with pytest.raises(RateLimited, match="your allowed 3 import slots"):
        Imports(scripted_server.play(*[busy] * 50)).create_from_url("http://x", ImportOptions())


def test_a_rejected_parameter_raises(scripted_server: ScriptedServer) -> None:
    refused = response("400 Bad Request", b'{"errors": {"imports": "Unknown value"}}')
    with pytest.raises(SQLError, match="imports: Unknown value"):
        Imports(scripted_server.play(refused)).create_from_url("http://x", ImportOptions())


def test_a_response_without_a_job_raises(scripted_server: ScriptedServer) -> None:
    with pytest.raises(JobError, match="did not start the import"):
        Imports(scripted_server.play(response("200 OK", b'{"success": false}'))).create_from_url(
            "http://x", ImportOptions()
        )


@pytest.mark.parametrize(
    "answered", [response("502 Bad Gateway", b"bad"), response("200 OK", b"{}"), response("200 OK")]
)
def test_a_lost_response_is_noted(answered: bytes, scripted_server: ScriptedServer) -> None:
    with pytest.raises((ConnectionFailed, ServerError)) as raised:
        Imports(scripted_server.play(answered)).create_from_url("http://x", ImportOptions())
    assert "may have started nevertheless: check list_imports() and list_tables()" in raised.value.__notes__[0]


def test_a_regular_key_is_denied(scripted_server: ScriptedServer) -> None:
    service = Imports(scripted_server.play(response("401 Unauthorized"), response("200 OK", b'{"result": []}')))
    with pytest.raises(PermissionDenied, match="importing requires the master key"):
        service.create_from_url("http://x", ImportOptions())


def test_wait_continues_until_a_final_state(scripted_server: ScriptedServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cartoframes_lite._client.polling._FIRST_INTERVAL_S", 0.0)
    states = [job("enqueued"), job("guessing"), job("a new state"), job("complete", table_name="t", success=True)]
    done = Imports(scripted_server.play(*states)).wait("1f", progress=False)
    assert (done.state, done.table_name, done.done, done.error) == ("complete", "t", True, None)


@pytest.mark.parametrize("state", ["failure", "stuck"])
def test_a_failure_has_the_texts_of_the_server(state: str, scripted_server: ScriptedServer) -> None:
    details = {"title": "Empty file", "what_about": "There is nothing in it.", "source": "user"}
    response = job(state, error_code=1005, get_error_text=details, display_name="x.csv")
    with pytest.raises(ImportFailed, match=r"x\.csv: Empty file \(code 1005\)\nThere is nothing") as caught:
        Imports(scripted_server.play(response)).wait("1f")
    error = caught.value
    assert (error.code, error.title, error.what_about, error.source) == (
        1005,
        "Empty file",
        details["what_about"],
        "user",
    )


def test_a_failure_without_texts_has_known_ones(scripted_server: ScriptedServer) -> None:
    with pytest.raises(ImportFailed) as caught:
        Imports(scripted_server.play(job("failure", error_code=1005, get_error_text=None))).wait("1f")
    error = caught.value
    assert (error.title, error.what_about, error.source) == describe(1005)
    assert "try uploading it again or contact us (support@carto.com)." in str(error)


def test_an_unknown_code_is_kept(scripted_server: ScriptedServer) -> None:
    with pytest.raises(ImportFailed, match=r"import 1f: Unknown \(code 4711\)") as caught:
        Imports(scripted_server.play(job("failure", error_code=4711, get_error_text=None))).wait("1f")
    assert (caught.value.code, caught.value.source) == (4711, "cartodb")


def test_a_failed_download_has_its_status(scripted_server: ScriptedServer) -> None:
    details = {"title": "Download file not found", "what_about": "No file.", "source": "user"}
    response = job(
        "failure",
        error_code=1100,
        get_error_text=details,
        http_response_code="404",
        http_response_code_message="Not there.",
        warnings={"max_tables_per_import": 26},
    )
    with pytest.raises(ImportFailed) as caught:
        Imports(scripted_server.play(response)).wait("1f")
    assert str(caught.value).splitlines()[1:3] == ["No file.", "Status of the download: 404. Not there."]


def test_a_failed_file_of_an_archive_warns(scripted_server: ScriptedServer) -> None:
    details = {
        "title": "Malformed CSV",
        "what_about": "See <a href='https://carto.com/x'>the docs</a>.",
        "source": "user",
    }
    response = job(
        "complete",
        success=True,
        table_name="towns",
        tables_created_count=2,
        error_code=2003,
        get_error_text=details,
        display_name="all.zip",
        warnings=None,
    )
    with pytest.warns(IncompleteImportWarning) as caught:
        done = Imports(scripted_server.play(response)).wait("1f")
    assert str(caught[0].message) == done.warnings
    assert done.warnings == (
        "all.zip: a file in it was not imported: Malformed CSV (code 2003). See the docs (https://carto.com/x)."
    )
    assert (done.table_name, done.error) == ("towns", None)


def test_warnings_of_the_server_are_issued(scripted_server: ScriptedServer) -> None:
    details = {"rejected_layers": ["a", "b"], "user_max_layers": 4, "max_tables_per_import": 26, "more": 1}
    response = job("complete", table_name="t", warnings=details, display_name="all.zip")
    with pytest.warns(IncompleteImportWarning) as caught:
        Imports(scripted_server.play(response)).wait("1f")
    assert str(caught[0].message) == (
        "all.zip: only the first 26 files were imported; import the others on their own; the map has no layers for a,"
        " b, because it can have at most 4; more: 1"
    )


@pytest.mark.parametrize(
    ("display_name", "table"),
    [("My (2).CSV", "my_2"), ("towns.csv.gz", "towns"), ("all.zip", None), ("sql", None), (None, None)],
)
def test_skipped_files_have_their_existing_table(display_name: str | None, table: str | None) -> None:
    sent = {"id": "1", "state": "complete", "error_code": 1022, "table_name": None, "display_name": display_name}
    found = ImportJob.from_response(sent, ACCOUNT, Dataset)
    assert found.dataset == (None if table is None else Dataset(table, ACCOUNT))
    assert found.warnings is None


def test_wait_times_out(scripted_server: ScriptedServer) -> None:
    with pytest.raises(JobTimeout, match=r"import 1f is not done after 0 s and continues on the server"):
        Imports(scripted_server.play(job("importing"))).wait("1f", timeout_s=0)


def test_a_password_in_a_response_is_redacted(scripted_server: ScriptedServer) -> None:
    from cartoframes_lite._client.connectors import redact_secrets

    refused = response("400 Bad Request", b'{"errors": {"imports": "cannot log in with pa55"}}')
    connector = {"connector": {"provider": "postgres", "connection": {"password": "pa55"}}, "table": "t"}
    service = Imports(scripted_server.play(refused))
    with pytest.raises(SQLError, match=r"log in with \*\*\*") as caught, redact_secrets(connector):
        service.create_from_connector(connector, ImportOptions())
    assert "pa55" not in repr(caught.value)
    scripted_server.close()
    sent = json.loads(scripted_server.heads[0].partition(b"\r\n\r\n")[2])
    assert sent["connector"] == {"provider": "postgres", "connection": {"password": "pa55"}, "table": "t"}


def test_secrets_in_error_attributes_are_redacted() -> None:
    from cartoframes_lite._client.connectors import redact_secrets

    connector = {"connector": {"provider": "x", "connection": {"server": "host", "token": "t0k"}}}
    error = ImportFailed("t0k at host", code=1, title="t0k", what_about="not t0k")
    with pytest.raises(ImportFailed) as caught, redact_secrets(connector):
        raise error
    assert str(caught.value) == "*** at host"
    assert (caught.value.code, caught.value.title, caught.value.what_about) == (1, "***", "not ***")


@pytest.mark.parametrize(
    ("code", "title", "source"),
    [
        (1009, "Twitter Server Error", "external"),
        (1022, "All tables were skipped", "user"),
        (6671, "Stuck import job", "cartodb"),
        (8001, "Over account storage limit, please upgrade", "user"),
        (None, "Unknown", "cartodb"),
    ],
)
def test_known_error_codes(code: int | None, title: str, source: str) -> None:
    assert (describe(code).title, describe(code).source) == (title, source)
    assert describe(code).what_about


def test_missing_members_are_none() -> None:
    found = ImportJob.from_response({"id": "1", "state": "pending"}, ACCOUNT, Dataset)
    assert (found.table_name, found.error_code, found.done) == (None, None, False)
