"""Responses on a socket: interim, truncated and malformed ones, and bytes after the end."""

from __future__ import annotations

import gzip
import socket
import time
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import requests

from cartoframes_lite._client.http.connection import Adapter
from cartoframes_lite._client.http.transport import Transport
from cartoframes_lite._client.sql import SQL
from cartoframes_lite._client.sql_copy import Copy
from cartoframes_lite.credentials import Credentials
from cartoframes_lite.errors import APIError, CartoError, ConnectionFailed
from tests.http_servers import KEY, Script, ScriptedServer, read_chunked, read_head, read_sized, response

ROWS = b"1\n2\n" * 1000
INTERIM = (
    b"HTTP/1.1 100 Continue\r\n\r\n"
    b"HTTP/1.1 102 Processing\r\nX-Progress: 50\r\n\r\n"
    b"HTTP/1.0 103 Early Hints\r\nLink: </a>\r\n\r\n"
)
STORED = response("200 OK", b'{"total_rows": 2}')
COPY_TO = "COPY t TO STDOUT"


def chunked(body: bytes, *headers: str) -> bytes:
    lines = ["HTTP/1.1 200 OK", "Transfer-Encoding: chunked", "Connection: close", *headers]
    return "\r\n".join(lines).encode() + b"\r\n\r\n%x\r\n%b\r\n0\r\n\r\n" % (len(body), body)


GOOD = {
    "length": response("200 OK", ROWS),
    "chunks": chunked(ROWS),
    "chunks with extensions and trailers": chunked(ROWS).replace(b"\r\n0\r\n\r\n", b"\r\n0;a=-1\r\nX: -5\r\n\r\n"),
    "interim": INTERIM + response("200 OK", ROWS),
    "many interim": INTERIM * 200 + chunked(ROWS),
    "gzip": response("200 OK", gzip.compress(ROWS), "Content-Encoding: gzip"),
    "members": response("200 OK", gzip.compress(ROWS[:9]) + gzip.compress(ROWS[9:]), "Content-Encoding: gzip"),
    "x-gzip": chunked(gzip.compress(ROWS), "Content-Encoding: x-gzip"),
    "deflate": chunked(zlib.compress(ROWS), "Content-Encoding: deflate"),
    "gzip twice": response("200 OK", gzip.compress(gzip.compress(ROWS)), "Content-Encoding: gzip, gzip"),
    "chunked twice": chunked(ROWS, "Transfer-Encoding: chunked"),
    "chunked, chunked": chunked(ROWS).replace(b": chunked", b": Chunked, chunked"),
    "identity, chunked": chunked(ROWS).replace(b": chunked", b": identity, chunked"),
    "chunked twice, with a length": chunked(ROWS, "Transfer-Encoding: chunked", "Content-Length: 4"),
    "encoding of none": response("200 OK", ROWS, "Content-Encoding: none"),
    "encoding of utf-8": response("200 OK", ROWS, "Content-Encoding: utf-8"),
    "another response behind it": response("200 OK", ROWS) + response("200 OK", ROWS),
    "two equal lengths": response("200 OK", ROWS, f"Content-Length: {len(ROWS)}"),
}
BAD = {
    "head cut in a header": b"HTTP/1.1 200 OK\r\nContent-Le",
    "head cut behind a header": b"HTTP/1.1 200 OK\r\nContent-Type: text/csv\r\n",
    "no length": b"HTTP/1.1 200 OK\r\n\r\n" + ROWS,
    "a line that is no header": b"HTTP/1.1 200 OK\r\nno header\r\nContent-Length: 4\r\n\r\n1\n2\n",
    "short": b"HTTP/1.1 200 OK\r\nContent-Length: 9999\r\n\r\n" + ROWS,
    "negative length": b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n" + ROWS,
    "length of 5,000 digits": b"HTTP/1.1 200 OK\r\nContent-Length: " + b"9" * 5000 + b"\r\n\r\n" + ROWS,
    "two lengths": b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\nContent-Length: 8\r\n\r\n1\n2\n3\n4\n",
    "too short a length": response("200 OK", ROWS).replace(b"Length: 4000", b"Length: 2000"),
    "too short a length, kept": response("200 OK", ROWS)
    .replace(b"Length: 4000", b"Length: 2000")
    .replace(b"Connection: close\r\n", b""),
    "chunked, identity": chunked(ROWS).replace(b": chunked", b": chunked, identity"),
    "no bytes of gzip": response("200 OK", b"", "Content-Encoding: gzip"),
    "unknown transfer": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n4\r\n1\n2\n\r\n0\r\n\r\n",
    "negative chunk": chunked(ROWS).replace(b"%x" % len(ROWS), b"-5", 1),
    "chunk of -0": chunked(ROWS).replace(b"%x" % len(ROWS), b"-0", 1),
    "chunk of 5,000 digits": chunked(ROWS).replace(b"%x" % len(ROWS), b"9" * 5000, 1),
    "no last chunk": chunked(ROWS)[:-5],
    "cut chunk": chunked(ROWS)[:-900],
    "cut member": response("200 OK", (gzip.compress(ROWS) * 2)[:-4], "Content-Encoding: gzip"),
    "garbage behind gzip": response("200 OK", gzip.compress(ROWS) + b"more", "Content-Encoding: gzip"),
    "brotli": response("200 OK", ROWS, "Content-Encoding: br"),
    "only interim": INTERIM,
    "status of letters": b"HTTP/1.1 abc OK\r\n\r\n",
    "status of 5,000 digits": b"HTTP/1.1 " + b"2" * 5000 + b" OK\r\n\r\n",
    "another protocol": b"SSH-2.0-OpenSSH_9.2\r\n",
    "long line": b"HTTP/1.1 200 OK\r\nX: " + b"x" * 70_000 + b"\r\n\r\n",
    "NewConnectionError": b"NewConnectionError NameResolutionError\r\n\r\n",
    **{f"status {status}": response(f"{status} Odd", ROWS) for status in (101, 201, 202, 203, 205, 206, 226, 299)},
    "status 204": b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n",
}


def read_stream(transport: Transport, _: Path) -> None:
    with Copy(transport).copy_to(COPY_TO) as stream:
        b"".join(stream)


RECEIVERS: dict[str, Callable[[Transport, Path], object]] = {
    "copy_to_file": lambda transport, path: Copy(transport).copy_to_file(COPY_TO, path),
    "send_to_file": lambda transport, path: SQL(transport).send_to_file("SELECT 1", path, format="csv"),
    "send": lambda transport, _: SQL(transport).send("SELECT 1", format="csv"),
    "copy_to": read_stream,
}


@pytest.mark.parametrize("raw", GOOD.values(), ids=GOOD)
def test_a_good_response_becomes_a_file(scripted_server: ScriptedServer, tmp_path: Path, raw: bytes) -> None:
    target = tmp_path / "rows"
    assert Copy(scripted_server.play(raw)).copy_to_file(COPY_TO, target) == len(ROWS)
    assert target.read_bytes() == ROWS


@pytest.mark.parametrize("raw", BAD.values(), ids=BAD)
@pytest.mark.parametrize("how", RECEIVERS)
def test_a_bad_response_becomes_none(scripted_server: ScriptedServer, tmp_path: Path, raw: bytes, how: str) -> None:
    transport = scripted_server.play(*[raw] * 4)
    with pytest.raises(ConnectionFailed):
        RECEIVERS[how](transport, tmp_path / "rows")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("session", ["ours", "the user's"])
@pytest.mark.parametrize("raw", BAD.values(), ids=BAD)
def test_no_raw_error_comes_out_of_json(scripted_server: ScriptedServer, raw: bytes, session: str) -> None:
    transport = scripted_server.play(raw.replace(ROWS, b'{"rows": ['), *[raw.replace(ROWS, b'{"rows": [')] * 3)
    with requests.Session() as own:
        if session == "the user's":
            transport = Transport(
                Credentials("ann", KEY, base_url=scripted_server.base_url, session=own),
                sleep=scripted_server.slept.append,
            )
        with pytest.raises(CartoError):
            SQL(transport).send("SELECT 1")


@pytest.mark.parametrize(
    "location",
    ["http://[bad", "\xff\xfe", "//" * 999, "http://h:99999999/", "ht tp://", "http://u:secret@h/"],
    ids=repr,
)
def test_a_redirect_to_anywhere_is_an_error(scripted_server: ScriptedServer, location: str) -> None:
    raw = b"HTTP/1.1 302 Found\r\nLocation: " + location.encode("latin-1") + b"\r\nContent-Length: 0\r\n\r\n"
    with pytest.raises(APIError, match="redirected") as caught:
        SQL(scripted_server.play(raw)).send("SELECT 1")
    assert "secret" not in str(caught.value)


def test_json_needs_no_length(scripted_server: ScriptedServer) -> None:
    raw = b'HTTP/1.0 200 OK\r\n\r\n{"rows": [{"a": 1}]}'
    assert SQL(scripted_server.play(raw)).rows("SELECT 1 AS a") == [{"a": 1}]


@pytest.mark.parametrize(
    "body",
    [
        b"[" * 100_000,
        b'{"rows": ' * 50_000,
        b'{"rows": [{"a": ' + b"9" * 5000 + b"}]}",
        b'{"rows": []}{"rows": []}',
        b'{"rows": [',
        b'{"rows": "\xff"}',
        b'{"rows": null}',
        b'{"rows": {}}',
        b'{"rows": [1]}',
        b'{"features": 1}',
        b"[]",
        b"{}",
        b"null",
        b"1e999",
        b'"text"',
    ],
    ids=lambda body: repr(body[:20]),
)
def test_other_json_is_not_a_response(scripted_server: ScriptedServer, body: bytes) -> None:
    with pytest.raises(CartoError):
        SQL(scripted_server.play(response("200 OK", body))).send("SELECT 1")


@pytest.mark.parametrize("status", ["400 Bad", "500 Bad", "200 OK"])
@pytest.mark.parametrize(
    "body",
    [
        b'{"error": ' + b"[" * 5000 + b"]" * 5000 + b"}",
        b'{"error": ' + b"[" * 400 + b"]" * 400 + b', "hint": ' + b"[" * 400 + b"]" * 400 + b"}",
        b'{"error": ' + b"9" * 5000 + b"}",
        b'{"error": {"a": [1, {"b": null}]}, "detail": {}, "hint": []}',
        b"\xff\xfe\x00",
    ],
    ids=["deep", "nested", "digits", "shapes", "bytes"],
)
def test_any_error_body_becomes_a_typed_error(scripted_server: ScriptedServer, status: str, body: bytes) -> None:
    with pytest.raises(CartoError):
        SQL(scripted_server.play(response(status, body))).send("SELECT 1")


def test_interim_responses_do_not_end_an_upload(scripted_server: ScriptedServer) -> None:
    seen: list[bytes] = []

    def serve(connection: socket.socket) -> None:
        got = read_head(connection)
        for byte in INTERIM:  # in the smallest pieces, while the body comes
            connection.sendall(bytes([byte]))
            time.sleep(0.001)
        connection.sendall(INTERIM)
        seen.append(read_chunked(connection, got))
        connection.sendall(INTERIM + STORED)

    def body() -> Iterator[bytes]:
        for _ in range(100):
            yield b"x" * 5000
            time.sleep(0.002)

    assert Copy(scripted_server.play(serve)).copy_from("COPY t FROM STDIN", body) == 2
    assert seen[0].count(b"x") >= 500_000


def keeping(*raws: bytes, behind: bytes = b"", late: bytes = b"") -> Script:
    """Respond to several requests on one connection, with bytes after the first response."""

    def script(connection: socket.socket) -> None:
        script.seen = b""  # type: ignore[attr-defined]  # as ``answering`` does
        for number, raw in enumerate(raws):
            got = read_sized(connection, read_head(connection))
            if not got:
                return
            script.seen += got  # type: ignore[attr-defined]  # as above
            connection.sendall(raw + behind if number == 0 else raw)
            if number == 0 and late:
                time.sleep(0.1)
                connection.sendall(late)

    return script


def kept(body: bytes) -> bytes:
    return response("200 OK", body).replace(b"Connection: close\r\n", b"")


@pytest.mark.parametrize("how", ["at once", "later"])
def test_a_repeated_response_is_not_the_next_one(scripted_server: ScriptedServer, how: str) -> None:
    first, second = kept(b'{"rows": [{"n": 1}]}'), kept(b'{"rows": [{"n": 2}]}')
    doubled = keeping(first, second, **({"behind": first} if how == "at once" else {"late": first}))
    sql = SQL(scripted_server.play(doubled, second))
    assert sql.rows("SELECT 1 AS n") == [{"n": 1}]
    time.sleep(0.3)
    assert sql.rows("SELECT 2 AS n") == [{"n": 2}]


def test_a_connection_is_kept_for_the_next_request(scripted_server: ScriptedServer) -> None:
    sql = SQL(scripted_server.play(keeping(kept(b'{"rows": [{"n": 1}]}'), kept(b'{"rows": [{"n": 2}]}'))))
    assert [sql.send(f"SELECT {n}")["rows"] for n in (1, 2)] == [[{"n": 1}], [{"n": 2}]]


def test_foreign_adapters_handle_interim_responses_or_raise(
    scripted_server: ScriptedServer,
) -> None:
    with requests.Session() as own:
        transport = scripted_server.play(INTERIM + response("200 OK", b'{"rows": []}'))
        transport = Transport(
            Credentials("ann", KEY, base_url=scripted_server.base_url, session=own), sleep=scripted_server.slept.append
        )
        with pytest.raises(ConnectionFailed, match=r"status 10[23]"):
            SQL(transport).send("SELECT 1")


def test_a_user_session_gets_our_adapter(scripted_server: ScriptedServer) -> None:
    with requests.Session() as own:
        own.mount("http://", Adapter())
        scripted_server.play(INTERIM + response("200 OK", b'{"rows": []}'))
        transport = Transport(Credentials("ann", KEY, base_url=scripted_server.base_url, session=own))
        assert SQL(transport).rows("SELECT 1") == []


def test_a_response_without_the_requested_column_is_refused(scripted_server: ScriptedServer) -> None:
    with pytest.raises(ConnectionFailed, match="'n' is missing"):
        SQL(scripted_server.play(response("200 OK", b'{"rows": [{"m": 1}]}'))).row("SELECT 1 AS n", "n")


def test_an_endless_error_body_is_not_read_completely(scripted_server: ScriptedServer) -> None:
    def serve(connection: socket.socket) -> None:
        read_sized(connection, read_head(connection))
        connection.sendall(b"HTTP/1.1 400 Bad\r\n\r\n")
        while True:
            connection.sendall(b"x" * 65536)

    with pytest.raises(CartoError):
        SQL(scripted_server.play(serve)).send("SELECT 1")
