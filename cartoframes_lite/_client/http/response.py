"""Answers as http.client reads them, more strictly: what is cut off or malformed does not pass for an answer."""

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
_ANSWER = b"HTTP/1."  # one that was sent twice, and is no part of the first
_MOST_INTERIM = 10_000  # one in each second for nearly three hours
_MOST_INTERIM_HEADERS = 100


def is_interim(status: int) -> bool:
    """Whether another answer follows: 100 Continue, 102 Processing, 103 Early Hints; 101 is a last one."""
    return 100 <= status < 200 and status != 101


class Response(HTTPResponse):
    """An answer that begins after any number of interim ones, with a complete head and a length that can be meant.

    http.client skips only 100 Continue, takes the end of the connection for the end of the head, and a length that is
    no number for none.
    """

    def __init__(
        self, sock: socket.socket, debuglevel: int = 0, method: str | None = None, url: str | None = None
    ) -> None:
        super().__init__(sock, debuglevel, method, url)
        assert isinstance(self.fp, io.BufferedReader)
        self.fp = self._reader = _Reader(self.fp.detach())
        self._sock: socket.socket | None = sock

    def begin(self) -> None:
        """Read the head."""
        if self.headers is not None:
            return
        super().begin()
        if self._reader.is_cut:
            raise HTTPException("the head of the answer is cut off")
        try:
            assert_header_parsing(self.headers)
        except HeaderParsingError as error:
            raise HTTPException("the head of the answer has lines that are no headers") from error
        self._reader.in_chunks = self._is_chunked()

    def _is_chunked(self) -> bool:
        """Refuse an answer that says how long it is in a way that is not understood."""
        values = self.headers.get_all("Transfer-Encoding") or ()
        codings = [name for value in values for part in value.split(",") if (name := part.strip().lower())]
        kinds = set(codings)
        if kinds - {"chunked", "identity"} or (kinds == {"chunked", "identity"} and codings[-1] != "chunked"):
            raise HTTPException(f"the answer has the unknown Transfer-Encoding {', '.join(codings)[:60]!r}")
        if "chunked" in kinds:
            # A sender must not apply it twice (RFC 9112, section 6.1): to name it twice means the same as once.
            if codings != ["chunked"] or len(values) > 1:
                del self.headers["Transfer-Encoding"]
                self.headers["Transfer-Encoding"] = "chunked"
                self.chunked, self.chunk_left, self.length = True, None, None
                self.will_close = self._check_close()  # type: ignore[attr-defined]  # typeshed leaves it out
            return True
        told = {part.strip() for value in self.headers.get_all("Content-Length") or () for part in value.split(",")}
        if len(told) > 1 or not all(map(_LENGTH.fullmatch, told)):
            raise HTTPException(f"the answer has the Content-Length {', '.join(sorted(told))[:60]!r}")
        return False

    def _read_status(self) -> tuple[str, int, str]:
        """Read the status line of the answer itself (called by ``begin``)."""
        for _ in range(_MOST_INTERIM):
            version, status, reason = super()._read_status()  # type: ignore[misc]  # typeshed leaves it out
            if not is_interim(status):
                return version, status, reason
            for _ in range(_MOST_INTERIM_HEADERS):
                if self._reader.readline(1 << 16).strip() == b"":
                    break
            else:
                raise HTTPException("an interim answer has too many headers")
        raise HTTPException("no answer follows the interim ones")

    def _close_conn(self) -> None:
        """Let go of the connection at the end of the answer (called by ``read`` and ``close``).

        What has come behind the answer would pass for that to the next request. If it is no answer, it is the rest of
        this one, whose length was told wrongly.
        """
        sock, self._sock = self._sock, None
        is_ended = self.length == 0 and not self.closed and self.status not in _NO_BODY
        behind = self._reader.behind(sock) if sock is not None and (is_ended or not self.will_close) else b""
        if sock is not None and behind:
            with suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)  # the pool does not use it again then
        file, self.fp = self.fp, None  # type: ignore[assignment]  # as http.client does
        if file is not None:  # else an interrupt came when this had begun, or another thread closes it
            file.close()
        if is_ended and behind and not behind.startswith(_ANSWER[: len(behind)]):
            raise HTTPException("the answer is longer than its Content-Length")


class _Reader(io.BufferedReader):
    """Checks the lines of heads and of chunk sizes.

    Attributes
    ----------
    is_cut : bool
        Whether a line has ended without its end.
    in_chunks : bool
        Whether the next line has to be the size of a chunk.
    """

    def __init__(self, raw: io.RawIOBase) -> None:
        super().__init__(raw)
        self.is_cut = self.in_chunks = False

    def readline(self, size: int | None = -1, /) -> bytes:
        line = super().readline(size)
        if not line.endswith(b"\n"):
            self.is_cut = True
        if self.in_chunks:
            found = _CHUNK_SIZE.fullmatch(line)
            if found is None:
                raise HTTPException(f"{line[:40]!r} is not the size of a chunk")
            self.in_chunks = int(found[1], 16) > 0
        return line

    def behind(self, sock: socket.socket) -> bytes:
        """Give the beginning of what has come and was not read."""
        timeout = sock.gettimeout()
        try:
            sock.settimeout(0)
            return self.peek(1)
        except (OSError, ValueError):  # closed, or a TLS connection with nothing to read
            return b""
        finally:
            with suppress(OSError):
                sock.settimeout(timeout)
