"""A TCP proxy on loopback that passes on what a client and a server say, and breaks it at a chosen byte."""

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
from typing import Literal
from urllib.parse import urlsplit

BLOCK_BYTES = 1 << 16
_DRAIN_S = 2.0
_OPENING_BYTES = 4096
_ANSWERED_S = 8.0  # a lock is waited for half of that

Side = Literal["request", "response"]
Deed = Literal["cut", "hold", "slow", "answer", "late", "twice", "again"]


def answer(
    status: str, body: bytes = b"<html><body>Sorry</body></html>", kind: str = "text/html", more: str = ""
) -> bytes:
    """Compose a whole answer, as a gateway in front of the server would give it."""
    head = (
        f"HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n{more}Connection: close\r\n\r\n"
    )
    return head.encode() + body


@dataclass(slots=True)
class Fault:
    """What happens to one request, or to its answer.

    Attributes
    ----------
    request : int or bytes
        Number of the request since ``play``, from 0 on; or something that it contains near its beginning: then it is
        that one as soon as this has come.
    side : {"request", "response"}
    at : int
        How many bytes of it still pass.
    deed : str
        ``cut`` closes the connection, ``hold`` lets the rest wait for ``pause_s``, ``slow`` lets it pass in pieces
        with ``pause_s`` between them, ``answer`` gives the client ``instead`` of the rest, ``late`` closes
        the connection of the client, and the server gets the request ``pause_s`` later. ``twice`` sends the request to
        the server two times, and the client gets the second answer; ``again`` gives it the first, and sends the request
        once more ``pause_s`` later.
    before : int or bytes, optional
        Of ``late`` and ``again``: another request, told as in ``request``, which waits until the server has got and
        answered this one; if it does not come, ``wait_for_late`` delivers. A client that gets ``instead``, or sees its
        connection closed, has gone on by then, so that the requests arrive in another order.
    for_good : bool
        Nobody gets through from then on, until ``heal``.
    abrupt : bool
        Close with a reset.
    then : callable, optional
        Called when it happens, before anything passes on.
    fired : bool
        Whether it has happened.
    """

    request: int | bytes
    side: Side = "request"
    at: int = 0
    deed: Deed = "cut"
    for_good: bool = False
    abrupt: bool = False
    pause_s: float = 0.0
    instead: bytes = b""
    before: int | bytes | None = None
    then: Callable[[], None] | None = None
    fired: bool = False

    def meets(self, exchange: Exchange, side: Side) -> bool:
        """Say whether it is meant for this half of an exchange, and has not happened yet."""
        return not self.fired and side == self.side and exchange.is_named(self.request)


@dataclass(slots=True)
class Exchange:
    """A request and its answer, as they have passed so far: the record from which faults are chosen.

    Attributes
    ----------
    number : int
    opening : bytes
        What came first of the request, some thousand bytes.
    head_bytes : int
        Length of the head of the request.
    sizes : dict
        How many bytes of the request and of the response came.
    """

    number: int
    opening: bytes
    head_bytes: int
    sizes: dict[Side, int] = field(default_factory=lambda: {"request": 0, "response": 0})

    def is_named(self, name: int | bytes) -> bool:
        """Say whether it has this number, or contains this near its beginning."""
        return name in self.opening if isinstance(name, bytes) else name == self.number


def is_complete(request: bytes) -> bool:
    """Say whether a request has come to its end."""
    head, separator, body = request.partition(b"\r\n\r\n")
    if not separator:
        return False
    length = re.search(rb"(?i)\r\ncontent-length: *([0-9]+)", head)
    if length:
        return len(body) >= int(length[1])
    return b"chunked" not in head.lower() or body.endswith(b"0\r\n\r\n")


def request_steps(exchange: Exchange) -> list[int]:
    """Name the bytes of a request with which a step ends: nothing, the head, half the body, all of it."""
    head, all_of_it = exchange.head_bytes, exchange.sizes["request"]
    return [0, head, (head + all_of_it) // 2, all_of_it]


class FaultProxy:
    """Stands in front of a server; ``base_url`` takes the place of the server's.

    Attributes
    ----------
    exchanges : list of Exchange
        What has passed since the last ``play``.
    late : set of socket
        Connections to the server on which a request is still to come.
    """

    def __init__(self, base_url: str) -> None:
        parts = urlsplit(base_url)
        self._there = (parts.hostname, parts.port)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.base_url = f"http://127.0.0.1:{self._listener.getsockname()[1]}{parts.path}"
        self._lock = threading.Lock()
        self._faults: tuple[Fault, ...] = ()
        self.exchanges: list[Exchange] = []
        self._dead = False
        self.late: set[socket.socket] = set()
        self._kept: list[tuple[int | bytes, bytes]] = []
        self._open: dict[threading.Thread, socket.socket] = {}
        self._accepting = threading.Thread(target=self._accept, daemon=True)
        self._accepting.start()

    def play(self, *faults: Fault) -> None:
        """Begin a new record, with these faults."""
        with self._lock:
            self._faults, self.exchanges, self._dead, self._kept = faults, [], False, []

    def heal(self) -> None:
        """Let everything pass again."""
        self.play()

    def wait_for_late(self) -> None:
        """Wait until the requests that come late have been dealt with."""
        self.deliver(None)
        while self.late:
            time.sleep(0.002)

    def close(self) -> None:
        """Stop listening, and close what is open. A second call does nothing."""
        if self._listener.fileno() < 0:
            return
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._accepting.join()
        for thread, near in list(self._open.items()):
            with contextlib.suppress(OSError):  # closed meanwhile
                near.shutdown(socket.SHUT_RDWR)
            thread.join()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):  # closed
            while True:
                near, _ = self._listener.accept()
                thread = threading.Thread(target=self._serve, args=(near,), daemon=True)
                self._open[thread] = near
                thread.start()

    def _serve(self, near: socket.socket) -> None:
        with near, contextlib.suppress(OSError):  # either side may go at any moment
            if not self._dead:
                with socket.create_connection(self._there) as far:
                    for end in (near, far):
                        end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                    _Passage(self, near, far).run()
        self._open.pop(threading.current_thread())

    def begin(self, block: bytes) -> Exchange:
        """Note a new request."""
        with self._lock:
            exchange = Exchange(len(self.exchanges), block, block.find(b"\r\n\r\n") + 4)
            self.exchanges.append(exchange)
            return exchange

    def fault(self, exchange: Exchange, side: Side, block: bytes) -> Fault | None:
        """Give the fault that happens when this block comes, and mark it as happened."""
        with self._lock:
            if side == "request" and 0 < exchange.sizes[side] < _OPENING_BYTES:
                exchange.opening += block
            for fault in self._faults:
                if fault.meets(exchange, side) and exchange.sizes[side] + len(block) >= fault.at:
                    fault.fired = True
                    if fault.then is not None:
                        fault.then()
                    self._dead = self._dead or fault.for_good
                    return fault
        return None

    def _repetitions(self) -> list[Fault]:
        faults = (fault for fault in self._faults if not fault.fired)
        return [fault for fault in faults if fault.deed in ("twice", "again") or fault.before is not None]

    def collects(self, exchange: Exchange) -> bool:
        """Say whether nothing of a request may pass before all of it is there, and it is known which one it is."""
        return any(
            isinstance(fault.request, bytes) or fault.meets(exchange, "request") for fault in self._repetitions()
        )

    def repetition(self, exchange: Exchange) -> Fault | None:
        """Give the fault that sends this request more than once, or behind another one."""
        return next((fault for fault in self._repetitions() if fault.meets(exchange, "request")), None)

    def keep(self, before: int | bytes, request: bytes) -> None:
        """Keep a whole request until another one comes."""
        with self._lock:
            self._kept.append((before, request))

    def deliver(self, exchange: Exchange | None) -> None:
        """Send what was kept until this request came; None stands for the end."""
        with self._lock:
            due = [kept for kept in self._kept if exchange is None or exchange.is_named(kept[0])]
            self._kept = [kept for kept in self._kept if kept not in due]
        for _, request in due:
            with contextlib.suppress(OSError):
                self.send_once_more(request)

    def send_once_more(self, request: bytes) -> None:
        """Send a whole request on a connection of its own, and wait for the answer."""
        with socket.create_connection(self._there, timeout=_ANSWERED_S) as far:
            far.sendall(request)
            far.recv(BLOCK_BYTES)

    def again(self, request: bytes, pause_s: float) -> None:
        """Send a whole request once more, later."""
        mark = socket.socket()
        self.late.add(mark)

        def send() -> None:
            time.sleep(pause_s)
            with contextlib.suppress(OSError):
                self.send_once_more(request)
            mark.close()
            self.late.discard(mark)

        threading.Thread(target=send, daemon=True).start()

    def keeps(self, exchange: Exchange) -> bool:
        """Say whether a request is to come late, so that nothing of it is passed on now."""
        late = (fault for fault in self._faults if fault.deed == "late" and fault.before is None)
        return any(fault.meets(exchange, "request") for fault in late)

    @property
    def is_dead(self) -> bool:
        """Whether nobody gets through."""
        return self._dead


class _Passage:
    """One connection. A client sends its next request only after the answer to the one before."""

    def __init__(self, proxy: FaultProxy, near: socket.socket, far: socket.socket) -> None:
        self._proxy, self._near, self._far = proxy, near, far
        self._exchange: Exchange | None = None
        self._kept = self._whole = b""

    def run(self) -> None:
        """Pass blocks on until one side closes or a fault ends it."""
        answered = True
        while True:
            ready, _, _ = select.select([self._near, self._far], [], [])
            if self._far in ready:
                block = self._far.recv(BLOCK_BYTES)
                if not block or not self._pass(block, "response"):
                    return
                answered = True
            if self._near in ready:
                block = self._near.recv(BLOCK_BYTES)
                if not block:
                    return
                if answered:
                    if self._proxy.is_dead:
                        return
                    self._exchange, answered = self._proxy.begin(block), False
                    self._proxy.deliver(self._exchange)
                if not self._pass(block, "request"):
                    return

    def _pass(self, block: bytes, side: Side) -> bool:
        """Pass a block on, or break it; return whether the connection goes on."""
        exchange = self._exchange
        assert exchange is not None  # a server says nothing before it is asked
        end = self._far if side == "request" else self._near
        # The fault may happen to another request before this one is complete.
        if side == "request" and (self._whole or self._proxy.collects(exchange)):
            self._whole += block
            if not is_complete(self._whole):
                return True
            block, self._whole = self._whole, b""
            exchange.opening = block[:BLOCK_BYTES]
            repetition = self._proxy.repetition(exchange)
            if repetition is not None:
                exchange.sizes[side] += len(block)
                return self._repeat(repetition, block)
        fault = self._proxy.fault(exchange, side, block)
        before = exchange.sizes[side]
        exchange.sizes[side] += len(block)
        if fault is None:
            if side == "request" and self._proxy.keeps(exchange):
                self._kept += block
            else:
                end.sendall(block)
            return True
        first, rest = block[: max(fault.at - before, 0)], block[max(fault.at - before, 0) :]
        if fault.deed == "late":
            self._deliver_late(self._kept + block, fault.pause_s)
            return False
        end.sendall(first)
        if fault.deed == "cut":
            self._cut(abrupt=fault.abrupt)
        elif fault.deed == "answer":
            self._answer(fault.instead)
        elif fault.deed == "hold":
            time.sleep(fault.pause_s)
            end.sendall(rest)
        else:
            _trickle(end, rest, fault.pause_s)
        return fault.deed in ("hold", "slow")

    def _repeat(self, fault: Fault, request: bytes) -> bool:
        """Send a whole request as often, and as late, as the fault says; return as ``_pass``."""
        fault.fired = True
        if fault.then is not None:
            fault.then()
        if fault.before is not None:
            self._proxy.keep(fault.before, request)
        elif fault.deed == "twice":
            self._proxy.send_once_more(request)
        else:
            self._proxy.again(request, fault.pause_s)
        if fault.deed != "late":
            self._far.sendall(request)
        elif fault.instead:
            self._answer(fault.instead)
        return fault.deed != "late"

    def _cut(self, *, abrupt: bool) -> None:
        for end in (self._near, self._far):
            if abrupt:
                end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            end.close()

    def _answer(self, instead: bytes) -> None:
        """Answer in the server's place, and read on: a close with unread bytes would reset the connection."""
        self._near.sendall(instead)
        self._near.shutdown(socket.SHUT_WR)
        self._near.settimeout(_DRAIN_S)
        while self._near.recv(BLOCK_BYTES):
            pass

    def _deliver_late(self, request: bytes, pause_s: float) -> None:
        """Leave the client, and give the server the request afterwards; wait until it has been dealt with."""
        self._proxy.late.add(self._far)
        try:
            self._near.close()
            time.sleep(pause_s)
            self._far.sendall(request)
            self._far.recv(BLOCK_BYTES)
        finally:
            self._proxy.late.discard(self._far)


def _trickle(end: socket.socket, block: bytes, pause_s: float) -> None:
    step = max(1, len(block) // 8)
    for start in range(0, len(block), step):
        time.sleep(pause_s)
        end.sendall(block[start : start + step])
