from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cartoframes_lite._codec.binary_values import array_parser, interval_text


def array_of(sizes, items, pack):
    head = struct.pack(">iii", len(sizes), any(item is None for item in items), 0)
    dimensions = b"".join(struct.pack(">ii", size, 1) for size in sizes)
    elements = (
        struct.pack(">i", -1) if item is None else struct.pack(">i", len(pack(item))) + pack(item) for item in items
    )
    return head + dimensions + b"".join(elements)


def double(value):
    return struct.pack(">d", value)


@given(st.lists(st.none() | st.floats(allow_nan=False)))
def test_floats(items):
    assert array_parser("float8")(array_of([len(items)] if items else [], items, double)) == items


def test_dimensions():
    parse = array_parser("float8")
    assert parse(array_of([2, 1, 3], [1, 2, 3, 4, 5, 6], double)) == [[[1, 2, 3]], [[4, 5, 6]]]
    assert parse(array_of([1, 2], [1, None], double)) == [[1, None]]


def test_other_elements():
    assert array_parser("bytea")(array_of([3], [b"", None, b"\0\\"], bytes)) == [b"", None, b"\0\\"]
    assert array_parser("float4")(array_of([1], [0.5], lambda value: struct.pack(">f", value))) == [0.5]
    assert array_parser("interval")(array_of([1], [bytes(16)], bytes)) == ["00:00:00"]


@pytest.mark.parametrize(
    ("us", "days", "months", "text"),
    [
        (0, 0, 0, "00:00:00"),
        (0, 1, 0, "1 day"),
        (0, -1, 13, "1 year 1 mon -1 days"),
        (1, 0, -14, "-1 years -2 mons +00:00:00.000001"),
        (-1_500_000, 2, -1, "-1 mons +2 days -00:00:01.5"),
        (360_000_000_000, 0, 24, "2 years 100:00:00"),
        (2**63 - 1, 2**31 - 1, 2**31 - 1, "infinity"),
        (-(2**63), -(2**31), -(2**31), "-infinity"),
    ],
)
def test_intervals(us, days, months, text):
    assert interval_text(struct.pack(">qii", us, days, months)) == text
