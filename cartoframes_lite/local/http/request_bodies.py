"""Bodies of requests as parameters: within a limit, and parsed beside the event loop if they are large.

Numbers are read as JavaScript reads them: an integer of 400 digits is infinite. What is no object has no parameters.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from typing import Any, NoReturn
from urllib.parse import parse_qsl

from starlette.concurrency import run_in_threadpool
from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.types import Message

from cartoframes_lite.local.http.byte_budget import FREE_BYTES, HeldBytes
from cartoframes_lite.local.http.responses import RequestError

Parameters = dict[str, Any]

MOST_BYTES = 10 << 20  # of a body that is held in memory: uploads are not
_MOST_DEPTH = 100  # of JSON
_MOST_FIELDS = 1000
_LONGEST_INTEGER = 308  # digits that surely fit into a double
_CUT_OFF = "Unexpected end of JSON input"
_LARGE_BYTES = 65_536  # some 0.5 ms to parse
_ITEM_MARKS, _ITEM_BYTES = (b",", b"[", b"{"), 64  # of JSON: an empty object is so much larger in memory
HELD = "cartoframes_lite.held_bytes"  # in the scope of a request


async def read_body(request: Request, most: int = MOST_BYTES) -> bytes:
    """Read a body into memory.

    Raises
    ------
    RequestError
        413 before there is more of it than allowed, 408 if it takes too long, 503 if there is no room for it beside
        the bodies of other requests.
    """
    announced = request.headers.get("content-length", "")
    refusal = RequestError(f"request entity too large: more than {most} bytes", status=413)
    if announced.isdecimal() and (len(announced) > len(str(most)) or int(announced) > most):
        raise refusal
    held, parts, size = held_bytes(request), [], 0
    async with held.arriving():
        async for part in request.stream():
            size += len(part)
            if size > most:
                raise refusal
            if size > FREE_BYTES and not held.counted_bytes:
                # All of it at once: bodies that are there in part would wait for each other.
                await held.resize(int(announced) if announced.isdecimal() else most)
            parts.append(part)
    await held.resize(size)
    return b"".join(parts)


async def uploaded(request: Request) -> AsyncIterator[bytes]:
    """Yield the blocks of an upload; RequestError (408) if none comes for too long."""
    body, idle_s = request.stream(), held_bytes(request).idle_timeout_s
    while True:
        try:
            async with asyncio.timeout(idle_s):
                part = await anext(body)
        except StopAsyncIteration:
            return
        except TimeoutError:
            raise RequestError(f"the upload has sent nothing for {idle_s:g} s", status=408) from None
        yield part


def held_bytes(request: Request) -> HeldBytes:
    """Return the account of the bytes of a request."""
    held = request.scope[HELD]
    assert isinstance(held, HeldBytes)
    return held


async def body_parameters(request: Request) -> Parameters:
    """Return the parameters of a JSON, form or multipart body; a repeated one is a list.

    Raises
    ------
    RequestError
        If the body is too large, or is not what its type says.
    """
    content_type = request.headers.get("content-type", "").partition(";")[0]  # in lower case only, as CARTO reads it
    body = await read_body(request)
    if content_type == "multipart/form-data":
        return await _multipart(request, body)
    parse = {"application/x-www-form-urlencoded": _form, "application/json": parse_json}.get(content_type)
    if parse is None:
        return {}
    if len(body) < _LARGE_BYTES:
        return parse(body)
    held = held_bytes(request)
    if parse is parse_json:
        async with held.arriving():
            await held.resize(len(body) + _ITEM_BYTES * sum(body.count(mark) for mark in _ITEM_MARKS))
    parameters = await run_in_threadpool(parse, body)
    if not any(isinstance(value, list | dict) for value in parameters.values()):
        await held.resize(len(body))
    return parameters


def collect(items: list[tuple[str, Any]]) -> Parameters:
    """Make a dictionary of pairs; repeated names get a list."""
    collected: Parameters = {}
    for name, value in items:
        if name not in collected:
            collected[name] = value
        elif isinstance(collected[name], list):
            collected[name].append(value)
        else:
            collected[name] = [collected[name], value]
    return collected


def parse_json(body: bytes) -> Parameters:
    """Return the members of a body that is an object in JSON, none of another one; RequestError if it is no JSON."""
    text = body.decode("utf-8", "replace")
    content = load_json(text) if text.strip() else {}
    return dict(content) if isinstance(content, Mapping) else {}


def load_json(text: str) -> Any:
    """Parse JSON; RequestError, worded as by Node.js, if it is none or nested too deeply."""

    def refuse_constant(name: str) -> NoReturn:
        raise _unexpected(text, text.find(name))

    try:
        content = json.loads(text, parse_int=_integer, parse_constant=refuse_constant)
    except RecursionError:
        raise RequestError(f"JSON is nested deeper than {_MOST_DEPTH} levels") from None
    except json.JSONDecodeError as error:
        raise _unexpected(text, error.pos) from None
    _check_depth(content)
    return content


def whole_characters(value: Any) -> Any:
    """Replace halves of characters, which UTF-8 and PostgreSQL do not have, in a value of JSON."""
    if isinstance(value, str):
        return value if value.isascii() else value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    if isinstance(value, Mapping):
        return {whole_characters(name): whole_characters(item) for name, item in value.items()}
    return [whole_characters(item) for item in value] if isinstance(value, list) else value


def _form(body: bytes) -> Parameters:
    try:
        return collect(parse_qsl(body.decode("utf-8", "replace"), keep_blank_values=True, max_num_fields=_MOST_FIELDS))
    except ValueError:
        raise RequestError(f"too many parameters: more than {_MOST_FIELDS}", status=413) from None


async def _multipart(request: Request, body: bytes) -> Parameters:
    """Parse the fields of a multipart body; files are left out."""

    async def receive() -> Message:
        return {"type": "http.request", "body": body, "more_body": False}

    try:
        async with Request(request.scope, receive).form(max_files=_MOST_FIELDS, max_fields=_MOST_FIELDS) as form:
            return collect([(name, value) for name, value in form.multi_items() if not isinstance(value, UploadFile)])
    except HTTPException as error:  # how Starlette tells of a broken one
        raise RequestError(error.detail) from None


def _integer(digits: str) -> int | float:
    return int(digits) if len(digits) <= _LONGEST_INTEGER else float(digits)


def _unexpected(text: str, position: int) -> RequestError:
    """Return the error of a text that is no JSON from a position on."""
    rest = text[position : position + 1000].strip()
    return RequestError(f"Unexpected token {rest[0]} in JSON at position {position}" if rest else _CUT_OFF)


def _check_depth(content: Any) -> None:
    """Refuse what is nested too deeply for those who walk through it."""
    level, depth = [content], 0
    while level:
        depth += 1
        if depth > _MOST_DEPTH:
            raise RequestError(f"JSON is nested deeper than {_MOST_DEPTH} levels")
        level = [
            item
            for value in level
            if isinstance(value, list | dict)
            for item in (value.values() if isinstance(value, dict) else value)
            if isinstance(item, list | dict)
        ]
