"""Stricter parsing of HTTP responses than http.client: truncated or malformed responses raise."""

from __future__ import annotations

import io
import re
import socket
from contextlib import suppress
from http.client import HTTPException, HTTPResponse

from urllib3.exceptions import HeaderParsingError
from urllib3.util.response import assert_header_parsing

_CHUNK_SIZE = re.compile(rb"[ \t]*([0-9A-Fa-f]{1,15})[ \t]*(?:;[^\n]*)?\r?\n")
_LENGTH = re.compile(r"[0-9]{1,18}")
_NO_BODY = (204, 304)
_RESPONSE_PREFIX = b"HTTP/1."  # beginning of a duplicated response, which is no part of the first one
_MAX_INTERIM = 10_000  # one per second for nearly three hours
_MAX_INTERIM_HEADERS = 100


def is_interim(status: int) -> bool:
    """Return whether another response follows: 100 Continue, 102 Processing, 103 Early Hints; 101 is final."""
    return 100 <= status < 200 and status != 101


class Response(HTTPResponse):
    """HTTP response that skips interim responses and requires a complete head and a valid length.

    http.client skips only 100 Continue, accepts a head that ends with the connection, and ignores an invalid
    Content-Length.
    """

    def __init__(
        self, sock: socket.socket, debuglevel: int = 0, method: str | None = None, url: str | None = None
    ) -> None:
        super().__init__(sock, debuglevel, method, url)
        assert isinstance(self.fp, io.BufferedReader)
        self.fp = self._reader = _Reader(self.fp.detach())
        self._sock: socket.socket | None = sock

    def begin(self) -> None:
        """Read status line and headers."""
        if self.headers is not None:
            return
        super().begin()
        if self._reader.is_truncated:
            raise HTTPException("the head of the response is truncated")
        try:
            assert_header_parsing(self.headers)
        except HeaderParsingError as error:
            raise HTTPException("the head of the response has malformed headers") from error
        self._reader.in_chunks = self._is_chunked()

    def _is_chunked(self) -> bool:
        """Return whether the body is chunked; raise if Transfer-Encoding or Content-Length is invalid."""
        values = self.headers.get_all("Transfer-Encoding") or ()
        codings = [name for value in values for part in value.split(",") if (name := part.strip().lower())]
        kinds = set(codings)
        if kinds - {"chunked", "identity"} or (kinds == {"chunked", "identity"} and codings[-1] != "chunked"):
            raise HTTPException(f"the response has the unknown Transfer-Encoding {', '.join(codings)[:60]!r}")
        if "chunked" in kinds:
            # Chunked must not be applied twice (RFC 9112, section 6.1), so a repeated value means the same as one.
            if codings != ["chunked"] or len(values) > 1:
                del self.headers["Transfer-Encoding"]
                self.headers["Transfer-Encoding"] = "chunked"
                self.chunked, self.chunk_left, self.length = True, None, None
                self.will_close = self._check_close()  # type: ignore[attr-defined]  # typeshed leaves it out
            return True
        lengths = {part.strip() for value in self.headers.get_all("Content-Length") or () for part in value.split(",")}
        if len(lengths) > 1 or not all(map(_LENGTH.fullmatch, lengths)):
            raise HTTPException(f"the response has the invalid Content-Length {', '.join(sorted(lengths))[:60]!r}")
        return False

    def _read_status(self) -> tuple[str, int, str]:
        """Read the status line of the final response (called by ``begin``)."""
        for _ in range(_MAX_INTERIM):
            version, status, reason = super()._read_status()  # type: ignore[misc]  # typeshed leaves it out
            if not is_interim(status):
                return version, status, reason
            for _ in range(_MAX_INTERIM_HEADERS):
                if self._reader.readline(1 << 16).strip() == b"":
                    break
            else:
                raise HTTPException("an interim response has too many headers")
        raise HTTPException("no final response follows the interim ones")

    def _close_conn(self) -> None:
        """Release the connection at the end of the response (called by ``read`` and ``close``).

        Surplus bytes after the response would be read as the response to the next request, so the connection is not
        reused. If they are no HTTP response, they belong to this one, whose Content-Length is wrong.
        """
        sock, self._sock = self._sock, None
        is_ended = self.length == 0 and not self.closed and self.status not in _NO_BODY
        surplus = self._reader.surplus(sock) if sock is not None and (is_ended or not self.will_close) else b""
        if sock is not None and surplus:
            with suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)  # so that the pool does not reuse it
        file, self.fp = self.fp, None  # type: ignore[assignment]  # as http.client does
        if file is not None:  # None after an interrupt in this method, or if another thread closes the response
            file.close()
        if is_ended and surplus and not surplus.startswith(_RESPONSE_PREFIX[: len(surplus)]):
            raise HTTPException("the response is longer than its Content-Length")


class _Reader(io.BufferedReader):
    """Reader that checks the lines of the head and of chunk sizes.

    Attributes
    ----------
    is_truncated : bool
        Whether a line ended without a line break.
    in_chunks : bool
        Whether the next line must be a chunk size.
    """

    def __init__(self, raw: io.RawIOBase) -> None:
        super().__init__(raw)
        self.is_truncated = self.in_chunks = False

    def readline(self, size: int | None = -1, /) -> bytes:
        line = super().readline(size)
        if not line.endswith(b"\n"):
            self.is_truncated = True
        if self.in_chunks:
            found = _CHUNK_SIZE.fullmatch(line)
            if found is None:
                raise HTTPException(f"{line[:40]!r} is not a chunk size")
            self.in_chunks = int(found[1], 16) > 0
        return line

    def surplus(self, sock: socket.socket) -> bytes:
        """Return the beginning of the data that was received and not read."""
        timeout = sock.gettimeout()
        try:
            sock.settimeout(0)
            return self.peek(1)
        except (OSError, ValueError):  # closed, or a TLS connection with nothing to read
            return b""
        finally:
            with suppress(OSError):
                sock.settimeout(timeout)
