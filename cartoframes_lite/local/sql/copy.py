"""Stream COPY from a request body into a table, and from a table to a response."""

from __future__ import annotations

import asyncio
import json
import time
import zlib
from collections.abc import AsyncGenerator, AsyncIterator, Coroutine, Iterator
from contextlib import suppress

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from cartoframes_lite.local.http.authentication import AuthenticatedRequest
from cartoframes_lite.local.http.request_bodies import upload_blocks
from cartoframes_lite.local.http.responses import RequestError, error_status, json_response
from cartoframes_lite.local.postgres.session import Session, SQLError, UnexpectedCopyError
from cartoframes_lite.local.sql.sessions import COPY_TIMEOUT_S, Sessions

_MAX_WIRE_BYTES = 2 * 1024**3
_GZIP = 31  # zlib's window bits for a gzip header
_GZIP_FIRST_BYTE = 0x1F
_WATCH_S = 0.1
# Of a backend whose COPY has failed: libpq does not say so before the last of the data has been sent.
_IDLE = (b"idle", b"idle in transaction (aborted)", b"gone")
_GIVEN_UP = "the upload was given up"


def copy_statement(caller: AuthenticatedRequest) -> str:
    """Return the statement; raise RequestError if it is none."""
    query = caller.parameters.get("q")
    if not isinstance(query, str):
        raise RequestError("SQL is missing")
    if not query.upper().startswith("COPY "):
        raise RequestError("SQL must start with COPY")
    return query


async def stream_copy_to(caller: AuthenticatedRequest, query: str, sessions: Sessions) -> AsyncGenerator[bytes, None]:
    """Stream the data; an error after the first block is written behind it."""
    begun = False
    try:
        async with sessions.open(caller.key.role, timeout_s=COPY_TIMEOUT_S) as session:
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
    request: Request, caller: AuthenticatedRequest, sessions: Sessions, abandoned_s: float
) -> Response:
    """Stream the body into the table; whatever goes wrong, nothing of it is committed."""
    started = time.monotonic()
    query = copy_statement(caller)
    async with sessions.open(caller.key.role, timeout_s=COPY_TIMEOUT_S) as session:
        left = await _quota_left(session)
        await session.start_copy_in(query)
        body = upload_blocks(request)
        first = asyncio.ensure_future(anext(body, b""))
        try:
            await _hold_if_abandoned(first, abandoned_s)
            sending = _send_body(_blocks(request, first, body), session, left)
            complete = await _send_unless_refused(sending, _refused(session, sessions, caller.key.role))
        except (RequestError, ClientDisconnect) as error:
            with suppress(SQLError):  # it is what is asked for
                await session.end_copy_in(_GIVEN_UP)
            if isinstance(error, ClientDisconnect):
                return Response(status_code=499)  # nobody is there to read it
            raise
        finally:
            first.cancel()
        rows = await session.end_copy_in(None if complete else _GIVEN_UP)
    if rows == 0:
        raise RequestError("No rows copied")
    return json_response({"time": round(time.monotonic() - started, 3), "total_rows": rows}, headers=caller.headers)


async def _hold_if_abandoned(first: asyncio.Future[bytes], hold_s: float) -> None:
    """Keep the COPY open for a time if the client had gone before it began: CARTO never notices that."""
    await asyncio.sleep(0)  # what is known already is known then
    if first.done() and isinstance(first.exception(), ClientDisconnect):
        await asyncio.sleep(hold_s)


async def _quota_left(session: Session) -> int:
    result = await session.execute(
        "SELECT cartodb._CDB_UserQuotaInBytes() - cartodb.CDB_UserDataSize(current_schema()::text)"
    )
    return int(result.get_value(0, 0) or 0)


async def _send_unless_refused(body: Coroutine[None, None, None], refused: Coroutine[None, None, None]) -> bool:
    """Send the body; return False if the database refuses it before its end."""
    sending = asyncio.ensure_future(body)
    watching = asyncio.ensure_future(refused)
    try:
        await asyncio.wait({sending, watching}, return_when=asyncio.FIRST_COMPLETED)
        if not sending.done():
            return False
        await sending
    finally:
        sending.cancel()
        watching.cancel()
        await asyncio.gather(sending, watching, return_exceptions=True)
    return True


async def _refused(session: Session, sessions: Sessions, role: str) -> None:
    """Return when the database does not work on the COPY any more; never, if that cannot be known."""
    await asyncio.sleep(_WATCH_S)
    with suppress(SQLError):
        async with sessions.open(role) as watching:
            while await _state(watching, session.pgconn.backend_pid) not in _IDLE:
                await asyncio.sleep(_WATCH_S)
        return
    await asyncio.get_running_loop().create_future()


async def _state(watching: Session, process: int) -> bytes | None:
    result = await watching.execute("SELECT state FROM pg_catalog.pg_stat_activity WHERE pid = $1", [str(process)])
    return result.get_value(0, 0) if result.ntuples else b"gone"


async def _send_body(blocks: AsyncIterator[bytes], session: Session, quota_left: int) -> None:
    """Hand the blocks on as the database takes them."""
    size = 0
    async for block in blocks:
        size += len(block)
        if size > quota_left:
            raise RequestError("DB Quota exceeded")
        await session.copy_in(block)


async def _blocks(request: Request, first: asyncio.Future[bytes], body: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """Yield the body, whose first block is being awaited; unpacked if it is gzip."""
    unpacker = _Gunzip() if request.headers.get("content-encoding") == "gzip" else None
    wire = 0
    async for block in _chained(first, body):
        wire += len(block)
        if wire > _MAX_WIRE_BYTES:
            raise RequestError("COPY FROM maximum POST size of 2 GB exceeded")
        if unpacker is not None:
            for unpacked in unpacker.blocks(block):
                yield unpacked
        elif block:
            yield block
    if unpacker is not None and not unpacker.complete:
        raise RequestError("Error while gunzipping: unexpected end of file")


async def _chained(first: asyncio.Future[bytes], rest: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """Yield the first block and the rest."""
    yield await first
    async for block in rest:
        yield block


class _Gunzip:
    """Unpacks gzip, one member or several; what follows the last is left out."""

    def __init__(self) -> None:
        self._member = zlib.decompressobj(_GZIP)
        self._over = False

    @property
    def complete(self) -> bool:
        """Whether the last member has come to its end."""
        return self._member.eof

    def blocks(self, packed: bytes) -> Iterator[bytes]:
        """Unpack piece by piece: a block can grow to a thousand times its size."""
        while packed and not self._over:
            if self._member.eof:
                if packed[0] != _GZIP_FIRST_BYTE:
                    self._over = True
                    return
                self._member = zlib.decompressobj(_GZIP)
            try:
                unpacked = self._member.decompress(packed, 1 << 20)
            except zlib.error as error:
                reason = str(error).rpartition(": ")[2]
                raise RequestError(f"Error while gunzipping: {reason}") from None
            if unpacked:
                yield unpacked
            packed = self._member.unused_data if self._member.eof else self._member.unconsumed_tail
