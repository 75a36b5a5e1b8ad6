"""Parse uploads: stream the file to disk and collect the parameters in memory."""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field
from io import BufferedWriter
from pathlib import Path
from typing import TYPE_CHECKING

from python_multipart.exceptions import MultipartParseError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.requests import Request

from cartoframes_lite.local.http.request_bodies import Parameters, body_parameters, held_bytes, upload_blocks
from cartoframes_lite.local.http.responses import RequestError
from cartoframes_lite.local.imports.file_names import disposition_file_name

if TYPE_CHECKING:
    from python_multipart.multipart import MultipartCallbacks

_MAX_FIELDS_BYTES = 1 << 20  # values of all fields except the file
_MAX_HEADER_BYTES = 16_384  # headers of one part
_MAX_PARTS = 1000


@dataclass(slots=True)
class UploadBody:
    """Parsed body of a request.

    Attributes
    ----------
    parameters : dict
        Parameters in the body.
    path : Path, optional
        The uploaded file; the caller removes it.
    name : str
        File name given by the client.
    too_big : bool
        Whether the file exceeded the limit and was truncated.
    """

    parameters: Parameters = field(default_factory=dict)
    path: Path | None = None
    name: str = ""
    too_big: bool = False

    def discard(self) -> None:
        """Remove the file."""
        if self.path is not None:
            self.path.unlink(missing_ok=True)


async def read_upload(request: Request, directory: Path, limit: int) -> UploadBody:
    """Read the body of a request.

    Parameters
    ----------
    request : Request
        Multipart with a file; or, with ``filename`` in its query string, the file itself; or parameters.
    directory : Path
        Target directory of the file.
    limit : int
        Maximum size of the file in bytes. The rest is read and discarded, so that the client receives the response.

    Raises
    ------
    RequestError
        If the body cannot be parsed.
    starlette.requests.ClientDisconnect
        If the client has disconnected; the file is removed.
    """
    content_type, options = parse_options_header(request.headers.get("content-type", ""))
    name = request.query_params.get("filename", "")
    if content_type != b"multipart/form-data" and not name:
        return UploadBody(await body_parameters(request))
    received = UploadBody()
    with _Writer(received, directory, limit) as writer:
        if content_type != b"multipart/form-data":
            writer.begin(name)
            async for block in upload_blocks(request):
                writer.write(block)
        else:
            await _read_parts(request, options.get(b"boundary", b""), received, writer)
        writer.keep()
    return received


class _Writer:
    """Write the file of a request; remove it on exit unless `keep` was called."""

    def __init__(self, received: UploadBody, directory: Path, limit: int) -> None:
        self._received, self._directory, self._left = received, directory, limit
        self._file: BufferedWriter | None = None
        self._kept = False

    def __enter__(self) -> _Writer:
        return self

    def __exit__(self, *exception: object) -> None:
        if self._file is not None:
            self._file.close()
        if not self._kept:
            self._received.discard()

    def begin(self, name: str) -> None:
        """Create the file."""
        self._received.path = self._directory / f"upload_{secrets.token_hex(16)}"
        self._received.name = name
        self._file = self._received.path.open("xb")

    def write(self, block: bytes) -> None:
        """Write a block, truncated at the limit."""
        assert self._file is not None  # begun
        self._file.write(block[: self._left])
        self._received.too_big |= len(block) > self._left
        self._left -= min(len(block), self._left)

    def keep(self) -> None:
        """Keep the file on exit."""
        self._kept = True


class _Parts:
    """Callbacks of the multipart parser: write the first file to disk, collect the fields."""

    def __init__(self, received: UploadBody, writer: _Writer) -> None:
        self._received, self._writer = received, writer
        self._header = bytearray()
        self._value = bytearray()
        self._disposition = b""
        self._name = ""
        self._content = bytearray()
        self._is_file = False
        self._parts = self.fields_bytes = self._header_bytes = 0

    def callbacks(self) -> MultipartCallbacks:
        """Return the callbacks by name."""
        return {
            "on_part_begin": self._begin,
            "on_header_field": lambda data, start, end: self._extend(self._header, data[start:end]),
            "on_header_value": lambda data, start, end: self._extend(self._value, data[start:end]),
            "on_header_end": self._end_header,
            "on_headers_finished": self._end_headers,
            "on_part_data": self._data,
            "on_part_end": self._end,
        }

    def _begin(self) -> None:
        self._disposition, self._content, self._is_file = b"", bytearray(), False
        self._header_bytes = 0
        self._parts += 1
        if self._parts > _MAX_PARTS:
            raise RequestError(f"the multipart body has more than {_MAX_PARTS} parts", status=413)

    def _extend(self, header: bytearray, data: bytes) -> None:
        self._header_bytes += len(data)
        if self._header_bytes > _MAX_HEADER_BYTES:
            raise RequestError(f"the headers of a part are larger than {_MAX_HEADER_BYTES} bytes", status=413)
        header += data

    def _end_header(self) -> None:
        if self._header.lower() == b"content-disposition":
            self._disposition = bytes(self._value)
        self._header.clear()
        self._value.clear()

    def _end_headers(self) -> None:
        _, options = parse_options_header(self._disposition)
        self._name = options.get(b"name", b"").decode("utf-8", "replace")
        file_name = disposition_file_name(self._disposition.decode("utf-8", "replace"))
        self._is_file = bool(file_name) and self._received.path is None
        if self._is_file:
            self._writer.begin(file_name)

    def _data(self, data: bytes, start: int, end: int) -> None:
        if self._is_file:
            self._writer.write(data[start:end])
        else:
            self._content += data[start:end]
            self.fields_bytes += end - start
            if self.fields_bytes > _MAX_FIELDS_BYTES:
                raise RequestError(f"the parameters are larger than {_MAX_FIELDS_BYTES} bytes", status=413)

    def _end(self) -> None:
        if not self._is_file:
            self._received.parameters[self._name] = self._content.decode("utf-8", "replace")


async def _read_parts(request: Request, boundary: bytes, received: UploadBody, writer: _Writer) -> None:
    """Read a multipart body."""
    ended = False

    def end() -> None:
        nonlocal ended
        ended = True

    try:
        parts = _Parts(received, writer)
        parser = MultipartParser(boundary, {**parts.callbacks(), "on_end": end})
        async for block in upload_blocks(request):
            parser.write(block)
            await held_bytes(request).resize(parts.fields_bytes)
    except MultipartParseError as error:
        raise RequestError(f"the multipart body is malformed: {error}") from error
    if not ended:
        raise RequestError("the multipart body is incomplete: the final boundary is missing")
