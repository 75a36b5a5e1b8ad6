"""The COPY API: rows streamed into tables and out of them."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from functools import partial
from io import IOBase
from typing import IO, Literal

from cartoframes_lite._client.http.downloads import check_binary_copy, check_rows, write_blocks
from cartoframes_lite._client.http.json_fields import required_integer
from cartoframes_lite._client.http.streams import Stream
from cartoframes_lite._client.http.transport import Transport
from cartoframes_lite._client.sql import PATH
from cartoframes_lite._codec.sql_text import CopyStatement
from cartoframes_lite.errors import ConnectionFailed

_BLOCK_BYTES = 1 << 18
# What PostgreSQL refuses behind any part of a COPY. At the beginning of a binary row it is -2 fields; in the middle of
# a field it completes one of up to 40,000 bytes, and is then a negative length, or it ends too early. Text and CSV
# must not have the zero byte, in any encoding.
ABORT = b"\xff\xfe" * 20_000 + b"\0"

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
            A callable, a path or a file that can be rewound lets a request that was turned away be sent again. If it
            breaks off, or is interrupted, the body is ended so that the server refuses it, and its error is raised.
        compress : {"auto", "gzip"} or None
            "auto" is gzip unless the server is on this host.

        Returns
        -------
        int
            Number of rows that were stored. It is one statement: all of them or none.

        Raises
        ------
        ValueError
            If the query is not ``COPY ... FROM STDIN``.
        """
        _check(query, "FROM")
        gzip = compress == "gzip" or (compress == "auto" and not self._transport.is_local)
        return self._transport.upload(
            f"{PATH}/copyfrom",
            query={"q": query},
            body=_factory(source),
            compress=gzip,
            abort=ABORT,
            read=lambda answer: required_integer(answer, "total_rows"),
        )

    def copy_to(self, query: str) -> AbstractContextManager[Stream]:
        """Fetch rows: ``COPY table TO STDOUT ...``.

        An error after the first rows comes as JSON behind the data, with status 200; whoever reads the stream
        has to look for it. ``copy_to_file`` and ``read_carto`` do.

        Returns
        -------
        context manager
            Of an iterator of blocks of bytes; its ``stop()``, from another thread, ends the waiting for a block.

        Raises
        ------
        ValueError
            If the query is not ``COPY ... TO STDOUT``.
        """
        is_binary = _check(query, "TO").is_binary  # then its trailer shows whoever reads it that it is complete
        return self._transport.stream("POST", f"{PATH}/copyto", form={"q": query}, self_delimiting=is_binary)

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
        ConnectionFailed
            If not all rows have come.
        ValueError
            If the query is not ``COPY ... TO STDOUT``.
        """
        check = check_binary_copy if _check(query, "TO").is_binary else check_rows
        place = f"{PATH}/copyto"
        with self._transport.stream("POST", place, form={"q": query}) as blocks:
            return write_blocks(path, blocks, check=partial(check, source=place))


def _check(query: str, direction: Literal["FROM", "TO"]) -> CopyStatement:
    """Refuse the wrong direction before it makes both sides wait for each other."""
    if query[:5].upper() != "COPY ":  # what the API looks for
        raise ValueError(f"the query must begin with COPY and a blank, not {query[:40]!r}")
    found = CopyStatement.of(query)
    if found.direction != direction:
        wanted, other = ("FROM STDIN", "copy_to") if direction == "FROM" else ("TO STDOUT", "copy_from")
        raise ValueError(f"expected COPY ... {wanted}, and this copies {found.direction}: {query[:40]!r}; use {other}")
    return found


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
