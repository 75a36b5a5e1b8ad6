from __future__ import annotations

from decimal import Decimal

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cartoframes_lite._codec.bad_value import BadValue
from cartoframes_lite._codec.exact_cast import exact_cast

TYPES = [pa.int8(), pa.int64(), pa.uint64(), pa.float32(), pa.float64()]


@pytest.mark.parametrize("target", [*TYPES, pa.large_string()], ids=str)
@pytest.mark.parametrize("kind", TYPES, ids=str)
@given(data=st.data())
def test_casts_are_exact_or_name_the_first_change(kind, target, data):
    if pa.types.is_floating(kind):
        numbers = st.floats(width=kind.bit_width, allow_nan=False) | st.integers(-1000, 1000).map(float)
    else:
        signed = str(kind).startswith("i")
        bits = kind.bit_width - signed
        numbers = st.integers(-(2**bits) if signed else 0, 2**bits - 1)
    values = data.draw(st.lists(st.none() | numbers, min_size=1, max_size=5))
    array = pa.chunked_array([pa.array(values, kind)])
    refused = None
    try:
        back = exact_cast(array, target).to_pylist()
    except BadValue as bad:
        refused = bad
    if refused is not None:
        assert not pa.types.is_large_string(target)
        assert refused.value == values[refused.position]
        assert pa.types.is_floating(target) or not _is_integer_of(refused.value, target)
        return
    assert [None if value is None else (Decimal(value) if isinstance(value, str) else value) for value in back] == [
        Decimal(repr(value)) if pa.types.is_large_string(target) and value is not None else value for value in values
    ]


def _is_integer_of(value, target):
    try:
        return pa.scalar(int(value), target).as_py() == value
    except (OverflowError, ValueError, pa.ArrowInvalid):
        return False


@pytest.mark.parametrize(
    ("values", "kind", "target"),
    [
        ([Decimal("0.5"), Decimal("0.1")], pa.decimal128(2, 1), pa.float64()),
        (["1", str(2**70 + 1)], pa.large_string(), pa.float64()),
        (["1", "1.5"], pa.large_string(), pa.int64()),
        (["1", str(2**70)], pa.large_string(), pa.int64()),
        ([[0.5], [None, 0.1]], pa.large_list(pa.float64()), pa.large_list(pa.float32())),
        ([[1], [2, 2**53 + 1]], pa.large_list(pa.int64()), pa.large_list(pa.float64())),
    ],
)
def test_the_second_row_is_not_exact(values, kind, target):
    with pytest.raises(BadValue) as caught:
        exact_cast(pa.chunked_array([pa.array(values, kind)]), target)
    assert caught.value.position == 1


def test_lists_stay_as_they_are():
    values = [[1.0], None, [], [None, 2.0]]
    array = pa.chunked_array([pa.array(values, pa.large_list(pa.float64()))])
    assert exact_cast(array, pa.large_list(pa.int64())).to_pylist() == [[1], None, [], [None, 2]]
