from __future__ import annotations

import datetime as dt
from decimal import Decimal

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from cartoframes_lite._codec.pgtypes import incoming
from cartoframes_lite._codec.to_series import to_series
from cartoframes_lite.errors import ConversionError, ConversionWarning


def read(pgtype: str, values: list[object], **arguments) -> pd.Series:
    rule = incoming(pgtype)
    return pd.Series(to_series(pa.chunked_array([pa.array(values, rule.arrow)]), rule, "x", **arguments))


@pytest.mark.parametrize(
    ("pgtype", "values", "dtype"),
    [
        ("int2", [1], "int16"),
        ("int4", [1, None], "Int32"),
        ("int8", [2**63 - 1, None], "Int64"),
        ("float4", [1.5, None], "float32"),
        ("float8", [1.5, None], "float64"),
        ("bool", [True], "bool"),
        ("bool", [True, None], "boolean"),
        ("text", ["", None], pd.Series([""]).dtype),  # object before pandas 3
        ("date", [dt.date(2020, 1, 1), None], "date32[day][pyarrow]"),
        ("time", [dt.time(1), None], "time64[us][pyarrow]"),
        ("timestamp", [dt.datetime(1, 1, 1), None], "datetime64[us]"),
        ("timestamptz", [dt.datetime(9999, 12, 31, tzinfo=dt.UTC), None], "datetime64[us, UTC]"),
        ("bytea", [b"", None], "object"),
        ("numeric", ["1.5", "NaN", None], "float64"),
    ],
)
def test_dtypes(pgtype, values, dtype):
    series = read(pgtype, values)
    assert series.dtype == dtype
    assert series.isna().tolist() == [value in (None, "NaN") for value in values]


def test_numbers_are_exact_on_request():
    assert read("numeric", ["1.50", None, "1E+400"], coerce_float=False).tolist() == [
        Decimal("1.50"),
        None,
        Decimal("1E+400"),
    ]


@pytest.mark.parametrize(
    ("pgtype", "text", "value"),
    [
        ("_int8", "[9007199254740993,null]", [9007199254740993, None]),
        ("_numeric", '[1.5,"NaN"]', [1.5, np.nan]),
        ("_text", "[]", []),
        ("_int4", "[[1,2],[3,4]]", [[1, 2], [3, 4]]),
        ("_date", '["0001-01-01"]', [dt.date(1, 1, 1)]),
        ("_time", '["23:59:59.999999"]', [dt.time(23, 59, 59, 999_999)]),
        ("_timestamptz", '["2020-01-01T02:00:00+02:00"]', [dt.datetime(2020, 1, 1, tzinfo=dt.UTC)]),
        ("mood[]", '["sad",null]', ["sad", None]),
        ("jsonb", '{"a": [1, null]}', {"a": [1, None]}),
    ],
)
def test_lists_and_objects(pgtype, text, value):
    (first, second) = read(pgtype, [text, None])
    np.testing.assert_equal(first, value)
    assert second is None


def test_infinite_dates_in_arrays_are_told():
    with pytest.warns(ConversionWarning, match="'x' has infinite dates"):
        assert read("_timestamp", ['["infinity","2020-01-01T00:00:00"]'])[0] == [None, dt.datetime(2020, 1, 1)]


def test_a_text_that_says_infinity_is_text(recwarn):
    assert read("_text", ['["infinity"]'])[0] == ["infinity"]


@pytest.mark.parametrize(
    ("pgtype", "text"),
    [
        ("json", "[" * 100_000 + "]" * 100_000),
        ("jsonb", "1" * 5000),
        ("interval", b"123"),
        ("point", b"123"),
        ("circle", bytes(16)),
        ("_interval", bytes(7)),
        ("json", "1e400"),
        ("json", '{"a": ' + "9" * 250 + "e99}"),
        ("json", "9" * 300 + ".5E9"),
        ("json", '{"a": [-1.5e+4000]}'),
        ("jsonb", "2" * 309 + ".5"),
        ("numeric", "1" * 400),
        ("numeric", "-1" + 308 * "0" + "9.5"),
        ("_numeric", "[" + "1" * 400 + "]"),
        ("_numeric", "[" + "1" * 400 + ".5]"),
        ("_numeric", "[" + "1" * 5000 + "]"),
    ],
)
def test_what_python_cannot_hold_names_the_row(pgtype, text):
    with pytest.raises(ConversionError, match=r"'x' .* row 1\b"):
        read(pgtype, [None, text])


@pytest.mark.parametrize(
    ("pgtype", "text", "value"),
    [
        ("numeric", "1" * 5000, Decimal("1" * 5000)),
        ("_numeric", f'[{"1" * 5000}, 0.1, "NaN"]', [Decimal("1" * 5000), Decimal("0.1"), Decimal("NaN")]),
    ],
)
def test_any_number_of_digits_is_exact_on_request(pgtype, text, value):
    assert repr(read(pgtype, [text], coerce_float=False)[0]) == repr(value)


def test_infinite_numbers():
    assert read("numeric", ["Infinity", "-Infinity", None])[:2].tolist() == [np.inf, -np.inf]


def test_columns_of_json_text_have_objects():
    series = read("json", ['"a"', '"\\ud800"'])
    assert (series.dtype, series.tolist()) == (object, ["a", "\ud800"])


@pytest.mark.parametrize(
    ("pgtype", "text"),
    [("_date", '["0044-03-15 BC"]'), ("_timestamp", '["12020-01-01T00:00:00"]'), ("_time", '["24:00:00"]')],
)
def test_what_python_cannot_hold_names_the_column(pgtype, text):
    with pytest.raises(ConversionError, match=r"'x' has an array .*select x::text"):
        read(pgtype, [text])


def test_the_end_of_the_day():
    with pytest.raises(ConversionError, match="24:00:00"):
        to_series(pa.chunked_array([pa.array([86_400_000_000]).view(pa.time64("us"))]), incoming("time"), "x")
