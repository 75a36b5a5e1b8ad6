"""Clients of the benchmark of tiles: HTTP over one kept connection, and the bare query."""

from __future__ import annotations

import json
import select
import socket
import subprocess
import sys
import time
import urllib.parse
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import psycopg

from cartoframes_lite.credentials import Credentials

BUFFER = 64  # of 4096: the margin of the server's tiles
_KEPT_S = 4.0  # the server closes connections that are idle for 5 s, as it announces in its responses

_TILE = """
SELECT ST_AsMVT(tile, 'layer0', 4096, 'the_geom_webmercator')
  FROM (SELECT ST_AsMVTGeom(the_geom_webmercator, ST_TileEnvelope({z}, {x}, {y}), 4096, {buffer}, true)
                   AS the_geom_webmercator, cartodb_id, number, name, people, height, kind, active
          FROM crowd
         WHERE the_geom_webmercator && ST_TileEnvelope({z}, {x}, {y}, margin => {margin})) tile
"""
_HELLO = """
import socket
import uvicorn
from starlette.applications import Starlette
from starlette.responses import Response
from starlette.routing import Route

async def hello(request):
    return Response(b"hello", 200, {"Content-Type": "application/x-protobuf"})

listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
listener.bind(("127.0.0.1", 0))
listener.listen()
print(listener.getsockname()[1], flush=True)
app = Starlette(routes=[Route("/{token}/{z}/{x}/{file}", hello)])
uvicorn.Server(uvicorn.Config(app, log_level="critical", access_log=False)).run([listener])
"""

Place = tuple[int, int, int]


class Bare:
    """Runs the query alone, over a separate connection, with the role for requests without a key."""

    def __init__(self, dsn: str) -> None:
        self.connection = psycopg.connect(dsn, user="publicuser", autocommit=True, prepare_threshold=None)

    def get(self, place: Place) -> bytes:
        z, x, y = place
        query = _TILE.format(z=z, x=x, y=y, buffer=BUFFER, margin=BUFFER / 4096)
        row = self.connection.execute(query, binary=True).fetchone()
        assert row is not None
        return bytes(row[0])

    def points(self) -> list[tuple[float, float]]:
        """Return some of the points, EPSG:3857."""
        query = "SELECT ST_X(the_geom_webmercator), ST_Y(the_geom_webmercator) FROM crowd ORDER BY number LIMIT 20000"
        return self.connection.execute(query).fetchall()

    def close(self) -> None:
        self.connection.close()


class HTTP:
    """A kept HTTP connection, without the cost of a client library: `http.client` takes 0.14 ms for a request."""

    def __init__(self, address: tuple[str, int]) -> None:
        self._address, self._host = address, f"{address[0]}:{address[1]}"
        self._socket, self._used_at = _connect(address), time.monotonic()

    def ask(self, method: str, path: str, body: bytes = b"") -> bytes:
        """Send a request; return the content of its response, which must be a success."""
        if time.monotonic() - self._used_at > _KEPT_S and select.select([self._socket], [], [], 0)[0]:
            self.close()
            self._socket = _connect(self._address)
        typed = f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n" if body else ""
        self._socket.sendall(f"{method} {path} HTTP/1.1\r\nHost: {self._host}\r\n{typed}\r\n".encode() + body)
        head, received = b"", b""
        while b"\r\n\r\n" not in received:
            received += self._receive()
        head, _, content = received.partition(b"\r\n\r\n")
        status, lines = head[9:12], head.lower().split(b"\r\n")
        size = next((int(line[15:]) for line in lines if line.startswith(b"content-length:")), 0)
        parts, missing = [content], size - len(content)
        while missing:
            parts.append(self._receive())
            missing -= len(parts[-1])
        self._used_at = time.monotonic()
        assert status in (b"200", b"204"), received
        return b"".join(parts)

    def close(self) -> None:
        self._socket.close()

    def _receive(self) -> bytes:
        received = self._socket.recv(1 << 18)
        if not received:
            raise ConnectionError("the server has closed the connection before its response")
        return received


def _connect(address: tuple[str, int]) -> socket.socket:
    """Open a connection that sends small requests at once."""
    connection = socket.create_connection(address)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return connection


class Served:
    """Requests tiles of a map of the embedded server."""

    def __init__(
        self, credentials: Credentials, options: Mapping[str, object] | None = None, *, format: str = "mvt"
    ) -> None:
        url = urllib.parse.urlsplit(str(credentials.base_url))
        self._http = HTTP((str(url.hostname), int(url.port or 0)))
        layer = {"type": "mapnik", "options": options or {"sql": "SELECT * FROM crowd", "aggregation": False}}
        config = json.dumps({"version": "1.8.0", "layers": [layer]}).encode()
        made = json.loads(self._http.ask("POST", f"{url.path}/api/v1/map", config))
        self._path, self._format = f"{url.path}/api/v1/map/{made['layergroupid']}", format

    def get(self, place: Place) -> bytes:
        return self._http.ask("GET", "{}/{}/{}/{}.{}".format(self._path, *place, self._format))

    def close(self) -> None:
        self._http.close()


@contextmanager
def hello_server() -> Iterator[HTTP]:
    """Return a connection to a server that only says hello, with uvicorn and Starlette in a process of its own."""
    with subprocess.Popen([sys.executable, "-c", _HELLO], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            connection = HTTP(("127.0.0.1", int(process.stdout.readline())))
            yield connection
            connection.close()
        finally:
            process.terminate()
