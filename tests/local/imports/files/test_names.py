from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cartoframes_lite.local.imports.files import normalize, normalize_columns


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("My File (2)", "my_file_2"),
        ("Ünïcode Größe", "unicode_grosse"),
        ("2020 census", "table_2020_census"),
        ("table", "_table"),
        ("select", "_select"),
        ("_private", "_private"),
        ("a.b-c  d", "a_b_c_d"),
        ("***", "untitled_table"),
        ("", "untitled_table"),
        ("北京", "bei_jing"),
        ("x" * 80, "x" * 63),
        ('a"; DROP TABLE t; --', "a_drop_table_t"),
    ],
)
def test_names_of_tables(name: str, expected: str) -> None:
    assert normalize(name) == expected


def test_names_of_columns() -> None:
    assert normalize_columns(["A", "a", "", "1", "order", "x" * 70, "x" * 71]) == [
        "a", "a_1", "field_3", "_1", "_order", "x" * 63, "x" * 61 + "_1",
    ]  # fmt: skip


@given(st.lists(st.text(), max_size=8))
def test_names_need_no_quotes_and_differ(names: list[str]) -> None:
    columns = normalize_columns(names)
    assert len(set(columns)) == len(names)
    for name in [*columns, *map(normalize, names)]:
        assert name.isascii()
        assert name.isidentifier()
        assert name == name.lower()
        assert len(name) <= 63
