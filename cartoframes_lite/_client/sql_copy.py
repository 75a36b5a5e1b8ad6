"""The COPY API: rows streamed into tables and out of them."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from functools import partial
from io import IOBase
from typing import IO, Literal

from cartoframes_lite._client.bodies import Stream
from cartoframes_lite._client.files import write_blocks
from cartoframes_lite._client.sql import PATH, raise_appended_error
from cartoframes_lite._client.transport import Transport
from cartoframes_lite.errors import ConnectionFailed

_BLOCK_BYTES = 1 << 18

Source = str | os.PathLike[str] | IO[bytes] | Iterable[bytes] | Callable[[], Iterable[bytes]]


class Copy:
    r"""``client.copy``.

    Parameters
    ----------
    transport : Transport

    Examples
    --------
    >>> import cartoframes_lite as cfl
    >>> client = cfl.Client()
    >>> rows = [b"East,1900\n", b"West,1905\n"]
    >>> client.copy.copy_from("COPY stations (name, year) FROM STDIN WITH (FORMAT csv)", rows)
    2
    >>> with client.copy.copy_to("COPY (SELECT name FROM stations ORDER BY year) TO STDOUT") as stream:
    ...     b"".join(stream)
    b'North\nEast\nWest\nSouth\nHarbour\n'
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
        if not isinstance(answer, dict) or "total_rows" not in answer:
            raise ConnectionFailed("the answer is not one of the SQL API: check base_url, and what is on the way")
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
        with self.copy_to(query) as blocks:
            check = partial(raise_appended_error, path=f"{PATH}/copyto")
            return write_blocks(path, blocks, check=check)


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
