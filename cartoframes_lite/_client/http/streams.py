"""Bodies of requests and answers as iterators of blocks."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from typing import TYPE_CHECKING

import urllib3

from cartoframes_lite._client.http.content_encoding import EncodingError, decoded
from cartoframes_lite.errors import ConnectionFailed

if TYPE_CHECKING:
    import requests

_BLOCK_BYTES = 1 << 18

_GZIP = 31  # zlib's window bits for a gzip header
_NO_CONTENT = 204
_REFUSED_WITHIN_S = 30.0
_INTERRUPTED_WITHIN_S = 2.0  # Ctrl-C should not take long


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


def close(response: requests.Response) -> None:
    """Close the connection of an answer, which a thread may be reading to its end."""
    # An interrupt can come while that thread is waited for: then both close it, and http.client finds nothing to close.
    with suppress(AttributeError):
        response.close()


def blocks_of(response: requests.Response, place: str, *, proves_end: bool = False) -> Iterator[bytes]:
    """Give the body of an answer as it arrives, decoded.

    Parameters
    ----------
    response : requests.Response
        Of which nothing has been read.
    place : str
        What the message says was asked for.
    proves_end : bool, default False
        Whether the caller can tell from the body alone that it is complete, as JSON is when it can be decoded.

    Raises
    ------
    ConnectionFailed
        If not all of it has come, or if nothing says where its end is.
    """
    raw = response.raw
    # A session of the user's may bring answers that came by no connection; they have no version.
    has_end = raw.chunked or raw.length_remaining is not None or not raw.version
    try:
        arriving = raw.stream(_BLOCK_BYTES, decode_content=False)
        header = "" if response.status_code == _NO_CONTENT else response.headers.get("Content-Encoding", "")
        yield from decoded(arriving, header)
    except EncodingError as error:
        raise ConnectionFailed(f"{place}: the answer cannot be unpacked: {error}") from error
    except (urllib3.exceptions.HTTPError, OSError, ValueError) as error:
        raise ConnectionFailed(
            f"{place}: the connection broke during the answer; nothing is returned, try again"
        ) from error
    if not has_end and not proves_end:
        raise ConnectionFailed(
            f"{place}: the answer does not say how long it is, so that it may be cut off: check what is on the way"
        )


class Body(Iterator[bytes]):
    """A body that is made while it is sent, and can be ended so that the server refuses it.

    An error of the blocks does not go through requests, whose frames would then be in its traceback, and the key in
    theirs: the sender raises it when the request is over.

    Parameters
    ----------
    make : callable
        Makes the blocks; called when the first one is wanted.
    compress : bool
        Send gzip; level 1, for the network is faster than better levels.
    abort : bytes, optional
        What makes the server refuse a body that ends with it. None: the connection is closed when the blocks fail.
    broken : list
        Is given the error of the blocks.
    size_bytes : int, optional
        Length of a body that is not compressed. None sends it in chunks.

    Attributes
    ----------
    timeout_s : float or None
        How long to wait for the server to take and refuse a body that was aborted, in seconds; None if it was not.
    """

    def __init__(
        self,
        make: Callable[[], Iterable[bytes]],
        *,
        compress: bool,
        abort: bytes | None,
        broken: list[BaseException],
        size_bytes: int | None = None,
    ) -> None:
        self._make = make
        self._blocks: Iterator[bytes] | None = None
        self._packer = zlib.compressobj(level=1, wbits=_GZIP) if compress else None
        self._abort, self._broken = abort, broken
        self._is_over = False
        self.timeout_s: float | None = None
        if size_bytes is not None:
            self.len = size_bytes  # the name that requests looks for

    @property
    def can_be_aborted(self) -> bool:
        """Whether it can still be ended so that the server refuses it."""
        return self._abort is not None and self.timeout_s is None

    def __next__(self) -> bytes:
        if self._is_over:
            raise StopIteration
        try:
            return self._next()
        except StopIteration:
            raise
        except BaseException as error:  # noqa: BLE001  # the sender raises it
            self._broken.append(error)
            if self._abort is None:
                raise ConnectionAbortedError("the body cannot be made") from None
            return self.ending(_REFUSED_WITHIN_S if isinstance(error, Exception) else _INTERRUPTED_WITHIN_S)

    def ending(self, timeout_s: float) -> bytes:
        """Give the last bytes of a body that is broken off, wherever that happens."""
        assert self._abort is not None  # only a body that can be aborted is ended
        packer = self._packer
        if packer is not None and self._is_over:  # its gzip stream has ended: another member follows
            packer = zlib.compressobj(wbits=_GZIP)
        self._is_over, self.timeout_s = True, timeout_s
        return self._abort if packer is None else packer.compress(self._abort) + packer.flush()

    def _next(self) -> bytes:
        if self._blocks is None:
            self._blocks = iter(self._make())
        for block in self._blocks:
            if not isinstance(block, bytes | bytearray | memoryview):
                raise TypeError(f"a body consists of blocks of bytes, not of {type(block).__name__}")
            packed = bytes(block) if self._packer is None else self._packer.compress(block)
            if packed:
                return packed
        self._is_over = True
        if self._packer is None:
            raise StopIteration
        return self._packer.flush()
