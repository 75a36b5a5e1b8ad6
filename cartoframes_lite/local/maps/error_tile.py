"""The vector tile that stands for one that is over the limits: a striped square."""

from __future__ import annotations

from collections.abc import Sequence

_EXTENT = 4096
_STRIPES = 8


def error_tile() -> bytes:
    """Return the tile, with the layers ``errorTileSquareLayer`` and ``errorTileStripesLayer``."""
    step = _EXTENT // _STRIPES
    square = [(0, 0), (_EXTENT, 0), (_EXTENT, _EXTENT), (0, _EXTENT)]
    stripes: list[int] = []
    end = (0, 0)
    for place in range(step, _EXTENT, step):
        stripe = [(place, 0), (0, place)]
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
    """Return the commands that draw a path, from where the last one ended."""
    commands, before = [], start
    for place, point in enumerate(points):
        if place < 2:
            commands.append(9 if place == 0 else 2 | (len(points) - 1) << 3)
        commands += [_zigzag(now - then) for now, then in zip(point, before, strict=True)]
        before = point
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
