from __future__ import annotations

from pathlib import Path

import pytest

from cartoframes_lite._client.exports import Export, Exports
from cartoframes_lite.errors import ConnectionFailed, JobError, NotFound, PermissionDenied
from tests.http_servers import KEY, FileServer, ScriptedServer, response

EMPTY_ZIP = b"PK\x05\x06" + bytes(18)


@pytest.fixture
def no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cartoframes_lite._client.polling._FIRST_INTERVAL_S", 0.0)


def state(name: str, url: str = "") -> bytes:
    return response("200 OK", f'{{"id": "e", "state": "{name}", "url": "{url}"}}'.encode())


@pytest.mark.usefixtures("no_pause")
def test_wait_continues_while_uploading(scripted_server: ScriptedServer) -> None:
    states = [state("pending"), state("exporting"), state("uploading"), state("complete", "http://x/y.carto")]
    assert Exports(scripted_server.play(*states)).wait("e", progress=False) == Export(
        "e", "complete", "http://x/y.carto"
    )


def test_a_failed_export_raises(scripted_server: ScriptedServer) -> None:
    with pytest.raises(JobError, match="export e failed on the server"):
        Exports(scripted_server.play(state("failure"))).wait("e")


DOWNLOAD = "/user/ann/api/v3/visualization_exports/e/download"


@pytest.mark.parametrize("is_absolute", [False, True])
def test_a_path_is_downloaded_with_the_key(is_absolute: bool, scripted_server: ScriptedServer, tmp_path: Path) -> None:
    url = scripted_server.base_url.removesuffix("/user/ann") * is_absolute + DOWNLOAD
    service = Exports(scripted_server.play(response("200 OK", EMPTY_ZIP)))
    assert service.download(Export("e", "complete", url), tmp_path / "y.carto", progress=False) == len(EMPTY_ZIP)
    scripted_server.close()
    assert scripted_server.heads[0].startswith(f"GET {DOWNLOAD} ".encode())
    assert b"authorization: basic" in scripted_server.heads[0].lower()


@pytest.mark.parametrize(
    "url", ["//{host}/user/ann/api/v3/visualization_exports/e/download", "http://{host}" + DOWNLOAD]
)
def test_the_key_is_not_sent_to_another_host(
    url: str, scripted_server: ScriptedServer, file_server: FileServer, tmp_path: Path
) -> None:
    file_server.files[DOWNLOAD] = EMPTY_ZIP
    export = Export("e", "complete", url.format(host=file_server.url.removeprefix("http://")))
    service = Exports(scripted_server.play())
    assert service.download(export, tmp_path / "y.carto", progress=False) == len(EMPTY_ZIP)
    scripted_server.close()
    assert scripted_server.heads == []


def test_a_path_that_needs_no_key(scripted_server: ScriptedServer, tmp_path: Path) -> None:
    service = Exports(scripted_server.play(response("200 OK", EMPTY_ZIP)))
    service.download(Export("e", "complete", "/uploads/y.carto"), tmp_path / "y.carto", progress=False)
    scripted_server.close()
    assert scripted_server.heads[0].startswith(b"GET /uploads/y.carto ")
    assert b"authorization" not in scripted_server.heads[0].lower()


def test_a_complete_export_without_url(scripted_server: ScriptedServer, tmp_path: Path) -> None:
    service = Exports(scripted_server.play(state("complete"), response("200 OK", EMPTY_ZIP)))
    export = service.wait("e", progress=False)
    assert service.download(export, tmp_path / "y.carto", progress=False) == len(EMPTY_ZIP)


def test_a_map_that_the_key_cannot_view(scripted_server: ScriptedServer) -> None:
    denied = b'{"errors": "Errors: [\\"User Must be able to view the visualization\\"]", "errors_cause": null}'
    service = Exports(scripted_server.play(response("403 Forbidden", denied), response("200 OK", b'{"result": []}')))
    with pytest.raises(PermissionDenied, match="exporting requires the master key"):
        service.create("m")


def test_the_key_is_not_sent_to_the_file_server(scripted_server: ScriptedServer, tmp_path: Path) -> None:
    service = Exports(scripted_server.play(response("200 OK", EMPTY_ZIP)))
    export = Export("e", "complete", f"{scripted_server.base_url}/files/y.carto")
    assert service.download(export, tmp_path / "y.carto", progress=False) == len(EMPTY_ZIP)
    scripted_server.close()
    assert b"authorization" not in scripted_server.heads[0].lower()
    assert KEY.encode() not in scripted_server.heads[0]
    assert (tmp_path / "y.carto").read_bytes() == EMPTY_ZIP


@pytest.mark.parametrize(
    ("raw", "error"),
    [
        (response("200 OK", b"<html>"), ConnectionFailed),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n" + EMPTY_ZIP, ConnectionFailed),
        (response("404 Not Found"), NotFound),
    ],
)
def test_an_incomplete_download_leaves_no_file(
    raw: bytes, error: type[Exception], scripted_server: ScriptedServer, tmp_path: Path
) -> None:
    service = Exports(scripted_server.play(raw))
    with pytest.raises(error):
        service.download(Export("e", "complete", f"{scripted_server.base_url}/y"), tmp_path / "y.carto", progress=False)
    assert list(tmp_path.iterdir()) == []
