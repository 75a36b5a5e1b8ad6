"""Subclasses of built-in classes that override conversions: the value of the built-in class is sent."""

from __future__ import annotations

import datetime as dt
import time
import uuid
from collections import OrderedDict, namedtuple
from decimal import Decimal

import numpy as np
import pandas as pd
import pytest

from cartoframes_lite._codec.from_series import from_series
from cartoframes_lite._codec.json_text import NotJSON, json_text
from cartoframes_lite.errors import ConversionError


def odd(base: type) -> type:
    """Create a subclass that overrides all conversions with other values."""

    def lie(*_args, **_keywords):
        return 99

    same = {name: lambda self, other: False for name in ("__eq__", "__lt__", "__le__", "__gt__", "__ge__")}
    different = {"__ne__": lambda self, other: True, "__hash__": base.__hash__}
    names = """__float__ __int__ __index__ __str__ __repr__ __format__ __iter__ __len__ __getitem__ __bytes__ __sub__
        __floordiv__ items keys values isoformat utcoffset replace toordinal total_seconds as_tuple is_finite is_nan
        is_snan encode tolist copy"""
    lies = {name: lie for name in names.split() if hasattr(base, name)}
    properties = {
        name: property(lie)
        for name in ("year", "hour", "days", "seconds", "tzinfo", "bytes", "hex", "dtype", "ndim")
        if hasattr(base, name)
    }
    return type(f"Odd{base.__name__}", (base,), {**lies, **properties, **same, **different})


UTC = dt.UTC
CASES = [
    (float, (1.5,), 1.5),
    (int, (5,), 5),
    (int, (2**70,), str(2**70)),
    (str, ("text",), "text"),
    (bytes, (b"a\0",), b"a\0"),
    (Decimal, ("1.5",), Decimal("1.5")),
    (dt.datetime, (2020, 1, 2, 3), dt.datetime(2020, 1, 2, 3)),
    (dt.datetime, (2020, 1, 2, 3, 0, 0, 0, UTC), dt.datetime(2020, 1, 2, 3, tzinfo=UTC)),
    (dt.date, (2020, 1, 2), dt.date(2020, 1, 2)),
    (dt.time, (5, 6), dt.time(5, 6)),
    (dt.timedelta, (1, 2, 3), dt.timedelta(1, 2, 3)),
    (list, ([1, 2],), [1, 2]),
    (tuple, ((1, 2),), [1, 2]),
    (dict, ({"a": 1},), b'\x01{"a": 1}'),
    (OrderedDict, ({"a": 1},), b'\x01{"a": 1}'),
    (np.float64, (1.5,), 1.5),
    (np.int64, (5,), 5),
]


@pytest.mark.parametrize(("base", "arguments", "sent"), CASES)
def test_the_value_of_the_built_in_class_is_sent(base, arguments, sent):
    column = from_series(pd.Series([odd(base)(*arguments), None], dtype=object), "x")
    assert column.values.to_pylist() == [sent, None]
    # In a list it is the same as one of the built-in class.
    columns = [from_series(pd.Series([[kind(*arguments)]], dtype=object), "x") for kind in (odd(base), base)]
    assert columns[0] == columns[1]


def test_the_number_of_a_uuid_is_sent():
    value = uuid.UUID(int=7)
    assert from_series(pd.Series([odd(uuid.UUID)(int=7)]), "x").values.to_pylist() == [value.bytes]


@pytest.mark.parametrize(
    ("base", "arguments", "text"),
    [
        (float, (1.5,), "1.5"),
        (int, (5,), "5"),
        (str, ("text",), '"text"'),
        (dt.datetime, (2020, 1, 2), '"2020-01-02T00:00:00"'),
        (dt.date, (2020, 1, 2), '"2020-01-02"'),
        (dt.time, (5,), '"05:00:00"'),
        (list, ([1],), "[1]"),
        (tuple, ((1,),), "[1]"),
        (dict, ({"a": 1},), '{"a": 1}'),
        (np.int64, (5,), "5"),
    ],
)
def test_builtin_values_in_json(base, arguments, text):
    assert json_text({"a": odd(base)(*arguments)}) == f'{{"a": {text}}}'


def test_numbers_with_overridden_comparison_are_checked():
    with pytest.raises(ConversionError, match="more digits than double precision"):
        from_series(pd.Series([odd(int)(2**53 + 1), 1.5], dtype=object), "x")


class WithUnit(np.ndarray):
    """An array with a unit, like those of astropy."""


Pair = namedtuple("Pair", "x y")
STRUCTURED = np.array([(1, 2.5)], [("a", "i4"), ("b", "f8")])


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (Pair(1, 2), "named tuple"),
        (time.gmtime(0), "named tuple"),
        (STRUCTURED, "structured array"),
        (STRUCTURED.view(np.recarray), "structured array"),
        (np.array([1.5]).view(WithUnit), "type WithUnit"),
    ],
)
@pytest.mark.parametrize("wrap", [lambda value: value, lambda value: [value], lambda value: {"a": value}])
def test_what_would_lose_its_names_is_refused(value, message, wrap):
    with pytest.raises(ConversionError, match=rf"(?s)column 'x' has .*{message}.*row 1|row 1.*{message}"):
        from_series(pd.Series([None, wrap(value)], dtype=object), "x")


@pytest.mark.parametrize(
    ("array", "items"),
    [
        (np.ma.array(["2020-01-01", "2020-01-02"], mask=[0, 1], dtype="M8[s]"), [dt.datetime(2020, 1, 1), None]),
        (np.ma.array([b"a", b"b"], mask=[1, 0]), [None, b"b"]),
        (np.memmap, [1]),
    ],
)
def test_arrays_that_are_no_more_than_arrays_are_lists(array, items, tmp_path):
    if array is np.memmap:
        array = np.memmap(tmp_path / "numbers", np.int64, "w+", shape=(1,))
        array[0] = 1
    assert from_series(pd.Series([array], dtype=object), "x").values.to_pylist() == [items]


def test_masked_elements_in_json_are_null():
    assert json_text({"a": np.ma.array([[1, 2], [3, 4]], mask=[[0, 1], [0, 0]])}) == '{"a": [[1, null], [3, 4]]}'


def test_duplicate_keys_of_string_subclasses_are_refused():
    with pytest.raises(NotJSON, match="the key 'a' twice"):
        json_text({odd(str)("a"): 1, "a": 2})
