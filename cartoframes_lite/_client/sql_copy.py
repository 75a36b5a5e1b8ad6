"""COPY endpoints of the SQL API: stream rows into and out of tables."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from functools import partial
from io import IOBase
from typing import IO, Literal

from cartoframes_lite._client.http.downloads import check_binary_copy, check_rows, write_blocks
from cartoframes_lite._client.http.json_fields import required_integer
from cartoframes_lite._client.http.request import STATEMENT_TIMEOUT_S
from cartoframes_lite._client.http.streams import Stream
from cartoframes_lite._client.http.transport import Transport
from cartoframes_lite._client.sql import PATH
from cartoframes_lite._codec.sql_text import CopyStatement
from cartoframes_lite.errors import ConnectionFailed

_BLOCK_BYTES = 1 << 18
# A suffix that makes PostgreSQL reject a COPY, wherever the data before it ends. Binary: at the start of a row it is an
# invalid field count of -2; inside a field it completes the field, if that has up to 40,000 bytes, and is then a
# negative length, or else the data ends too early. Text and CSV must not contain a zero byte in any encoding.
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
        """Send rows with ``COPY table FROM STDIN ...``.

        Parameters
        ----------
        query : str
            Must begin with ``COPY``. Sent in the URL, so limited to about 7,000 bytes.
        source : path, binary file, iterable of bytes, or callable that returns an iterable of bytes
            A callable, path or seekable file allows retries of a rejected request. If reading it raises an exception,
            the request is ended so that the server stores no rows, and the exception is raised.
        compress : {"auto", "gzip"} or None
            With gzip. "auto": if the server is not on this host, and only while the connection is slower than
            compressing, which is measured during the upload.

        Returns
        -------
        int
            Number of stored rows. The statement is atomic: all rows are stored, or none.

        Raises
        ------
        ValueError
            If the query is not ``COPY ... FROM STDIN``, or ``compress`` is another value.
        """
        _check(query, "FROM")
        if compress not in ("auto", "gzip", None):
            raise ValueError(f'compress must be "auto", "gzip" or None, not {compress!r}')
        return self._transport.upload(
            f"{PATH}/copyfrom",
            query={"q": query},
            body=_factory(source),
            compression=None if compress == "auto" and self._transport.is_local else compress,
            abort=ABORT,
            read=lambda response: required_integer(response, "total_rows"),
        )

    def copy_to(self, query: str, *, timeout_s: float | None = None) -> AbstractContextManager[Stream]:
        """Read rows with ``COPY table TO STDOUT ...``.

        An error after the first rows is sent as JSON after the data, in a response with status 200. The caller has to
        check for it; ``copy_to_file`` and ``read_carto`` do so.

        Parameters
        ----------
        query : str
        timeout_s : float, optional
            Maximum time to wait for the first row, and then for each block, in seconds. None: one hour. When it is up,
            the statement is not sent again.

        Returns
        -------
        context manager
            Iterator of blocks of bytes. Its method ``stop()`` can be called from another thread to cancel the read.

        Raises
        ------
        ValueError
            If the query is not ``COPY ... TO STDOUT``.
        """
        is_binary = _check(query, "TO").is_binary  # the binary trailer proves that the data is complete
        return self._transport.stream(
            "POST",
            f"{PATH}/copyto",
            form={"q": query},
            self_delimiting=is_binary,
            statement_timeout_s=STATEMENT_TIMEOUT_S if timeout_s is None else timeout_s,
        )

    def copy_to_file(self, query: str, path: str | os.PathLike[str], *, timeout_s: float | None = None) -> int:
        """Write rows to a file, which is created only when it is complete.

        Parameters are those of ``copy_to``, and the path of the file.

        Returns
        -------
        int
            Size of the file in bytes.

        Raises
        ------
        SQLError
            If the query failed, also after the first rows.
        ConnectionFailed
            If the response is incomplete.
        ValueError
            If the query is not ``COPY ... TO STDOUT``.
        """
        check = check_binary_copy if _check(query, "TO").is_binary else check_rows
        endpoint = f"{PATH}/copyto"
        statement_timeout_s = STATEMENT_TIMEOUT_S if timeout_s is None else timeout_s
        with self._transport.stream(
            "POST", endpoint, form={"q": query}, statement_timeout_s=statement_timeout_s
        ) as blocks:
            return write_blocks(path, blocks, check=partial(check, source=endpoint))


def _check(query: str, direction: Literal["FROM", "TO"]) -> CopyStatement:
    """Raise ValueError for the wrong direction, which would make client and server wait for each other."""
    if query[:5].upper() != "COPY ":  # the prefix that the API requires
        raise ValueError(f"the query must begin with COPY and a space, not {query[:40]!r}")
    statement = CopyStatement.of(query)
    if statement.direction != direction:
        expected, other = ("FROM STDIN", "copy_to") if direction == "FROM" else ("TO STDOUT", "copy_from")
        raise ValueError(
            f"expected COPY ... {expected}, but the direction is {statement.direction}: {query[:40]!r}; use {other}"
        )
    return statement


def _factory(source: Source) -> Callable[[], Iterable[bytes]]:
    """Return a function that iterates over a source from its beginning."""
    if callable(source):
        return source
    if isinstance(source, str | os.PathLike):
        return lambda: _read_path(source)
    if isinstance(source, IOBase):
        return lambda: _read_file(source)
    return _IterableFactory(source)


def _read_path(path: str | os.PathLike[str]) -> Iterator[bytes]:
    with open(path, "rb") as file:
        yield from iter(lambda: file.read(_BLOCK_BYTES), b"")


def _read_file(file: IOBase) -> Iterator[bytes]:
    if file.seekable():
        file.seek(0)
    yield from iter(lambda: file.read(_BLOCK_BYTES), b"")


class _IterableFactory:
    """Factory for an iterable; fails on the second call if the iterable is an iterator."""

    def __init__(self, blocks: Iterable[bytes]) -> None:
        self._blocks, self._used = blocks, False

    def __call__(self) -> Iterable[bytes]:
        if self._used and iter(self._blocks) is self._blocks:
            raise ConnectionFailed(
                "the server rejected the request, and an iterator cannot be sent again: pass a list, path or callable"
            )
        self._used = True
        return self._blocks
