"""Web servers on loopback: ``FileServer`` serves paths, ``ScriptedServer`` plays a script for each connection."""

from __future__ import annotations

import contextlib
import hashlib
import re
import socket
import ssl
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from cartoframes_lite._client.http.transport import Transport
from cartoframes_lite.credentials import Credentials

KEY = "s3cret-key"
ANYWHERE = "*"
_HANG_S = 600
Respond = Callable[[BaseHTTPRequestHandler], None]
Script = Callable[[socket.socket], None]


class FileServer(ThreadingHTTPServer):
    """Serves what a test puts under paths, to requests of any method, and records the requests.

    Parameters
    ----------
    host : str
        Address or name to listen on.
    port : int, optional
        0: any that is free.
    tls : ssl.SSLContext, optional
    idle_s : float, optional
        Connections on which nothing comes for this time are closed.

    Attributes
    ----------
    url : str
        Without a slash at its end.
    files : dict of str to bytes
        By path and query; served with the hash as ETag.
    responses : dict of str to callable
        By path without query; that of ``ANYWHERE`` is for all other paths.
    requests : list of (str, dict)
        Path with query, and headers, these in lower case.
    connections : list of tuple
        Addresses of the clients.
    released : threading.Event
        Ends the responses that hang.
    """

    request_queue_size = 100

    def __init__(
        self,
        host: str = "127.0.0.1",
        port: int = 0,
        *,
        tls: ssl.SSLContext | None = None,
        idle_s: float | None = None,
    ) -> None:
        super().__init__((host, port), _Handler)
        self.url = f"{'https' if tls else 'http'}://{host}:{self.server_port}"
        self.idle_s = idle_s
        self.files: dict[str, bytes] = {}
        self.responses: dict[str, Respond] = {}
        self.requests: list[tuple[str, dict[str, str]]] = []
        self.connections: list[object] = []
        self.released = threading.Event()
        if tls:
            self.socket = tls.wrap_socket(self.socket, server_side=True)
        self._thread = threading.Thread(target=self.serve_forever, args=(0.02,))
        self._thread.start()

    @property
    def base_url(self) -> str:
        """URL of an account on this server."""
        return f"{self.url}/user/ann"

    def handle_error(self, request: object, client_address: object) -> None:
        """Ignore clients that leave early or reject the certificate."""

    def put(self, path: str, body: bytes, *, status: int = 200, **headers: str) -> str:
        """Serve a body, also to conditional requests; return the URL."""
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        self.responses[path] = lambda request: _send(request, status, sent, body)
        return f"{self.url}{path}"

    def redirect(self, path: str, location: str, status: int = 302) -> str:
        """Redirect to another URL; return the URL."""
        return self.put(path, b"", status=status, Location=location)

    def raw(self, path: str, response: bytes) -> str:
        """Send these bytes and close the connection; return the URL."""

        def respond(request: BaseHTTPRequestHandler) -> None:
            request.wfile.write(response)
            request.close_connection = True

        self.responses[path] = respond
        return f"{self.url}{path}"

    def hang(self, path: str, begin: bytes = b"") -> str:
        """Send these bytes and nothing more until ``released``; return the URL."""

        def respond(request: BaseHTTPRequestHandler) -> None:
            request.wfile.write(begin)
            self.released.wait(_HANG_S)
            request.close_connection = True

        self.responses[path] = respond
        return f"{self.url}{path}"

    def close(self) -> None:
        """Stop the server."""
        self.released.set()
        self.shutdown()
        self._thread.join()
        self.server_close()

    def __exit__(self, *args: object) -> None:
        self.close()


class _Handler(BaseHTTPRequestHandler):
    """Answers requests of a ``FileServer``."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: FileServer

    def setup(self) -> None:
        super().setup()
        self.connection.settimeout(self.server.idle_s)
        self.server.connections.append(self.client_address)

    def _respond(self) -> None:
        server, path = self.server, self.path.partition("?")[0]
        server.requests.append((self.path, {name.lower(): value for name, value in self.headers.items()}))
        self._read_body()
        if self.path in server.files:
            body = server.files[self.path]
            _send(self, 200, {"ETag": f'"{hashlib.md5(body).hexdigest()}"'}, body)
        elif respond := server.responses.get(path) or server.responses.get(ANYWHERE):
            respond(self)
        else:
            self.send_error(404)

    do_GET = do_POST = do_PUT = do_DELETE = _respond  # noqa: N815  # the names that http.server calls

    def _read_body(self) -> None:
        if "chunked" in self.headers.get("Transfer-Encoding", ""):
            while size := int(self.rfile.readline(), 16):
                self.rfile.read(size + len("\r\n"))
            self.rfile.readline()
        else:
            self.rfile.read(int(self.headers.get("Content-Length", 0)))

    def log_message(self, format: str, *args: object) -> None:
        """Print nothing."""


def _send(request: BaseHTTPRequestHandler, status: int, headers: dict[str, str], body: bytes) -> None:
    """Send a response, or 304 without a body to a conditional request whose condition is met."""
    etag, modified = headers.get("ETag"), headers.get("Last-Modified")
    is_known = etag is not None and request.headers["If-None-Match"] == etag
    is_known |= modified is not None and request.headers["If-Modified-Since"] == modified
    request.send_response(304 if is_known else status)
    for name, value in headers.items():
        request.send_header(name, value)
    if not is_known:
        request.send_header("Content-Length", str(len(body)))
    request.end_headers()
    if not is_known:
        request.wfile.write(body)


class ScriptedServer:
    """Runs one script for each connection, in order.

    Attributes
    ----------
    base_url : str
        URL of an account on this server.
    heads : list of bytes
        The requests, of scripts that are plain responses.
    slept : list of float
        How long the transport would have waited.
    progress : bool, optional
        Passed to the transport.
    """

    def __init__(self) -> None:
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.base_url = f"http://127.0.0.1:{self._socket.getsockname()[1]}/user/ann"
        self._scripts: list[Script] = []
        self.heads: list[bytes] = []
        self.slept: list[float] = []
        self.progress: bool | None = None
        self._began = time.monotonic()
        self._thread = threading.Thread(target=self._serve, daemon=True)

    def play(self, *scripts: Script | bytes) -> Transport:
        """Start, and return a transport to this server that does not really sleep."""
        self._scripts = [respond_with(item) if isinstance(item, bytes) else item for item in scripts]
        self._thread.start()
        credentials = Credentials("ann", KEY, base_url=self.base_url)
        return Transport(
            credentials, progress=self.progress, sleep=self.slept.append, clock=self.clock, jitter=lambda: 0.0
        )

    def clock(self) -> float:
        """Return a time that only sleeping moves forward."""
        return self._began + sum(self.slept)

    def _serve(self) -> None:
        for script in self._scripts:
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


def read_head(connection: socket.socket) -> bytes:
    """Read until the end of the headers, and what has come of the body with them."""
    got = b""
    while b"\r\n\r\n" not in got and (block := connection.recv(65536)):
        got += block
    return got


def read_chunked(connection: socket.socket, got: bytes) -> bytes:
    """Read on until the last chunk."""
    while not got.endswith(b"0\r\n\r\n") and (block := connection.recv(65536)):
        got += block
    return got


def read_sized(connection: socket.socket, got: bytes) -> bytes:
    """Read on to the length that the headers declare."""
    head, _, body = got.partition(b"\r\n\r\n")
    declared = re.search(rb"(?i)content-length: *(\d+)", head)
    missing = int(declared[1]) - len(body) if declared else 0
    while missing > 0 and (block := connection.recv(missing)):
        got, missing = got + block, missing - len(block)
    return got


def response(status: str, body: bytes = b"", *headers: str) -> bytes:
    """Compose a response that closes the connection."""
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", "Connection: close", *headers]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def respond_with(raw: bytes) -> Script:
    """Make a script that reads a request of any kind and responds."""

    def script(connection: socket.socket) -> None:
        got = read_head(connection)
        got = read_chunked(connection, got) if b"chunked" in got.lower() else read_sized(connection, got)
        script.seen = got  # type: ignore[attr-defined]  # the server records it
        connection.sendall(raw)

    return script
