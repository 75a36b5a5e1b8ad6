from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cartoframes_lite.local.catalog.names import (
    free_table_name,
    is_rejected_column,
    sanitize_column,
    sanitize_columns,
    sanitize_table,
)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("Cities", "cities"),
        (" a\t", "a"),
        ("2019 x", "table_2019_x"),
        ("_x", "table_x"),
        ("émile", "table_mile"),
        ("my table-1", "my_table_1"),
        ("Café 1", "caf_1"),
        ("señor", "se_or"),
        ("a - b", "a_b"),
        ("x!", "x_"),
        ("a|b", "a|b"),
        ("x" * 80, "x" * 63),
        ("select", "select_t"),
        ("Geometry", "geometry_t"),
        ("public", "public_t"),
        ("layergroup", "layergroup_t"),
        ("new", "new_t"),
        ("***", "table_"),
        ("", "untitled_table"),
        (" ", "untitled_table"),
        ('a"; DROP TABLE t; --', "a_drop_table_t_"),
    ],
)
def test_names_of_tables(name: str, expected: str) -> None:
    assert sanitize_table(name) == expected


@pytest.mark.parametrize(
    ("name", "taken", "expected"),
    [
        ("a", [], "a"),
        ("a", ["a"], "a_1"),
        ("A", ["a", "a_1"], "a_2"),
        ("a_", ["a_"], "a_1"),
        ("", ["untitled_table"], "untitled_table_1"),
        ("select", ["select_t"], "select_t_1"),
        ("x" * 63, ["x" * 62 + "y"], "x" * 61 + "_1"),
        ("x" * 62, ["x" * 63], "x" * 61 + "_1"),
        ("x" * 61, ["x" * 62], "x" * 61),
        ("x" * 63, ["x" * 63, "x" * 61 + "_1"], "x" * 60 + "_10"),
    ],
)
def test_taken_names_of_tables(name: str, taken: list[str], expected: str) -> None:
    assert free_table_name(name, taken) == expected


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("Población 2000", "poblacion_2000"),
        ("My New column", "my_new_column"),
        ("Жук", "zhuk"),
        ("<b>bold</b> one", "bold_one"),
        ("a &amp; b", "a_b"),
        (" -a- ", "a"),
        ("a__b", "a__b"),
        ("2019", "_2019"),
        ("select", "_select"),
        ("Format", "_format"),
        ("xmin", "_xmin"),
        ("oid", "oid"),
        ("", "_"),
        ("日本", "_"),
    ],
)
def test_names_of_columns(name: str, expected: str) -> None:
    assert sanitize_column(name) == expected


def test_columns_of_an_import_are_unique() -> None:
    assert sanitize_columns(["A", "a", "", "1", "order", "a__b", "x" * 70, "x" * 71]) == [
        "a", "a_1", "field_3", "_1", "_order", "a_b", "x" * 63, "x" * 61 + "_1",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("name", "rejected"), [("oid", True), ("ogc_fid", True), ("xmin", True), ("1a", True), ("a1", False), ("_1", False)]
)
def test_rejected_columns(name: str, rejected: bool) -> None:
    assert is_rejected_column(name) is rejected


@given(st.lists(st.text(), max_size=8))
def test_sanitized_names_are_valid_and_distinct(names: list[str]) -> None:
    columns = sanitize_columns(names)
    assert len(set(columns)) == len(names)
    tables: list[str] = []
    for name in names:
        tables.append(free_table_name(name, tables))
    assert len(set(tables)) == len(names)
    for name in [*columns, *(table.replace("|", "_") for table in tables)]:
        assert name.isascii()
        assert name.isidentifier()
        assert name == name.lower()
        assert len(name) <= 63
