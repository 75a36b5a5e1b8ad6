"""Uploads are compressed while the connection is slower than compressing."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterable
from itertools import chain, repeat

import numpy as np
import pytest

from cartoframes_lite._client.http import gzip_encoding
from cartoframes_lite._client.http.content_encoding import decoded
from cartoframes_lite._client.http.gzip_encoding import AdaptiveGzip, Gzip, in_pieces
from cartoframes_lite.local.sql.copy import _Gunzip

WINDOW_BYTES, PIECE_BYTES = 1 << 17, 1 << 15  # smaller than in use, so that the tests are quick
BUFFER_BYTES = 1 << 16
COMPRESSED_PER_S = 46e6  # bytes per second that the fastest level of gzip compresses
MADE_PER_S = 300e6
MBIT_S = 1e6 / 8

TEXT = np.random.default_rng(1).integers(0, 16, 6 << 20, np.uint8).tobytes()  # about half its size with gzip
NOISE = np.random.default_rng(2).bytes(6 << 20)


class Simulation:
    """Clock, source of the rows, processor and connection of an upload."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now_s = self._drained_at = 0.0
        self._queued = 0.0  # bytes in the buffer of the socket
        real = zlib.compressobj
        simulation = self

        class Compressor:
            def __init__(self, *args: int, **keywords: int) -> None:
                self._real = real(*args, **keywords)
                self.flush = self._real.flush

            def compress(self, block: bytes | memoryview) -> bytes:
                simulation.now_s += len(block) / COMPRESSED_PER_S
                return self._real.compress(block)

        monkeypatch.setattr(zlib, "compressobj", Compressor)
        monkeypatch.setattr(gzip_encoding, "_WINDOW_BYTES", WINDOW_BYTES)
        monkeypatch.setattr(gzip_encoding, "_REMEMBERED_WINDOWS", 16)
        monkeypatch.setattr(gzip_encoding, "_PIECE_BYTES", PIECE_BYTES)

    def clock(self) -> float:
        return self.now_s

    def send(self, size: int, per_s: float) -> None:
        """Send bytes: wait until all of them fit into the buffer."""
        self._queued = max(0.0, self._queued - (self.now_s - self._drained_at) * per_s) + size
        self._drained_at = self.now_s
        if self._queued > BUFFER_BYTES:
            self.now_s += (self._queued - BUFFER_BYTES) / per_s

    def upload(self, data: bytes, encoder: AdaptiveGzip | Gzip | None, per_s: Iterable[float]) -> tuple[float, bytes]:
        """Return the seconds until all has arrived, and what was sent; ``per_s`` is the speed for each piece."""
        sent = []
        for piece, speed in zip(in_pieces([data]), per_s, strict=False):
            self.now_s += len(piece) / MADE_PER_S
            encoded = bytes(piece) if encoder is None else encoder.encode(piece)
            self.send(len(encoded), speed)
            if encoder is not None:
                encoder.on_sent()
            sent.append(encoded)
            last = speed
        end = b"" if encoder is None else encoder.finish()
        self.send(len(end), last)
        elapsed_s = self.now_s + self._queued / last
        self.now_s = self._queued = self._drained_at = 0.0
        return elapsed_s, b"".join([*sent, end])


@pytest.fixture
def simulation(monkeypatch) -> Simulation:
    return Simulation(monkeypatch)


@pytest.mark.parametrize("data", [TEXT, NOISE], ids=["text", "noise"])
@pytest.mark.parametrize("mbit_s", [1, 10, 100, 200, 400, 1000, 10_000])
def test_auto_is_as_fast_as_the_better_way(mbit_s, data, simulation):
    speed = repeat(mbit_s * MBIT_S)
    plain_s, _ = simulation.upload(data, None, speed)
    gzip_s, _ = simulation.upload(data, Gzip(), speed)
    auto_s, sent = simulation.upload(data, AdaptiveGzip(simulation.clock), speed)
    assert b"".join(decoded([sent], "gzip")) == data
    first_window_s = WINDOW_BYTES / COMPRESSED_PER_S  # is always compressed
    assert auto_s < 1.1 * min(plain_s, gzip_s) + first_window_s


@pytest.mark.parametrize(("mbit_s", "data", "compresses"), [(10, TEXT, True), (1000, TEXT, False), (10, NOISE, False)])
def test_the_way_that_is_chosen(mbit_s, data, compresses, simulation):
    encoder = AdaptiveGzip(simulation.clock)
    simulation.upload(data, encoder, repeat(mbit_s * MBIT_S))
    assert encoder.is_compressing is compresses


@pytest.mark.parametrize(("first", "second"), [(10, 1000), (1000, 10)])
def test_a_connection_whose_speed_changes(first, second, simulation):
    pieces = len(TEXT) // PIECE_BYTES
    encoder = AdaptiveGzip(simulation.clock)
    speeds = chain(repeat(first * MBIT_S, pieces // 3), repeat(second * MBIT_S))
    _, sent = simulation.upload(TEXT, encoder, speeds)
    assert b"".join(decoded([sent], "gzip")) == TEXT
    assert encoder.is_compressing is (second == 10)


def test_rows_that_become_compressible(simulation):
    encoder = AdaptiveGzip(simulation.clock)
    simulation.upload(NOISE + TEXT + TEXT, encoder, repeat(10 * MBIT_S))
    assert encoder.is_compressing


def test_one_slow_window_does_not_matter(simulation):
    encoder = AdaptiveGzip(simulation.clock)
    speeds = [1000 * MBIT_S] * (len(TEXT) // PIECE_BYTES)
    speeds[60:64] = [10 * MBIT_S] * 4
    _, sent = simulation.upload(TEXT, encoder, speeds)
    assert not encoder.is_compressing
    assert len(sent) > 0.97 * len(TEXT)


@pytest.mark.parametrize("make", [Gzip, AdaptiveGzip])
@pytest.mark.parametrize("sizes", [(), (0,), (1,), (70_000, 0, 3), (5 << 20,)], ids=str)
def test_the_server_decodes_all_sizes(sizes, make: Callable[[], Gzip | AdaptiveGzip]):
    blocks = [NOISE[:size] for size in sizes]
    encoder = make()
    sent = []
    for block in in_pieces(blocks):
        sent.append(encoder.encode(block))
        encoder.on_sent()
        sent.append(encoder.flush())
    sent.append(encoder.finish())
    gunzip = _Gunzip()
    assert b"".join(part for piece in sent for part in gunzip.blocks(piece)) == b"".join(blocks)
    assert gunzip.complete


def test_blocks_of_other_types():
    words = np.arange(1 << 17, dtype=np.int32)
    blocks = [memoryview(words), memoryview(words)[::2], bytearray(b"end")]
    pieces = list(in_pieces(blocks))
    assert b"".join(pieces) == words.tobytes() + words[::2].tobytes() + b"end"
    assert max(map(len, pieces)) == 1 << 18


def test_flushed_bytes_are_decodable_at_once(simulation):
    for encoder in (Gzip(), AdaptiveGzip(simulation.clock)):
        sent = encoder.encode(b"first row") + encoder.flush()
        assert zlib.decompressobj(31).decompress(sent) == b"first row"
