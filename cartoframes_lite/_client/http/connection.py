"""The HTTP connections: as requests makes them, with some changes.

- While a body is sent, the socket must not have the short timeout of the connecting: a busy database lets the
  sender wait.
- A server that refuses an upload says so at once; the rest of the body need not be sent then, and may not even find a
  reader. Interim answers (100, 102, 103) are no such refusal.
- An upload that is interrupted is ended in such a way that the server refuses it. One that is just cut off may stay
  open on the server: the SQL API begins to look for that only when its COPY has begun.
- Servers close connections that have been idle for some seconds. A request that meets this moment is lost, and nobody
  knows whether the server has read it: what must not be done twice does not use a connection that may be closed soon.
"""

from __future__ import annotations

import http.client
import queue
import re
import selectors
import socket
import time
import traceback
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import suppress
from contextvars import ContextVar
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

import requests
from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool

from cartoframes_lite._client.http.response import Response, is_interim

if TYPE_CHECKING:
    from urllib3 import BaseHTTPResponse

_SEND_TIMEOUT_S = 900.0
_INTERRUPTED_TIMEOUT_S = 2.0  # to end an upload: Ctrl-C should not take long
_LAST_CHUNK = b"0\r\n\r\n"
_PIECE_BYTES = 1 << 18
_UNDECIDED_PAUSE_S = 0.005

# Servers that close idle connections after less time than this do not get far with any client.
_SURELY_OPEN_S = 0.5
_SHARE_OF_KEEP_ALIVE = 0.6  # the answer may have been on its way for the rest

_STATUS_LINE = re.compile(rb"HTTP/1\.[01] (\d{3})")
_INTERIM_BEGINNINGS = (b"HTTP/1.1 1", b"HTTP/1.0 1")
_HEAD_END = re.compile(rb"\r?\n\r?\n")
_LONGEST_INTERIM_BYTES = 1 << 16

_careful: ContextVar[bool] = ContextVar("careful", default=False)


class ClosedWhileIdleError(http.client.RemoteDisconnected):
    """A connection that was used before was closed by the server before anything of the next request was sent."""


class DroppedError(http.client.RemoteDisconnected):
    """A connection that was used before broke before the answer to the next request began."""


def use_fresh_connections(only: bool) -> None:
    """Say of the next request whether it uses only connections that the server is not about to close.

    No context manager: an interrupt could keep it from taking that back.
    """
    _careful.set(only)


class _Connection(HTTPConnection):
    """What both schemes have in common."""

    debuglevel = 0  # whoever sets it for all of http.client would have the key printed, for it prints all headers
    response_class = Response
    _answers = 0
    _answered_at = 0.0
    _open_for_s = _SURELY_OPEN_S
    _body: Any = None
    _head_is_sent = False
    _out: tuple[memoryview, list[int]] = (memoryview(b""), [])  # what is being sent, and how much of it has been
    _body_cut = False

    def connect(self) -> None:
        super().connect()
        self.sock.settimeout(_SEND_TIMEOUT_S)
        self._body_cut = False

    def close(self) -> None:
        """Close it; an upload that still waits for its answer is ended before (urllib3 closes at any exception)."""
        self._answers = 0
        body, self._body = self._body, None
        try:
            if body is not None:
                self._end_upload(body)
        finally:
            super().close()

    @property
    def is_connected(self) -> bool:
        """Keep the pool from using a connection whose server waits for the rest of a body, or may be closing it."""
        if self._body_cut or not super().is_connected:
            return False
        return not _careful.get() or time.monotonic() - self._answered_at < self._open_for_s

    def request(self, method: str, url: str, body: Any = None, headers: Any = None, **options: Any) -> None:
        self._head_is_sent, self._out = False, (memoryview(b""), [])
        self._body = body if getattr(body, "can_be_aborted", False) else None
        try:
            super().request(method, url, body=body, headers=headers, **options)
        except BrokenPipeError:  # there may be an answer to read
            raise
        except OSError:
            self._body = None  # nobody is there to be told
            raise

    def send(self, data: Any) -> None:
        if self.sock is None:
            self.connect()
        if not self._head_is_sent and self._answers and not super().is_connected:
            raise ClosedWhileIdleError("the server has closed the connection")
        timeout_s = _SEND_TIMEOUT_S if self._body is None else self._body.timeout_s or _SEND_TIMEOUT_S
        if self.sock.gettimeout() != timeout_s:
            self.sock.settimeout(timeout_s)
        view, sent = self._out = (memoryview(data), [])
        while (at := sum(sent)) < len(view):
            self._wait_for_room()
            # In C from the call to the entry in the list, so that no interrupt comes between them: it would not be
            # known then how much was sent.
            sent.extend(map(_writer(self.sock), (view[at : at + _PIECE_BYTES],)))
        self._head_is_sent = True

    def getresponse(self) -> BaseHTTPResponse:  # type: ignore[override]  # that of urllib3 2.0 on
        if self._body is not None and self._body.timeout_s is not None:
            self.timeout = self._body.timeout_s
        body, was_used = self._body, self._answers > 0
        try:
            self._body = None  # from here on, the handler below is in charge
            response = super().getresponse()
        except ConnectionError as error:
            if was_used:
                raise DroppedError("the connection broke before the answer began") from error
            raise
        except BaseException as error:  # raised again
            if body is not None and not isinstance(error, Exception):
                self._end_upload(body)
            raise
        self._answers += 1
        self._answered_at = time.monotonic()
        self._open_for_s = _open_for_s(response.headers.get("Keep-Alive", ""))
        return response

    def _wait_for_room(self) -> None:
        """Wait until something can be sent; raise if the server answers or goes away meanwhile."""

    def _end_upload(self, body: Any) -> None:
        """End an upload that is given up, so that the server refuses it, and wait until it has been read.

        A server that has not begun to read it would not notice that the connection is closed, and would keep the table
        locked. That is so for what was sent to its end, too: then the server stores it.
        """
        view, sent = self._out
        if self.sock is None or (not self._head_is_sent and not sent):
            return  # nothing of it has been sent, or nobody is there
        rest = view[sum(sent) :].tobytes()
        if body.can_be_aborted and (view != _LAST_CHUNK or not sent):
            ending = body.ending(_INTERRUPTED_TIMEOUT_S)
            rest = (b"" if view == _LAST_CHUNK else rest) + b"%x\r\n%b\r\n" % (len(ending), ending) + _LAST_CHUNK
        with suppress(OSError):
            self.sock.settimeout(_INTERRUPTED_TIMEOUT_S)
            self.sock.sendall(rest)
            self.sock.recv(1)


class _PatientConnection(_Connection):
    """Notices an answer that comes while the body is still being sent."""

    _selector: selectors.BaseSelector | None = None

    def connect(self) -> None:
        super().connect()
        # Not epoll: its descriptor would be shared with a forked process.
        self._selector = getattr(selectors, "PollSelector", selectors.SelectSelector)()
        self._selector.register(self.sock, selectors.EVENT_READ | selectors.EVENT_WRITE)

    def close(self) -> None:
        if self._selector is not None:
            self._selector.close()
            self._selector = None
        super().close()

    def _wait_for_room(self) -> None:
        assert self._selector is not None  # since connect
        while True:
            ready = self._selector.select(self.sock.gettimeout())
            if not ready:
                raise TimeoutError("the server does not take the body")
            ((_, events),) = ready
            is_undecided = bool(events & selectors.EVENT_READ) and self._skip_interim()
            if events & selectors.EVENT_WRITE:
                return
            if is_undecided:  # it stays readable
                time.sleep(_UNDECIDED_PAUSE_S)

    def _skip_interim(self) -> bool:
        """Take interim answers away; raise if it is another, and say whether that cannot be decided yet."""
        while True:
            try:
                come = self.sock.recv(_LONGEST_INTERIM_BYTES, socket.MSG_PEEK | getattr(socket, "MSG_DONTWAIT", 0))
            except (BlockingIOError, TimeoutError):
                return False
            end = _HEAD_END.search(come)
            if not _may_be_interim(come) or (end is None and len(come) == _LONGEST_INTERIM_BYTES):
                # urllib3 takes a broken pipe for what it is here: an answer that came before the body was sent.
                self._body_cut = True
                raise BrokenPipeError("the server has answered already")
            if end is None:
                return True
            self.sock.recv(end.end())
            if end.end() == len(come):
                return False


class _PatientTLSConnection(_Connection, HTTPSConnection):
    """Without the look for an early answer: what can be read may be TLS's own."""


class _FreeConnections:
    """What a pool keeps its connections in: a stack without a lock.

    An interrupt can come behind the taking of a lock of ``queue``, which are not all in C: it is never released then,
    and the pool would wait for it in the moment in which it closes the connection. Nobody waits for a free connection.
    """

    def __init__(self, maxsize: int) -> None:
        self._maxsize, self._free = maxsize, deque[Any]()

    def get(self, block: bool = False, timeout: float | None = None) -> Any:
        try:
            return self._free.pop()
        except IndexError:
            raise queue.Empty from None

    def put(self, connection: Any, block: bool = False, timeout: float | None = None) -> None:
        if len(self._free) >= self._maxsize:
            raise queue.Full
        self._free.append(connection)

    def qsize(self) -> int:
        return len(self._free)


class _Pool(HTTPConnectionPool):
    ConnectionCls = _PatientConnection
    QueueCls = _FreeConnections  # type: ignore[assignment]  # all that a pool uses of a LifoQueue


class _TLSPool(HTTPSConnectionPool):
    ConnectionCls = _PatientTLSConnection
    QueueCls = _FreeConnections  # type: ignore[assignment]  # all that a pool uses of a LifoQueue


class Adapter(HTTPAdapter):
    """Mount it on a session for both schemes."""

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        """Make the pools, with our connections in them."""
        super().init_poolmanager(*args, **kwargs)
        self.poolmanager.pool_classes_by_scheme = {"http": _Pool, "https": _TLSPool}


class _RequestsSession(requests.Session):
    """Does not look where a redirect would go, which is not followed: that may be no URL at all."""

    def resolve_redirects(self, *args: Any, **kwargs: Any) -> Iterator[Any]:
        return iter(())


def new_session(*, trust_env: bool = True, redirects: bool = False) -> requests.Session:
    """Make a session with our connections.

    Parameters
    ----------
    trust_env : bool, default True
        Take proxies from the environment.
    redirects : bool, default False
        Whether it may follow redirects.
    """
    session = requests.Session() if redirects else _RequestsSession()
    session.trust_env = trust_env
    session.mount("https://", Adapter())
    session.mount("http://", Adapter())
    return session


def _writer(sock: Any) -> Callable[[memoryview], int]:
    """Return what sends some bytes: of a TLS socket what its ``send``, which is not in C, calls."""
    tls = getattr(sock, "_sslobj", None)
    write: Callable[[memoryview], int] = getattr(tls, "write", sock.send)
    return write


def _may_be_interim(acquire: bytes) -> bool:
    """Say whether what has come is the beginning of an interim answer, as far as can be seen."""
    if found := _STATUS_LINE.match(acquire):
        return is_interim(int(found[1]))
    return acquire != b"" and any(beginning.startswith(acquire[: len(beginning)]) for beginning in _INTERIM_BEGINNINGS)


def _open_for_s(keep_alive: str) -> float:
    """Say how long after an answer the server surely keeps the connection open, given its header Keep-Alive."""
    told = re.search(r"(?i)\btimeout *= *([0-9]{1,6})\b", keep_alive)
    return _SURELY_OPEN_S if told is None else _SHARE_OF_KEEP_ALIVE * int(told[1])


def release(error: BaseException | None) -> None:
    """Empty the frames that an error came through: those of urllib3 hold it, and would hold the connection with it."""
    while error is not None:
        traceback.clear_frames(error.__traceback__)
        error = error.__context__


def user_agent() -> str:
    """Name this package to the server."""
    try:
        return f"cartoframes_lite/{version('cartoframes_lite')}"
    except PackageNotFoundError:  # run from a source tree that is not installed
        return "cartoframes_lite"
