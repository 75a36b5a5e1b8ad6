from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cartoframes_lite._codec.geometric_text import float_text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0, "0"),
        (-0.0, "-0"),
        (1e14, "100000000000000"),
        (1e15, "1e+15"),
        (1234567890123456.5, "1.2345678901234565e+15"),
        (1e-4, "0.0001"),
        (1e-5, "1e-05"),
        (1 / 3, "0.3333333333333333"),
        (float("-inf"), "-Infinity"),
        (float("nan"), "NaN"),
    ],
)
def test_floats_as_postgresql_writes_them(value, text):
    assert float_text(value) == text


@given(st.floats(allow_nan=False))
def test_no_digit_is_lost(value):
    assert float(float_text(value)) == value
