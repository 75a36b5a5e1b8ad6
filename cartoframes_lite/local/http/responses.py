"""Responses of the SQL API: JSON, CARTO's error object with its HTTP status, streamed bodies."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing, suppress
from typing import Any

import psycopg
from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send

from cartoframes_lite.local.postgres.errors import SQLError

TIMEOUT_MESSAGE = (
    "You are over platform's limits: SQL query timeout error. Refactor your query before running again"
    " or contact CARTO support for more details."
)
RATE_LIMIT_MESSAGE = "You are over platform's limits. Please contact us to know more details"
JSON_TYPE = "application/json; charset=utf-8"
QUERY_CANCELED = "57014"


class RequestError(Exception):
    """The request fails with an HTTP status.

    Parameters
    ----------
    message : str
        Error message for the client.
    status : int
        HTTP status.
    context, detail : str, optional
        Members of the error object.
    """

    def __init__(
        self, message: str, *, status: int = 400, context: str | None = None, detail: str | None = None
    ) -> None:
        super().__init__(message)
        self.message, self.status, self.context, self.detail = message, status, context, detail


def error_status(error: Exception) -> tuple[int, dict[str, Any]]:
    """Map an error to its HTTP status and error object."""
    match error:
        # Not the code alone: a COPY that was canceled by the client has the same code.
        case SQLError(sqlstate=code, message=text) if code == QUERY_CANCELED and text.startswith("canceling"):
            return 429, {"error": [TIMEOUT_MESSAGE], "context": "limit", "detail": "datasource"}
        case SQLError(sqlstate=""):  # no connection
            return 500, {"error": ["cannot connect to the database"]}
        case SQLError():
            # CARTO compares the text, not the code: "must be owner of table x" has the same code and is a 400.
            status = 403 if "permission denied" in error.message else 400
            members: dict[str, Any] = {"error": [error.message], "detail": error.detail, "hint": error.hint}
        case RequestError():
            status = error.status
            members = {"error": [error.message], "context": error.context, "detail": error.detail}
        case psycopg.OperationalError():  # the connection was lost
            status, members = 400, {"error": ["Connection terminated"]}
        case _:
            raise error
    return status, {name: value for name, value in members.items() if value}


def error_response(error: Exception, *, headers: Mapping[str, str] | None = None, callback: str = "") -> Response:
    """Build an error response; with a JSONP ``callback`` its status is 200."""
    status, members = error_status(error)
    body = json.dumps(members, ensure_ascii=False, separators=(",", ":"))
    all_headers = {**(headers or {}), "Content-Disposition": "inline"}
    if name := safe_callback(callback):
        body = f"/**/ typeof {name} === 'function' && {name}({body});"
        return Response(_encoded(body), 200, {**all_headers, "Content-Type": "text/javascript; charset=utf-8"})
    return Response(_encoded(body), status, {**all_headers, "Content-Type": JSON_TYPE})


def json_response(members: Any, *, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """Build a JSON response."""
    body = json.dumps(members, ensure_ascii=False, separators=(",", ":"))
    return Response(_encoded(body), status, {**(headers or {}), "Content-Type": JSON_TYPE})


def _encoded(text: str) -> bytes:
    """Encode a text that may contain lone surrogates of the request."""
    return text.encode("utf-8", "replace")


def safe_callback(name: str) -> str:
    """Remove the characters of a JSONP callback that are not allowed in a path of JavaScript names."""
    return re.sub(r"[^\[\]\w$.]", "", name, flags=re.ASCII)


class StreamedResponse(Response):
    """A response whose body is generated while it is sent. Generation stops when the client disconnects.

    An error before the first block becomes an error response. For a later error the status has already been sent:
    the generator writes the error into the body, or the body is truncated.

    Parameters
    ----------
    blocks : async generator of bytes
        Closed when the client disconnects.
    headers : mapping
    callback : str
        JSONP callback of the error response.
    """

    def __init__(self, blocks: AsyncGenerator[bytes, None], *, headers: Mapping[str, str], callback: str = "") -> None:
        super().__init__(None, 200, headers)
        del self.headers["content-length"]  # set by Response for the empty body
        self._blocks, self._callback = blocks, callback
        self._error_headers = {
            name: value for name, value in headers.items() if not name.lower().startswith("content-")
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the blocks until the end, or until the client disconnects."""
        sending = asyncio.ensure_future(self._send(scope, receive, send))
        disconnect = asyncio.ensure_future(_wait_for_disconnect(receive))
        try:
            await asyncio.wait({sending, disconnect}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            disconnect.cancel()
            if not sending.done():
                sending.cancel()
            with suppress(asyncio.CancelledError):
                await sending

    async def _send(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the response."""
        async with aclosing(self._blocks) as blocks:
            try:
                first = await anext(blocks, b"")
            except (SQLError, RequestError, psycopg.OperationalError) as error:
                response = error_response(error, headers=self._error_headers, callback=self._callback)
                await response(scope, receive, send)
                return
            start: Message = {
                "type": "http.response.start",
                "status": self.status_code,
                "headers": self.raw_headers,
            }
            await send(start)
            await send({"type": "http.response.body", "body": first, "more_body": True})
            # An error of the generator truncates the body: the empty block that ends it is not sent.
            with suppress(SQLError, RequestError, psycopg.OperationalError):
                async for block in blocks:
                    await send({"type": "http.response.body", "body": block, "more_body": True})
                await send({"type": "http.response.body", "body": b"", "more_body": False})


async def _wait_for_disconnect(receive: Receive) -> None:
    """Return when the client has disconnected."""
    while (await receive())["type"] != "http.disconnect":
        pass
