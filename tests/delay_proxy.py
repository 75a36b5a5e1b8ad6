"""A proxy on loopback that delays HTTP as a network does, and counts connections, requests and round trips."""

from __future__ import annotations

import asyncio
import ssl
import threading
from contextlib import suppress
from typing import Protocol, Self
from urllib.parse import urlsplit

import httptools

_BLOCK_BYTES = 1 << 16
_STEP_S = 1e-6  # between two deliveries, so that they stay in order


class DelayProxy:
    """Proxy in front of a server; ``base_url`` takes the place of the server's.

    Each direction of a connection takes half a round trip, however many bytes are on their way. Opening a connection
    takes one round trip, and the handshake of TLS 1.3 another one. The server itself is reached without TLS.

    Parameters
    ----------
    base_url : str
        That of an account.
    round_trip_s : float
    tls : ssl.SSLContext, optional
        See ``tests.certificates``. Clients then connect with TLS.

    Attributes
    ----------
    connections : int
        Opened since the last ``reset``.
    requests : list of (str, str)
        Method and path (without query) of the requests since the last ``reset``.
    """

    def __init__(self, base_url: str, round_trip_s: float = 0.1, *, tls: ssl.SSLContext | None = None) -> None:
        there = urlsplit(base_url)
        self._there = (str(there.hostname), int(there.port or 80))
        self.round_trip_s = round_trip_s
        self.seen = self._seen_before = 0
        self.connections = 0
        self.requests: list[tuple[str, str]] = []
        self._relays: set[asyncio.Task[None]] = set()
        self.loop = asyncio.new_event_loop()
        # The first server delays the bytes of clients; the second one, behind it, reads their requests.
        self._servers = [
            self.loop.run_until_complete(asyncio.start_server(serve, "127.0.0.1", 0, backlog=512, ssl=context))
            for serve, context in ((self._delay, None), (self._record, tls))
        ]
        delaying, self._recording = (server.sockets[0].getsockname() for server in self._servers)
        self.base_url = f"{'https' if tls else 'http'}://127.0.0.1:{delaying[1]}{there.path}"
        self._thread = threading.Thread(target=self.loop.run_forever, name="delay-proxy")
        self._thread.start()

    @property
    def round_trips(self) -> int:
        """How many round trips followed one another since the last ``reset``, those of opening connections included.

        Requests that are on their way at the same time count once, also on different connections. The number comes
        from the order of events, not from a clock: a busy machine changes it only if it needs longer than a round trip
        between two requests that are sent at the same time.
        """
        return self.seen - self._seen_before

    def reset(self) -> None:
        """Count from zero; connections stay open."""
        self._seen_before, self.connections, self.requests = self.seen, 0, []

    def close(self) -> None:
        """Stop; connections are cut."""
        asyncio.run_coroutine_threadsafe(self._stop(), self.loop).result(10)
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join(10)
        self.loop.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    async def _stop(self) -> None:
        for server in self._servers:
            # Let what was accepted begin: asyncio does not close the connection of a task that has not begun.
            for listening in server.sockets:
                self.loop.remove_reader(listening.fileno())
            await asyncio.sleep(0.01)
            server.close()
        while asyncio.all_tasks() - {asyncio.current_task()}:
            while self._relays:
                self._relays.pop().cancel()
            await asyncio.sleep(0.001)
        await asyncio.sleep(0.01)  # transports close their sockets after their tasks have ended

    async def _delay(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Forward a connection of a client with delay."""
        self.connections += 1
        opening = _Opening(self)
        await self._relay(reader, writer, self._recording, _DelayedRequest(opening), _DelayedResponse(opening))

    async def _record(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Forward a connection to the server, and record its requests."""
        await self._relay(reader, writer, self._there, _RecordedRequest(self), _Unchanged())

    async def _relay(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        address: tuple[str, int],
        request: _Direction,
        response: _Direction,
    ) -> None:
        """Forward both directions of a connection until they end."""
        task = asyncio.current_task()
        assert task is not None
        self._relays.add(task)
        ends = [writer]
        try:
            there_reader, there_writer = await asyncio.open_connection(*address)
            ends.append(there_writer)
            await asyncio.gather(_pump(reader, there_writer, request), _pump(there_reader, writer, response))
        except asyncio.CancelledError:  # the proxy stops
            return
        finally:
            self._relays.discard(task)
            for end in ends:
                end.close()  # all of them before the first wait, which may be canceled
            for end in ends:
                with suppress(ConnectionError, ssl.SSLError):
                    await end.wait_closed()


class _Direction(Protocol):
    """How the bytes of one direction are forwarded; an empty block is their end."""

    async def forward(self, block: bytes, writer: asyncio.StreamWriter) -> None: ...


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, direction: _Direction) -> None:
    """Forward what arrives."""
    block = b"-"
    while block:
        try:
            block = await reader.read(_BLOCK_BYTES)
        except (ConnectionError, ssl.SSLError):  # either side may leave early
            block = b""
        with suppress(ConnectionError, ssl.SSLError):
            await direction.forward(block, writer)


class _Unchanged:
    """Forwards at once."""

    async def forward(self, block: bytes, writer: asyncio.StreamWriter) -> None:
        if block:
            writer.write(block)
            await writer.drain()
        elif writer.can_write_eof():
            writer.write_eof()
        else:  # TLS
            writer.close()


class _RecordedRequest(_Unchanged):
    """Forwards requests, and records them."""

    def __init__(self, proxy: DelayProxy) -> None:
        self._proxy, self._parser, self._url = proxy, httptools.HttpRequestParser(self), b""

    def on_message_begin(self) -> None:
        self._url = b""

    def on_url(self, url: bytes) -> None:
        self._url += url

    def on_headers_complete(self) -> None:
        path = self._url.partition(b"?")[0].decode()
        self._proxy.requests.append((self._parser.get_method().decode(), path))

    async def forward(self, block: bytes, writer: asyncio.StreamWriter) -> None:
        if block:
            self._parser.feed_data(block)
        await super().forward(block, writer)


class _Opening:
    """The opening of a connection: the end of its round trip, and the last round trip in which something was sent."""

    def __init__(self, proxy: DelayProxy) -> None:
        self.proxy, self.sent_in = proxy, proxy.seen + 1
        self._first, self._until_s = self.sent_in + 1, proxy.loop.time() + proxy.round_trip_s

    def send(self) -> None:
        """Note that the client sends something."""
        self.sent_in = max(self.proxy.seen + 1, self._first)

    def due_s(self) -> float:
        """Return when what is sent now arrives."""
        return max(self.proxy.loop.time(), self._until_s) + self.proxy.round_trip_s / 2


class _Delayed:
    """Forwards after half a round trip."""

    def __init__(self, opening: _Opening) -> None:
        self._opening, self._loop, self._last_s = opening, opening.proxy.loop, 0.0

    async def forward(self, block: bytes, writer: asyncio.StreamWriter) -> None:
        self._last_s = due_s = max(self._opening.due_s(), self._last_s + _STEP_S)
        if block:
            self._loop.call_at(due_s, self.deliver, block, writer, self._opening.sent_in)
            return
        await asyncio.sleep(due_s - self._loop.time())
        with suppress(OSError):  # closed meanwhile
            writer.write_eof()

    def deliver(self, block: bytes, writer: asyncio.StreamWriter, sent_in: int) -> None:
        if not writer.is_closing():
            writer.write(block)


class _DelayedRequest(_Delayed):
    """Forwards what a client sends."""

    async def forward(self, block: bytes, writer: asyncio.StreamWriter) -> None:
        self._opening.send()
        await super().forward(block, writer)


class _DelayedResponse(_Delayed):
    """Forwards what a client receives."""

    def deliver(self, block: bytes, writer: asyncio.StreamWriter, sent_in: int) -> None:
        proxy = self._opening.proxy
        proxy.seen = max(proxy.seen, sent_in)
        super().deliver(block, writer, sent_in)
