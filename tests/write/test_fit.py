from __future__ import annotations

import datetime as dt
from decimal import Decimal

import pandas as pd
import pytest

from cartoframes_lite.errors import ConversionError
from cartoframes_lite.write.columns import Column
from cartoframes_lite.write.fit import cast_columns, cast_values, is_checked
from cartoframes_lite.write.prepare import prepare


def fitted(values: list[object], want: str) -> tuple[Column, list[object]]:
    """Cast a column for a type of the table: its specification, and its values."""
    prepared = prepare(pd.DataFrame({"a": values}))
    (column,), (target,) = prepared.columns, cast_columns(prepared.columns, {"a": want})
    (payload,) = prepared.payloads()
    try:
        return target, cast_values(payload.values["a"], column, target).to_pylist()
    except ConversionError:
        assert is_checked(column, target)  # else the frame would not be checked before it is sent
        raise


@pytest.mark.parametrize(
    ("values", "want", "sent", "staged"),
    [
        ([1], "int4", [1], "bigint"),
        ([1.0, None], "int4", [1, None], "bigint"),
        ([0.1 + 0.2], "numeric", ["0.30000000000000004"], "text"),
        ([0.1 + 0.2], "numeric(10,2)", ["0.30000000000000004"], "text"),
        ([1], "float8", [1], "bigint"),
        (["x"], "uuid", ["x"], "text"),
        (["x"], "mood", ["x"], "text"),
        ([1], "text", [1], "bigint"),
        ([dt.date(2020, 1, 1)], "timestamp", [dt.date(2020, 1, 1)], "date"),
    ],
)
def test_what_keeps_every_value_is_cast(values, want, sent, staged):
    column, cast = fitted(values, want)
    assert (cast, column.staged_type, column.final_type) == (sent, staged, want)


@pytest.mark.parametrize(
    ("values", "want"),
    [
        ([1.5], "int4"),
        ([float("inf")], "int8"),
        ([Decimal("1.5")], "int4"),
        (["1"], "int4"),
        ([True], "int4"),
        (["x"], "geometry"),
        ([b"x"], "text"),
        ([[1]], "int4"),
    ],
)
def test_what_would_lose_something_is_refused(values, want):
    with pytest.raises(ConversionError, match="'a'"):
        fitted(values, want)


def test_requested_types_are_fitted():
    columns = prepare(pd.DataFrame({"a": [1.0], "b": [1]}), dtype={"a": "int4"}).columns
    assert [column.final_type for column in cast_columns(columns, {})] == ["int4", "bigint"]


def test_lossy_json_text_is_refused_with_its_row():
    with pytest.raises(ConversionError, match=r"'a' has the key 'k' twice, .* in row 1"):
        fitted(["{}", '{"k": 1, "k": 2}'], "jsonb")
    assert fitted(["{}", '{"k": 1, "k": 2}'], "json")[0].final_type == "json"
