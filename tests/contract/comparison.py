"""Compare a response with the recorded one.

What changes from run to run is replaced on both sides: durations and times, UUIDs, hosts. What is left must
be equal, up to the level that the case asks for: ``status`` (and whether the body is an error object),
``headers``, ``shape`` (also keys and types of the JSON), or everything.
"""

from __future__ import annotations

import io
import json
import re
import struct
import zipfile
from base64 import b64encode
from collections.abc import Callable
from gzip import decompress
from typing import Any
from xml.etree import ElementTree

from tests.contract.recorded import Case, Response
from tests.protobuf_fields import read_fields

_HEADERS = ("content-type", "content-disposition", "content-encoding", "retry-after")
_VOLATILE = {"time", "created_at", "updated_at", "last_updated", "estimatedFeatureCount"}
_UUID = re.compile(r"\b(?!0{8})[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}\b")
_NODE = re.compile(r"(?<=/analysis/node/)\w+")
_LAYERGROUP = re.compile(r'"layergroupid":\s*("[^"]+")')
_DROPPED = {"cdn_url"}  # of a server with a content delivery network
_HOST = re.compile(r"https?://[^/\s\"]+")
_JSONP = re.compile(r"(?:/\*\*/ typeof \w+ === 'function' && )?(\w+)\((.*)\);?", re.DOTALL)
_ERRORS = {"error", "errors"}
_EXCERPT = 100  # characters at both ends of a long text


def comparable(case: Case, response: Response, recorded: Case) -> tuple[Any, Any]:
    """Return the parts of the response and of the recording that must be equal."""
    level, ignored = case.get("compare", "full"), frozenset(case.get("ignore", ()))
    got: dict[str, Any] = {"status": response.status}
    wanted: dict[str, Any] = {"status": recorded["status"]}
    body = decompress(response.body) if response.headers.get("content-encoding") == "gzip" else response.body
    if level in ("status", "headers"):
        got["is an error"] = not _ERRORS.isdisjoint(_read_object(body))
        wanted["is an error"] = not _ERRORS.isdisjoint(recorded["body"].get("json", {}))
    else:
        for kind, content in recorded["body"].items():
            if kind not in ignored:
                got[kind], wanted[kind] = _steady(_READERS[kind](body), ignored), _steady(content, ignored)
                if level == "shape":
                    got[kind], wanted[kind] = _shape(got[kind]), _shape(wanted[kind])
    if level != "status":
        got["headers"], wanted["headers"] = _headers(response.headers, ignored), _headers(recorded["headers"], ignored)
    return got, wanted


def _headers(headers: dict[str, str], ignored: frozenset[str]) -> dict[str, str]:
    """Pick the headers that count, without the time in the name of a file."""
    return {
        name: re.sub(r' modification-date="[^"]*";', "", value)
        for name, value in headers.items()
        if (name in _HEADERS or name.startswith("carto-rate-limit-")) and name not in ignored
    }


def _steady(value: Any, ignored: frozenset[str]) -> Any:
    """Replace values that change with each run; compare numbers as doubles, but booleans as they are."""
    if isinstance(value, dict):
        return {
            key: _mask(item) if key in _VOLATILE else _steady(item, ignored)
            for key, item in value.items()
            if key not in ignored | _DROPPED
        }
    if isinstance(value, list):
        return [_steady(item, ignored) for item in value]
    if isinstance(value, bool):
        return f"it is {value}"
    if isinstance(value, str):
        return _NODE.sub("<node>", _HOST.sub("<host>", _UUID.sub("<uuid>", value)))
    return float(value) if isinstance(value, int) else value


def _mask(value: Any) -> str:
    """Name the type of a time or a duration; the recording has that name already."""
    if isinstance(value, str):
        return value if value in ("<number>", "<string>") else "<string>"
    return "<number>"


def _shape(value: Any) -> Any:
    """Keep keys and types; of a list, those of its first item."""
    if isinstance(value, dict):
        return {key: _shape(item) for key, item in value.items()}
    return [_shape(item) for item in value[:1]] if isinstance(value, list) else type(value).__name__


def _read_object(body: bytes) -> dict[str, Any]:
    """Read a JSON object; empty if it is something else."""
    try:
        content = json.loads(body)
    except ValueError:
        return {}
    return content if isinstance(content, dict) else {}


def _read_json(body: bytes) -> Any:
    """Read JSON; the id of a map comes back in each of its URLs."""
    text = body.decode()
    if found := _LAYERGROUP.search(text):
        text = text.replace(found[1].strip('"'), "<layergroup>")
    return json.loads(text)


def _read_jsonp(body: bytes) -> Any:
    found = _JSONP.fullmatch(body.decode())
    assert found is not None, body
    return {found[1]: _read_json(found[2].encode())}


def _read_vector_tile(body: bytes) -> dict[str, int]:
    """Count the features of each layer."""
    layers = [read_fields(value) for number, value in read_fields(body) if number == 3]
    return {dict(layer)[1].decode(): sum(number == 2 for number, _ in layer) for layer in layers}


_READERS: dict[str, Callable[[bytes], Any]] = {
    "json": _read_json,
    "jsonp": _read_jsonp,
    "text": bytes.decode,
    "mvt": _read_vector_tile,
    "png": lambda body: list(struct.unpack(">II", body[16:24])),
    "jpeg": lambda body: "valid" if body.startswith(b"\xff\xd8\xff") else "broken",
    "base64": lambda body: b64encode(body).decode(),
    "length": lambda body: len(body.decode()),
    "head": lambda body: body.decode()[:_EXCERPT],
    "tail": lambda body: body.decode()[-_EXCERPT:],
    "zip": lambda body: sorted(zipfile.ZipFile(io.BytesIO(body)).namelist()),
    "xml": lambda body: ElementTree.fromstring(body).tag,
    "sqlite": lambda body: "valid" if body.startswith(b"SQLite format 3\0") else "broken",
}
