"""Frames of an iterable whose dtypes differ, and columns of several types."""

from __future__ import annotations

import datetime as dt
import io
from decimal import Decimal

import dask.dataframe as dd
import numpy as np
import pandas as pd
import pytest

import cartoframes_lite as cfl
import cartoframes_lite.dask

DAY = dt.date(2020, 1, 2)


def write(frames, credentials, dtype=None, **keywords):
    source = iter([pd.DataFrame({"x": values}) for values in frames])
    keywords = {"dtype": dtype and {"x": dtype}, "cartodbfy": False, "progress": False} | keywords
    cfl.to_carto(source, "t", credentials, **keywords)
    return [row["x"] for row in cfl.Client(credentials).sql.rows("SELECT x::text AS x FROM t ORDER BY ctid")]


REQUESTED = [
    ("double precision", [[1], [1.5]], ["1", "1.5"]),
    ("double precision", [[None], [1], ["1.5", 2][1:]], [None, "1", "2"]),
    (
        "numeric",
        [[2**60 + 1], [0.1 + 0.2], [Decimal("1e-20")]],
        [str(2**60 + 1), "0.30000000000000004", f"{1e-20:.20f}"],
    ),
    ("bigint", [[1.0, np.nan], [2], [Decimal(3)]], ["1", None, "2", "3"]),
    ("text", [[1], ["b"], [True], [1.0, 1e15, 1e-5], [DAY]], ["1", "b", "true", "1", "1e+15", "1e-05", "2020-01-02"]),
    ("text", [[dt.timedelta(1, 1, 500_000)], [Decimal("1E-10")]], ["24:00:01.5", "0.0000000001"]),
    ("text", [[{"a": 1}], ["b"]], ['{"a": 1}', "b"]),
    ("varchar(9)", [[np.nan], ["a"]], [None, "a"]),
    ("date", [[None], ["2020-01-02"], [DAY]], [None, "2020-01-02", "2020-01-02"]),
    ("timestamp", [[DAY], [dt.datetime(2020, 1, 2, 3)]], ["2020-01-02 00:00:00", "2020-01-02 03:00:00"]),
]


@pytest.mark.parametrize(
    ("dtype", "frames", "stored"), REQUESTED, ids=[f"{row[0]}-{at}" for at, row in enumerate(REQUESTED)]
)
def test_a_requested_type_reaches_every_frame(dtype, frames, stored, credentials):
    assert write(frames, credentials, dtype) == stored


MIXED = [
    ("text", [1, "b", None, 2.5, True], ["1", "b", None, "2.5", "true"]),
    ("text", [2**60 + 1, 2.5], [str(2**60 + 1), "2.5"]),
    ("numeric", [1, 2.5, Decimal("3.25"), 2**70], ["1", "2.5", "3.25", str(2**70)]),
    ("double precision", [1, Decimal("0.1"), 2.5], ["1", "0.1", "2.5"]),
    ("jsonb", [1, {"a": [1]}, "[2]", None, [True]], ["1", '{"a": [1]}', "[2]", None, "[true]"]),
    ("date", [DAY, "2020-01-03"], ["2020-01-02", "2020-01-03"]),
]


@pytest.mark.parametrize(("dtype", "values", "stored"), MIXED, ids=[f"{row[0]}-{at}" for at, row in enumerate(MIXED)])
@pytest.mark.parametrize("earlier", [[], [[None]]], ids=["first", "later"])
def test_a_requested_type_reaches_every_value_of_a_mixed_column(dtype, values, stored, earlier, credentials):
    objects = pd.Series(values, dtype=object)  # pandas would make floats of numbers
    assert write([*earlier, objects], credentials, dtype) == [*(len(earlier) * [None]), *stored]


@pytest.mark.parametrize(
    ("dtype", "values", "message"),
    [
        ("integer", [1, "b"], "str in row 1, 'b': dtype requests integer"),
        ("text", [1, b"x"], "bytes in row 1"),
        ("boolean", [True, 1], "values of type bool, int"),
        ("jsonb", [1, {"a": np.nan}], "row 1"),
    ],
)
def test_a_value_that_is_not_of_the_requested_type_is_named(dtype, values, message):
    nowhere = cfl.Credentials(base_url="http://127.0.0.1:9/user/none", api_key="none")
    with pytest.raises(cfl.ConversionError, match=message):
        write([values], nowhere, dtype)


def test_chunks_of_a_csv_file_with_a_requested_type(credentials):
    chunks = pd.read_csv(io.StringIO("x\n1\n2\n\na\nb\n"), chunksize=2, skip_blank_lines=False)
    cfl.to_carto(chunks, "t", credentials, dtype={"x": "text"}, progress=False)
    assert cfl.read_carto("t", credentials)["x"].tolist() == ["1", "2", np.nan, "a", "b"]


@pytest.mark.parametrize(
    ("frames", "stored"),
    [
        ([[1], [2.0, np.nan], [Decimal(3)]], ["1", "2", None, "3"]),
        ([[1.5], [2], [None]], ["1.5", "2", None]),
        ([["a"], [None], pd.Categorical(["b"])], ["a", None, "b"]),
    ],
)
def test_later_frames_are_cast_without_loss(frames, stored, credentials):
    assert write(frames, credentials) == stored


DIFFERENT = [
    ([[1], [2, 1.5]], r"frame 1: column 'x' .* in row 1 \(1.5\)", "double precision"),
    ([[1], [2], [3, "b"][1:]], "frame 2: column 'x' .* 'b' in row 0", "text"),
    ([np.array([1], "int16"), [100_000]], r"\(100000\)", "bigint"),
    ([[1.5], [2**60 + 1]], str(2**60 + 1), "numeric"),
    ([[DAY], [dt.datetime(2020, 1, 2, 3)]], "row 0", "timestamp"),
    ([[np.nan], ["a"]], "'a' in row 0", "text"),
    ([["a"], [None, 1.0]], "1.0 in row 1", "text"),
    ([[1], [dt.timedelta(1)]], "row 0", "text"),
]


@pytest.mark.parametrize(
    ("frames", "message", "mending"), DIFFERENT, ids=[f"{row[2]}-{at}" for at, row in enumerate(DIFFERENT)]
)
def test_the_error_for_a_later_frame_names_the_dtype_that_mends_it(frames, message, mending, credentials):
    with pytest.raises(cfl.ConversionError, match=message) as raised:
        write(frames, credentials)
    assert f"pass dtype={{'x': '{mending}'}}" in str(raised.value)
    assert (
        cfl.Client(credentials).sql.rows("SELECT relname FROM pg_class WHERE relname LIKE 'cfl_%' OR relname = 't'")
        == []
    )
    assert len(write(frames, credentials, mending)) == sum(map(len, frames))


def test_an_error_within_a_later_frame_has_its_number(credentials):
    with pytest.raises(cfl.ConversionError, match=r"frame 1: column 'x' has text with the character U"):
        write([["a"], ["\0"]], credentials)
    cfl.Client(credentials).sql.send("CREATE TABLE t (x int4)")
    with pytest.raises(cfl.ConversionError, match=r"frame 1: column 'x' does not fit its type int.*: 1.5 in row 1"):
        write([[1.0], [2.0, 1.5]], credentials, if_exists="append")


def test_frames_after_one_without_values_get_the_type_of_the_table(credentials):
    cfl.Client(credentials).sql.send("CREATE TABLE t (x text)")
    assert write([[np.nan], ["a"], [1]], credentials, if_exists="append") == [None, "a", "1"]


def test_a_requested_type_reaches_every_partition(credentials):
    ddf = dd.from_map(pd.DataFrame, [{"x": [1]}, {"x": [1.5]}], meta={"x": "f8"})
    cfl.dask.to_carto(ddf, "t", credentials, dtype={"x": "double precision"})
    assert sorted(cfl.read_carto("t", credentials)["x"]) == [1.0, 1.5]
    with pytest.raises(cfl.ConversionError, match=r"partition 1: .*dtype=\{'x': 'double precision'\}"):
        cfl.dask.to_carto(ddf, "u", credentials)
