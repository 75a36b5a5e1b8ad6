from __future__ import annotations

import base64
import contextlib
import gc
import gzip
import logging
import pickle
import socket
import struct
import subprocess
import sys
import time
import traceback
import weakref
import zlib
from collections.abc import Iterator
from http.client import HTTPConnection
from pathlib import Path

import pytest
import requests

from cartoframes_lite import errors
from cartoframes_lite._client.http.transport import Transport
from cartoframes_lite.credentials import Credentials
from tests.http_servers import KEY, ScriptedServer, read_chunked, read_head, respond_with, response

OK = response("200 OK", b'{"rows": []}')
LIMITED = response("429 Too Many", b'{"error":["slow"],"context":"limit","detail":"rate-limit"}', "Retry-After: 3")
TOO_LONG = response("429 Too Many", b'{"error":["t"],"context":"limit","detail":"datasource"}')
BUSY = response("503 Busy", b"<html>busy</html>")
BASIC = base64.b64encode(f"ann:{KEY}".encode())


def cut(connection: socket.socket) -> None:
    """Read the request, and reset the connection."""
    read_head(connection)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def test_the_key_is_in_the_basic_header_alone(
    scripted_server: ScriptedServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login other password wrong\n")
    monkeypatch.setenv("NETRC", str(netrc))
    transport = scripted_server.play(OK)
    transport.json("POST", "api/v2/sql", form={"q": "select 1"}, idempotent=True)
    scripted_server.close()
    (head,) = scripted_server.heads
    assert b"Authorization: Basic " + BASIC in head
    assert head.startswith(b"POST /user/ann/api/v2/sql HTTP/1.1")
    assert b"User-Agent: cartoframes_lite" in head
    assert KEY.encode() not in head


def test_writes_too_wait_for_rate_limits(scripted_server: ScriptedServer) -> None:
    transport = scripted_server.play(LIMITED, OK)
    assert transport.json("POST", "x", idempotent=False) == {"rows": []}
    assert scripted_server.slept == [3.0]


def refused(*headers: str) -> bytes:
    return response("429 Too Many", b'{"error":["slow"],"context":"limit","detail":"rate-limit"}', *headers)


def test_without_retry_after_waits_grow_and_end(scripted_server: ScriptedServer) -> None:
    with pytest.raises(errors.RateLimited, match=r"waited for 2\d\d s and the response has no Retry-After") as caught:
        scripted_server.play(*[refused()] * 30).json("POST", "x", idempotent=False)
    assert scripted_server.slept[:4] == [0.25, 0.5, 1.0, 2.0]
    assert 250 < sum(scripted_server.slept) <= 300
    assert caught.value.retry_after_s is None


def test_a_huge_retry_after_is_an_error_at_once(scripted_server: ScriptedServer) -> None:
    with pytest.raises(errors.RateLimited, match="asks to retry after 86,400 s") as caught:
        scripted_server.play(refused("Retry-After: 86400")).json("POST", "x", idempotent=True)
    assert scripted_server.slept == []
    assert caught.value.retry_after_s == 86_400


def test_retry_after_zero_still_delays(scripted_server: ScriptedServer) -> None:
    scripted_server.play(refused("Retry-After: 0"), OK).json("POST", "x", idempotent=False)
    assert scripted_server.slept == [0.5]


@pytest.mark.parametrize("headers", ["Retry-After: 3", "Retry-After: 1"])
def test_a_wait_is_shown_and_logged(
    scripted_server: ScriptedServer, headers: str, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "cartoframes_lite")
    scripted_server.play(refused(headers), OK).json("POST", "x", idempotent=False)
    shown = "waiting for a rate limit: about 3 s" in capsys.readouterr().err
    assert shown == ("3" in headers)  # a wait of less than two seconds is not worth a line
    assert f"POST {scripted_server.base_url}/x waits for a rate limit: about {headers[-1]} s" in caplog.messages


@pytest.mark.parametrize("progress", [True, False])
def test_a_wait_is_shown_as_progress_says(
    scripted_server: ScriptedServer, progress: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    scripted_server.progress = progress
    scripted_server.play(refused(f"Retry-After: {1 if progress else 9}"), OK).json("POST", "x", idempotent=False)
    assert ("waiting for a rate limit" in capsys.readouterr().err) == progress


def test_a_statement_timeout_is_not_tried_again(scripted_server: ScriptedServer) -> None:
    with pytest.raises(errors.QueryTimeout):
        scripted_server.play(TOO_LONG).json("GET", "x", idempotent=True)
    assert scripted_server.slept == []


@pytest.mark.parametrize("first", [BUSY, cut], ids=["503", "lost"])
def test_idempotent_requests_are_retried(scripted_server: ScriptedServer, first: bytes) -> None:
    assert scripted_server.play(first, OK).json("POST", "x", idempotent=True) == {"rows": []}
    assert len(scripted_server.slept) == 1


@pytest.mark.parametrize(
    ("first", "error"), [(BUSY, errors.ServerError), (cut, errors.ConnectionFailed)], ids=["503", "lost"]
)
def test_other_requests_are_not_retried(
    scripted_server: ScriptedServer, first: bytes, error: type[errors.CartoError]
) -> None:
    with pytest.raises(error):
        scripted_server.play(first).json("POST", "x", idempotent=False)
    assert scripted_server.slept == []


def test_an_error_inside_a_success_is_raised(scripted_server: ScriptedServer) -> None:
    body = b'{"rows":[{"a":1}],"total_rows":1,"error":["division by zero"]}'
    with pytest.raises(errors.SQLError, match="division by zero"):
        scripted_server.play(response("200 OK", body)).json("POST", "x", idempotent=True)


def test_a_page_of_a_proxy_is_explained(scripted_server: ScriptedServer) -> None:
    with pytest.raises(errors.APIError, match="base_url"):
        scripted_server.play(response("200 OK", b"<html>log in</html>")).json("POST", "x", idempotent=False)


def test_a_redirect_is_not_followed(scripted_server: ScriptedServer) -> None:
    transport = scripted_server.play(response("302 Found", b"", "Location: https://elsewhere.org/login?next=x"))
    with pytest.raises(errors.APIError, match=r"https://elsewhere\.org") as caught:
        transport.json("GET", "x", idempotent=True)
    assert caught.value.status == 302


def test_a_short_body_is_not_a_response(scripted_server: ScriptedServer) -> None:
    raw = b'HTTP/1.1 200 OK\r\nContent-Length: 50\r\nConnection: close\r\n\r\n{"rows": []}'
    with pytest.raises(errors.ConnectionFailed):
        scripted_server.play(raw, raw, raw, raw).json("POST", "x", idempotent=False)


def test_a_stream_arrives_whole(scripted_server: ScriptedServer) -> None:
    data = bytes(range(256)) * 4096
    transport = scripted_server.play(response("200 OK", data))
    with transport.stream("POST", "x", form={"q": "COPY"}) as blocks:
        assert b"".join(blocks) == data


def test_a_compressed_stream_is_unpacked(scripted_server: ScriptedServer) -> None:
    data = b"carto" * 100_000
    transport = scripted_server.play(response("200 OK", gzip.compress(data), "Content-Encoding: gzip"))
    with transport.stream("POST", "x", form={"q": "COPY"}) as blocks:
        assert b"".join(blocks) == data


@pytest.mark.parametrize(
    "raw",
    [
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhel",
        b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\nhello",
        response("200 OK", gzip.compress(b"x" * 999)[:20], "Content-Encoding: gzip"),
        response("200 OK", b"not gzip at all", "Content-Encoding: gzip"),
    ],
    ids=["no last chunk", "half a chunk", "short", "half a gzip", "no gzip"],
)
def test_a_stream_that_is_cut_raises(scripted_server: ScriptedServer, raw: bytes) -> None:
    transport = scripted_server.play(raw)
    with transport.stream("POST", "x", form={"q": "COPY"}) as blocks, pytest.raises(errors.ConnectionFailed):
        b"".join(blocks)
    assert scripted_server.slept == []


def test_a_rate_limited_upload_starts_from_the_beginning(scripted_server: ScriptedServer) -> None:
    made: list[int] = []

    def body() -> Iterator[bytes]:
        made.append(1)
        yield b"one,"
        yield b"two"

    transport = scripted_server.play(LIMITED, response("200 OK", b'{"total_rows": 2}'))
    answer = transport.upload("copyfrom", query={"q": "COPY t"}, body=body, compression=None)
    scripted_server.close()
    assert answer == {"total_rows": 2}
    assert len(made) == 2
    assert b"4\r\none,\r\n3\r\ntwo\r\n0\r\n\r\n" in scripted_server.heads[1]


def test_an_upload_is_compressed_on_the_way(scripted_server: ScriptedServer) -> None:
    transport = scripted_server.play(response("200 OK", b'{"total_rows": 1}'))
    transport.upload("copyfrom", query={"q": "COPY t"}, body=lambda: iter([b"a" * 9999]), compression="gzip")
    scripted_server.close()
    head, _, chunks = scripted_server.heads[0].partition(b"\r\n\r\n")
    assert b"Content-Encoding: gzip" in head
    packed = b""
    while (size := int(chunks.partition(b"\r\n")[0], 16)) > 0:
        start = chunks.index(b"\r\n") + 2
        packed, chunks = packed + chunks[start : start + size], chunks[start + size + 2 :]
    assert zlib.decompress(packed, 31) == b"a" * 9999


@pytest.mark.parametrize("reset", [False, True], ids=["closed", "reset"])
def test_an_early_refusal_of_an_upload_is_the_error(scripted_server: ScriptedServer, reset: bool) -> None:
    def refuse(connection: socket.socket) -> None:
        read_head(connection)
        connection.sendall(response("400 Bad Request", b'{"error":["invalid input syntax"]}'))
        if not reset:
            connection.shutdown(socket.SHUT_WR)
            read_chunked(connection, b"")
        else:
            time.sleep(0.3)  # the response is there before the connection is reset

    def body() -> Iterator[bytes]:
        for _ in range(200):
            yield b"x" * 65536
            time.sleep(0.01)

    with pytest.raises(errors.SQLError, match="invalid input syntax"):
        scripted_server.play(refuse).upload("copyfrom", query={"q": "COPY t"}, body=body, compression=None)


@pytest.mark.parametrize("error", [ValueError("mine"), OSError("mine"), KeyboardInterrupt("mine")], ids=repr)
def test_an_error_of_the_body_ends_the_upload(scripted_server: ScriptedServer, error: BaseException) -> None:
    seen: list[bytes] = []

    def listen(connection: socket.socket) -> None:
        seen.append(read_chunked(connection, read_head(connection)))

    def body() -> Iterator[bytes]:
        yield b"first"
        raise error

    transport = scripted_server.play(listen)
    with pytest.raises(type(error), match="mine") as caught:
        transport.upload("copyfrom", query={"q": "COPY t"}, body=body, compression=None)
    assert caught.value is error
    del transport
    scripted_server._thread.join(timeout=5)
    assert seen, "the connection is still open"
    assert not seen[0].endswith(b"0\r\n\r\n")


def test_an_upload_with_a_lost_response_is_not_retried(scripted_server: ScriptedServer) -> None:
    def vanish(connection: socket.socket) -> None:
        read_chunked(connection, read_head(connection))

    with pytest.raises(errors.ConnectionFailed):
        scripted_server.play(vanish).upload(
            "copyfrom", query={"q": "COPY t"}, body=lambda: iter([b"x"]), compression=None
        )
    assert scripted_server.slept == []


def test_a_statement_too_long_for_a_url_is_refused(scripted_server: ScriptedServer) -> None:
    with pytest.raises(ValueError, match="URL"):
        scripted_server.play().upload(
            "copyfrom", query={"q": "COPY " + "x" * 8000}, body=lambda: iter([]), compression=None
        )


@pytest.mark.parametrize(("resolves", "word"), [(True, "running"), (False, "base_url")], ids=["refused", "dns"])
def test_no_connection_says_what_to_do(monkeypatch: pytest.MonkeyPatch, resolves: bool, word: str) -> None:
    if not resolves:

        def unknown(*_: object, **__: object) -> None:
            raise socket.gaierror(-2, "Name or service not known")

        monkeypatch.setattr(socket, "getaddrinfo", unknown)
    found = Credentials("ann", KEY, base_url="http://127.0.0.1:1/user/ann")
    waits: list[float] = []
    with pytest.raises(errors.ConnectionFailed, match=word) as caught:
        Transport(found, sleep=waits.append).json("POST", "x", idempotent=False)
    assert len(waits) == 1
    pickle.dumps(caught.value)


def test_an_error_that_has_been_caught_holds_no_connection(scripted_server: ScriptedServer) -> None:
    def body() -> Iterator[bytes]:
        yield b"first"
        raise RuntimeError("mine")

    def listen(connection: socket.socket) -> None:
        read_chunked(connection, read_head(connection))

    transport = scripted_server.play(response("400 Bad", b'{"error":["no"]}'), listen)
    gone = weakref.ref(transport)
    gc.disable()
    try:
        with contextlib.suppress(errors.SQLError):
            transport.json("POST", "x", idempotent=False)
        with contextlib.suppress(RuntimeError):
            transport.upload("copyfrom", query={"q": "COPY t"}, body=body)
        del transport
        assert gone() is None
    finally:
        gc.enable()


_FORK = """
import os, sys
import requests
from cartoframes_lite._client.http.transport import Transport
from cartoframes_lite.credentials import Credentials
session = requests.Session() if sys.argv[2] == "own" else None
transport = Transport(Credentials("ann", "key", base_url=sys.argv[1], session=session))
assert transport.json("POST", "x", idempotent=False) == {"rows": []}
child = os.fork()
assert transport.json("POST", "x", idempotent=False) == {"rows": []} if child == 0 else True
assert child == 0 or os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
"""


@pytest.mark.skipif(sys.platform == "win32", reason="there is no fork")
@pytest.mark.parametrize("session", ["own", "ours"])
def test_a_forked_process_has_a_connection_of_its_own(session: str, scripted_server: ScriptedServer) -> None:
    """On the connection of the parent, each process would read responses to the other."""
    again: list[bytes] = []

    def keep(connection: socket.socket) -> None:
        respond_with(OK.replace(b"Connection: close\r\n", b""))(connection)
        connection.settimeout(1)
        again.append(read_head(connection))

    scripted_server.play(keep, OK)
    subprocess.run([sys.executable, "-c", _FORK, scripted_server.base_url, session], check=True, timeout=30)
    scripted_server.close()
    assert again == []  # nothing came within the second
    assert len(scripted_server.heads) == 2


def secrets(text: str) -> list[str]:
    return [secret for secret in (KEY, BASIC.decode()) if secret in text]


@pytest.mark.parametrize(
    "first", [cut, BUSY, response("401 No", b'{"error":["Unauthorized"]}'), TOO_LONG], ids=["cut", "503", "401", "429"]
)
def test_no_error_and_no_log_has_the_key(
    scripted_server: ScriptedServer, first: bytes, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    caplog.set_level(logging.DEBUG)
    transport = scripted_server.play(first)
    with pytest.raises(errors.CartoError) as caught:
        transport.json("POST", "x", query={"api_key": KEY}, idempotent=False)
    shown = "".join(traceback.format_exception(caught.value)) + repr(transport) + repr(vars(caught.value))
    link: BaseException | None = caught.value
    while link is not None:
        shown += str(link) + repr(link) + repr(vars(link))
        link = link.__cause__ or link.__context__
    assert secrets(shown) == []


def test_debug_logs_of_http_show_no_key(scripted_server: ScriptedServer, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    scripted_server.play(LIMITED, OK).json("POST", "x", form={"q": "select 1"}, idempotent=False)
    assert caplog.records
    assert secrets(caplog.text) == []
    assert HTTPConnection.debuglevel == 0


@pytest.mark.parametrize("name", ["HTTP_PROXY", "http_proxy", "ALL_PROXY"])
def test_loopback_requests_bypass_the_proxy_of_the_environment(
    name: str, scripted_server: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The key would go to it in clear text."""
    monkeypatch.setenv(name, "http://127.0.0.1:1")
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    scripted_server.play(OK, OK)
    for session in (None, requests.Session()):
        transport = Transport(Credentials("ann", KEY, base_url=scripted_server.base_url, session=session))
        assert transport.json("POST", "x", idempotent=False) == {"rows": []}


def test_loopback_requests_use_the_proxy_of_the_session(scripted_server: ScriptedServer) -> None:
    session = requests.Session()
    session.proxies["http"] = scripted_server.base_url
    scripted_server.play(OK)
    transport = Transport(Credentials("ann", KEY, base_url="http://127.0.0.1:1/user/ann", session=session))
    assert transport.json("POST", "x", idempotent=False) == {"rows": []}


@pytest.mark.parametrize("verify", ["/nowhere.pem", True])
def test_a_missing_ca_bundle_is_named(verify: str | bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", "/nowhere.pem")
    transport = Transport(
        Credentials("ann", KEY, base_url="https://127.0.0.1:1/user/ann", verify=verify, session=requests.Session())
    )
    with pytest.raises(errors.CredentialsError, match=r"/nowhere\.pem: check verify"):
        transport.json("POST", "x", idempotent=False)


@pytest.mark.parametrize("proxy", ["http://[::1", "nope://127.0.0.1:1"])
def test_an_invalid_proxy_is_named(proxy: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", proxy)
    transport = Transport(Credentials("ann", KEY, base_url="https://carto.invalid/user/ann"), sleep=lambda _: None)
    with pytest.raises(errors.ConnectionFailed, match=r"of a proxy is invalid: .*HTTPS_PROXY"):
        transport.json("POST", "x", idempotent=False)


def test_an_interrupt_is_raised_despite_a_concurrent_close(
    scripted_server: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    def closed_already(response: requests.Response) -> None:
        raise AttributeError("'NoneType' object has no attribute 'close'")

    scripted_server.play(OK)
    transport = Transport(Credentials("ann", KEY, base_url=scripted_server.base_url))
    monkeypatch.setattr(requests.Response, "close", closed_already)
    stream = transport.stream("POST", "x", form={})
    next(stream.__enter__())
    assert not stream.__exit__(KeyboardInterrupt, KeyboardInterrupt(), None)


@pytest.mark.parametrize("after_s", [1.0, 60.0])
@pytest.mark.parametrize("lost", [False, True], ids=["504", "lost"])
def test_a_long_statement_is_not_sent_again(lost: bool, after_s: float, scripted_server: ScriptedServer) -> None:
    """A proxy gives up after 30 to 60 s, and the statement may still be running."""

    def give_up(connection: socket.socket) -> None:
        scripted_server.slept.append(after_s)
        (cut if lost else respond_with(response("504 Gateway Timeout")))(connection)

    transport = scripted_server.play(give_up, OK)
    if after_s < 30:
        assert transport.json("POST", "x", idempotent=True, statement_timeout_s=3600.0) == {"rows": []}
    else:
        with pytest.raises((errors.ServerError, errors.ConnectionFailed)):
            transport.json("POST", "x", idempotent=True, statement_timeout_s=3600.0)


def test_other_requests_are_sent_again_however_long_they_took(scripted_server: ScriptedServer) -> None:
    def give_up(connection: socket.socket) -> None:
        scripted_server.slept.append(60.0)
        cut(connection)

    transport = scripted_server.play(give_up, OK)
    assert transport.json("GET", "x", idempotent=True) == {"rows": []}


def test_a_body_that_stops_arriving_is_not_requested_again(scripted_server: ScriptedServer) -> None:
    def stall(connection: socket.socket) -> None:
        read_head(connection)
        connection.sendall(b'HTTP/1.1 200 OK\r\nContent-Length: 12\r\n\r\n{"ro')
        connection.recv(1)  # until the client closes the connection

    transport = scripted_server.play(stall, OK)
    with pytest.raises(errors.ResponseTimeout, match=r"no more of it arrived within 0\.3 s"):
        transport.json("POST", "x", idempotent=True, statement_timeout_s=0.3)
