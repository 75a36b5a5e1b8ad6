"""Reading vector tiles, without the code that makes them."""

from __future__ import annotations

import struct
from typing import Any


def read_tile(data: bytes) -> dict[str, list[dict[str, Any]]]:
    """Return the properties of the features of each layer."""
    layers = {}
    for number, content in _fields(data):
        assert number == 3
        parts = _fields(content)
        [name] = [value.decode() for field, value in parts if field == 1]
        keys = [value.decode() for field, value in parts if field == 3]
        values = [_value(value) for field, value in parts if field == 4]
        features = [dict(_fields(value)) for field, value in parts if field == 2]
        layers[name] = [_properties(feature.get(2, b""), keys, values) for feature in features]
    return layers


def _properties(tags: bytes, keys: list[str], values: list[Any]) -> dict[str, Any]:
    numbers, place = [], 0
    while place < len(tags):
        number, place = _varint(tags, place)
        numbers.append(number)
    return {keys[key]: values[value] for key, value in zip(numbers[::2], numbers[1::2], strict=True)}


def _value(data: bytes) -> Any:
    [(number, content)] = _fields(data)
    match number:
        case 1:
            return content.decode()
        case 2:
            return struct.unpack("<f", content)[0]
        case 3:
            return struct.unpack("<d", content)[0]
        case 6:
            return content >> 1 ^ -(content & 1)
        case 7:
            return bool(content)
    return content


def _fields(data: bytes) -> list[tuple[int, Any]]:
    found: list[tuple[int, Any]] = []
    place = 0
    while place < len(data):
        key, place = _varint(data, place)
        size = {1: 8, 5: 4}.get(key & 7, 0)
        if key & 7 in (0, 2):
            size, place = _varint(data, place)
        if key & 7 == 0:
            found.append((key >> 3, size))
        else:
            found.append((key >> 3, data[place : place + size]))
            place += size
    assert place == len(data)
    return found


def _varint(data: bytes, place: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[place]
        value, place, shift = value | (byte & 127) << shift, place + 1, shift + 7
        if byte < 128:
            return value, place
