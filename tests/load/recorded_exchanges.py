"""A proxy on loopback that forwards HTTP and records the times, bodies and statuses of requests and responses."""

from __future__ import annotations

import asyncio
import hashlib
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from urllib.parse import urlsplit

import httptools

import cartoframes_lite as cfl

_BLOCK_BYTES = 1 << 16


@dataclass(slots=True)
class Exchange:
    """A request on the wire; times are those of ``time.monotonic``."""

    requested_at: float
    target: str = ""
    body: str = ""
    status: int = 0
    responded_at: float = 0.0
    retry_after_s: float | None = None

    @property
    def endpoint(self) -> str:
        """The path without the query."""
        return self.target.partition("?")[0]


class _RequestReader:
    """Reads the requests of a connection; ``current`` is the request of the next response."""

    current: Exchange

    def __init__(self, exchanges: list[Exchange]) -> None:
        self._exchanges = exchanges
        self._digest = hashlib.blake2s()

    def on_message_begin(self) -> None:
        self.current = Exchange(time.monotonic())
        self._digest = hashlib.blake2s()
        self._exchanges.append(self.current)

    def on_url(self, url: bytes) -> None:
        self.current.target += url.decode()

    def on_body(self, body: bytes) -> None:
        self._digest.update(body)

    def on_message_complete(self) -> None:
        self.current.body = self._digest.hexdigest()


class _ResponseReader:
    """Reads the responses of a connection."""

    def __init__(self, requests: _RequestReader) -> None:
        self._requests = requests
        self.parser = httptools.HttpResponseParser(self)

    def on_header(self, name: bytes, value: bytes) -> None:
        if name.lower() == b"retry-after":
            self._requests.current.retry_after_s = float(value)

    def on_headers_complete(self) -> None:
        self._requests.current.status = self.parser.get_status_code()
        self._requests.current.responded_at = time.monotonic()


class RecordingProxy:
    """Proxy in front of a server that records all exchanges."""

    def __init__(self, credentials: cfl.Credentials) -> None:
        there = urlsplit(str(credentials.base_url))
        self._there = (str(there.hostname), there.port)
        self.exchanges: list[Exchange] = []
        self._relays: set[asyncio.Task[None]] = set()
        self._loop = asyncio.new_event_loop()
        self._server = self._loop.run_until_complete(asyncio.start_server(self._relay, "127.0.0.1", 0, backlog=512))
        self._thread = threading.Thread(target=self._loop.run_forever, name="recorder")
        self._thread.start()
        port = self._server.sockets[0].getsockname()[1]
        self.credentials = cfl.Credentials(api_key=credentials.api_key, base_url=f"http://127.0.0.1:{port}{there.path}")

    def close(self) -> None:
        """Stop; connections are cut."""
        asyncio.run_coroutine_threadsafe(self._stop(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    async def _stop(self) -> None:
        # Accept no more, and let what was accepted begin: asyncio does not close the connection of a task that has not
        # begun when it is canceled, or when the server closes.
        for listening in self._server.sockets:
            self._loop.remove_reader(listening.fileno())
        await asyncio.sleep(0.01)
        self._server.close()
        while asyncio.all_tasks() - {asyncio.current_task()}:
            while self._relays:
                self._relays.pop().cancel()
            await asyncio.sleep(0.001)
        await asyncio.sleep(0.01)  # transports close their sockets after their tasks have ended

    async def _relay(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._relays.add(task)
        ends = [writer]
        requests = _RequestReader(self.exchanges)
        try:
            there_reader, there_writer = await asyncio.open_connection(*self._there)
            ends.append(there_writer)
            await asyncio.gather(
                _pump(reader, there_writer, httptools.HttpRequestParser(requests)),
                _pump(there_reader, writer, _ResponseReader(requests).parser),
            )
        except asyncio.CancelledError:  # the recorder stops
            return
        finally:
            self._relays.discard(task)
            for end in ends:
                end.close()  # all of them before the first wait, which may be canceled
            for end in ends:
                with suppress(ConnectionError):
                    await end.wait_closed()


async def _pump(
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
    parser: httptools.HttpRequestParser | httptools.HttpResponseParser,
) -> None:
    """Pass on what arrives until the end of it."""
    with suppress(ConnectionError):  # either side may leave early
        while block := await reader.read(_BLOCK_BYTES):
            parser.feed_data(block)
            writer.write(block)
            await writer.drain()
        if writer.can_write_eof():
            writer.write_eof()


@contextmanager
def recorded(credentials: cfl.Credentials) -> Iterator[RecordingProxy]:
    """Put a recorder before a server."""
    recorder = RecordingProxy(credentials)
    try:
        yield recorder
    finally:
        recorder.close()
