"""Body of an HTTP response: decompressed, checked for completeness, limited in size."""

from __future__ import annotations

import http.client
import zlib
from collections.abc import Iterator

from cartoframes_lite.local.imports.files import ImportJobError

_BLOCK_BYTES = 1 << 16
_GZIP = 31  # zlib's window bits for a gzip header
_FAILED, _PARTIAL, _TOO_BIG = 1001, 1103, 6666


class ResponseBody:
    """Body of a response.

    Parameters
    ----------
    response : http.client.HTTPResponse
    limit : int
        Maximum size of the decompressed content in bytes.

    Attributes
    ----------
    gzipped : bool
        Whether the response has the content encoding gzip.
    """

    def __init__(self, response: http.client.HTTPResponse, limit: int) -> None:
        encoding = (response.headers["Content-Encoding"] or "identity").strip().lower()
        self.gzipped = encoding in ("gzip", "x-gzip")
        if not self.gzipped and encoding != "identity":
            raise ImportJobError(_FAILED, f"the response has the content encoding {encoding!r}, only gzip is supported")
        self._response, self._limit = response, limit

    def blocks(self) -> Iterator[bytes]:
        """Yield the decompressed content.

        Raises
        ------
        ImportJobError
            1103 if the body cannot be decompressed, 6666 if it exceeds the limit.
        http.client.IncompleteRead
            If the body is truncated.
        """
        size = 0
        for block in self._decompressed() if self.gzipped else self._received():
            size += len(block)
            if size > self._limit:
                raise ImportJobError(_TOO_BIG, f"the file is larger than {self._limit} bytes")
            yield block

    def _received(self) -> Iterator[bytes]:
        """Yield the raw body as it arrives: `read` would block until a slow server has sent a full block."""
        missing = self._response.length  # None without Content-Length
        if missing is not None and missing > self._limit and not self.gzipped:
            raise ImportJobError(_TOO_BIG, f"the file has {missing} bytes, the limit is {self._limit}")
        while block := self._response.read1(_BLOCK_BYTES):
            if missing is not None:
                missing -= len(block)
            yield block
        if missing:
            raise http.client.IncompleteRead(b"", missing)

    def _decompressed(self) -> Iterator[bytes]:
        """Yield the content of a gzip body, which may have several members."""
        decoder = zlib.decompressobj(_GZIP)
        started = False
        for received in self._received():
            packed = received
            while packed:
                if decoder.eof:
                    decoder = zlib.decompressobj(_GZIP)
                started = True
                try:
                    yield decoder.decompress(packed, _BLOCK_BYTES)
                except zlib.error as error:
                    raise ImportJobError(_PARTIAL, "the response is not valid gzip") from error
                packed = decoder.unused_data if decoder.eof else decoder.unconsumed_tail
        yield decoder.flush()
        if started and not decoder.eof:
            raise http.client.IncompleteRead(b"")
