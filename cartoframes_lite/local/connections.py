"""Connections of the HTTP server: how long a client may take over a request, and how many clients there may be.

uvicorn closes a connection that is idle between two requests. It waits forever for the first head, for a head that
comes byte by byte, and for a client that does not read its response.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import uvicorn
from uvicorn.protocols.http.flow_control import service_unavailable
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

if TYPE_CHECKING:
    from starlette.types import ASGIApp

_MOST_UNREAD_BYTES = 256 * 1024  # of a head, or between two pieces of a body; the application refuses 8 KB already
_MOST_PIPELINED = 100  # requests that wait for the response to another one on the same connection
_RECENT_S = 1.0  # a client that has sent a part of its body so lately is not cut off for another one
_TOO_LATE = b"HTTP/1.1 408 Request Timeout\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
_TOO_LARGE = b"HTTP/1.1 431 Request Header Fields Too Large\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"


@dataclass(frozen=True, slots=True)
class ConnectionLimits:
    """Limits of the connections of a server.

    Attributes
    ----------
    connections : int
        Most open connections. For another one the one goes that has been without a request for longest; if all have
        requests that run, the newest is answered with 503.
    head_timeout_s : float
        Longest time from the first byte of a request, or from the connection, to the end of the head, in seconds.
    idle_timeout_s : float
        Longest time in which a client reads nothing of its response, in seconds.
    """

    connections: int = 1000
    head_timeout_s: float = 20.0
    idle_timeout_s: float = 600.0


class ServerConfig(uvicorn.Config):
    """uvicorn's configuration, with limits of connections."""

    def __init__(self, app: ASGIApp, limits: ConnectionLimits, **options: Any) -> None:
        super().__init__(app, http=Connection, **options)
        self.limits = limits


class Connection(HttpToolsProtocol):
    """A connection that is closed when its client keeps the server waiting."""

    def __init__(self, config: ServerConfig, *arguments: Any, **options: Any) -> None:
        super().__init__(config, *arguments, **options)
        self._limits = config.limits
        self._timers: dict[str, asyncio.TimerHandle] = {}
        self._unread_bytes = 0
        self._in_head = self._in_body = self._has_served = False
        self._active_at = 0.0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
        """Take a connection; if there are too many, close one without a request."""
        super().connection_made(transport)
        self._active_at = self.loop.time()
        self._start("head", self._limits.head_timeout_s)
        if len(self.connections) > self._limits.connections and not self._make_room():
            self.app = service_unavailable

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the connection."""
        for name in list(self._timers):
            self._stop(name)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Read a part of a request."""
        self._active_at = self.loop.time()
        self._unread_bytes += len(data)
        super().data_received(data)
        if self.transport.is_closing():
            return
        if self._unread_bytes > _MOST_UNREAD_BYTES:
            if not self._is_running:
                self.transport.write(_TOO_LARGE)
            self.transport.close()
        elif not self._is_running:
            # Also for a request that was answered before its end: the rest of it has to come to an end.
            self._start("head", self._limits.head_timeout_s)

    def on_message_begin(self) -> None:
        """Begin to read a head."""
        self._in_head = True
        super().on_message_begin()

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a field of the head; those behind a body are left out, as they are by Node.js."""
        if self._in_head:
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """Run the request."""
        if len(self.pipeline) >= _MOST_PIPELINED:
            self.transport.abort()
            return
        self._in_head, self._in_body, self._unread_bytes = False, True, 0
        self._stop("head")
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """Take a part of the body."""
        self._unread_bytes = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        """Take the end of a request."""
        self._in_body, self._unread_bytes = False, 0
        if not self._is_running:  # it was answered before; the next one has all its time
            self._stop("head")
        super().on_message_complete()

    def on_response_complete(self) -> None:
        """Wait for the next request, of which a part may have come already."""
        self._active_at, self._has_served = self.loop.time(), True
        super().on_response_complete()
        if (self._in_head or self._in_body) and not self._is_running and not self.transport.is_closing():
            self._start("head", self._limits.head_timeout_s)

    def pause_writing(self) -> None:
        """Wait for the client to read."""
        super().pause_writing()
        self._start("reading", self._limits.idle_timeout_s)

    def resume_writing(self) -> None:
        """Go on, since the client has read."""
        self._stop("reading")
        super().resume_writing()

    @property
    def _is_running(self) -> bool:
        """Whether a request is being answered."""
        return self.cycle is not None and not self.cycle.response_complete

    def _make_room(self) -> bool:
        """Close the connection that is missed least, if any: silent ones before those between two requests."""
        now = self.loop.time()
        waiting = [
            (other._is_running, other._has_served, other._active_at, id(other), other)
            for other in self.connections
            if isinstance(other, Connection) and other is not self and other._can_go(now)
        ]
        if not waiting:
            return False
        *_, other = min(waiting)
        self.connections.discard(other)
        other.transport.abort()
        return True

    def _can_go(self, now: float) -> bool:
        """Tell whether nothing runs here but the wait for the client."""
        return not self._is_running or (self._in_body and now - self._active_at > _RECENT_S)

    def _start(self, name: str, seconds: float) -> None:
        """Start a timer, unless it runs."""
        if name not in self._timers:
            self._timers[name] = self.loop.call_later(seconds, self._expire, name)

    def _stop(self, name: str) -> None:
        """Stop a timer."""
        timer = self._timers.pop(name, None)
        if timer is not None:
            timer.cancel()

    def _expire(self, name: str) -> None:
        """Give up a client that has taken too long."""
        del self._timers[name]
        if name == "reading":
            self.transport.abort()
        elif not self._is_running and not self.transport.is_closing():
            if self._in_head:
                self.transport.write(_TOO_LATE)
            self.transport.close()
