"""Decode fields of protocol buffers, the format of vector tiles."""

from __future__ import annotations

from typing import Any


def read_fields(data: bytes) -> list[tuple[int, Any]]:
    """List the fields of a protobuf message: number and value."""
    fields: list[tuple[int, Any]] = []
    place = 0
    while place < len(data):
        key, place = read_varint(data, place)
        size = {1: 8, 5: 4}.get(key & 7, 0)
        if key & 7 in (0, 2):
            size, place = read_varint(data, place)
        if key & 7 == 0:
            fields.append((key >> 3, size))
        else:
            fields.append((key >> 3, data[place : place + size]))
            place += size
    assert place == len(data), "the message is cut off"
    return fields


def read_varint(data: bytes, place: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[place]
        value, place, shift = value | (byte & 127) << shift, place + 1, shift + 7
        if byte < 128:
            return value, place
