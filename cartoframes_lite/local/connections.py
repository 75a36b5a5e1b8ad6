"""Connection limits of the HTTP server: number of connections, timeouts of slow clients.

uvicorn has a timeout only for connections that are idle between two requests. Without the limits here it waits
indefinitely for the first request head, for a head sent byte by byte, and for a client that does not read its response.
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

# Bytes received that belong to no body, in a head or in chunk framing. The application rejects heads above 8 KB.
_MAX_HEAD_BYTES = 256 * 1024
_MAX_PIPELINED = 100  # requests waiting for the response to an earlier request on the same connection
_RECENT_S = 1.0  # a client that sent a part of its body within this time is not disconnected to make room
_RESPONSE_408 = b"HTTP/1.1 408 Request Timeout\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
_RESPONSE_431 = b"HTTP/1.1 431 Request Header Fields Too Large\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"


@dataclass(frozen=True, slots=True)
class ConnectionLimits:
    """Limits of the connections of a server.

    Attributes
    ----------
    connections : int
        Maximum number of open connections. Beyond it, the connection that has been idle longest is closed; if every
        connection has a running request, the new one gets a 503.
    head_timeout_s : float
        Timeout of a request head, from its first byte or from the connection, in seconds.
    idle_timeout_s : float
        Timeout of a client that does not read its response, in seconds.
    """

    connections: int = 1000
    head_timeout_s: float = 20.0
    idle_timeout_s: float = 600.0


class ServerConfig(uvicorn.Config):
    """uvicorn configuration with connection limits."""

    def __init__(self, app: ASGIApp, limits: ConnectionLimits, **options: Any) -> None:
        super().__init__(app, http=Connection, **options)
        self.limits = limits


class Connection(HttpToolsProtocol):
    """uvicorn connection that is closed when its client is too slow."""

    def __init__(self, config: ServerConfig, *arguments: Any, **options: Any) -> None:
        super().__init__(config, *arguments, **options)
        self._limits = config.limits
        self._timers: dict[str, asyncio.TimerHandle] = {}
        self._head_bytes = 0
        self._in_head = self._in_body = self._has_served = False
        self._active_at = 0.0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
        """Accept a connection; above the limit, close an idle one or respond with 503."""
        super().connection_made(transport)
        self._active_at = self.loop.time()
        self._start("head", self._limits.head_timeout_s)
        if len(self.connections) > self._limits.connections and not self._make_room():
            self.app = service_unavailable

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop all timers."""
        for name in list(self._timers):
            self._stop(name)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Parse received data; close the connection if the request head is too large."""
        self._active_at = self.loop.time()
        self._head_bytes += len(data)
        super().data_received(data)
        if self.transport.is_closing():
            return
        if self._head_bytes > _MAX_HEAD_BYTES:
            if not self._is_running:
                self.transport.write(_RESPONSE_431)
            self.transport.close()
        elif not self._is_running:
            # Also covers a request that got its response early: the rest of its body must arrive in time.
            self._start("head", self._limits.head_timeout_s)

    def on_message_begin(self) -> None:
        """Handle the start of a request head."""
        self._in_head = True
        super().on_message_begin()

    def on_header(self, name: bytes, value: bytes) -> None:
        """Store a header field; trailer fields after a body are ignored, as in Node.js."""
        if self._in_head:
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """Start the request; abort the connection if too many requests are pipelined."""
        if len(self.pipeline) >= _MAX_PIPELINED:
            self.transport.abort()
            return
        self._in_head, self._in_body, self._head_bytes = False, True, 0
        self._stop("head")
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """Handle a part of the body."""
        self._head_bytes = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        """Handle the end of a request."""
        self._in_body, self._head_bytes = False, 0
        if not self._is_running:  # the response was sent early; the next request gets a fresh timeout
            self._stop("head")
        super().on_message_complete()

    def on_response_complete(self) -> None:
        """Start the head timeout if a part of the next request, or the rest of this one, is still arriving."""
        self._active_at, self._has_served = self.loop.time(), True
        super().on_response_complete()
        if (self._in_head or self._in_body) and not self._is_running and not self.transport.is_closing():
            self._start("head", self._limits.head_timeout_s)

    def pause_writing(self) -> None:
        """Start the timeout of a client that does not read."""
        super().pause_writing()
        self._start("reading", self._limits.idle_timeout_s)

    def resume_writing(self) -> None:
        """Stop the timeout of a client that does not read."""
        self._stop("reading")
        super().resume_writing()

    @property
    def _is_running(self) -> bool:
        """Whether a request is running."""
        return self.cycle is not None and not self.cycle.response_complete

    def _make_room(self) -> bool:
        """Close the least useful idle connection: one that never completed a request first, then the longest idle."""
        now = self.loop.time()
        candidates = [
            (other._is_running, other._has_served, other._active_at, id(other), other)
            for other in self.connections
            if isinstance(other, Connection) and other is not self and other._is_closable(now)
        ]
        if not candidates:
            return False
        *_, other = min(candidates)
        self.connections.discard(other)
        other.transport.abort()
        return True

    def _is_closable(self, now: float) -> bool:
        """Return whether the connection is only waiting for its client."""
        return not self._is_running or (self._in_body and now - self._active_at > _RECENT_S)

    def _start(self, name: str, seconds: float) -> None:
        """Start a timer, unless it is running."""
        if name not in self._timers:
            self._timers[name] = self.loop.call_later(seconds, self._expire, name)

    def _stop(self, name: str) -> None:
        """Stop a timer."""
        timer = self._timers.pop(name, None)
        if timer is not None:
            timer.cancel()

    def _expire(self, name: str) -> None:
        """Close the connection of a client that exceeded a timeout."""
        del self._timers[name]
        if name == "reading":
            self.transport.abort()
        elif not self._is_running and not self.transport.is_closing():
            if self._in_head:
                self.transport.write(_RESPONSE_408)
            self.transport.close()
