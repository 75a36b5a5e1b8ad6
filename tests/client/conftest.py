"""A server on loopback that answers what a test tells it to, byte by byte."""

from __future__ import annotations

import contextlib
import re
import socket
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from cartoframes_lite._client.http.transport import Transport
from cartoframes_lite.credentials import Credentials

KEY = "s3cret-key"
Script = Callable[[socket.socket], None]


def read_head(connection: socket.socket) -> bytes:
    """Read until the end of the headers; what has come of the body is kept with it."""
    got = b""
    while b"\r\n\r\n" not in got:
        block = connection.recv(65536)
        if not block:
            break
        got += block
    return got


def read_chunked(connection: socket.socket, got: bytes) -> bytes:
    """Read on until the last chunk."""
    while not got.endswith(b"0\r\n\r\n"):
        block = connection.recv(65536)
        if not block:
            break
        got += block
    return got


def read_sized(connection: socket.socket, got: bytes) -> bytes:
    """Read on to the length that the headers tell."""
    head, _, body = got.partition(b"\r\n\r\n")
    told = re.search(rb"(?i)content-length: *(\d+)", head)
    missing = int(told[1]) - len(body) if told else 0
    while missing > 0 and (block := connection.recv(missing)):
        got, missing = got + block, missing - len(block)
    return got


def response(status: str, body: bytes = b"", *headers: str) -> bytes:
    """Write an answer that closes the connection."""
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", "Connection: close", *headers]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def respond_with(raw: bytes) -> Script:
    """Make a script that reads a request of any kind and answers."""

    def script(connection: socket.socket) -> None:
        got = read_head(connection)
        got = read_chunked(connection, got) if b"chunked" in got.lower() else read_sized(connection, got)
        script.seen = got  # type: ignore[attr-defined]
        connection.sendall(raw)

    return script


class ScriptedServer:
    """Runs one script for each connection, in order."""

    def __init__(self) -> None:
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.base_url = f"http://127.0.0.1:{self._socket.getsockname()[1]}/user/ann"
        self.scripts: list[Script] = []
        self.heads: list[bytes] = []
        self.slept: list[float] = []
        self.progress: bool | None = None
        self._began = time.monotonic()
        self._thread = threading.Thread(target=self._serve, daemon=True)

    def play(self, *scripts: Script | bytes) -> Transport:
        """Start, and give a transport to this server that does not really sleep."""
        self.scripts = [respond_with(item) if isinstance(item, bytes) else item for item in scripts]
        self._thread.start()
        credentials = Credentials("ann", KEY, base_url=self.base_url)
        return Transport(
            credentials, progress=self.progress, sleep=self.slept.append, clock=self.clock, jitter=lambda: 0.0
        )

    def clock(self) -> float:
        """Give a time that only sleeping moves forward."""
        return self._began + sum(self.slept)

    def _serve(self) -> None:
        for script in self.scripts:
            try:
                connection, _ = self._socket.accept()
            except OSError:  # closed by the test, which made fewer requests
                return
            with connection:
                connection.settimeout(10)
                with contextlib.suppress(OSError):  # the client leaves early in some tests
                    script(connection)
                self.heads.append(getattr(script, "seen", b""))

    def close(self) -> None:
        """Stop, also while waiting for a connection."""
        with contextlib.suppress(OSError):  # closed already
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        if self._thread.ident is not None:
            self._thread.join(timeout=10)


@pytest.fixture
def scripted_server() -> Iterator[ScriptedServer]:
    server = ScriptedServer()
    yield server
    server.close()
