"""A web server on loopback that notes what it is sent, and answers all of it in one way."""

from __future__ import annotations

import ssl
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

EMPTY = b'{"rows":[],"fields":{},"total_rows":0}'


class RecordingServer:
    """The server.

    Parameters
    ----------
    host : str
        Address or name to listen on.
    tls : ssl.SSLContext, optional

    Attributes
    ----------
    requests : list of (str, dict)
        Path and headers, these in lower case.
    status, headers, body
        The answer.
    delay_s : float
        How long it takes.
    """

    def __init__(self, host: str = "127.0.0.1", tls: ssl.SSLContext | None = None) -> None:
        self.requests: list[tuple[str, dict[str, str]]] = []
        self.delay_s = 0.0
        self.status, self.headers, self.body = 200, dict[str, str](), EMPTY
        recorder = self

        class Handler(BaseHTTPRequestHandler):
            def answer(self) -> None:
                recorder.requests.append((self.path, {name.lower(): value for name, value in self.headers.items()}))
                if length := int(self.headers.get("Content-Length", 0)):
                    self.rfile.read(length)
                time.sleep(recorder.delay_s)
                self.send_response(recorder.status)
                for name, value in {**recorder.headers, "Content-Length": str(len(recorder.body))}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(recorder.body)

            do_GET = do_POST = do_PUT = do_DELETE = answer  # noqa: N815  # the names that http.server calls

            def log_message(self, format: str, *args: object) -> None:
                pass

        class Quiet(ThreadingHTTPServer):
            def handle_error(self, request: object, client_address: object) -> None:
                """Say nothing of a client that does not like the certificate."""

        self._server = Quiet((host, 0), Handler)
        if tls is not None:
            self._server.socket = tls.wrap_socket(self._server.socket, server_side=True)
        self.url = f"{'https' if tls else 'http'}://{host}:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))
        self._thread.start()

    @property
    def base_url(self) -> str:
        """URL of the one user."""
        return f"{self.url}/user/ann"

    def redirect(self, status: int, location: str) -> None:
        """Redirect all that comes from now on."""
        self.status, self.headers, self.body = status, {"Location": location}, b""

    def close(self) -> None:
        """Stop it."""
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()
