"""The body of an HTTP answer: unpacked, complete, and not larger than allowed."""

from __future__ import annotations

import http.client
import zlib
from collections.abc import Iterator

from cartoframes_lite.local.imports.files import ImportRefused

_BLOCK_BYTES = 1 << 16
_GZIP = 31  # zlib's window bits for a gzip header
_FAILED, _PARTIAL, _TOO_BIG = 1001, 1103, 6666


class Body:
    """The body of an answer.

    Parameters
    ----------
    response : http.client.HTTPResponse
    limit : int
        Most bytes of the content after unpacking.

    Attributes
    ----------
    gzipped : bool
        Whether it was packed for the way.
    """

    def __init__(self, response: http.client.HTTPResponse, limit: int) -> None:
        encoding = (response.headers["Content-Encoding"] or "identity").strip().lower()
        self.gzipped = encoding in ("gzip", "x-gzip")
        if not self.gzipped and encoding != "identity":
            raise ImportRefused(_FAILED, f"the answer has the encoding {encoding!r}, which was not asked for")
        self._response, self._limit = response, limit

    def blocks(self) -> Iterator[bytes]:
        """Yield the content.

        Raises
        ------
        ImportRefused
            1103 if the body ends too early or cannot be unpacked, 6666 if it is too big.
        """
        size = 0
        for block in self._unpacked() if self.gzipped else self._received():
            size += len(block)
            if size > self._limit:
                raise ImportRefused(_TOO_BIG, f"the file has more than {self._limit} bytes")
            yield block

    def _received(self) -> Iterator[bytes]:
        """Yield what comes, as it comes: a read of many bytes would wait for a slow server for ever."""
        missing = self._response.length  # None if the server has not told
        if missing is not None and missing > self._limit and not self.gzipped:
            raise ImportRefused(_TOO_BIG, f"the file has {missing} bytes")
        while block := self._response.read1(_BLOCK_BYTES):
            if missing is not None:
                missing -= len(block)
            yield block
        if missing:
            raise http.client.IncompleteRead(b"", missing)

    def _unpacked(self) -> Iterator[bytes]:
        """Yield the content of a body that is packed with gzip, of one or several members."""
        decoder = zlib.decompressobj(_GZIP)
        begun = False
        for received in self._received():
            packed = received
            while packed:
                if decoder.eof:
                    decoder = zlib.decompressobj(_GZIP)
                begun = True
                try:
                    yield decoder.decompress(packed, _BLOCK_BYTES)
                except zlib.error as error:
                    raise ImportRefused(_PARTIAL, "the answer cannot be unpacked") from error
                packed = decoder.unused_data if decoder.eof else decoder.unconsumed_tail
        yield decoder.flush()
        if begun and not decoder.eof:
            raise http.client.IncompleteRead(b"")
