"""uvicorn in a thread: an ASGI application on a loopback port, until it is told to stop."""

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
KEEP_ALIVE_S = 5  # of an idle connection, as CARTO's servers have it: clients have to cope with that
_START_TIMEOUT_S = 10.0
# Requests that still run when the server stops get this long before they are cancelled.
_GRACE_S = 0.3
_RESERVED_FILES = 128  # file descriptors for all but connections: files, PostgreSQL
_STOP_TIMEOUT_S = 5.0


class Server:
    """An ASGI application that answers on ``127.0.0.1``.

    Parameters
    ----------
    app : ASGI application
        Its lifespan is run, if it has one.
    port : int
        0 takes a free one.
    limits : ConnectionLimits, optional

    Raises
    ------
    LocalServerError
        If the port is taken, or the application does not start.
    """

    def __init__(self, app: ASGIApp, port: int = 0, limits: ConnectionLimits | None = None) -> None:
        self._socket = _listen(port)
        self.port: int = self._socket.getsockname()[1]
        config = ServerConfig(
            app,
            _within_open_files(limits or ConnectionLimits()),
            log_config=None,
            log_level="critical",  # a request cut off by stop() is no error
            access_log=False,
            server_header=False,
            proxy_headers=False,
            ws="none",
            backlog=2048,
            timeout_keep_alive=KEEP_ALIVE_S,
            timeout_graceful_shutdown=_GRACE_S,  # asyncio takes fractions
        )
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._run, name="carto-http", daemon=True)
        self._thread.start()
        give_up = time.monotonic() + _START_TIMEOUT_S
        while not self._server.started:
            if not self._thread.is_alive() or time.monotonic() > give_up:
                self.stop()
                raise LocalServerError("the HTTP server did not start")
            time.sleep(0.002)

    @property
    def url(self) -> str:
        """Root URL, without a slash at its end."""
        return f"http://{HOST}:{self.port}"

    def stop(self) -> None:
        """Stop answering; requests that still run are cancelled after a moment of grace."""
        self._server.should_exit = True
        self._thread.join(_STOP_TIMEOUT_S)
        self._socket.close()

    def _run(self) -> None:
        """Serve, in the thread."""
        with suppress(SystemExit):  # uvicorn's way to say that the application did not start
            self._server.run([self._socket])


def _within_open_files(limits: ConnectionLimits) -> ConnectionLimits:
    """Allow no more connections than this process can have open files: without one, nobody would be answered."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY:
        return limits
    return replace(limits, connections=min(limits.connections, max(soft - _RESERVED_FILES, soft // 2)))


def _listen(port: int) -> socket.socket:
    """Bind a loopback port, so that it is known, and taken, before the thread starts."""
    # asyncio turns Nagle's algorithm off only where the protocol is named; with it, small answers wait 40 ms.
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((HOST, port))
    except OSError as error:
        listener.close()
        raise LocalServerError(f"cannot listen on {HOST}:{port}: {error.strerror}; give another port") from error
    return listener
