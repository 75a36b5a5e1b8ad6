"""The vector tile that is returned in index of one over the limits: a striped square."""

from __future__ import annotations

from collections.abc import Sequence

_EXTENT = 4096
_STRIPES = 8


def error_tile() -> bytes:
    """Return the encoded tile, with the layers ``errorTileSquareLayer`` and ``errorTileStripesLayer``."""
    step = _EXTENT // _STRIPES
    square = [(0, 0), (_EXTENT, 0), (_EXTENT, _EXTENT), (0, _EXTENT)]
    stripes: list[int] = []
    end = (0, 0)
    for index in range(step, _EXTENT, step):
        stripe = [(index, 0), (0, index)]
        stripes += _path(stripe, start=end)
        end = stripe[-1]
    layers = [
        _layer("errorTileSquareLayer", [_feature(3, _path(square, closed=True))]),
        _layer("errorTileStripesLayer", [_feature(2, stripes)]),
    ]
    return b"".join(_field(3, layer) for layer in layers)


def _layer(name: str, features: Sequence[bytes]) -> bytes:
    version, extent = b"\x78\x02", b"\x28" + _varint(_EXTENT)
    return version + _field(1, name.encode()) + b"".join(_field(2, feature) for feature in features) + extent


def _feature(kind: int, commands: Sequence[int]) -> bytes:
    return b"\x18" + _varint(kind) + _field(4, b"".join(map(_varint, commands)))


def _path(points: Sequence[tuple[int, int]], *, start: tuple[int, int] = (0, 0), closed: bool = False) -> list[int]:
    """Return the geometry commands of a path, relative to the end of the previous path."""
    commands, previous = [], start
    for index, point in enumerate(points):
        if index < 2:
            commands.append(9 if index == 0 else 2 | (len(points) - 1) << 3)
        commands += [_zigzag(current - last) for current, last in zip(point, previous, strict=True)]
        previous = point
    return [*commands, 15] if closed else commands


def _zigzag(number: int) -> int:
    return number << 1 if number >= 0 else (-number << 1) - 1


def _field(number: int, content: bytes) -> bytes:
    return _varint(number << 3 | 2) + _varint(len(content)) + content


def _varint(number: int) -> bytes:
    parts = []
    while number > 127:
        parts.append(number & 127 | 128)
        number >>= 7
    return bytes([*parts, number])
