"""Read request bodies, with a size limit, and parse them into parameters.

Large bodies are parsed in a worker thread. Numbers are read as in JavaScript: an integer of 400 digits is infinite.
A JSON body that is not an object has no parameters.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from typing import Any
from urllib.parse import parse_qsl

from starlette.concurrency import run_in_threadpool
from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.types import Message

from cartoframes_lite.local.http.byte_budget import FREE_BYTES, HeldBytes
from cartoframes_lite.local.http.json_parsing import JSONInputError, parse_json
from cartoframes_lite.local.http.responses import RequestError

Parameters = dict[str, Any]

MAX_BODY_BYTES = 10 << 20  # of a body that is read into memory; uploads are streamed and have no such limit
_MAX_FIELDS = 1000
_LARGE_BYTES = 65_536  # takes some 0.5 ms to parse
_ITEM_MARKS, _ITEM_BYTES = (b",", b"[", b"{"), 64  # JSON: an empty object takes 64 bytes in memory
HELD_BYTES_KEY = "cartoframes_lite.held_bytes"  # ASGI scope key


async def read_body(request: Request, max_bytes: int = MAX_BODY_BYTES) -> bytes:
    """Read a body into memory.

    Raises
    ------
    RequestError
        413 if the body is larger than ``max_bytes``, 408 on a timeout, 503 if the memory budget of all request
        bodies is exceeded.
    """
    declared = request.headers.get("content-length", "")
    too_large = RequestError(f"request entity too large: more than {max_bytes} bytes", status=413)
    if declared.isdecimal() and (len(declared) > len(str(max_bytes)) or int(declared) > max_bytes):
        raise too_large
    held, parts, size = held_bytes(request), [], 0
    async with held.arriving():
        async for part in request.stream():
            size += len(part)
            if size > max_bytes:
                raise too_large
            if size > FREE_BYTES and not held.counted_bytes:
                # Reserve the full size at once: bodies that have arrived in part would wait for each other.
                await held.resize(int(declared) if declared.isdecimal() else max_bytes)
            parts.append(part)
    await held.resize(size)
    return b"".join(parts)


async def upload_blocks(request: Request) -> AsyncIterator[bytes]:
    """Yield the blocks of an upload; raise RequestError (408) if the client sends nothing for too long."""
    body, idle_s = request.stream(), held_bytes(request).idle_timeout_s
    while True:
        try:
            async with asyncio.timeout(idle_s):
                part = await anext(body)
        except StopAsyncIteration:
            return
        except TimeoutError:
            raise RequestError(f"the client sent no data for {idle_s:g} s", status=408) from None
        yield part


def held_bytes(request: Request) -> HeldBytes:
    """Return the counter of the bytes of a request body."""
    held = request.scope[HELD_BYTES_KEY]
    assert isinstance(held, HeldBytes)
    return held


async def body_parameters(request: Request) -> Parameters:
    """Return the parameters of a JSON, form or multipart body; a repeated parameter is a list.

    Raises
    ------
    RequestError
        If the body is too large, or cannot be parsed as its content type.
    """
    content_type = request.headers.get("content-type", "").partition(";")[0]  # case-sensitive, as on CARTO
    body = await read_body(request)
    if content_type == "multipart/form-data":
        return await _multipart(request, body)
    parse = {"application/x-www-form-urlencoded": _form, "application/json": _json}.get(content_type)
    if parse is None:
        return {}
    if len(body) < _LARGE_BYTES:
        return parse(body)
    held = held_bytes(request)
    if parse is _json:
        async with held.arriving():
            await held.resize(len(body) + _ITEM_BYTES * sum(body.count(mark) for mark in _ITEM_MARKS))
    parameters = await run_in_threadpool(parse, body)
    if not any(isinstance(value, list | dict) for value in parameters.values()):
        await held.resize(len(body))
    return parameters


def collect(items: list[tuple[str, Any]]) -> Parameters:
    """Return a dictionary of name-value pairs; the values of a repeated name become a list."""
    collected: Parameters = {}
    for name, value in items:
        if name not in collected:
            collected[name] = value
        elif isinstance(collected[name], list):
            collected[name].append(value)
        else:
            collected[name] = [collected[name], value]
    return collected


def load_json(text: str) -> Any:
    """Parse JSON; raise RequestError, with the message of Node.js, if it is invalid or nested too deeply."""
    try:
        return parse_json(text, allow_infinity=True)
    except JSONInputError as error:
        raise RequestError(str(error)) from None


def replace_surrogates(value: Any) -> Any:
    """Replace lone surrogates in the strings of a JSON value: neither UTF-8 nor PostgreSQL can represent them."""
    if isinstance(value, str):
        return value if value.isascii() else value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    if isinstance(value, Mapping):
        return {replace_surrogates(name): replace_surrogates(item) for name, item in value.items()}
    return [replace_surrogates(item) for item in value] if isinstance(value, list) else value


def _json(body: bytes) -> Parameters:
    """Return the members of a JSON object, empty for another JSON value; raise RequestError for invalid JSON."""
    text = body.decode("utf-8", "replace")
    content = load_json(text) if text.strip() else {}
    return dict(content) if isinstance(content, Mapping) else {}


def _form(body: bytes) -> Parameters:
    """Parse a URL-encoded form; raise RequestError if it has too many fields."""
    try:
        return collect(parse_qsl(body.decode("utf-8", "replace"), keep_blank_values=True, max_num_fields=_MAX_FIELDS))
    except ValueError:
        raise RequestError(f"too many parameters: more than {_MAX_FIELDS}", status=413) from None


async def _multipart(request: Request, body: bytes) -> Parameters:
    """Parse the fields of a multipart body; files are ignored."""

    async def receive() -> Message:
        return {"type": "http.request", "body": body, "more_body": False}

    try:
        async with Request(request.scope, receive).form(max_files=_MAX_FIELDS, max_fields=_MAX_FIELDS) as form:
            return collect([(name, value) for name, value in form.multi_items() if not isinstance(value, UploadFile)])
    except HTTPException as error:  # raised by Starlette for a malformed body
        raise RequestError(error.detail) from None
