"""Bodies of requests and answers as iterators of blocks."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import requests

_GZIP = 31  # zlib's window bits for a gzip header


class Stream(Iterator[bytes]):
    """The blocks of an answer as they arrive."""

    def __init__(self, blocks: Iterator[bytes], stop: Callable[[], None]) -> None:
        self._blocks = blocks
        self.stop = stop

    def __next__(self) -> bytes:
        return next(self._blocks)


def shut_down(response: requests.Response) -> None:
    """Wake up the thread that waits for the next block; to close the connection would not."""
    # It may be that the last block has come in this moment, and the connection has gone back to its pool.
    with suppress(OSError, ValueError, RuntimeError):
        response.raw.shutdown()


class Sized:
    """Blocks whose length is known beforehand, so that they need not be sent in chunks."""

    def __init__(self, blocks: Iterable[bytes], size_bytes: int) -> None:
        self._blocks, self._size_bytes = blocks, size_bytes

    def __len__(self) -> int:
        return self._size_bytes

    def __iter__(self) -> Iterator[bytes]:
        return iter(self._blocks)


def watched(body: Callable[[], Iterable[bytes]], broken: list[BaseException]) -> Iterator[bytes]:
    """Remember an error of the one who makes the body, and break the connection off.

    The error itself does not go through requests, whose frames would then be in its traceback, and the key in theirs.
    """
    try:
        yield from body()
    except GeneratorExit:  # an early answer: the rest of the body is not wanted
        raise
    except BaseException as error:  # noqa: BLE001  # the sender raises it
        broken.append(error)
        raise ConnectionAbortedError("the body cannot be made") from None


def unpacked(blocks: Iterable[bytes]) -> Iterator[bytes]:
    """Unpack gzip; unlike urllib3, notice if it ends too early."""
    unpacker = zlib.decompressobj(wbits=_GZIP)
    for block in blocks:
        yield unpacker.decompress(block)
    if not unpacker.eof:
        raise EOFError("the gzip stream is not complete")


def gzipped(blocks: Iterable[bytes]) -> Iterator[bytes]:
    """Compress on the way; level 1, for the network is faster than better levels."""
    packer = zlib.compressobj(level=1, wbits=_GZIP)
    for block in blocks:
        packed = packer.compress(block)
        if packed:
            yield packed
    yield packer.flush()
