"""Corrupted streams of a binary COPY, and the expected result of each."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Iterator

import pyarrow as pa

from cartoframes_lite._codec.copy_rows import BrokenStream
from cartoframes_lite._codec.copybinary import Decoder, decode, encode

SYNC = bytes.fromhex("a1b2c3d4e5f60718")
SCHEMA = pa.schema(
    [
        ("whole", pa.int32()),
        ("big", pa.int64()),
        ("double", pa.float64()),
        ("flag", pa.bool_()),
        ("day", pa.date32()),
        ("moment", pa.timestamp("us")),
        ("words", pa.large_string()),
        ("raw", pa.large_binary()),
    ]
)
ROWS = [
    {
        "whole": 1,
        "big": -1,
        "double": 0.5,
        "flag": True,
        "day": dt.date(2024, 2, 29),
        "words": "é日😀",
        "raw": b"\0" * 9,
    },
    {"moment": dt.datetime(1999, 12, 31, 23, 59), "words": "", "raw": SYNC[:-1]},
    {},
    {
        "whole": 2**31 - 1,
        "big": 2**63 - 1,
        "double": float("inf"),
        "flag": False,
        "words": "x" * 300,
        "raw": b"\xff\xff",
    },
]


def stream_of(table: pa.Table, sync: bytes = SYNC) -> bytes:
    """Write a binary COPY as PostgreSQL sends it."""
    table = table.add_column(0, "sync", pa.array([sync] * table.num_rows, pa.binary()))
    return b"".join(encode(table.to_batches(), table.schema))


TABLE = pa.Table.from_pylist(ROWS, SCHEMA)
STREAM = stream_of(TABLE)


def cut(data: bytes, sizes: Iterable[int]) -> Iterator[bytes]:
    """Split bytes into blocks of given sizes; the last one has the rest."""
    at = 0
    for size in sizes:
        yield data[at : at + size]
        at += size
    yield data[at:]


def decoded(data: bytes, sizes: Iterable[int] = (), schema: pa.Schema = SCHEMA) -> pa.Table | None:
    """Decode; None if the decoder raises its documented error. Any other error is a failure."""
    try:
        batches = list(decode(cut(data, sizes), Decoder(schema, SYNC)))
    except BrokenStream:
        return None
    table = pa.Table.from_batches(batches, schema)
    table.validate(full=True)
    return table


def read_slowly(data: bytes, schema: pa.Schema = SCHEMA) -> list[list[bytes | None]] | None:
    """Read a stream field by field, as PostgreSQL's documentation describes it; None if it is not one.

    Knows nothing of types: the bytes of each field, or None for NULL.
    """
    if data[:19] != b"PGCOPY\n\xff\r\n\0" + bytes(8):
        return None
    rows, at = [], 19
    while data[at : at + 2] != b"\xff\xff":
        if int.from_bytes(data[at : at + 2], "big") != len(schema) + 1 or len(data) < at + 2:
            return None
        at, fields = at + 2, []
        for _ in range(len(schema) + 1):
            length = int.from_bytes(data[at : at + 4], "big", signed=True)
            if length < -1 or len(data) < at + 4 + max(length, 0):
                return None
            fields.append(None if length < 0 else data[at + 4 : at + 4 + length])
            at += 4 + max(length, 0)
        if fields[0] != SYNC:
            return None
        rows.append(fields[1:])
    return rows if at + 2 == len(data) else None


def agrees(data: bytes, sizes: Iterable[int] = ()) -> bool:
    """Return whether a stream is rejected, or has the same values as with `read_slowly`."""
    table = decoded(data, sizes)
    if table is None:
        return True
    rows = read_slowly(data)
    if rows is None or len(rows) != table.num_rows:
        return False
    for column, name in enumerate(SCHEMA.names):
        for row, value in zip(rows, table[name], strict=True):
            if not _same(row[column], value):
                return False
    return True


def _same(field: bytes | None, value: pa.Scalar) -> bool:
    if field is None:
        return not value.is_valid
    kind = value.type
    if not value.is_valid:  # infinity, and what Arrow's dates cannot hold
        return bool(pa.types.is_temporal(kind))
    if pa.types.is_large_string(kind) or pa.types.is_large_binary(kind):
        return bytes(value.as_buffer()) == field
    if pa.types.is_boolean(kind):
        return bool(value.as_py() == (field != b"\0"))
    if pa.types.is_floating(kind):
        return bytes(pa.array([value.as_py()]).buffers()[1][:8]) == field[::-1]
    shift = {"int32": 0, "int64": 0, "date32[day]": 10_957, "timestamp[us]": 10_957 * 86_400_000_000}[str(kind)]
    number = value.value if shift else value.as_py()
    return bool(number == int.from_bytes(field, "big", signed=True) + shift)
