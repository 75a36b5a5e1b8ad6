"""Connections of slow clients are closed, and do not block others."""

from __future__ import annotations

import asyncio
import resource
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from typing import Any

import pytest

from cartoframes_lite.local.connections import ConnectionLimits
from cartoframes_lite.local.server import Server, _within_open_files

GET = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"
SHORT_S = 0.3
Serve = Callable[..., Server]


async def app(scope: Any, receive: Any, send: Any) -> None:
    """Respond with the length of the body; ``/large``: with many bytes, ``/early``: before the body."""
    if scope["type"] == "lifespan":
        while (await receive())["type"] != "lifespan.shutdown":
            await send({"type": "lifespan.startup.complete"})
        await send({"type": "lifespan.shutdown.complete"})
        return
    size, more = 0, scope["path"] != "/early"
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            return
        size, more = size + len(message["body"]), message["more_body"]
    if scope["path"] == "/slow":
        await asyncio.sleep(60)
    body = b"x" * (64 << 20) if scope["path"] == "/large" else b"%d." % size
    if scope["path"] == "/headers":
        body = b"%d." % len(scope["headers"])
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % len(body))]})
    await send({"type": "http.response.body", "body": body})


@pytest.fixture
def serve() -> Iterator[Serve]:
    with ExitStack() as stack:

        def start(**limits: Any) -> Server:
            server = Server(app, limits=ConnectionLimits(**limits))
            stack.callback(server.stop)
            return server

        yield start


@contextmanager
def connected(server: Server, sent: bytes = b"") -> Iterator[socket.socket]:
    with socket.create_connection(("127.0.0.1", server.port), timeout=20) as connection:
        connection.sendall(sent)
        yield connection


def until_end(connection: socket.socket) -> bytes:
    received = b""
    try:
        while block := connection.recv(65_536):
            received += block
    except ConnectionResetError:
        pass
    return received


def response(connection: socket.socket) -> bytes:
    received = b""
    while not received.endswith(b"."):
        block = connection.recv(65_536)
        assert block, received
        received += block
    return received


def test_a_connection_that_sends_nothing_is_closed(serve: Serve) -> None:
    server = serve(head_timeout_s=SHORT_S)
    with connected(server) as silent:
        assert until_end(silent) == b""


@pytest.mark.parametrize("before", [b"", GET], ids=["first", "later"])
def test_slow_heads_are_aborted(serve: Serve, before: bytes) -> None:
    server = serve(head_timeout_s=SHORT_S)
    with connected(server, before) as slow:
        if before:
            response(slow)
        slow.sendall(GET[:-2] + b"A: ")
        begun, received = time.monotonic(), b""
        slow.settimeout(0.02)
        while not received.startswith(b"HTTP/1.1 408"):
            assert time.monotonic() - begun < 20
            slow.sendall(b"b")
            with suppress(TimeoutError):
                received = slow.recv(1000)


def test_incomplete_heads_get_a_timeout_response(serve: Serve) -> None:
    with connected(serve(head_timeout_s=SHORT_S), GET[:-2]) as slow:
        assert until_end(slow).startswith(b"HTTP/1.1 408 Request Timeout\r\nConnection: close\r\n")


def test_the_head_timeout_excludes_running_requests(serve: Serve) -> None:
    server = serve(head_timeout_s=SHORT_S)
    with connected(server, b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 3\r\n\r\na") as connection:
        time.sleep(2 * SHORT_S)  # bodies are not the business of this limit
        connection.sendall(b"bc" + GET[:-2])
        assert response(connection).endswith(b"\r\n\r\n3.")
        connection.sendall(GET[-2:])
        assert response(connection).endswith(b"\r\n\r\n0.")


def test_draining_an_answered_request_ends(serve: Serve) -> None:
    server = serve(head_timeout_s=SHORT_S)
    with connected(server, b"POST /early HTTP/1.1\r\nHost: localhost\r\nContent-Length: 999\r\n\r\n") as connection:
        assert response(connection).endswith(b"\r\n\r\n0.")
        begun = time.monotonic()
        with suppress(BrokenPipeError, ConnectionResetError):
            while True:
                assert time.monotonic() - begun < 20
                connection.sendall(b"x")
                time.sleep(0.02)


@pytest.mark.parametrize(
    "sent",
    [b"GET /" + b"x" * 500_000, b"GET / HTTP/1.1\r\nA: " + b"x" * 500_000, GET[:-2] + b"A: b\r\n" * 100_000],
    ids=["url", "value", "fields"],
)
def test_a_head_without_end_is_refused(serve: Serve, sent: bytes) -> None:
    with connected(serve()) as connection:
        try:
            connection.sendall(sent)
        except OSError:
            return  # the response came meanwhile
        assert until_end(connection)[:12] in (b"", b"HTTP/1.1 431", b"HTTP/1.1 400")


def test_trailers_are_bounded_and_left_out(serve: Serve) -> None:
    head = b"POST /headers HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n"
    server = serve()
    with connected(server, head + b"A: b\r\n\r\n") as connection:
        assert response(connection).endswith(b"\r\n\r\n2.")
    with connected(server, head) as connection:
        try:
            connection.sendall(b"A: b\r\n" * 100_000)
        except OSError:
            return
        assert b" 200 " not in until_end(connection)


def test_pipelined_requests_are_bounded(serve: Serve) -> None:
    server = serve()
    with connected(server, GET * 20) as connection:
        received = b""
        while received.count(b"0.") < 20:
            received += connection.recv(65_536)
    with connected(server, GET.replace(b"/ ", b"/slow ", 1) + GET * 1000) as connection:
        assert until_end(connection) == b""


def test_silent_connections_do_not_keep_others_out(serve: Serve) -> None:
    server = serve(connections=20)
    with ExitStack() as stack:
        kept = stack.enter_context(connected(server, GET))
        response(kept)
        silent = [stack.enter_context(connected(server, b"GET"[: n % 4])) for n in range(60)]
        for _ in range(30):
            with connected(server, GET) as honest:
                assert response(honest).endswith(b"0.")
        kept.sendall(GET)  # one that has been served stays longer than the silent ones
        assert response(kept).endswith(b"0.")
        assert until_end(silent[0]) == b""  # the first to go


def test_bodies_that_stop_make_room(serve: Serve) -> None:
    server = serve(connections=5)
    with ExitStack() as stack:
        for _ in range(5):
            stack.enter_context(connected(server, b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\nx"))
        time.sleep(1.1)
        with connected(server, GET) as honest:
            assert response(honest).endswith(b"0.")


def test_connections_beyond_the_limit_are_refused(serve: Serve) -> None:
    server = serve(connections=3)
    with ExitStack() as stack:
        running = [stack.enter_context(connected(server, GET.replace(b"/ ", b"/slow ", 1))) for _ in range(3)]
        time.sleep(0.1)
        with connected(server, GET) as refused:
            assert until_end(refused).startswith(b"HTTP/1.1 503")
        running.pop().close()
        time.sleep(0.1)
        with connected(server, GET) as honest:
            assert response(honest).endswith(b"0.")


def test_clients_that_do_not_read_are_disconnected(serve: Serve) -> None:
    server = serve(idle_timeout_s=SHORT_S)
    with connected(server, GET.replace(b"/ ", b"/large ", 1)) as connection:
        time.sleep(3 * SHORT_S)
        assert len(until_end(connection)) < 64 << 20


def test_connections_leave_open_files_to_others(monkeypatch: pytest.MonkeyPatch) -> None:
    for soft, connections in ((256, 128), (1000, 872), (1 << 20, 1000), (resource.RLIM_INFINITY, 1000)):
        monkeypatch.setattr(resource, "getrlimit", lambda _, soft=soft: (soft, soft))
        assert _within_open_files(ConnectionLimits()).connections == connections
