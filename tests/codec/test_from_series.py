from __future__ import annotations

import datetime as dt
import enum
import uuid
from decimal import Decimal
from zoneinfo import ZoneInfo

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from cartoframes_lite._codec.from_series import from_series
from cartoframes_lite.errors import ConversionError, ConversionWarning

MADRID = "Europe/Madrid"


class Number(enum.IntEnum):
    ONE = 1


class Color(enum.Enum):
    RED = 1


def in_itself():
    value = []
    value.append(value)
    return value


def deep(depth=50_000):
    value = []
    for _ in range(depth):
        value = [value]
    return value


@pytest.mark.parametrize(
    ("series", "sql_type", "values"),
    [
        (pd.Series([1, 2], dtype="int8"), "smallint", [1, 2]),
        (pd.Series([1], dtype="uint16"), "integer", [1]),
        (pd.Series([2**32 - 1], dtype="uint32"), "bigint", [2**32 - 1]),
        (pd.Series([2**64 - 1], dtype="uint64"), "numeric", [2**64 - 1]),
        (pd.Series([1, None], dtype="Int64"), "bigint", [1, None]),
        (pd.Series([1.5, np.nan], dtype="float16"), "real", [1.5, None]),
        (pd.Series([1.5, np.nan]), "double precision", [1.5, None]),
        (pd.Series([1.5, None], dtype="Float32"), "real", [1.5, None]),
        (pd.Series([True, None], dtype="boolean"), "boolean", [True, None]),
        (pd.Series([True, None], dtype=object), "boolean", [True, None]),
        (pd.Series(["a", None, ""]), "text", ["a", None, ""]),
        (pd.Series(["a", np.nan, pd.NA, None], dtype=object), "text", ["a", None, None, None]),
        (pd.Series(["a", pd.NaT, None], dtype=object), "text", ["a", None, None]),
        (pd.Series([1, pd.NaT], dtype=object), "bigint", [1, None]),
        (pd.Series(pd.arrays.SparseArray([0, 1])), "bigint", [0, 1]),
        (pd.Series(pd.arrays.SparseArray([np.nan, 1.5])), "double precision", [None, 1.5]),
        (pd.Series([Decimal("1.5"), 2], dtype=object), "numeric", [Decimal("1.5"), Decimal("2.0")]),
        (pd.Series([np.array(["2020-01-01", "NaT"], "M8[ns]")]), "timestamp[]", [[dt.datetime(2020, 1, 1), None]]),
        (
            pd.Series([dt.date(2020, 1, 1), dt.datetime(2020, 1, 1, 5)], dtype=object),
            "timestamp",
            [dt.datetime(2020, 1, 1), dt.datetime(2020, 1, 1, 5)],
        ),
        (pd.Series(["a", None], dtype="category"), "text", ["a", None]),
        (pd.Series([1, None], dtype="Int64").astype("category"), "bigint", [1, None]),
        (pd.Series([None, None], dtype=object), "text", [None, None]),
        (pd.Series([dt.date(1, 1, 1), None]), "date", [dt.date(1, 1, 1), None]),
        (pd.Series([dt.time(1, 2, 3, 4)]), "time", [dt.time(1, 2, 3, 4)]),
        (pd.Series(pd.to_datetime(["2020-01-02 03:04:05.000006", None])), "timestamp", None),
        (pd.Series([dt.datetime(1, 1, 1), None], dtype=object), "timestamp", [dt.datetime(1, 1, 1), None]),
        (pd.Series(pd.to_datetime(["2020-01-01"]).tz_localize(MADRID)), "timestamptz", None),
        (pd.Series(pd.to_timedelta([1], unit="D")), "interval", [dt.timedelta(1)]),
        (pd.Series([Decimal("1.50"), None]), "numeric", [Decimal("1.50"), None]),
        (pd.Series([b"\0", None]), "bytea", [b"\0", None]),
        (pd.Series([[1, None], None, []]), "bigint[]", [[1, None], None, []]),
        (pd.Series([["a"], ("b", None)]), "text[]", [["a"], ["b", None]]),
        (pd.Series([np.array([1.5])]), "double precision[]", [[1.5]]),
        (pd.Series([1, None], dtype=pd.ArrowDtype(pa.int32())), "integer", [1, None]),
        (pd.Series([1, 0.5, None], dtype=object), "double precision", [1, 0.5, None]),
        (pd.Series([np.float32(0.1), 0.1], dtype=object), "double precision", [float(np.float32(0.1)), 0.1]),
        (pd.Series([[1, float("inf")]]), "double precision[]", [[1.0, float("inf")]]),
        (pd.Series([np.array([1, 2], "int8"), None]), "bigint[]", [[1, 2], None]),
        (pd.Series([np.array([0.1], "f4")]), "double precision[]", [[float(np.float32(0.1))]]),
        (pd.Series([np.ma.array([1, 2], mask=[False, True])]), "bigint[]", [[1, None]]),
        (pd.Series([[1, pd.NA], [pd.NaT]]), "bigint[]", [[1, None], [None]]),
        (pd.Series([[Decimal("1.5"), 2]]), "numeric[]", [[Decimal("1.5"), Decimal(2)]]),
        (pd.Series([Number.ONE, None], dtype=object), "bigint", [1, None]),
        (pd.Series([np.datetime64("3000", "Y"), None], dtype=object), "timestamp", [dt.datetime(3000, 1, 1), None]),
        (
            pd.Series([np.timedelta64(1, "D"), dt.timedelta(-1)], dtype=object),
            "interval",
            [dt.timedelta(1), dt.timedelta(-1)],
        ),
        (pd.Series([Decimal("NaN"), Decimal(1)], dtype=object), "numeric", [None, Decimal(1)]),
        (pd.Series(["a"], dtype=pd.ArrowDtype(pa.string())), "text", ["a"]),
    ],
)
def test_types(series, sql_type, values):
    sent = from_series(series, "x")
    assert sent.sql_type == sql_type
    assert sent.staged_as is None
    assert values is None or sent.values.to_pylist() == values


@pytest.mark.parametrize(
    ("values", "text"),
    [
        ([{"a": [1, None, "ü"]}, None], ['{"a": [1, null, "ü"]}', None]),
        ([[1, "a"]], ['[1, "a"]']),
        ([[True, 1]], ["[true, 1]"]),
        ([[2**53 + 1, 0.5]], ["[9007199254740993, 0.5]"]),
        ([[2**70], [1]], [f"[{2**70}]", "[1]"]),
        ([[[1], [2]]], ["[[1], [2]]"]),
        ([{"n": np.int64(1), "d": dt.date(2020, 1, 1)}], ['{"n": 1, "d": "2020-01-01"}']),
        ([{"t": np.datetime64("2020-01-01", "ns"), "no": pd.NaT}], ['{"t": "2020-01-01T00:00:00", "no": null}']),
    ],
)
def test_json_is_sent_in_the_binary_form_of_jsonb(values, text):
    sent = from_series(pd.Series(values, dtype=object), "x")
    assert sent.sql_type == "jsonb"
    assert sent.values.to_pylist() == [None if item is None else b"\x01" + item.encode() for item in text]


def test_uuids_are_sent_as_their_bytes():
    value = uuid.UUID(int=1)
    sent = from_series(pd.Series([value, None], dtype=object), "x")
    assert (sent.sql_type, sent.values.to_pylist()) == ("uuid", [value.bytes, None])


@pytest.mark.parametrize("value", [2**70, Decimal("1" * 50 + ".5")])
def test_numbers_of_any_length_go_as_text(value):
    sent = from_series(pd.Series([value, None], dtype=object), "x")
    assert (sent.sql_type, sent.staged_as, sent.values.to_pylist()) == ("numeric", "text", [str(value), None])


def test_infinite_decimals_go_as_text():
    sent = from_series(pd.Series([Decimal("Infinity"), None], dtype=object), "x")
    assert (sent.sql_type, sent.staged_as, sent.values.to_pylist()) == ("numeric", "text", ["Infinity", None])


@pytest.mark.parametrize(
    ("value", "text"), [(Decimal("NaN"), "NaN"), (Decimal("-Infinity"), "-Infinity"), (10**50, "1" + 50 * "0")]
)
def test_large_numbers_in_lists_are_sent_as_text(value, text):
    sent = from_series(pd.Series([[value, Decimal(1)], None], dtype=object), "x")
    assert (sent.sql_type, sent.staged_as, sent.values.to_pylist()) == ("numeric[]", "text[]", [[text, "1"], None])


def test_more_digits_than_python_writes():
    sent = from_series(pd.Series([10**5000], dtype=object), "x")
    assert sent.values.to_pylist() == ["1" + 5000 * "0"]


def test_times_in_the_repeated_hour_of_dst():
    zone = ZoneInfo(MADRID)
    moments = [dt.datetime(2020, 10, 25, 2, 30, tzinfo=zone, fold=fold) for fold in (0, 1)]
    utc = [dt.datetime(2020, 10, 25, hour, 30, tzinfo=dt.UTC) for hour in (0, 1)]
    assert from_series(pd.Series(moments, dtype=object), "x").values.to_pylist() == utc


def test_several_zones_become_utc():
    moments = [dt.datetime(2020, 1, 1, 12, tzinfo=zone) for zone in (dt.UTC, dt.timezone(dt.timedelta(hours=2)))]
    sent = from_series(pd.Series(moments, dtype=object), "x")
    assert sent.sql_type == "timestamptz"
    assert sent.values.to_pylist() == moments


def test_nanoseconds_in_lists_are_cut_off_with_a_warning():
    with pytest.warns(ConversionWarning, match="'x' has nanoseconds"):
        sent = from_series(pd.Series([np.array(["2020-01-01T00:00:00.000000001"], "M8[ns]")]), "x")
    assert sent.values.to_pylist() == [[dt.datetime(2020, 1, 1)]]


def test_decimals_of_76_digits_go_as_text():
    series = pd.Series([Decimal(10) ** 60, None], dtype=pd.ArrowDtype(pa.decimal256(76, 1)))
    sent = from_series(series, "x")
    assert (sent.sql_type, sent.staged_as, sent.values.to_pylist()) == ("numeric", "text", [f"1{'0' * 60}.0", None])


def test_time_zones_in_arrays_survive():
    moment = dt.datetime(2020, 1, 1, 12, tzinfo=dt.timezone(dt.timedelta(hours=2)))
    sent = from_series(pd.Series([[moment, None], None], dtype=object), "x")
    assert (sent.sql_type, sent.staged_as) == ("timestamptz[]", "text[]")
    assert sent.values.to_pylist() == [["2020-01-01T10:00:00.000000Z", None], None]


def test_nan_can_be_kept():
    assert np.isnan(from_series(pd.Series([np.nan]), "x", keep_nan=True).values.to_pylist()[0])


def test_nanoseconds_are_cut_off_with_a_warning():
    series = pd.Series(np.array(["2020-01-01T00:00:00.000000001"], "M8[ns]"))
    with pytest.warns(ConversionWarning, match="'x' has nanoseconds"):
        sent = from_series(series, "x")
    assert sent.values.to_pylist() == [dt.datetime(2020, 1, 1)]


@pytest.mark.parametrize(
    ("series", "message"),
    [
        (pd.Series(["a\0b"]), "'x' has text with the character U\\+0000"),
        (pd.Series([["a\0"]]), "U\\+0000"),
        (pd.Series([{"a": "\0"}]), "U\\+0000"),
        (pd.Series(["\ud800"], dtype=object), "surrogate"),
        (pd.Series([1, "a"], dtype=object), "'x' has values of type int, str"),
        (pd.Series([object()]), "'x' has values of type object"),
        (pd.Series([1 + 2j]), "'x'"),
        (pd.Series(pd.period_range("2020", periods=1)), "'x'"),
        (pd.Series(pd.interval_range(0, 1)), "'x'"),
        (pd.Series([{"a": float("nan")}]), "cannot be stored as JSON"),
        (pd.Series([{"a": object()}]), "cannot be stored as JSON"),
        (pd.Series([dt.time(1, tzinfo=dt.UTC)]), "times of day with a time zone"),
        (pd.Series([Decimal("sNaN")], dtype=object), "'x' has a signaling NaN"),
        (pd.Series(np.array([-(10**14)], "M8[s]")), "'x'"),
        (pd.Series([dt.datetime(2020, 1, 1), dt.datetime(2020, 1, 1, tzinfo=dt.UTC)], dtype=object), "time zone"),
        (pd.Series(pd.period_range("2020", periods=1)).astype("category"), "'x' has the extension type"),
        (pd.Series(pd.cut([1], [0, 2])), "'x' has the extension type"),
    ],
)
def test_values_beyond_postgresql_are_refused_by_column(series, message):
    with pytest.raises(ConversionError, match=message):
        from_series(series, "x")


NAIVE, AWARE = dt.datetime(2020, 1, 1), dt.datetime(2020, 1, 1, tzinfo=dt.UTC)


@pytest.mark.parametrize(
    ("good", "bad"),
    [
        ([1], [in_itself()]),
        ([1], deep()),
        ({"a": 1}, {"a": deep()}),
        ([1], (deep(),)),
        ([1], [np.array([deep()], object)]),
        ([NAIVE], [dt.date(2020, 1, 1)]),
        ([NAIVE], [NAIVE, dt.date(2020, 1, 1)]),
        ([NAIVE], [AWARE]),
        ([NAIVE], [NAIVE, AWARE]),
        (NAIVE, AWARE),
        (dt.date(2020, 1, 1), AWARE),
        ([dt.time(1)], [dt.time(1, tzinfo=dt.UTC)]),
        (["a"], ["a", b"b"]),
        (["a"], [b"b"]),
        ("a", b"b"),
        (["a"], [dt.date(2020, 1, 1)]),
        (["a"], ["\ud800"]),
        (["a"], ["a\0"]),
        (NAIVE, np.datetime64("300000", "Y")),
        ([NAIVE], np.array(["20000-01-01"], "M8[D]")),
        ([NAIVE], [np.datetime64("-5000", "Y")]),
        (NAIVE, np.datetime64("-5000", "Y")),
        ({"a": 1}, {1: "a", "1": "b"}),
        ({"a": 1}, {"a": float("inf")}),
        (0.5, 2**53 + 1),
        (0.5, np.longdouble("0.1")),
        (True, 1),
        (Decimal(1), 0.5),
        (Decimal(1), Decimal("sNaN")),
        (Decimal(1), Decimal("1E+999999999")),
        (Decimal(1), Decimal("1E-20000")),
        (1, 10**140_000),
        ([1], [10**5000]),
        (dt.timedelta(1), dt.timedelta.max),
        (dt.timedelta(1), np.timedelta64(1, "Y")),
        (1, Color.RED),
        ([1], [Color.RED]),
        ([1], [{1}]),
        ([1], np.array(1)),
        ([1], [uuid.UUID(int=1)]),
        (1, bytearray(b"a")),
    ],
    ids=lambda value: type(value).__name__,
)
def test_the_message_names_the_row(good, bad):
    values = np.empty(3, object)
    values[0], values[1], values[2] = good, None, bad
    with pytest.raises(ConversionError, match=r"(?s)^column 'x' .* row 2 \(label 'c'\)"):
        from_series(pd.Series(values, index=list("abc"), dtype=object), "x")


@pytest.mark.parametrize(
    "series",
    [
        pd.Series(["a", "b\0"]),
        pd.Series(["a", "\ud800"], dtype=pd.StringDtype("python")),
        pd.Series(np.array(["2020", "400000"], "M8[s]")),
        pd.Series(np.array(["2020", "-5000"], "M8[s]")),
        pd.Series(np.array([1, 2**62], "m8[s]")),
        pd.Series(pd.arrays.ArrowExtensionArray(pa.array([0, -3_000_000], pa.int32()).view(pa.date32()))),
        pd.Series(pd.arrays.ArrowExtensionArray(pa.array([{"a": 1.5}, {"a": np.nan}]))),
    ],
    ids=lambda series: str(series.dtype),
)
def test_messages_for_other_dtypes_name_the_row(series):
    with pytest.raises(ConversionError, match=r"column 'x' .*row 1\b"):
        from_series(series, "x")


def test_a_backslash_before_u0000_is_text():
    assert from_series(pd.Series([{"a": "\\u0000"}]), "x").sql_type == "jsonb"


def test_structs_with_duplicate_fields_are_refused():
    twins = pa.StructArray.from_arrays([pa.array([1]), pa.array(["x"])], names=["a", "a"])
    with pytest.raises(ConversionError, match=r"'x' .*duplicate field names"):
        from_series(pd.Series(pd.arrays.ArrowExtensionArray(twins)), "x")
