from __future__ import annotations

import gzip
import zlib

import pytest

from cartoframes_lite._client.http.content_encoding import EncodingError, decoded

DATA = b"harbour,1900\n" * 5000 + bytes(range(256))


def raw_deflate(data: bytes) -> bytes:
    packer = zlib.compressobj(wbits=-15)
    return packer.compress(data) + packer.flush()


PACKED = {
    "gzip": ("gzip", gzip.compress(DATA)),
    "in capitals": ("GZIP", gzip.compress(DATA)),
    "x-gzip": ("x-gzip", gzip.compress(DATA)),
    "members": ("gzip", gzip.compress(DATA[:99]) + gzip.compress(b"") + gzip.compress(DATA[99:])),
    "padded": ("gzip", gzip.compress(DATA) + bytes(512)),
    "deflate": ("deflate", zlib.compress(DATA)),
    "raw deflate": ("deflate", raw_deflate(DATA)),
    "gzip in gzip": ("gzip, gzip", gzip.compress(gzip.compress(DATA))),
    "deflate in gzip": ("deflate, gzip", gzip.compress(zlib.compress(DATA))),
    "identity": ("identity", DATA),
    "no encoding": ("None", DATA),
    "a charset": ("UTF-8", DATA),
    "none": ("", DATA),
}


def blocks(data: bytes, size: int) -> list[bytes]:
    return [data[at : at + size] for at in range(0, len(data), size)]


@pytest.mark.parametrize("size", [1, 7, 100_000])
@pytest.mark.parametrize(("header", "packed"), PACKED.values(), ids=PACKED)
def test_compressed_bodies_are_decompressed(header: str, packed: bytes, size: int) -> None:
    assert b"".join(decoded(blocks(packed, size), header)) == DATA


@pytest.mark.parametrize("cut", [1, 4, 8, 12])
@pytest.mark.parametrize("name", ["gzip", "members", "deflate", "raw deflate", "gzip in gzip", "deflate in gzip"])
def test_truncated_compressed_bodies_are_errors(name: str, cut: int) -> None:
    header, packed = PACKED[name]
    with pytest.raises(EncodingError):
        b"".join(decoded(blocks(packed[:-cut], 1000), header))


@pytest.mark.parametrize("more", [b"garbage", b"\x1f\x8b", b"\x1f\x8b\x08\0\0\0\0\0\0\xff"])
@pytest.mark.parametrize("name", ["gzip", "deflate", "raw deflate", "gzip in gzip"])
@pytest.mark.parametrize("size", [3, 100_000])
def test_data_after_the_compressed_end_is_an_error(name: str, more: bytes, size: int) -> None:
    header, packed = PACKED[name]
    with pytest.raises(EncodingError):
        b"".join(decoded(blocks(packed + more, size), header))


@pytest.mark.parametrize("header", ["br", "zstd", "compress", "gzip, br", "gzip," * 9 + "gzip"])
def test_an_encoding_that_was_not_asked_for_is_refused(header: str) -> None:
    with pytest.raises(EncodingError, match="not requested"):
        decoded([DATA], header)


def test_a_block_is_unpacked_in_pieces() -> None:
    pieces = list(decoded([gzip.compress(bytes(10_000_000))], "gzip"))
    assert sum(map(len, pieces)) == 10_000_000
    assert max(map(len, pieces)) <= 1 << 20


@pytest.mark.parametrize("header", ["gzip", "deflate", "gzip, gzip"])
def test_an_empty_compressed_body_is_an_error(header: str) -> None:
    with pytest.raises(EncodingError, match="truncated"):
        list(decoded([], header))
    assert list(decoded([], "")) == []
