"""Stream COPY: from a request body into a table, and from a table into a response."""

from __future__ import annotations

import asyncio
import json
import time
import zlib
from collections.abc import AsyncGenerator, AsyncIterator, Coroutine, Iterator
from contextlib import suppress
from typing import Any
from urllib.parse import quote

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from cartoframes_lite.local.http.authentication import AuthenticatedRequest
from cartoframes_lite.local.http.request_bodies import upload_blocks
from cartoframes_lite.local.http.responses import RequestError, error_status, json_response
from cartoframes_lite.local.plan import Plan
from cartoframes_lite.local.postgres.errors import SQLError, UnexpectedCopyError
from cartoframes_lite.local.postgres.session import Session
from cartoframes_lite.local.sql.sessions import COPY_TIMEOUT_S, Sessions

_MAX_WIRE_BYTES = 2 * 1024**3
_GZIP = 31  # wbits of zlib that select the gzip format
_GZIP_FIRST_BYTE = 0x1F
_POLL_S = 0.1  # interval between checks whether the backend still runs the COPY
# States of a backend whose COPY has failed. libpq reports the error only after the last data has been sent.
_COPY_ENDED_STATES = (b"idle", b"idle in transaction (aborted)", b"gone")
_ABORTED = "the upload was aborted"
_DEFAULT_FILENAME = "carto-sql-copyto.dmp"


def copy_statement(authenticated: AuthenticatedRequest) -> str:
    """Return the COPY statement of a request; raise RequestError if it is missing or another statement."""
    query = authenticated.parameters.get("q")
    if not isinstance(query, str):
        raise RequestError("SQL is missing")
    if not query.upper().startswith("COPY "):
        raise RequestError("SQL must start with COPY")
    return query


def export_filename(value: Any) -> str:
    """Encode the parameter ``filename`` like JavaScript's encodeURIComponent; raise RequestError if that fails."""
    try:
        return quote(_javascript_text(value or _DEFAULT_FILENAME), safe="!'()*~")
    except UnicodeEncodeError:  # a lone surrogate
        raise RequestError("URI malformed") from None


def _javascript_text(value: Any) -> str:
    """Convert a JSON value to a string like JavaScript."""
    if isinstance(value, list):
        return ",".join("" if item is None else _javascript_text(item) for item in value)
    if isinstance(value, dict):
        return "[object Object]"
    return str(value).lower() if isinstance(value, bool) else str(value)


async def stream_copy_to(
    authenticated: AuthenticatedRequest, query: str, sessions: Sessions
) -> AsyncGenerator[bytes, None]:
    """Run a COPY TO STDOUT and yield its data. An error after the first block is appended to the data."""
    begun = False
    try:
        async with sessions.open(authenticated.key.role, timeout_s=COPY_TIMEOUT_S) as session:
            async for block in session.copy_out(query):
                begun = True
                yield block
    except UnexpectedCopyError:
        raise RequestError("Connection terminated") from None
    except SQLError as error:
        if not begun:
            raise
        yield json.dumps(error_status(error)[1], ensure_ascii=False, separators=(",", ":")).encode()


async def stream_copy_from(
    request: Request, authenticated: AuthenticatedRequest, sessions: Sessions, plan: Plan, abandoned_s: float
) -> Response:
    """Run a COPY FROM STDIN with the request body as its data. On any error nothing is committed."""
    started = time.monotonic()
    query = copy_statement(authenticated)
    async with sessions.open(authenticated.key.role, timeout_s=COPY_TIMEOUT_S) as session:
        quota_left = await _quota_left(session)
        await session.start_copy_in(query)
        rate = _Rate(plan)
        body = rate.counted(upload_blocks(request))
        first = asyncio.ensure_future(anext(body, b""))
        try:
            await _hold_if_abandoned(first, abandoned_s)
            sending = _send_body(_blocks(request, first, body), session, quota_left)
            complete = await _send_until_failure(
                sending, rate.require(), _copy_failed(session, sessions, authenticated.key.role)
            )
        except (RequestError, ClientDisconnect) as error:
            with suppress(SQLError):  # the error of the aborted COPY
                await session.end_copy_in(_ABORTED)
            if isinstance(error, ClientDisconnect):
                return Response(status_code=499)  # not received: the client has disconnected
            raise
        finally:
            first.cancel()
        rows = await session.end_copy_in(None if complete else _ABORTED)
    if rows == 0:
        raise RequestError("No rows copied")
    return json_response(
        {"time": round(time.monotonic() - started, 3), "total_rows": rows}, headers=authenticated.headers
    )


async def _hold_if_abandoned(first: asyncio.Future[bytes], hold_s: float) -> None:
    """Keep the COPY open for a while if the client disconnected before it started, which CARTO does not detect."""
    await asyncio.sleep(0)  # lets `first` fail if the client has already disconnected
    if first.done() and isinstance(first.exception(), ClientDisconnect):
        await asyncio.sleep(hold_s)


async def _quota_left(session: Session) -> int:
    """Return the unused quota of the account, in bytes."""
    result = await session.execute(
        "SELECT cartodb._CDB_UserQuotaInBytes() - cartodb.CDB_UserDataSize(current_schema()::text)"
    )
    return int(result.get_value(0, 0) or 0)


async def _send_until_failure(
    body: Coroutine[None, None, None], *failures: Coroutine[None, None, RequestError | None]
) -> bool:
    """Send the body; if one of the failures comes first, raise the error that it returns, or return False."""
    sending, *watching = tasks = [asyncio.ensure_future(task) for task in (body, *failures)]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        if sending.done():
            await sending
            return True
        for error in [watch.result() for watch in watching if watch.done()]:
            if error is not None:
                raise error
        return False
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


class _Rate:
    """Count the bytes of an upload, and find out when it is slower than the plan allows."""

    def __init__(self, plan: Plan) -> None:
        self._min_bytes, self._window_s = plan.upload_bytes, plan.upload_window_s
        self._bytes = 0

    async def counted(self, blocks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        """Yield the blocks."""
        async for block in blocks:
            self._bytes += len(block)
            yield block

    async def require(self) -> RequestError:
        """Return the error of an upload that is too slow, in the first window in which it is."""
        while True:
            await asyncio.sleep(self._window_s)
            if self._bytes < self._min_bytes:
                return RequestError("Connection closed by server: input data too slow")
            self._bytes = 0


async def _copy_failed(session: Session, sessions: Sessions, role: str) -> None:
    """Return when the backend no longer runs the COPY; never, if its state cannot be read."""
    await asyncio.sleep(_POLL_S)
    with suppress(SQLError):
        async with sessions.open(role) as monitor:
            while await _backend_state(monitor, session.backend_pid) not in _COPY_ENDED_STATES:
                await asyncio.sleep(_POLL_S)
        return
    await asyncio.get_running_loop().create_future()


async def _backend_state(monitor: Session, process: int) -> bytes | None:
    """Return the state of a backend in pg_stat_activity; ``gone`` if it has ended."""
    result = await monitor.execute("SELECT state FROM pg_catalog.pg_stat_activity WHERE pid = $1", [str(process)])
    return result.get_value(0, 0) if result.ntuples else b"gone"


async def _send_body(blocks: AsyncIterator[bytes], session: Session, quota_left: int) -> None:
    """Send blocks to the database, with backpressure; raise RequestError if the quota is exceeded."""
    size = 0
    async for block in blocks:
        size += len(block)
        if size > quota_left:
            raise RequestError("DB Quota exceeded")
        await session.copy_in(block)


async def _blocks(request: Request, first: asyncio.Future[bytes], body: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """Yield the body, decompressed if it is gzip; ``first`` is the first block of the body."""
    decompressor = _Gunzip() if request.headers.get("content-encoding") == "gzip" else None
    wire_bytes = 0
    async for block in _chained(first, body):
        wire_bytes += len(block)
        if wire_bytes > _MAX_WIRE_BYTES:
            raise RequestError("COPY FROM maximum POST size of 2 GB exceeded")
        if decompressor is not None:
            for decompressed in decompressor.blocks(block):
                yield decompressed
        elif block:
            yield block
    if decompressor is not None and not decompressor.complete:
        raise RequestError("Error while gunzipping: unexpected end of file")


async def _chained(first: asyncio.Future[bytes], rest: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """Yield the first block, then the rest."""
    yield await first
    async for block in rest:
        yield block


class _Gunzip:
    """Decompressor of gzip data with one or more members; data after the last member is ignored."""

    def __init__(self) -> None:
        self._member = zlib.decompressobj(_GZIP)
        self._ended = False

    @property
    def complete(self) -> bool:
        """Whether the last member is complete."""
        return self._member.eof

    def blocks(self, compressed: bytes) -> Iterator[bytes]:
        """Yield decompressed data in pieces of up to 1 MB: a block can expand to a thousand times its size."""
        while compressed and not self._ended:
            if self._member.eof:
                if compressed[0] != _GZIP_FIRST_BYTE:
                    self._ended = True
                    return
                self._member = zlib.decompressobj(_GZIP)
            try:
                decompressed = self._member.decompress(compressed, 1 << 20)
            except zlib.error as error:
                reason = str(error).rpartition(": ")[2]
                raise RequestError(f"Error while gunzipping: {reason}") from None
            if decompressed:
                yield decompressed
            compressed = self._member.unused_data if self._member.eof else self._member.unconsumed_tail
