"""Run an ASGI application with uvicorn in a thread, on a loopback port."""

from __future__ import annotations

import resource
import socket
import threading
import time
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING

import uvicorn

from cartoframes_lite.local.connections import ConnectionLimits, ServerConfig
from cartoframes_lite.local.errors import LocalServerError

if TYPE_CHECKING:
    from starlette.types import ASGIApp

HOST = "127.0.0.1"
KEEP_ALIVE_S = 5  # timeout of an idle connection; the same as on CARTO's servers, so that clients are tested with it
_START_TIMEOUT_S = 10.0
_GRACE_S = 0.3  # requests that are running on stop are canceled after this time
_RESERVED_FILES = 128  # file descriptors for everything except client connections: files, PostgreSQL
_STOP_TIMEOUT_S = 5.0


class Server:
    """An ASGI application served on ``127.0.0.1`` from a thread.

    Parameters
    ----------
    app : ASGI application
        Its lifespan is run, if it has one.
    port : int
        TCP port. 0 selects a free port.
    limits : ConnectionLimits, optional

    Raises
    ------
    LocalServerError
        If the port is in use, or the application does not start.
    """

    def __init__(self, app: ASGIApp, port: int = 0, limits: ConnectionLimits | None = None) -> None:
        self._socket = _listen(port)
        self.port: int = self._socket.getsockname()[1]
        config = ServerConfig(
            app,
            _within_open_files(limits or ConnectionLimits()),
            log_config=None,
            log_level="critical",  # a request canceled by stop() is not an error
            access_log=False,
            server_header=False,
            proxy_headers=False,
            ws="none",
            backlog=2048,
            timeout_keep_alive=KEEP_ALIVE_S,
            timeout_graceful_shutdown=_GRACE_S,  # typed as int, passed on to asyncio, which accepts a float
        )
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._run, name="carto-http", daemon=True)
        self._thread.start()
        deadline = time.monotonic() + _START_TIMEOUT_S
        while not self._server.started:
            if not self._thread.is_alive() or time.monotonic() > deadline:
                self.stop()
                raise LocalServerError("the HTTP server did not start")
            time.sleep(0.002)

    @property
    def url(self) -> str:
        """Root URL, without a trailing slash."""
        return f"http://{HOST}:{self.port}"

    def stop(self) -> None:
        """Stop the server; requests that are still running are canceled after a short grace period."""
        self._server.should_exit = True
        self._thread.join(_STOP_TIMEOUT_S)
        self._socket.close()

    def _run(self) -> None:
        """Run uvicorn; target of the thread."""
        with suppress(SystemExit):  # raised by uvicorn if the application does not start
            self._server.run([self._socket])


def _within_open_files(limits: ConnectionLimits) -> ConnectionLimits:
    """Limit the connections to the open files that the process may have, minus those needed elsewhere."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY:
        return limits
    return replace(limits, connections=min(limits.connections, max(soft - _RESERVED_FILES, soft // 2)))


def _listen(port: int) -> socket.socket:
    """Bind a loopback port before the thread starts, so that the port is known and errors are raised here."""
    # asyncio sets TCP_NODELAY only if the protocol is explicit; with Nagle's algorithm small responses wait 40 ms.
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((HOST, port))
    except OSError as error:
        listener.close()
        raise LocalServerError(f"cannot listen on {HOST}:{port}: {error.strerror}; give another port") from error
    return listener
