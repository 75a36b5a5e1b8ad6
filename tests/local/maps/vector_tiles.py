"""Decode vector tiles, independently of the code that encodes them."""

from __future__ import annotations

import struct
from typing import Any

from tests.protobuf_fields import read_fields, read_varint


def read_tile(data: bytes) -> dict[str, list[dict[str, Any]]]:
    """Return the properties of the features of each layer."""
    layers = {}
    for number, content in read_fields(data):
        assert number == 3
        parts = read_fields(content)
        [name] = [value.decode() for field, value in parts if field == 1]
        keys = [value.decode() for field, value in parts if field == 3]
        values = [_value(value) for field, value in parts if field == 4]
        features = [dict(read_fields(value)) for field, value in parts if field == 2]
        layers[name] = [_properties(feature.get(2, b""), keys, values) for feature in features]
    return layers


def _properties(tags: bytes, keys: list[str], values: list[Any]) -> dict[str, Any]:
    numbers, place = [], 0
    while place < len(tags):
        number, place = read_varint(tags, place)
        numbers.append(number)
    return {keys[key]: values[value] for key, value in zip(numbers[::2], numbers[1::2], strict=True)}


def _value(data: bytes) -> Any:
    [(number, content)] = read_fields(data)
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
