"""Files of Python's csv module are imported unchanged."""

from __future__ import annotations

import csv
import io
from datetime import date
from decimal import Decimal

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.local.imports.files.conftest import Importer

Cell = str | int | float | date | None

TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=12)
INTEGERS = st.integers(-(10**20), 10**20)
FLOATS = st.floats(allow_nan=False, allow_infinity=False)
DATES = st.dates()
COLUMNS = st.sampled_from([TEXTS, INTEGERS, st.integers(-(2**31), 2**31), FLOATS, DATES, INTEGERS | FLOATS])


@st.composite
def tables(draw: st.DrawFn) -> list[list[Cell]]:
    """Draw rows of some columns of one type each, with NULLs."""
    columns = draw(st.lists(COLUMNS, min_size=2, max_size=5))
    count = draw(st.integers(1, 6))
    return [[draw(st.none() | column) for column in columns] for _ in range(count)]


def written(rows: list[list[Cell]]) -> str:
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow([f"column {'abcde'[at]}" for at in range(len(rows[0]))])
    writer.writerows(rows)
    return text.getvalue()


@pytest.mark.parametrize("type_guessing", [False, True])
def test_exports_and_imports_keep_values(importer: Importer, type_guessing: bool) -> None:
    @settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
    @given(tables())
    def check(rows: list[list[Cell]]) -> None:
        with importer.connection.transaction(force_rollback=True):
            importer.run(importer.write("t.csv", written(rows)), type_guessing=type_guessing)
            columns = [f"column_{'abcde'[at]}" for at in range(len(rows[0]))]
            found = importer.rows("t", *columns)
        assert len(found) == len(rows)
        for expected, got in zip(rows, found, strict=True):
            assert [same(a, b) for a, b in zip(expected, got, strict=True)] == [True] * len(rows[0]), (expected, got)

    check()


def same(expected: Cell, got: object) -> bool:
    """Compare a value with the imported one, which may be its text."""
    if expected is None or expected == "":
        return got is None
    if got == expected or got == str(expected):
        return True
    if isinstance(got, bool):
        return str(expected).strip().casefold() == str(got).casefold()
    if isinstance(expected, str) and isinstance(got, int | float):
        return Decimal(expected.strip()) == Decimal(repr(got))
    return False
