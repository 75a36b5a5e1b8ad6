"""Content encodings of answers: unpacked block by block, with proof that the end has come."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator

_GZIP, _ZLIB, _RAW = 31, 15, -15  # zlib's window bits
_PIECE_BYTES = 1 << 20  # a block can unpack to a thousand times its size
_MOST_ENCODINGS = 4
_NO_ENCODINGS = ("", "identity", "none", "utf-8", "utf8", "binary")  # what servers write of what is not encoded


class EncodingError(ValueError):
    """A body is not what its Content-Encoding says, ends too early, or has an encoding that was not asked for."""


def decoded(blocks: Iterable[bytes], header: str) -> Iterator[bytes]:
    """Undo the encodings that a Content-Encoding header names, the last one first.

    A body without any bytes is not an empty one that was packed: that has a head and an end.

    Parameters
    ----------
    blocks : iterable of bytes
        As they came.
    header : str
        Value of the header; "" if there is none.

    Raises
    ------
    EncodingError
        Also for encodings other than gzip and deflate, which the client does not ask for.
    """
    names = [name for part in header.split(",") if (name := part.strip().lower()) not in _NO_ENCODINGS]
    unknown = [name for name in names if name not in _DECODERS]
    if unknown or len(names) > _MOST_ENCODINGS:
        raise EncodingError(f"it is encoded as {header[:60]!r}, which was not asked for")
    for name in reversed(names):
        blocks = _DECODERS[name](blocks)
    return iter(blocks)


def _gunzip(blocks: Iterable[bytes]) -> Iterator[bytes]:
    """Unpack gzip of one or several members; zeros behind the last one are padding."""
    unpacker = zlib.decompressobj(_GZIP)
    for block in blocks:
        while block:
            if unpacker.eof:
                block = block.lstrip(b"\0")
                if not block:
                    break
                unpacker = zlib.decompressobj(_GZIP)
            yield from _pieces(unpacker, block)
            block = unpacker.unused_data
    if not unpacker.eof:
        raise EncodingError("the gzip stream ends too early")


def _inflate(blocks: Iterable[bytes]) -> Iterator[bytes]:
    """Unpack deflate, which some servers send without the header of zlib."""
    unpacker, head = None, b""
    for block in blocks:
        if unpacker is None:
            head += block
            if len(head) < 2:
                continue
            has_header = head[0] & 0x0F == zlib.DEFLATED and int.from_bytes(head[:2], "big") % 31 == 0
            unpacker, block = zlib.decompressobj(_ZLIB if has_header else _RAW), head
        if unpacker.eof and block:
            raise EncodingError("bytes follow the end of the deflate stream")
        yield from _pieces(unpacker, block)
    if unpacker is None or not unpacker.eof:
        raise EncodingError("the deflate stream ends too early")
    if unpacker.unused_data:
        raise EncodingError("bytes follow the end of the deflate stream")


def _pieces(unpacker: zlib._Decompress, block: bytes) -> Iterator[bytes]:
    """Unpack a block in pieces of bounded size."""
    try:
        while block:
            piece = unpacker.decompress(block, _PIECE_BYTES)
            if piece:
                yield piece
            block = unpacker.unconsumed_tail
        while not unpacker.eof and (piece := unpacker.decompress(b"", _PIECE_BYTES)):
            yield piece
    except zlib.error as error:
        raise EncodingError(str(error)) from error


_DECODERS = {"gzip": _gunzip, "x-gzip": _gunzip, "deflate": _inflate}
