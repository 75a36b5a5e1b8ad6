"""HTTP connections for requests and urllib3, with these differences.

- While a body is sent, the socket has a longer timeout than the connect timeout: a busy database reads slowly.
- If the server rejects an upload before it has read the whole body, sending stops and the response is read. Interim
  responses (100, 102, 103) do not stop it.
- An interrupted upload is ended so that the server rejects it. If the connection were only closed, the request could
  stay open on the server: the SQL API detects a closed connection only after its COPY has begun.
- Servers close connections that have been idle for some seconds. Whether a request sent at that moment was executed is
  unknown, so requests that are not idempotent do not reuse a connection that may be about to close.
- No request reuses a connection that has been idle for longer than the server announced: a router may have dropped it
  silently, and a request would wait for its timeout.
- Idle connections are kept for all pools together (`idle_connections`), and connections with the same TLS settings
  share a context (`tls_contexts`).
"""

from __future__ import annotations

import copy
import http.client
import os
import re
import selectors
import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Self
from weakref import WeakSet

from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool

from cartoframes_lite._client.http.idle_connections import IdleConnections
from cartoframes_lite._client.http.response import Response, is_interim
from cartoframes_lite._client.http.tls_contexts import tls_context

if TYPE_CHECKING:
    from urllib3 import BaseHTTPResponse

_SEND_TIMEOUT_S = 900.0
_INTERRUPT_TIMEOUT_S = 2.0  # for ending an upload; short, so that Ctrl-C returns soon
_LAST_CHUNK = b"0\r\n\r\n"
_SEND_BYTES = 1 << 18
_PARTIAL_HEAD_PAUSE_S = 0.005
_KEEPALIVE = {"TCP_KEEPIDLE": 45, "TCP_KEEPINTVL": 15, "TCP_KEEPCNT": 8}  # seconds, seconds, number of probes

# A server with a shorter idle timeout than this would fail with any client.
_DEFAULT_KEEP_ALIVE_S = 0.5
_KEEP_ALIVE_FRACTION = 0.6  # the rest allows for the time the response took to arrive
_MAX_IDLE_S = 60.0  # shorter than the timeouts of routers, which drop idle connections silently
_MAX_POOLS = 16  # servers; the least recently used ones are forgotten first

_STATUS_LINE = re.compile(rb"HTTP/1\.[01] (\d{3})")
_INTERIM_PREFIXES = (b"HTTP/1.1 1", b"HTTP/1.0 1")
_HEAD_END = re.compile(rb"\r?\n\r?\n")
_MAX_INTERIM_BYTES = 1 << 16

_fresh_only: ContextVar[bool] = ContextVar("fresh_only", default=False)
_sockets: WeakSet[Any] = WeakSet()


class ClosedWhileIdleError(http.client.RemoteDisconnected):
    """The server closed a reused connection before any byte of the request was sent."""


class DroppedError(http.client.RemoteDisconnected):
    """A reused connection was lost before the response began."""


def use_fresh_connections(only: bool) -> None:
    """Set whether the next request may reuse only connections that the server is not about to close.

    Not a context manager: an interrupt could skip the reset.
    """
    _fresh_only.set(only)


def disconnect_after_fork() -> None:
    """Replace the sockets of the parent by the null device, in this process: nothing can be read or sent on them.

    They are not closed here: objects of the parent would close other files that have got their descriptors meanwhile.
    """
    null = os.open(os.devnull, os.O_RDWR)
    for sock in list(_sockets):
        if sock.fileno() >= 0:
            os.dup2(null, sock.fileno(), inheritable=False)
    os.close(null)


class Connection(HTTPConnection):
    """Common part of HTTP and HTTPS connections."""

    debuglevel = 0  # setting it globally on http.client would print all headers, including the API key
    response_class = Response
    owner: IdleConnections | None = None
    _responses = 0
    _last_response_at = 0.0
    _idle_since = (0.0, 0.0)
    _keep_alive_s: float | None = None
    _body: Any = None
    _head_is_sent = False
    _sending: tuple[memoryview, list[int]] = (memoryview(b""), [])  # current data, and the sizes of the parts sent
    _body_cut = False
    _max_unsent_bytes = 0

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._sock_lock = threading.Lock()

    def connect(self) -> None:
        super().connect()
        self.sock.settimeout(_SEND_TIMEOUT_S)
        _enable_keepalive(self.sock)
        _sockets.add(self.sock)
        self._body_cut, self._keep_alive_s, self._max_unsent_bytes = False, None, 0

    def close(self) -> None:
        """Close the connection after ending an unfinished upload (urllib3 closes it on any exception)."""
        self._responses = 0
        body, self._body = self._body, None
        try:
            if body is not None:
                self._end_upload(body)
        finally:
            with self._sock_lock:
                super().close()

    def take_over(self) -> Self:
        """Return another object for the connection, and leave this one closed.

        A response keeps its connection, and another thread may interrupt or close it after its end has been read.
        """
        with self._sock_lock:
            successor = copy.copy(self)
            self.sock = None
        successor._sock_lock = threading.Lock()
        successor._idle_since = (time.monotonic(), time.time())
        return successor

    def interrupt(self) -> None:
        """Shut the socket down, to wake a thread that is waiting for data; closing it would not."""
        with self._sock_lock:
            if self.sock is not None:
                self.sock.shutdown(socket.SHUT_RD)

    @property
    def is_reusable(self) -> bool:
        """Whether the server has not closed the connection, and is not expected to have closed it."""
        since, since_wall = self._idle_since
        # The monotonic clock stands still while a computer sleeps.
        idle_s = max(time.monotonic() - since, time.time() - since_wall)
        limit_s = _MAX_IDLE_S if self._keep_alive_s is None else min(self._keep_alive_s, _MAX_IDLE_S)
        return idle_s < limit_s and super().is_connected

    @property
    def is_connected(self) -> bool:
        """Whether the pool may reuse the connection: no unfinished body, and not about to be closed by the server."""
        if self._body_cut or not self.is_reusable:
            return False
        if not _fresh_only.get():
            return True
        keep_alive_s = self._keep_alive_s
        open_for_s = _DEFAULT_KEEP_ALIVE_S if keep_alive_s is None else _KEEP_ALIVE_FRACTION * keep_alive_s
        return time.monotonic() - self._last_response_at < open_for_s

    def request(self, method: str, url: str, body: Any = None, headers: Any = None, **options: Any) -> None:
        self._head_is_sent, self._sending = False, (memoryview(b""), [])
        self._body = body if getattr(body, "can_be_aborted", False) else None
        try:
            super().request(method, url, body=body, headers=headers, **options)
        except BrokenPipeError:  # there may be a response to read
            raise
        except OSError:
            self._body = None  # the connection is lost, so there is no upload to end
            raise

    def send(self, data: Any) -> None:
        if self.sock is None:
            self.connect()
        if not self._head_is_sent and self._responses and not super().is_connected:
            raise ClosedWhileIdleError("the server closed the idle connection")
        timeout_s = _SEND_TIMEOUT_S if self._body is None else self._body.timeout_s or _SEND_TIMEOUT_S
        if self.sock.gettimeout() != timeout_s:
            self.sock.settimeout(timeout_s)
        self._limit_unsent(0 if self._body is None else self._body.max_unsent_bytes)
        view, sent = self._sending = (memoryview(data), [])
        while (at := sum(sent)) < len(view):
            self._wait_until_writable()
            # Sending and recording the size happen in one C call: an interrupt in between would lose the size.
            sent.extend(map(_writer(self.sock), (view[at : at + _SEND_BYTES],)))
        self._head_is_sent = True

    def _limit_unsent(self, max_bytes: int) -> None:
        """Limit the bytes in the send buffer that the network has not taken, where the system can; 0: its default."""
        option = getattr(socket, "TCP_NOTSENT_LOWAT", None)
        if option is not None and max_bytes != self._max_unsent_bytes:
            self.sock.setsockopt(socket.IPPROTO_TCP, option, max_bytes)
            self._max_unsent_bytes = max_bytes

    def getresponse(self) -> BaseHTTPResponse:  # type: ignore[override]  # that of urllib3 2.0 on
        if self._body is not None and self._body.timeout_s is not None:
            self.timeout = self._body.timeout_s
        body, was_used = self._body, self._responses > 0
        try:
            self._body = None  # from here on the handlers below end the upload
            response = super().getresponse()
        except ConnectionError as error:
            if was_used:
                raise DroppedError("the connection was lost before the response began") from error
            raise
        except BaseException as error:  # raised again
            if body is not None and not isinstance(error, Exception):
                self._end_upload(body)
            raise
        self._responses += 1
        self._last_response_at = time.monotonic()
        self._keep_alive_s = _keep_alive_s(response.headers.get("Keep-Alive", ""))
        return response

    def _wait_until_writable(self) -> None:
        """Wait until the socket is writable; raise if a response arrives first or the connection is lost."""

    def _end_upload(self, body: Any) -> None:
        """End an abandoned upload so that the server rejects it, and wait until the server has read it.

        A server that has not begun to read the body does not notice a closed connection and keeps the table locked.
        If the body has been sent completely, the server stores it.
        """
        view, sent = self._sending
        if self.sock is None or (not self._head_is_sent and not sent):
            return  # nothing was sent, or the connection is closed
        rest = view[sum(sent) :].tobytes()
        if body.can_be_aborted and (view != _LAST_CHUNK or not sent):
            ending = body.abort(_INTERRUPT_TIMEOUT_S)
            rest = (b"" if view == _LAST_CHUNK else rest) + b"%x\r\n%b\r\n" % (len(ending), ending) + _LAST_CHUNK
        with suppress(OSError):
            self.sock.settimeout(_INTERRUPT_TIMEOUT_S)
            self.sock.sendall(rest)
            self.sock.recv(1)


class _EarlyResponseConnection(Connection):
    """HTTP connection that detects a response while it still sends the body."""

    _selector: selectors.BaseSelector | None = None

    def connect(self) -> None:
        super().connect()
        # Not epoll, whose descriptor would be shared with a forked process.
        self._selector = getattr(selectors, "PollSelector", selectors.SelectSelector)()
        self._selector.register(self.sock, selectors.EVENT_READ | selectors.EVENT_WRITE)

    def _wait_until_writable(self) -> None:
        assert self._selector is not None  # since connect
        while True:
            ready = self._selector.select(self.sock.gettimeout())
            if not ready:
                raise TimeoutError("the server did not read the request body in time")
            ((_, events),) = ready
            is_partial = bool(events & selectors.EVENT_READ) and self._skip_interim()
            if events & selectors.EVENT_WRITE:
                return
            if is_partial:  # select would return at once, because the socket stays readable
                time.sleep(_PARTIAL_HEAD_PAUSE_S)

    def _skip_interim(self) -> bool:
        """Consume interim responses; raise if another response has begun; return whether its head is incomplete."""
        while True:
            try:
                received = self.sock.recv(_MAX_INTERIM_BYTES, socket.MSG_PEEK | getattr(socket, "MSG_DONTWAIT", 0))
            except (BlockingIOError, TimeoutError):
                return False
            end = _HEAD_END.search(received)
            if not _may_be_interim(received) or (end is None and len(received) == _MAX_INTERIM_BYTES):
                # urllib3 reads the response after BrokenPipeError.
                self._body_cut = True
                raise BrokenPipeError("the response began before the request body was sent")
            if end is None:
                return True
            self.sock.recv(end.end())
            if end.end() == len(received):
                return False


class _TLSConnection(Connection, HTTPSConnection):
    """HTTPS connection; early responses are not detected, because readable data may be TLS protocol data."""

    def connect(self) -> None:
        if self.proxy is not None or self.ssl_context is not None or self.cert_file is not None:
            super().connect()
            return
        certificates = self.ca_certs, self.ca_cert_dir
        self.ssl_context = tls_context(self.cert_reqs, *certificates)
        self.ca_certs = self.ca_cert_dir = None  # urllib3 would load them again
        try:
            super().connect()
        finally:
            self.ssl_context = None
            self.ca_certs, self.ca_cert_dir = certificates


class _Pool(HTTPConnectionPool):
    ConnectionCls = _EarlyResponseConnection
    QueueCls = IdleConnections  # type: ignore[assignment]  # all that a pool uses of a LifoQueue


class _TLSPool(HTTPSConnectionPool):
    ConnectionCls = _TLSConnection
    QueueCls = IdleConnections  # type: ignore[assignment]  # all that a pool uses of a LifoQueue


class Adapter(HTTPAdapter):
    """Transport adapter with the connections of this module, for http and https."""

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        """Create the pool manager."""
        super().init_poolmanager(_MAX_POOLS, *args[1:], **kwargs)
        self.poolmanager.pool_classes_by_scheme = {"http": _Pool, "https": _TLSPool}


def _enable_keepalive(sock: Any) -> None:
    """Probe an idle connection: routers keep it open during a long query, and a lost server is detected."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option, value in _KEEPALIVE.items():
        if hasattr(socket, option):  # not on each system
            sock.setsockopt(socket.IPPROTO_TCP, getattr(socket, option), value)


def _writer(sock: Any) -> Callable[[memoryview], int]:
    """Return the function that sends bytes, written in C also for TLS sockets, whose ``send`` is Python code."""
    tls = getattr(sock, "_sslobj", None)
    write: Callable[[memoryview], int] = getattr(tls, "write", sock.send)
    return write


def _may_be_interim(data: bytes) -> bool:
    """Return whether received bytes are, or may become, the beginning of an interim response."""
    if found := _STATUS_LINE.match(data):
        return is_interim(int(found[1]))
    return data != b"" and any(prefix.startswith(data[: len(prefix)]) for prefix in _INTERIM_PREFIXES)


def _keep_alive_s(header: str) -> float | None:
    """Return for how long after a response the server keeps the connection open; None if it does not say."""
    timeout = re.search(r"(?i)\btimeout *= *([0-9]{1,6})\b", header)
    return None if timeout is None else float(timeout[1])
