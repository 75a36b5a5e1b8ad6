"""Requests to the Maps API: JSON bodies, parameters that can be compressed, and what they contain."""

from __future__ import annotations

import lzma
from base64 import b64decode
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from starlette.requests import Request

from cartoframes_lite.local.http.json_parsing import JSONInputError, parse_json
from cartoframes_lite.local.http.request_bodies import Parameters, held_bytes
from cartoframes_lite.local.maps.errors import MapError
from cartoframes_lite.local.state import Key

MAX_BYTES = 100 * 1024  # of a JSON body, as in CARTO
_MAX_UNPACKED_BYTES = 1024 * 1024
_MAX_DRAINED_BYTES = 64 * 1024 * 1024  # of a body over the limit; clients read the response only after sending the body
_KEY_PARAMETERS = ("api_key", "map_key")


@dataclass(slots=True)
class MapsRequest:
    """A request to the Maps API.

    Attributes
    ----------
    request : Request
    query : dict
        Parameters of the query string; a repeated one is a list.
    body : object
        The decoded JSON body, None if there is none.
    key : Key, optional
        The key that the request names.
    headers : dict
        For the response.
    """

    request: Request
    query: Parameters
    body: Any = None
    key: Key | None = None
    headers: dict[str, str] = field(default_factory=dict)

    async def receive(self) -> None:
        """Receive the JSON body, and decode the compressed parameters; raise MapError if they are invalid."""
        self.body = await _read_body(self.request)
        self.query.update(_lzma_parameters(self.query))

    @property
    def auth_tokens(self) -> Any:
        """The tokens for templates: a str, a list of str, or None."""
        return self.query.get("auth_token", self.query.get("auth_token[]"))

    @property
    def template_name(self) -> str:
        """The name of the template in the path, without an optional ``user@``."""
        return self.text("template").rpartition("@")[2]

    @property
    def template(self) -> Any:
        """The body without ``api_key``, which some clients include."""
        body = self.body
        return {name: item for name, item in body.items() if name != "api_key"} if isinstance(body, dict) else body

    def text(self, name: str) -> str:
        """Return a parameter of the path."""
        return str(self.request.path_params[name])

    def base_url(self, user: str) -> str:
        """Return the base URL of the user, with the host of the request."""
        return f"{self.request.url.scheme}://{self.request.url.netloc}/user/{user}"

    def require_json(self, subject: str = "POST data") -> None:
        """Raise MapError if the content type of a POST or PUT request is not JSON."""
        if self.request.method in ("POST", "PUT") and not _is_json(self.request):
            raise MapError(f"{subject} must be of type application/json")

    def map_config(self) -> Any:
        """Return the MapConfig in the body or, for GET, in the query string; raise MapError if there is none."""
        content = self._config_parameter() if self.request.method == "GET" else self.body
        if isinstance(content, dict):
            content = {name: item for name, item in content.items() if name not in _KEY_PARAMETERS}
        return content

    def filters(self) -> Mapping[str, Any]:
        """Return the filters of dataviews in the query string."""
        if not self.query.get("filters"):
            return {}
        try:
            content = parse_json(str(self.query["filters"]))
        except JSONInputError:
            raise MapError("Invalid filters parameter, should be a valid JSON") from None
        filters = content.get("dataviews") if isinstance(content, Mapping) else None
        return filters if isinstance(filters, Mapping) else {}

    def placeholders(self) -> Mapping[str, Any]:
        """Return the values of placeholders in the query string."""
        try:
            parameters = parse_json(str(self.query.get("config") or "{}"))
        except JSONInputError:
            raise MapError("Invalid config parameter, should be a valid JSON") from None
        return parameters if isinstance(parameters, Mapping) else {}

    def _config_parameter(self) -> Any:
        """Parse the MapConfig in the query string."""
        text = self.query.get("config")
        if not text:
            raise MapError('layergroup GET needs a "config" parameter')
        if not isinstance(text, str):  # decoded already from the parameter lzma
            return text
        try:
            return parse_json(text)
        except JSONInputError as error:
            raise MapError(f"Unexpected JSON in the config parameter: {error}") from None


def _is_json(request: Request) -> bool:
    return request.headers.get("content-type", "").partition(";")[0].strip().lower() == "application/json"


async def _read_body(request: Request) -> Any:
    """Parse a JSON body; None if it is empty or of another content type."""
    if not any(name in request.headers for name in ("content-length", "transfer-encoding")):
        return None
    body = await _receive_body(request)
    if not _is_json(request) or not body.strip():
        return None
    try:
        return parse_json(body)
    except JSONInputError as error:
        raise MapError(f"SyntaxError: {error}", status=400, kind="entity.parse.failed") from None


async def _receive_body(request: Request) -> bytes:
    """Receive the body; raise MapError if it exceeds the limit, without keeping the rest in memory."""
    body, size = bytearray(), 0
    async with held_bytes(request).arriving():
        async for chunk in request.stream():
            size += len(chunk)
            if size <= MAX_BYTES:
                body += chunk
            elif size > _MAX_DRAINED_BYTES:
                break
    if size > MAX_BYTES:
        raise MapError("request entity too large", status=400, kind="entity.too.large")
    return bytes(body)


def _lzma_parameters(query: Mapping[str, Any]) -> Parameters:
    """Decode the parameters that are compressed in the parameter ``lzma``."""
    compressed = query.get("lzma")
    if not compressed:
        return {}
    with suppress(ValueError, lzma.LZMAError, EOFError):
        decompressor = lzma.LZMADecompressor(lzma.FORMAT_ALONE, memlimit=1 << 26)
        text = decompressor.decompress(b64decode(str(compressed).replace(" ", "+")), _MAX_UNPACKED_BYTES)
        content = parse_json(text)
        if isinstance(content, Mapping):
            return dict(content)
    raise MapError("Error decoding lzma parameter")
