"""Decompress response bodies block by block, and check that the compressed stream is complete."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator

_GZIP, _ZLIB, _RAW = 31, 15, -15  # wbits of zlib
_PIECE_BYTES = 1 << 20  # a block can decompress to a thousand times its size
_MAX_ENCODINGS = 4
_NO_ENCODINGS = ("", "identity", "none", "utf-8", "utf8", "binary")  # seen in headers of uncompressed bodies


class EncodingError(ValueError):
    """A body does not match its Content-Encoding, is truncated, or has an encoding that was not requested."""


def decoded(blocks: Iterable[bytes], header: str) -> Iterator[bytes]:
    """Decode a body by its Content-Encoding header, the last encoding first.

    A body of zero bytes is an error if it should be compressed: also an empty gzip stream has a header and a trailer.

    Parameters
    ----------
    blocks : iterable of bytes
        Encoded body.
    header : str
        Value of the header; "" if there is none.

    Raises
    ------
    EncodingError
        Also for encodings other than gzip and deflate, which the client does not request.
    """
    names = [name for part in header.split(",") if (name := part.strip().lower()) not in _NO_ENCODINGS]
    unknown = [name for name in names if name not in _DECODERS]
    if unknown or len(names) > _MAX_ENCODINGS:
        raise EncodingError(f"its Content-Encoding is {header[:60]!r}, which was not requested")
    for name in reversed(names):
        blocks = _DECODERS[name](blocks)
    return iter(blocks)


def _gunzip(blocks: Iterable[bytes]) -> Iterator[bytes]:
    """Decompress gzip of one or several members; zero bytes after the last one are padding."""
    decompressor = zlib.decompressobj(_GZIP)
    for block in blocks:
        while block:
            if decompressor.eof:
                block = block.lstrip(b"\0")
                if not block:
                    break
                decompressor = zlib.decompressobj(_GZIP)
            yield from _pieces(decompressor, block)
            block = decompressor.unused_data
    if not decompressor.eof:
        raise EncodingError("the gzip stream is truncated")


def _inflate(blocks: Iterable[bytes]) -> Iterator[bytes]:
    """Decompress deflate, which some servers send without the zlib header."""
    decompressor, head = None, b""
    for block in blocks:
        if decompressor is None:
            head += block
            if len(head) < 2:
                continue
            has_header = head[0] & 0x0F == zlib.DEFLATED and int.from_bytes(head[:2], "big") % 31 == 0
            decompressor, block = zlib.decompressobj(_ZLIB if has_header else _RAW), head
        if decompressor.eof and block:
            raise EncodingError("bytes follow the end of the deflate stream")
        yield from _pieces(decompressor, block)
    if decompressor is None or not decompressor.eof:
        raise EncodingError("the deflate stream is truncated")
    if decompressor.unused_data:
        raise EncodingError("bytes follow the end of the deflate stream")


def _pieces(decompressor: zlib._Decompress, block: bytes) -> Iterator[bytes]:
    """Decompress a block into pieces of bounded size."""
    try:
        while block:
            piece = decompressor.decompress(block, _PIECE_BYTES)
            if piece:
                yield piece
            block = decompressor.unconsumed_tail
        while not decompressor.eof and (piece := decompressor.decompress(b"", _PIECE_BYTES)):
            yield piece
    except zlib.error as error:
        raise EncodingError(str(error)) from error


_DECODERS = {"gzip": _gunzip, "x-gzip": _gunzip, "deflate": _inflate}
