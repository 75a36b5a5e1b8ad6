"""A TCP proxy on loopback that forwards HTTP, and causes a fault at a chosen byte of a chosen request or response."""

from __future__ import annotations

import contextlib
import re
import select
import socket
import struct
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal, get_args
from urllib.parse import urlsplit

from tests.http_servers import response

BLOCK_BYTES = 1 << 16
PAGE = b"<html><body>Sorry</body></html>"
_DRAIN_S = 2.0
_OPENING_BYTES = 4096
_RESPONSE_S = 8.0  # a lock is waited for half of that
_WHOLE = ("deliver_late", "send_twice", "send_again")

Side = Literal["request", "response"]
FaultAction = Literal["cut", "delay", "trickle", "replace", "deliver_late", "send_twice", "send_again"]


def gateway_response(status: str, body: bytes = PAGE, *headers: str) -> bytes:
    """Compose a response as of a gateway in front of the server: a page, unless the body looks like JSON."""
    kind = "application/json" if body[:1] in (b"{", b"[") else "text/html"
    return response(status, body, f"Content-Type: {kind}", *headers)


@dataclass(slots=True)
class Fault:
    """A fault of one request or its response.

    Attributes
    ----------
    request : int or bytes
        Number of the request since ``play``, from 0 on; or bytes that it contains near its beginning: then it is the
        first one that does.
    side : {"request", "response"}
    at : int
        How many bytes of it are forwarded before.
    action : str
        ``cut`` closes the connection, ``delay`` forwards the rest after ``pause_s``, ``trickle`` forwards it in pieces
        with ``pause_s`` between them, ``replace`` sends the client ``instead`` in place of the rest. Three actions are
        about whole requests: ``send_twice`` sends the request twice, and the client gets the second response;
        ``send_again`` gives it the first, and sends the request again ``pause_s`` later; ``deliver_late`` sends the
        client ``instead``, or closes its connection, and the server gets the request ``pause_s`` later.
    before : int or bytes, optional
        Of ``deliver_late`` and ``send_again``, in place of the pause: another request, as in ``request``, which waits
        until the server has received this one and responded; if it does not come, ``wait_for_late`` delivers.
    for_good : bool
        No connection is forwarded from then on, until ``heal``.
    abrupt : bool
        Close with a reset.
    then : callable, optional
        Called when it happens, before anything is forwarded.
    fired : bool
        Whether it has happened.
    """

    request: int | bytes
    side: Side = "request"
    at: int = 0
    action: FaultAction = "cut"
    for_good: bool = False
    abrupt: bool = False
    pause_s: float = 0.0
    instead: bytes = b""
    before: int | bytes | None = None
    then: Callable[[], None] | None = None
    fired: bool = False

    def __post_init__(self) -> None:
        if self.action not in get_args(FaultAction):
            raise ValueError(f"no action of a fault: {self.action!r}")

    def matches(self, exchange: Exchange, side: Side) -> bool:
        """Return whether the fault applies to this half of an exchange, and is still to be triggered."""
        return not self.fired and side == self.side and exchange.matches(self.request)

    def fire(self) -> None:
        """Mark the fault as triggered, and call ``then``."""
        self.fired = True
        if self.then is not None:
            self.then()


@dataclass(slots=True)
class Exchange:
    """A request and its response, as far as they have been forwarded.

    Attributes
    ----------
    number : int
    opening : bytes
        The first blocks of the request.
    head_bytes : int
        Length of the head of the request.
    sizes : dict
        How many bytes of the request and of the response came.
    """

    number: int
    opening: bytes
    head_bytes: int
    sizes: dict[Side, int] = field(default_factory=lambda: {"request": 0, "response": 0})

    def matches(self, request: int | bytes) -> bool:
        """Return whether it has this number, or contains these bytes near its beginning."""
        return request in self.opening if isinstance(request, bytes) else request == self.number


def request_steps(exchange: Exchange) -> list[int]:
    """Return the bytes of a request with which a step ends: nothing, the head, half the body, all of it."""
    head, end = exchange.head_bytes, exchange.sizes["request"]
    return [0, head, (head + end) // 2, end]


class FaultProxy:
    """Proxy in front of a server; ``base_url`` takes the place of the server's.

    Attributes
    ----------
    exchanges : list of Exchange
        Since the last ``play``.
    is_down : bool
        Whether no connection is forwarded.
    """

    def __init__(self, base_url: str) -> None:
        parts = urlsplit(base_url)
        self._server = (parts.hostname, parts.port)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.base_url = f"http://127.0.0.1:{self._listener.getsockname()[1]}{parts.path}"
        self._lock = threading.Lock()
        self._faults: tuple[Fault, ...] = ()
        self.exchanges: list[Exchange] = []
        self.is_down = False
        self._kept: list[tuple[int | bytes, bytes]] = []
        self._repeating: set[threading.Thread] = set()
        self._open: dict[threading.Thread, socket.socket] = {}
        self._accepting = threading.Thread(target=self._accept, daemon=True)
        self._accepting.start()

    def play(self, *faults: Fault) -> None:
        """Start a new record, with these faults."""
        with self._lock:
            self._faults, self.exchanges, self.is_down, self._kept = faults, [], False, []

    def heal(self) -> None:
        """Forward everything again."""
        self.play()

    def wait_for_late(self) -> None:
        """Deliver the delayed requests, and wait for the responses."""
        self.deliver(None)
        for thread in list(self._repeating):
            thread.join()

    def close(self) -> None:
        """Stop listening, and close all connections. A second call has no effect."""
        if self._listener.fileno() < 0:
            return
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._accepting.join()
        for thread, client in list(self._open.items()):
            with contextlib.suppress(OSError):  # closed meanwhile
                client.shutdown(socket.SHUT_RDWR)
            thread.join()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):  # closed
            while True:
                client, _ = self._listener.accept()
                thread = threading.Thread(target=self._serve, args=(client,), daemon=True)
                self._open[thread] = client
                thread.start()

    def _serve(self, client: socket.socket) -> None:
        with client, contextlib.suppress(OSError):  # either side may close at any moment
            if not self.is_down:
                with socket.create_connection(self._server) as server:
                    for end in (client, server):
                        end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                    _Connection(self, client, server).run()
        self._open.pop(threading.current_thread())

    def begin(self, block: bytes) -> Exchange:
        """Record a new request."""
        with self._lock:
            exchange = Exchange(len(self.exchanges), block, block.find(b"\r\n\r\n") + 4)
            self.exchanges.append(exchange)
            return exchange

    def fault(self, exchange: Exchange, side: Side, block: bytes) -> Fault | None:
        """Return the fault that happens within this block, and mark it as happened."""
        with self._lock:
            if side == "request" and 0 < exchange.sizes[side] < _OPENING_BYTES:
                exchange.opening += block
            for fault in self._faults:
                is_here = exchange.sizes[side] + len(block) >= fault.at
                if fault.action not in _WHOLE and is_here and fault.matches(exchange, side):
                    fault.fire()
                    self.is_down |= fault.for_good
                    return fault
        return None

    def collects(self, exchange: Exchange) -> bool:
        """Return whether a request is forwarded whole only: it has a fault, or may turn out to have one."""
        return any(
            (isinstance(fault.request, bytes) and not fault.fired) or fault.matches(exchange, "request")
            for fault in self._faults
            if fault.action in _WHOLE
        )

    def fault_of_whole(self, exchange: Exchange) -> Fault | None:
        """Return the fault that sends this request later, or more than once, and mark it as happened."""
        with self._lock:
            for fault in self._faults:
                if fault.action in _WHOLE and fault.matches(exchange, "request"):
                    fault.fire()
                    return fault
        return None

    def keep(self, before: int | bytes, request: bytes) -> None:
        """Keep a request until another one comes."""
        with self._lock:
            self._kept.append((before, request))

    def deliver(self, exchange: Exchange | None) -> None:
        """Send the requests that were delayed until this request; None: until the end."""
        with self._lock:
            due = [kept for kept in self._kept if exchange is None or exchange.matches(kept[0])]
            self._kept = [kept for kept in self._kept if kept not in due]
        for _, request in due:
            with contextlib.suppress(OSError):
                self.send_once_more(request)

    def send_once_more(self, request: bytes) -> None:
        """Send a request on a connection of its own, and wait for the response."""
        with socket.create_connection(self._server, timeout=_RESPONSE_S) as server:
            server.sendall(request)
            server.recv(BLOCK_BYTES)

    def repeat_later(self, request: bytes, pause_s: float) -> None:
        """Send a request once more after a pause."""

        def send() -> None:
            time.sleep(pause_s)
            with contextlib.suppress(OSError):
                self.send_once_more(request)
            self._repeating.discard(thread)

        thread = threading.Thread(target=send, daemon=True)
        self._repeating.add(thread)
        thread.start()


class _Connection:
    """One connection. A client sends its next request only after the response to the one before."""

    def __init__(self, proxy: FaultProxy, client: socket.socket, server: socket.socket) -> None:
        self._proxy, self._client, self._server = proxy, client, server
        self._exchange = Exchange(-1, b"", 0)
        self._collected = b""

    def run(self) -> None:
        """Forward blocks until one side closes or a fault ends it."""
        responded = True
        while True:
            ready, _, _ = select.select([self._client, self._server], [], [])
            if self._server in ready:
                block = self._server.recv(BLOCK_BYTES)
                if not block or not self._forward(block, "response"):
                    return
                responded = True
            if self._client in ready:
                block = self._client.recv(BLOCK_BYTES)
                if not block:
                    return
                if responded:
                    if self._proxy.is_down:
                        return
                    self._exchange, responded = self._proxy.begin(block), False
                    self._proxy.deliver(self._exchange)
                if not self._forward(block, "request"):
                    return

    def _forward(self, block: bytes, side: Side) -> bool:
        """Forward a block, or cause a fault; return whether the connection stays open."""
        exchange = self._exchange
        # The fault may happen to another request before this one is complete.
        if side == "request" and (self._collected or self._proxy.collects(exchange)):
            self._collected += block
            if not _is_complete(self._collected):
                return True
            block, self._collected = self._collected, b""
            exchange.opening = block[:BLOCK_BYTES]
            fault = self._proxy.fault_of_whole(exchange)
            if fault is not None:
                exchange.sizes[side] += len(block)
                return self._send_whole(block, fault)
        fault = self._proxy.fault(exchange, side, block)
        end = self._server if side == "request" else self._client
        before = exchange.sizes[side]
        exchange.sizes[side] += len(block)
        if fault is None:
            end.sendall(block)
            return True
        split = max(fault.at - before, 0)
        end.sendall(block[:split])
        if fault.action == "cut":
            self._cut(abrupt=fault.abrupt)
        elif fault.action == "replace":
            self._respond(fault.instead)
        elif fault.action == "delay":
            time.sleep(fault.pause_s)
            end.sendall(block[split:])
        else:
            _trickle(end, block[split:], fault.pause_s)
        return fault.action in ("delay", "trickle")

    def _send_whole(self, request: bytes, fault: Fault) -> bool:
        """Send a request as often, and as late, as the fault says; return as ``_forward``."""
        if fault.before is not None:
            self._proxy.keep(fault.before, request)
        elif fault.action == "send_twice":
            self._proxy.send_once_more(request)
        else:
            self._proxy.repeat_later(request, fault.pause_s)
        if fault.action != "deliver_late":
            self._server.sendall(request)
            return True
        if fault.instead:
            self._respond(fault.instead)
        return False

    def _cut(self, *, abrupt: bool) -> None:
        for end in (self._client, self._server):
            if abrupt:
                end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            end.close()

    def _respond(self, instead: bytes) -> None:
        """Respond in place of the server, and read on: a close with unread bytes would reset the connection."""
        self._client.sendall(instead)
        self._client.shutdown(socket.SHUT_WR)
        self._client.settimeout(_DRAIN_S)
        while self._client.recv(BLOCK_BYTES):
            pass


def _is_complete(request: bytes) -> bool:
    head, separator, body = request.partition(b"\r\n\r\n")
    if not separator:
        return False
    length = re.search(rb"(?i)\r\ncontent-length: *([0-9]+)", head)
    if length:
        return len(body) >= int(length[1])
    return b"chunked" not in head.lower() or body.endswith(b"0\r\n\r\n")


def _trickle(end: socket.socket, block: bytes, pause_s: float) -> None:
    step = max(1, len(block) // 8)
    for start in range(0, len(block), step):
        time.sleep(pause_s)
        end.sendall(block[start : start + step])
