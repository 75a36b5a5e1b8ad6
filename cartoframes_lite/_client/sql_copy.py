"""The COPY API: rows streamed into tables and out of them."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from io import IOBase
from pathlib import Path
from typing import IO, Literal

from cartoframes_lite._client.sql import PATH
from cartoframes_lite._client.transport import Stream, Transport
from cartoframes_lite.errors import ConnectionFailed, error_from_response

_BLOCK_BYTES = 1 << 18
_TAIL_BYTES = 1 << 16

Source = str | os.PathLike[str] | IO[bytes] | Iterable[bytes] | Callable[[], Iterable[bytes]]


class Copy:
    """``client.copy``.

    Parameters
    ----------
    transport : Transport
    """

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def copy_from(self, query: str, source: Source, *, compress: Literal["auto", "gzip"] | None = "auto") -> int:
        """Send rows: ``COPY table FROM STDIN ...``.

        Parameters
        ----------
        query : str
            Must begin with ``COPY``, and travels in the URL: at most some 7,000 bytes.
        source : path, binary file, iterable of bytes, or callable that gives an iterable of bytes
            A callable, a path or a file that can be rewound lets a request that was turned away be sent again.
        compress : {"auto", "gzip"} or None
            "auto" is gzip unless the server is on this host.

        Returns
        -------
        int
            Number of rows that were stored. It is one statement: all of them or none.
        """
        gzip = compress == "gzip" or (compress == "auto" and not self._transport.is_local)
        answer = self._transport.upload(f"{PATH}/copyfrom", query={"q": query}, body=_factory(source), compress=gzip)
        return int(answer["total_rows"])

    def copy_to(self, query: str) -> AbstractContextManager[Stream]:
        """Fetch rows: ``COPY table TO STDOUT ...``.

        An error after the first rows comes as JSON behind the data, with status 200; whoever reads the stream
        has to look for it. ``copy_to_file`` and ``read_carto`` do.

        Returns
        -------
        context manager
            Of an iterator of blocks of bytes; its ``stop()``, from another thread, ends the waiting for a block.
        """
        return self._transport.stream("POST", f"{PATH}/copyto", form={"q": query})

    def copy_to_file(self, query: str, path: str | os.PathLike[str]) -> int:
        """Fetch rows into a file, which appears only when it is complete.

        Returns
        -------
        int
            Size of the file in bytes.

        Raises
        ------
        SQLError
            If the query failed, also after the first rows.
        """
        target = Path(path)
        handle, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}-")
        try:
            with os.fdopen(handle, "wb") as file:
                size, tail = 0, b""
                with self.copy_to(query) as blocks:
                    for block in blocks:
                        size += file.write(block)
                        tail = (tail + block)[-_TAIL_BYTES:]
            raise_appended_error(tail)
            Path(name).replace(target)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise
        return size


def raise_appended_error(tail: bytes) -> None:
    """Raise the error that the server wrote behind the data, if the end of the data is one."""
    at = tail.rfind(b'{"error":')
    if at < 0:
        return
    try:
        json.loads(tail[at:])
    except ValueError:
        return
    raise error_from_response("POST", f"{PATH}/copyto", 200, {}, tail[at:])


def _factory(source: Source) -> Callable[[], Iterable[bytes]]:
    """Make of any source a function that begins it anew."""
    if callable(source):
        return source
    if isinstance(source, str | os.PathLike):
        return lambda: _read_path(source)
    if isinstance(source, IOBase):
        return lambda: _read_file(source)
    return _Once(source)


def _read_path(path: str | os.PathLike[str]) -> Iterator[bytes]:
    with open(path, "rb") as file:
        yield from iter(lambda: file.read(_BLOCK_BYTES), b"")


def _read_file(file: IOBase) -> Iterator[bytes]:
    if file.seekable():
        file.seek(0)
    yield from iter(lambda: file.read(_BLOCK_BYTES), b"")


class _Once:
    """An iterable that may be gone after it has been gone through."""

    def __init__(self, blocks: Iterable[bytes]) -> None:
        self._blocks, self._used = blocks, False

    def __call__(self) -> Iterable[bytes]:
        if self._used and iter(self._blocks) is self._blocks:
            raise ConnectionFailed("the request was turned away, and an iterator cannot be sent a second time")
        self._used = True
        return self._blocks
