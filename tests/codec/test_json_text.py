from __future__ import annotations

import datetime as dt
import json
from decimal import Decimal

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cartoframes_lite._codec.json_text import MAX_DEPTH, NotJSON, check_jsonb, json_text

# jsonb has no negative zero.
FLOATS = st.floats(allow_nan=False, allow_infinity=False).map(lambda number: number + 0.0)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | FLOATS | st.text('aé"\\\n'),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text('aé"\\'), inner, max_size=4),
)


@given(VALUES)
def test_what_is_written_is_read_as_the_same(value):
    back = json.loads(json_text(value))
    assert back == value
    assert repr(back) == repr(value)  # also the types of numbers


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ([], "[]"),
        ({}, "{}"),
        ([[], {"a": {}}], '[[], {"a": {}}]'),
        ((1, (2,)), "[1, [2]]"),
        # PostgreSQL writes the numbers of jsonb without an exponent: as an integer, if there is no fraction.
        (1e23, "100000000000000000000000.0"),
        (-1e16, "-10000000000000000.0"),
        (2**70, str(2**70)),
        (np.float32(0.1), "0.10000000149011612"),
        (np.array([[1, 2], [3, 4]], "int8"), "[[1, 2], [3, 4]]"),
        (np.array(5), "5"),
        (np.array(["2020-01-01", "NaT"], "M8[D]"), '["2020-01-01T00:00:00", null]'),
        (np.datetime64("20000-01-01"), '"20000-01-01"'),
        ([pd.NaT, pd.NA], "[null, null]"),
        (dt.time(1, 2), '"01:02:00"'),
        ("\\u0000", '"\\\\u0000"'),
    ],
)
def test_texts(value, text):
    assert json_text(value) == text


def nested(depth, wrap):
    value = None
    for _ in range(depth):
        value = wrap(value)
    return value


def ring():
    value = [1]
    value.append({"again": [value, value]})
    return value


def array_in_itself():
    array = np.empty(2, object)
    array[:] = array
    array[0] = array
    return [array]


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (ring(), "more than 500 levels deep"),
        (array_in_itself(), "more than 500 levels deep"),
        (nested(50_000, lambda inner: [inner]), "more than 500 levels deep"),
        (nested(50_000, lambda inner: (inner,)), "more than 500 levels deep"),
        (nested(50_000, lambda inner: {"a": inner}), "more than 500 levels deep"),
        ({1: "a", "1": "b"}, "the key 1 of type int"),
        ({None: 1}, "the key None"),
        ({True: 1}, "the key True"),
        ([float("nan")], "the number nan"),
        ({"a": np.float64("inf")}, "the number inf"),
        (np.longdouble("0.1"), "more digits"),
        ([1, -0.0], "the number -0.0"),
        (np.array([-0.0]), "the number -0.0"),
        ([{1}], "of type set"),
        ([Decimal(1)], "of type Decimal"),
        ([b"a"], "of type bytes"),
        ([np.timedelta64(1, "s")], "timedelta64"),
        ([dt.timedelta(1)], "timedelta"),
        ([10**5000], "too many digits"),
        (["\ud800"], "surrogate"),
        ({"\ud800": 1}, "surrogate"),
        (["a\0"], r"U\+0000"),
    ],
)
def test_what_would_change_is_refused(value, message):
    with pytest.raises(NotJSON, match=message):
        json_text(value)


def test_the_deepest_that_is_written_can_be_read():
    value = nested(MAX_DEPTH, lambda inner: [inner])
    assert json.loads(json_text(value)) == value


@pytest.mark.parametrize("text", ['{"a": 1, "b": {"a": [-1, -0.5, -0.0001, 1e-400]}}', "null", '"a"', "1" * 5000])
def test_text_that_jsonb_keeps(text):
    check_jsonb(text)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"a": 1, "a": 1}', "key 'a' twice"),
        ('[{"b": {"a": 1, "\\u0061": 2}}]', "key 'a' twice"),
        ("[-0]", "the number -0.0"),
        ("-0.00e5", "the number -0.0"),
        ("{'a': 1}", "not valid JSON"),
        ("", "not valid JSON"),
        ("[" * 100_000, "not valid JSON"),
    ],
)
def test_text_of_which_jsonb_would_lose_something(text, message):
    with pytest.raises(NotJSON, match=message):
        check_jsonb(text)
