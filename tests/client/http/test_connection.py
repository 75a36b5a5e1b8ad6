from __future__ import annotations

import contextlib
import random
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
import requests

from cartoframes_lite._client.http import connection as module
from cartoframes_lite._client.http.connection import Adapter
from cartoframes_lite._client.http.transport import Transport
from cartoframes_lite.credentials import Credentials
from cartoframes_lite.errors import ConnectionFailed, SQLError
from tests.http_servers import (
    ANYWHERE,
    KEY,
    FileServer,
    Script,
    ScriptedServer,
    read_head,
    read_sized,
    respond_with,
    response,
)

REFUSAL = response("400 Bad Request", b'{"error":["relation does not exist"]}')


def test_an_early_refusal_ends_the_upload(scripted_server: ScriptedServer) -> None:
    sent = []

    def refuse(connection: socket.socket) -> None:
        read_head(connection)
        connection.sendall(REFUSAL)
        time.sleep(0.2)  # the client has to notice by itself

    def body() -> Iterator[bytes]:
        for number in range(1000):
            sent.append(number)
            yield b"x" * 1000
            time.sleep(0.002)

    transport = scripted_server.play(refuse)
    with pytest.raises(SQLError, match="relation does not exist"):
        transport.upload("x", query={"q": "COPY"}, body=body, compression=None)
    assert len(sent) < 1000


def test_the_socket_timeout_during_uploads(scripted_server: ScriptedServer, monkeypatch: pytest.MonkeyPatch) -> None:
    patience = []
    connect = module._EarlyResponseConnection.connect

    def watched(self: module._EarlyResponseConnection) -> None:
        connect(self)
        patience.append(self.sock.gettimeout())

    monkeypatch.setattr(module._EarlyResponseConnection, "connect", watched)
    scripted_server.play(respond_with(response("200 OK", b"{}"))).upload(
        "x", query={}, body=lambda: [b"x"], compression=None
    )
    assert patience == [module._SEND_TIMEOUT_S]


def test_http_and_https_use_our_connection_classes() -> None:
    with requests.Session() as session:
        adapter = Adapter()
        session.mount("https://", adapter)
        pools = adapter.poolmanager
        assert pools.connection_from_url("http://h").ConnectionCls is module._EarlyResponseConnection
        assert pools.connection_from_url("https://h").ConnectionCls is module._TLSConnection


def test_a_refusal_ends_an_upload_with_full_buffers(scripted_server: ScriptedServer) -> None:
    """The server responds, and does not read: the buffers between are full, and one block waits for room in them."""
    done = threading.Event()

    def refuse(connection: socket.socket) -> None:
        read_head(connection)
        time.sleep(0.3)  # until the client waits
        connection.sendall(REFUSAL)
        done.wait(20)

    transport = scripted_server.play(refuse)
    with pytest.raises(SQLError, match="relation does not exist"):
        transport.upload("x", query={"q": "COPY"}, body=lambda: [bytes(64 << 20)], compression=None)
    done.set()


@contextlib.contextmanager
def idle_server(idle_s: float, **headers: str) -> Iterator[tuple[FileServer, Transport]]:
    """Start a server that closes idle connections, as CARTO's servers do after five seconds."""
    with FileServer(idle_s=idle_s) as server:
        server.put(ANYWHERE, b'{"rows": []}', **headers)
        yield server, Transport(Credentials("ann", KEY, base_url=server.base_url))


@pytest.mark.parametrize("idempotent", [True, False])
@pytest.mark.parametrize(
    ("idle_s", "headers"), [(0.7, {}), (1.0, {"Keep_Alive": "timeout=1, max=99"})], ids=["silent", "announced"]
)
def test_no_request_fails_when_idle_connections_close(idle_s: float, headers: dict[str, str], idempotent: bool) -> None:
    def ask(transport: Transport, seed: int) -> None:
        chance = random.Random(seed)
        for number in range(3):
            time.sleep(idle_s + chance.uniform(-0.004, 0.004) if number else 0)
            transport.json("POST", "x", idempotent=idempotent, form={"q": "INSERT"})

    with idle_server(idle_s, **headers) as (server, transport), ThreadPoolExecutor(20) as threads:
        for asked in [threads.submit(ask, transport, seed) for seed in range(20)]:
            asked.result()
        assert len(server.requests) >= 60 if idempotent else len(server.requests) == 60


@pytest.mark.parametrize("idempotent", [True, False])
def test_connections_are_used_again_without_a_pause(idempotent: bool) -> None:
    with idle_server(30) as (server, transport):
        for _ in range(5):
            transport.json("POST", "x", idempotent=idempotent, form={"q": "INSERT"})
        assert len(server.connections) == 1


def test_only_reads_reuse_connections_that_may_be_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_DEFAULT_KEEP_ALIVE_S", 0.0)
    with idle_server(30) as (server, transport):
        for idempotent, connections in [(True, 1), (True, 1), (False, 2), (True, 2)]:
            transport.json("POST", "x", idempotent=idempotent, form={"q": "SELECT"})
            assert len(server.connections) == connections


@pytest.mark.parametrize(
    ("header", "seconds"), [("timeout=5", 5.0), ("max=9, Timeout = 10", 10.0), ("", None), ("timeout=soon", None)]
)
def test_keep_alive_headers_are_parsed(header: str, seconds: float | None) -> None:
    assert module._keep_alive_s(header) == seconds


def dropping(after_the_request: bool) -> Script:
    """Respond to one request, and close the connection before or after the next one."""
    answer = response("200 OK", b'{"rows": []}').replace(b"Connection: close\r\n", b"")

    def script(connection: socket.socket) -> None:
        respond_with(answer)(connection)
        if after_the_request:
            script.seen = read_sized(connection, read_head(connection))  # type: ignore[attr-defined]  # as ``respond_with``

    return script


def test_a_read_on_a_broken_connection_is_retried_immediately(scripted_server: ScriptedServer) -> None:
    transport = scripted_server.play(dropping(after_the_request=True), response("200 OK", b'{"rows": [{"n": 2}]}'))
    assert transport.json("POST", "x", idempotent=True, form={"q": "1"}) == {"rows": []}
    assert transport.json("POST", "x", idempotent=True, form={"q": "2"}) == {"rows": [{"n": 2}]}
    assert scripted_server.slept == []


def test_a_write_on_a_broken_connection_is_not_retried(scripted_server: ScriptedServer) -> None:
    transport = scripted_server.play(dropping(after_the_request=True), response("200 OK", b"{}"))
    transport.json("POST", "x", idempotent=False, form={"q": "1"})
    with pytest.raises(ConnectionFailed) as caught:
        transport.json("POST", "x", idempotent=False, form={"q": "2"})
    assert not caught.value.nothing_done
    assert scripted_server.slept == []


def test_an_unsent_write_is_retried(scripted_server: ScriptedServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """The connection is closed between the look of the pool and the sending."""
    transport = scripted_server.play(dropping(after_the_request=False), response("200 OK", b'{"rows": [{"n": 2}]}'))
    transport.json("POST", "x", idempotent=False, form={"q": "1"})
    time.sleep(0.1)
    monkeypatch.setattr(module.Connection, "is_connected", property(lambda self: self.sock is not None))
    assert transport.json("POST", "x", idempotent=False, form={"q": "2"}) == {"rows": [{"n": 2}]}
    assert scripted_server.slept == []
