from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cartoframes_lite._codec.names import literal, normalize, normalize_columns, qualify, quote
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
