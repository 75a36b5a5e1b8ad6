from __future__ import annotations

from pathlib import Path

import pytest

from cartoframes_lite._client.exports import Export, Exports
from cartoframes_lite.errors import ConnectionFailed, JobError, NotFound
from tests.http_servers import KEY, ScriptedServer, response

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
