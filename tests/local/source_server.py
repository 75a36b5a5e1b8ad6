"""A web server on loopback that tests import from: each path answers as the test has told it."""

from __future__ import annotations

import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

Answer = Callable[[BaseHTTPRequestHandler], None]


class SourceServer:
    """The server: ``paths`` maps a path without its query to what answers there."""

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        self.paths: dict[str, Answer] = {}
        self.requests: list[tuple[str, dict[str, str]]] = []
        self.released = threading.Event()
        source = self

        class Quiet(ThreadingHTTPServer):
            def handle_error(self, request: object, client_address: object) -> None:
                """Say nothing of a client that went away."""

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                source.requests.append((self.path, {name.lower(): value for name, value in self.headers.items()}))
                source.paths[self.path.partition("?")[0]](self)

            def log_message(self, format: str, *args: object) -> None:
                """Say nothing."""

        self._server = Quiet(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._scheme = "https" if tls else "http"
        if tls:
            self._server.socket = tls.wrap_socket(self._server.socket, server_side=True)
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02})

    @property
    def port(self) -> int:
        return int(self._server.server_address[1])

    def url(self, path: str) -> str:
        return f"{self._scheme}://127.0.0.1:{self.port}{path}"

    @contextmanager
    def serving(self) -> Iterator[SourceServer]:
        self._thread.start()
        try:
            yield self
        finally:
            self.released.set()
            self._server.shutdown()
            self._thread.join()
            self._server.server_close()

    def put(self, path: str, body: bytes, *, status: int = 200, **headers: str) -> str:
        """Answer a path with a body; conditional requests are answered as they should be. Return the URL."""
        sent = {name.replace("_", "-"): value for name, value in headers.items()}

        def answer(request: BaseHTTPRequestHandler) -> None:
            etag, modified = sent.get("ETag"), sent.get("Last-Modified")
            known = etag is not None and request.headers["If-None-Match"] == etag
            known |= modified is not None and request.headers["If-Modified-Since"] == modified
            request.send_response(304 if known else status)
            for name, value in sent.items():
                request.send_header(name, value)
            if not known and "Content-Length" not in sent:
                request.send_header("Content-Length", str(len(body)))
            request.end_headers()
            if not known:
                request.wfile.write(body)
                request.close_connection = True

        self.paths[path] = answer
        return self.url(path)

    def redirect(self, path: str, location: str, status: int = 302) -> str:
        return self.put(path, b"", status=status, Location=location)

    def hang(self, path: str, begin: bytes = b"") -> str:
        """Begin an answer, and leave it at that until the server ends."""

        def answer(request: BaseHTTPRequestHandler) -> None:
            request.wfile.write(begin)
            self.released.wait(600)
            request.close_connection = True

        self.paths[path] = answer
        return self.url(path)

    def raw(self, path: str, answer: bytes) -> str:
        """Answer with these bytes and end the connection."""

        def send(request: BaseHTTPRequestHandler) -> None:
            request.wfile.write(answer)
            request.close_connection = True

        self.paths[path] = send
        return self.url(path)
