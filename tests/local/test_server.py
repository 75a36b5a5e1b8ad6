from __future__ import annotations

import asyncio
import socket
import time
import urllib.request
from typing import Any

import pytest

import cartoframes_lite.local.server as module
from cartoframes_lite.local.errors import LocalServerError
from cartoframes_lite.local.server import Server


async def hello(scope: Any, receive: Any, send: Any) -> None:
    if scope["type"] == "lifespan":
        while (await receive())["type"] != "lifespan.shutdown":
            await send({"type": "lifespan.startup.complete"})
        await send({"type": "lifespan.shutdown.complete"})
        return
    if scope["path"] == "/slow":
        await asyncio.sleep(60)
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"5")]})
    await send({"type": "http.response.body", "body": b"hello"})


def test_the_server_responds_once_constructed() -> None:
    server = Server(hello)
    try:
        with urllib.request.urlopen(server.url, timeout=5) as response:
            assert response.read() == b"hello"
            assert response.headers["server"] is None
    finally:
        server.stop()


def test_listens_on_loopback_only() -> None:
    server = Server(hello)
    try:
        assert server.url.startswith("http://127.0.0.1:")
        assert server._socket.getsockname()[0] == "127.0.0.1"
    finally:
        server.stop()


def test_stop_closes_open_connections_and_frees_the_port() -> None:
    server = Server(hello)
    with (
        socket.create_connection(("127.0.0.1", server.port)) as idle,
        socket.create_connection(("127.0.0.1", server.port)) as slow,
    ):
        idle.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert idle.recv(1000).startswith(b"HTTP/1.1 200")
        slow.sendall(b"GET /slow HTTP/1.1\r\nHost: localhost\r\n\r\n")
        time.sleep(0.05)
        begin = time.perf_counter()
        server.stop()
        assert time.perf_counter() - begin < 30  # not the minute of the slow one
    Server(hello, server.port).stop()


def test_idle_connection_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    assert module.KEEP_ALIVE_S == 5
    monkeypatch.setattr(module, "KEEP_ALIVE_S", 0.3)
    server = Server(hello)
    try:
        with socket.create_connection(("127.0.0.1", server.port), timeout=10) as connection:
            for _ in range(2):
                connection.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
                response = b""
                while not response.endswith(b"hello"):
                    response += connection.recv(1000)
            assert connection.recv(1000) == b""
    finally:
        server.stop()


def test_taken_port_is_a_clear_error() -> None:
    server = Server(hello)
    try:
        with pytest.raises(LocalServerError, match=f"cannot listen on 127.0.0.1:{server.port}"):
            Server(hello, server.port)
    finally:
        server.stop()


def test_application_that_does_not_start_is_an_error() -> None:
    async def broken(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "lifespan.startup.failed", "message": "no"})

    with pytest.raises(LocalServerError, match="did not start"):
        Server(broken)
