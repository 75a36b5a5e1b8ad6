"""Compress request bodies with gzip, always or where the connection is slower than the compression.

The Content-Encoding of a body is sent before its first byte, and gzip at its fastest level takes more time than a
connection of 1 Gbit/s. A deflate stream may have compressed and stored blocks, however: the adaptive encoder measures
while it sends, and changes between them.
"""

from __future__ import annotations

import time
import zlib
from collections.abc import Callable, Iterable, Iterator
from typing import Literal, Protocol

Compression = Literal["auto", "gzip"] | None

_GZIP, _RAW = 31, -15  # wbits of zlib
_LEVEL = 1  # higher levels are slower than most connections
_PIECE_BYTES = 1 << 18  # so that sending and compressing overlap
_WINDOW_BYTES, _WINDOW_S = 1 << 20, 0.25  # after which the encoder decides
_HEADER = b"\x1f\x8b\x08\0\0\0\0\0\x04\xff"  # no name, no time, fastest level, unknown system
_LAST_BLOCK = b"\x03\0"
_MAX_STORED = 0xFFFF

# Part of the time spent in sending from which on the connection is what limits the speed; below, buffers take the data.
_LIMITED_BY_CONNECTION = 0.1
_MAX_UNSENT_BYTES = 1 << 17  # that buffers may take, so that a slow connection is noticed within a window
# Compressing must be faster by this factor, since the processor time is not free.
_MIN_GAIN = 1.1
_REMEMBERED_WINDOWS = 64  # after which a measurement of the other way is too old
_SLOW_WINDOWS = 2  # before the way is changed on a slow connection: one may be slow by chance


class Encoder(Protocol):
    """Encoder of a request body.

    Attributes
    ----------
    max_unsent_bytes : int
        Number of bytes that may wait in the send buffer of the socket; 0: as many as the system allows.
    """

    @property
    def max_unsent_bytes(self) -> int:
        """Number of bytes that may wait in the send buffer."""

    def encode(self, block: bytes | memoryview) -> bytes:
        """Return bytes to send, which may be none; the rest is held back."""

    def flush(self) -> bytes:
        """Return what is held back."""

    def finish(self) -> bytes:
        """Return the end of the stream."""

    def on_sent(self) -> None:
        """Note that all returned bytes have been sent."""


def new_encoder(compression: Compression) -> Encoder | None:
    """Return the encoder for a body; None if it is sent as it is."""
    if compression is None:
        return None
    return AdaptiveGzip() if compression == "auto" else Gzip()


def in_pieces(blocks: Iterable[bytes | bytearray | memoryview]) -> Iterator[bytes | memoryview]:
    """Split large blocks."""
    for block in blocks:
        data = block if isinstance(block, bytes) else bytes(block)
        if len(data) <= _PIECE_BYTES:
            yield data
        else:
            view = memoryview(data)
            yield from (view[at : at + _PIECE_BYTES] for at in range(0, len(view), _PIECE_BYTES))


class Gzip:
    """Encoder that compresses all blocks."""

    max_unsent_bytes = 0

    def __init__(self) -> None:
        self._compressor = zlib.compressobj(_LEVEL, wbits=_GZIP)

    def encode(self, block: bytes | memoryview) -> bytes:
        """Compress a block."""
        return self._compressor.compress(block)

    def flush(self) -> bytes:
        """Return what is held back."""
        return self._compressor.flush(zlib.Z_SYNC_FLUSH)

    def finish(self) -> bytes:
        """Return the end of the stream."""
        return self._compressor.flush()

    def on_sent(self) -> None:
        """Do nothing."""


class AdaptiveGzip:
    """Encoder that compresses blocks only while that makes the upload faster.

    After each window of 1 MB or a quarter of a second, the rate at which it has been encoded and sent is compared with
    that of the other way: its last measurement if there is one, else an estimate. The first window is compressed, since
    a wrong choice costs more time on a slow connection than on a fast one.

    Parameters
    ----------
    clock : callable
        Returns seconds; injected by tests.

    Attributes
    ----------
    is_compressing : bool
        Whether blocks are compressed at present.
    max_unsent_bytes : int
        See ``Encoder``.
    """

    def __init__(self, clock: Callable[[], float] = time.perf_counter) -> None:
        self._clock = clock
        self._head, self._crc, self._size = _HEADER, 0, 0
        self._compressor: zlib._Compress | None = zlib.compressobj(_LEVEL, wbits=_RAW)
        self._encoded_s, self._ratio = 0.0, 1.0  # seconds per byte, compressed size of a byte
        self._other_rate: float | None = None
        self._other_age = self._slow_windows = 0
        self._returned_at: float | None = None
        self._start_window(clock())

    @property
    def max_unsent_bytes(self) -> int:
        """Number of bytes that may wait in the send buffer: few while blocks are compressed."""
        return 0 if self._compressor is None else _MAX_UNSENT_BYTES

    @property
    def is_compressing(self) -> bool:
        """Whether blocks are compressed at present."""
        return self._compressor is not None

    def encode(self, block: bytes | memoryview) -> bytes:
        """Compress or store a block."""
        started = self._clock()
        if self._window_bytes >= _WINDOW_BYTES or (self._window_bytes and started - self._began > _WINDOW_S):
            self._decide(max(started - self._began, 1e-9))
            self._start_window(started)
        encoded = self._take_head() + (_stored(block) if self._compressor is None else self._compressor.compress(block))
        self._crc = zlib.crc32(block, self._crc)
        self._size += len(block)
        self._window_bytes += len(block)
        self._window_wire += len(encoded)
        self._returned_at = self._clock()
        self._window_encode_s += self._returned_at - started
        return encoded

    def flush(self) -> bytes:
        """Return what is held back."""
        return b"" if self._compressor is None else self._compressor.flush(zlib.Z_SYNC_FLUSH)

    def finish(self) -> bytes:
        """Return the end of the stream."""
        last = _LAST_BLOCK if self._compressor is None else self._compressor.flush()
        trailer = self._crc.to_bytes(4, "little") + (self._size & 0xFFFFFFFF).to_bytes(4, "little")
        return self._take_head() + last + trailer

    def on_sent(self) -> None:
        """Note that all returned bytes have been sent."""
        if self._returned_at is not None:
            self._window_send_s += self._clock() - self._returned_at
            self._returned_at = None

    def _take_head(self) -> bytes:
        """Return what precedes the next block."""
        head, self._head = self._head, b""
        return head

    def _start_window(self, began: float) -> None:
        self._began = began
        self._window_bytes = self._window_wire = 0
        self._window_send_s = self._window_encode_s = 0.0

    def _decide(self, elapsed_s: float) -> None:
        """Change to the other way if that is faster, after a window of so many seconds."""
        rate = self._window_bytes / elapsed_s
        is_limited = self._window_send_s > _LIMITED_BY_CONNECTION * elapsed_s
        self._other_age += 1
        if self._other_age > _REMEMBERED_WINDOWS:
            self._other_rate = None
        if self._compressor is None:
            is_slower = self._compressed_rate(elapsed_s, is_limited) > _MIN_GAIN * rate
        else:
            self._encoded_s = self._window_encode_s / self._window_bytes
            self._ratio = self._window_wire / self._window_bytes
            is_slower = self._stored_rate(elapsed_s, is_limited) * _MIN_GAIN > rate
        self._slow_windows = self._slow_windows + 1 if is_slower else 0
        if self._slow_windows >= (_SLOW_WINDOWS if is_limited else 1):
            self._change()
            self._other_rate, self._other_age, self._slow_windows = rate, 0, 0

    def _change(self) -> None:
        """Change to the other way."""
        if self._compressor is None:
            # A new one, since the stored blocks are not in the history of the last one.
            self._compressor = zlib.compressobj(_LEVEL, wbits=_RAW)
        else:
            self._head += self._compressor.flush(zlib.Z_FULL_FLUSH)  # ends at a byte
            self._compressor = None

    def _stored_rate(self, elapsed_s: float, is_limited: bool) -> float:
        """Return the rate to expect, in bytes per second, of a window whose blocks are stored."""
        if self._other_rate is not None:
            return self._other_rate
        return self._window_wire / elapsed_s if is_limited else float("inf")

    def _compressed_rate(self, elapsed_s: float, is_limited: bool) -> float:
        """Return the rate to expect, in bytes per second, of a window whose blocks are compressed."""
        if self._other_rate is not None:
            return self._other_rate
        if not is_limited:
            return 0.0
        made_s = elapsed_s - self._window_send_s  # by the source of the blocks
        # After a while, other rows may be more compressible: only the time to compress them counts.
        sent_s = self._ratio * elapsed_s if self._other_age <= 2 * _REMEMBERED_WINDOWS else 0.0
        return self._window_bytes / max(made_s + self._encoded_s * self._window_bytes, sent_s)


def _stored(block: bytes | memoryview) -> bytes:
    """Encode a block as stored blocks of deflate."""
    view = memoryview(block)
    parts: list[bytes | memoryview] = []
    for at in range(0, len(view), _MAX_STORED):
        part = view[at : at + _MAX_STORED]
        parts += (b"\0", len(part).to_bytes(2, "little"), (len(part) ^ _MAX_STORED).to_bytes(2, "little"), part)
    return b"".join(parts)
