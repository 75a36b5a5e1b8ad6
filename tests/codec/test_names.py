from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cartoframes_lite._codec.names import (
    carto_table_name,
    carto_table_name_of_file,
    literal,
    normalize,
    normalize_columns,
    qualify,
    quote,
)
from cartoframes_lite.errors import ConversionError


@pytest.mark.parametrize(
    ("label", "name"),
    [
        ("name", "name"),
        ("A b", "a_b"),
        ("a-b", "a_b"),
        ("Año", "ano"),
        ("Straße", "strasse"),
        ("2020", "_2020"),
        (5, "_5"),
        ("select", "_select"),
        ("FORMAT", "_format"),
        ("xmin", "_xmin"),
        ("<b>bold</b>", "bold"),
        ("a &amp; b", "a_b"),
        ("50% (est.)", "_50_est_"),
        ("", "_"),
        ("x" * 70, "x" * 63),
    ],
)
def test_names_are_normalized_as_in_cartoframes(label, name):
    assert normalize(label) == name


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_normalized_names_need_no_quotes(label):
    name = normalize(label)
    assert quote(name) == f'"{name}"'
    assert len(name.encode()) <= 63
    assert normalize(name) == name


@pytest.mark.parametrize(
    ("requested", "name"),
    [
        ("Cities", "cities"),
        (" a ", "a"),
        ("2019 x", "table_2019_x"),
        ("_x", "table_x"),
        ("émile", "table_mile"),
        ("my table-1", "my_table_1"),
        ("Café 1", "caf_1"),
        ("Café", "caf_"),
        ("ñ", "table_"),
        ("a - b", "a_b"),
        ("x!", "x_"),
        ("a|b", "a|b"),
        ("v1.2", "v1_2"),
        ("select", "select_t"),
        ("Geometry", "geometry_t"),
        ("public", "public_t"),
        ("new", "new_t"),
        ("lateral", "lateral_t"),
        ("xmin", "xmin"),
        ("x" * 70, "x" * 63),
        (" ", "untitled_table"),
        ("a\n1", "table_a_1"),
    ],
)
def test_requested_table_names_as_in_carto(requested, name):
    assert carto_table_name(requested) == name
    assert carto_table_name(name) == name


@pytest.mark.parametrize(
    ("stem", "name"),
    [("Weird Filename (2)", "weird_filename_2"), ('Tom\'s "R&D"', "toms_rd"), ("a.b", "a_b"), ("1st", "table_1st")],
)
def test_table_names_of_files_as_in_carto(stem, name):
    assert carto_table_name_of_file(stem) == name


@given(st.text())
def test_table_names_of_carto_are_stable(text):
    name = carto_table_name(text)
    assert carto_table_name(name) == name
    assert len(name) <= 63


def test_a_collision_names_both():
    with pytest.raises(ConversionError, match=r"'A b' and 'a-b' would both be named 'a_b'"):
        normalize_columns(["A b", "c", "a-b"])


def test_levels_of_columns_are_refused():
    with pytest.raises(ConversionError, match="levels"):
        normalize_columns([("a", "b")])


@pytest.mark.parametrize("name", ["", "a\0b", "é" * 32, "\ud800"])
def test_names_that_postgresql_would_change_are_refused(name):
    with pytest.raises(ValueError, match="name"):
        quote(name)


@pytest.mark.parametrize("text", ["a\0", "\udfff"])
def test_literals_that_postgresql_cannot_hold(text):
    with pytest.raises(ValueError, match="cannot store"):
        literal(text)


def test_quotes_are_doubled():
    assert qualify('s"', 't"; DROP TABLE x; --') == '"s"""."t""; DROP TABLE x; --"'
    assert literal("it's \\ here") == "E'it''s \\\\ here'"
