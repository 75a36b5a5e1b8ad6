"""Request and response bodies as iterators of blocks."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from typing import TYPE_CHECKING

import urllib3

from cartoframes_lite._client.http.connection import Connection
from cartoframes_lite._client.http.content_encoding import EncodingError, decoded
from cartoframes_lite._client.http.gzip_encoding import Compression, Encoder, Gzip, in_pieces, new_encoder
from cartoframes_lite.errors import ConnectionFailed, ResponseTimeout

if TYPE_CHECKING:
    import requests

_BLOCK_BYTES = 1 << 18

_NO_CONTENT = 204
_ABORT_TIMEOUT_S = 30.0
_MAX_HELD_S = 1.0  # in which compressed bytes may wait for more
_INTERRUPT_TIMEOUT_S = 2.0  # short, so that Ctrl-C returns soon


class Stream(Iterator[bytes]):
    """Iterator of the blocks of a response body.

    Attributes
    ----------
    stop : callable
        Cancels the read, also from another thread while the iterator waits for the next block.
    """

    def __init__(self, blocks: Iterator[bytes], stop: Callable[[], None]) -> None:
        self._blocks = blocks
        self.stop = stop

    def __next__(self) -> bytes:
        return next(self._blocks)


def interrupt_read(response: requests.Response) -> None:
    """Shut the socket down to wake a thread that waits for the next block; closing it would not."""
    connection = getattr(response.raw, "connection", None)
    # The last block may have arrived meanwhile, and the connection may be back in its pool.
    with suppress(OSError, ValueError, RuntimeError):
        if isinstance(connection, Connection):
            connection.interrupt()  # no effect on the next request of the connection
        else:
            response.raw.shutdown()


def close(response: requests.Response) -> None:
    """Close the connection of a response, which another thread may still be reading."""
    # After an interrupt both threads may close it; http.client then raises AttributeError in the second one.
    with suppress(AttributeError):
        response.close()


def response_timeout(waited: str, method: str, url: str, timeout_s: float, cause: BaseException) -> ResponseTimeout:
    """Return the error for a statement whose timeout has passed; ``waited`` says for what."""
    error = ResponseTimeout(
        f"{waited}; the statement may still be running on the server, and was not sent again: pass a larger timeout_s,"
        " or run it as a batch job",
        timeout_s=timeout_s,
        method=method,
        url=url,
    )
    error.__cause__ = cause
    return error


def iter_body(
    response: requests.Response,
    url: str,
    *,
    self_delimiting: bool = False,
    statement_timeout_s: float | None = None,
) -> Iterator[bytes]:
    """Yield the response body in blocks as they arrive, without its Content-Encoding.

    Parameters
    ----------
    response : requests.Response
        A response whose body has not been read.
    url : str
        URL for error messages.
    self_delimiting : bool, default False
        Whether the caller can tell from the body alone that it is complete, as for JSON.
    statement_timeout_s : float, optional
        Timeout of the request, if it is an SQL statement.

    Raises
    ------
    ResponseTimeout
        If the rest of the response to a statement does not arrive in time.
    ConnectionFailed
        If the body is incomplete, or its end is not marked and ``self_delimiting`` is False.
    """
    raw = response.raw
    # Responses of a user's session that did not come from a connection (mocks, caches) have no version.
    has_end = raw.chunked or raw.length_remaining is not None or not raw.version
    try:
        arriving = raw.stream(_BLOCK_BYTES, decode_content=False)
        header = "" if response.status_code == _NO_CONTENT else response.headers.get("Content-Encoding", "")
        yield from decoded(arriving, header)
    except EncodingError as error:
        raise ConnectionFailed(f"{url}: the response could not be decompressed: {error}; try again") from error
    except urllib3.exceptions.ReadTimeoutError as error:
        if statement_timeout_s is not None:
            waited = f"{url}: the response is incomplete, and no more of it arrived within {statement_timeout_s:g} s"
            raise response_timeout(waited, str(response.request.method), url, statement_timeout_s, error) from error
        raise ConnectionFailed(
            f"{url}: the server sent nothing before the timeout, and the response is incomplete; nothing is returned,"
            " try again"
        ) from error
    except (urllib3.exceptions.HTTPError, OSError, ValueError) as error:
        raise ConnectionFailed(
            f"{url}: the connection was lost before the response was complete; nothing is returned, try again"
        ) from error
    if not has_end and not self_delimiting:
        raise ConnectionFailed(
            f"{url}: the response has neither Content-Length nor chunked encoding and may be truncated: check any proxy"
        )


class Body(Iterator[bytes]):
    """Request body that is generated while it is sent, and that can be ended so that the server rejects it.

    An exception raised by the blocks is stored in ``errors`` and raised by the caller after the request: if it passed
    through requests, the API key would be in the frames of its traceback.

    Parameters
    ----------
    make : callable
        Returns an iterable of the blocks; called when the first block is needed.
    compression : {"auto", "gzip"} or None
        With gzip: always, or where that is faster; None: not at all.
    abort : bytes, optional
        Final bytes that make the server reject the body. None: the connection is closed if the blocks raise.
    errors : list
        Receives the exception raised by the blocks.
    size_bytes : int, optional
        Length of an uncompressed body. None: chunked encoding.

    Attributes
    ----------
    timeout_s : float or None
        Seconds to wait for the server to reject an aborted body; None if it was not aborted.
    """

    def __init__(
        self,
        make: Callable[[], Iterable[bytes]],
        *,
        compression: Compression,
        abort: bytes | None,
        errors: list[BaseException],
        size_bytes: int | None = None,
    ) -> None:
        self._make = make
        self._blocks: Iterator[bytes | memoryview] | None = None
        self._encoder = new_encoder(compression)
        self._abort, self._errors = abort, errors
        self._is_finished = False
        self._sent_at = time.monotonic()
        self.timeout_s: float | None = None
        if size_bytes is not None:
            self.len = size_bytes  # attribute that requests reads for Content-Length

    @property
    def can_be_aborted(self) -> bool:
        """Whether the body can still be ended so that the server rejects it."""
        return self._abort is not None and self.timeout_s is None

    @property
    def max_unsent_bytes(self) -> int:
        """Number of bytes that may wait in the send buffer of the socket; 0: as many as the system allows."""
        return 0 if self._encoder is None else self._encoder.max_unsent_bytes

    def __next__(self) -> bytes:
        if self._encoder is not None:
            self._encoder.on_sent()
        if self._is_finished:
            raise StopIteration
        try:
            return self._next()
        except StopIteration:
            raise
        except BaseException as error:  # noqa: BLE001  # the sender raises it
            self._errors.append(error)
            if self._abort is None:
                raise ConnectionAbortedError("the request body could not be generated") from None
            return self.abort(_ABORT_TIMEOUT_S if isinstance(error, Exception) else _INTERRUPT_TIMEOUT_S)

    def abort(self, timeout_s: float) -> bytes:
        """Abort the body and return its last bytes."""
        assert self._abort is not None  # guaranteed by can_be_aborted
        encoder = self._encoder
        if encoder is not None and self._is_finished:  # the gzip stream has ended: append another member
            encoder = Gzip()
        self._is_finished, self.timeout_s = True, timeout_s
        return self._abort if encoder is None else encoder.encode(self._abort) + encoder.finish()

    def _next(self) -> bytes:
        if self._blocks is None:
            blocks = _checked(self._make())
            self._blocks = blocks if self._encoder is None else in_pieces(blocks)
        for block in self._blocks:
            data = bytes(block) if self._encoder is None else self._encode(self._encoder, block)
            if data:
                return data
        self._is_finished = True
        if self._encoder is None:
            raise StopIteration
        return self._encoder.finish()

    def _encode(self, encoder: Encoder, block: bytes | memoryview) -> bytes:
        """Encode a block; if blocks come slowly, nothing is held back, since servers close silent requests."""
        data = encoder.encode(block)
        if time.monotonic() - self._sent_at > _MAX_HELD_S:
            data += encoder.flush()
        if data:
            self._sent_at = time.monotonic()
        return data


def _checked(blocks: Iterable[bytes]) -> Iterator[bytes]:
    """Raise TypeError for blocks that are not bytes."""
    for block in blocks:
        if not isinstance(block, bytes | bytearray | memoryview):
            raise TypeError(f"the blocks of a request body must be bytes, not {type(block).__name__}")
        yield block
