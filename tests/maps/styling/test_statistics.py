"""Statistics by the server and of a frame agree, and every value is in exactly one class."""

from __future__ import annotations

import datetime
import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

import cartoframes_lite as cfl
from cartoframes_lite.maps.styling.cartocss import color_class_sql, size_class_sql
from cartoframes_lite.maps.styling.classification import classify
from cartoframes_lite.maps.styling.frame_statistics import FrameStatistics, numbers_of, texts_of
from cartoframes_lite.maps.styling.labels import integer_ranges
from cartoframes_lite.maps.styling.natural_breaks import natural_breaks
from cartoframes_lite.maps.styling.options import LAYER_DEFAULTS, check_options
from cartoframes_lite.maps.styling.queries import LayerQueries
from cartoframes_lite.maps.styling.schemes import scheme_breaks
from cartoframes_lite.maps.styling.sizes import size_classes
from cartoframes_lite.maps.styling.sql_statistics import SQLStatistics, kind_of_pgtype
from cartoframes_lite.maps.styling.statistics import Group

NUMERIC_SCHEMES = (None, "quantiles", "equal_interval", "natural_breaks", "std_mean", "continuous", "categories")
VALUES = {
    "float8": st.one_of(
        st.none(), st.floats(-1e100, 1e100), st.sampled_from([0.1, 0.2, 1 / 3, math.nan, math.inf, -math.inf])
    ),
    "int4": st.one_of(st.none(), st.integers(-(2**31), 2**31 - 1), st.integers(-5, 5)),
    "text": st.one_of(
        st.none(), st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=4), st.sampled_from("ab")
    ),
    "bool": st.one_of(st.none(), st.booleans()),
    "date": st.one_of(st.none(), st.dates(datetime.date(1600, 1, 1), datetime.date(2400, 1, 1))),
    "timestamptz": st.one_of(
        st.none(),
        st.datetimes(datetime.datetime(1900, 1, 1), datetime.datetime(2100, 1, 1), timezones=st.just(datetime.UTC)),
    ),
}
ARRAYS = {
    "float8": ("float8[]", "float64"),
    "int4": ("int4[]", "Int32"),
    "text": ("text[]", object),
    "bool": ("bool[]", "boolean"),
    "date": ("date[]", object),
    "timestamptz": ("timestamptz[]", "datetime64[us, UTC]"),
}


def sources(values, pgtype):
    """Return a query with the values, and a series of them."""
    array, dtype = ARRAYS[pgtype]
    elements = [None if value is None else literal_of(value) for value in values]
    items = ", ".join("NULL" if element is None else element for element in elements)
    query = f"SELECT v, place FROM unnest(ARRAY[{items}]::{array}) WITH ORDINALITY AS t(v, place)"
    return query, pd.Series(values, dtype=dtype, name="v")


def literal_of(value):
    text = value.isoformat() if isinstance(value, datetime.date) else str(value)
    return "E'" + text.replace("\\", "\\\\").replace("'", "''") + "'"


def options_of(scheme, k=None):
    return check_options({**LAYER_DEFAULTS, "color_by": "v", "scheme": scheme, "k": k}, has_cartocss=False)


def class_of(classification, series):
    """Return the class of each row of a series, by the definition of the limits."""
    if classification.texts is not None:
        index = {text: place for place, text in enumerate(classification.texts)}
        found = texts_of(series, classification.kind)
        return [classification.no_data if text is None else index.get(text, classification.other) for text in found]
    numbers = numbers_of(series, classification.kind)
    if classification.numbers is not None:
        index = {number: place for place, number in enumerate(classification.numbers)}
        return [index.get(one, classification.other) if np.isfinite(one) else classification.no_data for one in numbers]
    return [
        sum(one > limit for limit in classification.limits) if np.isfinite(one) else classification.no_data
        for one in numbers
    ]


@pytest.fixture(scope="module")
def client(carto_server):
    return cfl.Client(carto_server.credentials)


@pytest.mark.parametrize("pgtype", sorted(VALUES))
def test_every_value_is_in_one_class_everywhere(pgtype, client):
    @settings(suppress_health_check=[HealthCheck.too_slow], max_examples=12, deadline=None)
    @given(st.lists(VALUES[pgtype], min_size=1, max_size=30), st.integers(2, 7))
    def check(values, k):
        query, series = sources(values, pgtype)
        by_server, by_frame = SQLStatistics(LayerQueries(client, query), query, "v", pgtype), FrameStatistics(series)
        is_numeric = pgtype not in ("text", "bool")
        classifications = [
            classify(by_server, options_of(scheme, k if scheme is not None else None))
            for scheme in (NUMERIC_SCHEMES if is_numeric else (None, "categories"))
        ]
        expressions = ", ".join(f"{color_class_sql(one)} AS c{place}" for place, one in enumerate(classifications))
        rows = client.sql.rows(f"SELECT {expressions} FROM ({query}) AS q ORDER BY place")
        for place, classification in enumerate(classifications):
            found = [row[f"c{place}"] for row in rows]
            assert found == class_of(classification, series)
            assert all(0 <= index < len(classification.colors) for index in found)
            items = [item.label for item in classification.legend.items]
            assert ("no data" in items) == (classification.no_data in found)
            assert ("other" in items) == (classification.other in found)
        if by_frame.kind == by_server.kind:  # a series of NULLs has no kind
            assert by_server.summary == by_frame.summary
            assert (
                by_server.frequent_texts(3) == by_frame.frequent_texts(3)
                if pgtype in ("text", "int4", "bool")
                else True
            )

    check()


def test_statistics_of_many_values_agree(client):
    random = np.random.default_rng(5)
    values = np.round(random.lognormal(2, 1, 4000), 3)
    frame = FrameStatistics(pd.Series([*values, math.nan, math.inf], name="v"))
    query, _ = sources([*values.tolist(), math.nan, math.inf], "float8")
    server = SQLStatistics(LayerQueries(client, query), query, "v", "float8")
    assert server.summary == frame.summary
    assert server.summary.missing == 2
    fractions = [0.1, 0.25, 0.5, 1.0]
    assert server.quantiles(fractions) == pytest.approx(frame.quantiles(fractions))
    assert server.quantiles(fractions, absolute=True) == pytest.approx(frame.quantiles(fractions, absolute=True))
    assert server.mean_and_std() == pytest.approx(frame.mean_and_std())
    assert server.frequent_numbers(5) == frame.frequent_numbers(5)
    for most in (10, 1000, 5000):
        found, expected = server.groups(most), frame.groups(most)
        assert [(one.top, one.size) for one in found] == [(one.top, one.size) for one in expected]
        assert [one.mean for one in found] == pytest.approx([one.mean for one in expected])
        assert len(found) <= most + 1
    for scheme in NUMERIC_SCHEMES:
        one, other = (classify(statistics, options_of(scheme)) for statistics in (server, frame))
        assert one.limits == pytest.approx(other.limits)
        assert (one.numbers, one.colors, one.legend) == (other.numbers, other.colors, other.legend)


def test_samples_of_many_values_are_even(client, monkeypatch):
    monkeypatch.setattr("cartoframes_lite.maps.styling.sql_statistics.SAMPLED_ROWS", 1000)
    query = "SELECT n::float8 AS v FROM generate_series(1, 100000) AS n"
    statistics = SQLStatistics(LayerQueries(client, query), query, "v", "float8")
    assert statistics.quantiles([0.5])[0] == pytest.approx(50_000, rel=0.01)
    assert len(statistics.groups(50)) <= 51


def test_sizes_of_server_and_frame_agree(client):
    values = [9.0, 4.0, 1.0, 0.0, -3.0, 8.99, None]
    query, series = sources(values, "float8")
    sizes = size_classes(SQLStatistics(LayerQueries(client, query), query, "v", "float8"), "#000000", is_line=False)
    assert sizes == size_classes(FrameStatistics(series), "#000000", is_line=False)
    rows = client.sql.rows(f"SELECT {size_class_sql(sizes)} AS size FROM ({query}) AS q ORDER BY place")
    expected = [sum(value > limit for limit in sizes.limits) if value is not None else 0 for value in values]
    assert [row["size"] for row in rows] == expected
    assert expected[0] == len(sizes.limits)


@pytest.mark.parametrize(
    ("maximum", "expected"), [(1, ["1"]), (2, ["2", "1"]), (3, ["3", "1"]), (39, ["39", "10", "5"])]
)
def test_sizes_of_integers_have_integer_labels(maximum, expected):
    sizes = size_classes(FrameStatistics(pd.Series([0, 1, maximum], name="n")), "#000000", is_line=False)
    assert [item.label for item in sizes.legend.items] == expected


@example([0, 2], 5, "equal_interval")
@example([15], 3, "equal_interval")
@given(
    st.lists(st.integers(-20, 20), min_size=1, max_size=20),
    st.integers(2, 9),
    st.sampled_from(["quantiles", "equal_interval", "natural_breaks", "std_mean"]),
)
def test_each_class_can_have_integers(values, k, scheme):
    breaks = scheme_breaks(FrameStatistics(pd.Series(values)), scheme, k)
    labels = integer_ranges([breaks.low, *breaks.tops])
    assert len(set(labels)) == len(labels)
    assert breaks.tops[-1] == max(values)


@given(st.lists(st.integers(-100, 100), min_size=1, max_size=9), st.integers(2, 4))
def test_natural_breaks_are_optimal(values, k):
    values = sorted(values)
    groups = [Group(float(value), float(value), values.count(value)) for value in sorted(set(values))]
    tops = natural_breaks(groups, k)
    assert tops == sorted(set(tops))
    assert tops[-1] == values[-1]
    assert deviations(values, tops) == pytest.approx(least_deviations(sorted(set(values)), values, k))


def deviations(values, tops):
    """Return the sum of the squared deviations from the means of the classes."""
    classes = np.searchsorted(tops, values)
    return sum(np.var(np.array(values)[classes == one]) * (classes == one).sum() for one in set(classes))


def least_deviations(distinct, values, k):
    """Return the least sum of squared deviations of all divisions, by trying all."""
    if len(distinct) <= k:
        return 0
    divisions = [[]]
    for _ in range(k - 1):
        divisions = [[*one, top] for one in divisions for top in distinct[:-1] if not one or top > one[-1]] or divisions
    return min(deviations(values, [*one, distinct[-1]]) for one in divisions)


def test_kinds_of_columns():
    kinds = {
        "int4": "integer",
        "numeric": "number",
        "timestamptz": "datetime",
        "date": "date",
        "bool": "boolean",
        "json": "text",
    }
    assert {pgtype: kind_of_pgtype(pgtype) for pgtype in kinds} == kinds
    assert FrameStatistics(pd.Series([1, None], dtype=object)).kind == "integer"
    assert FrameStatistics(pd.Series([datetime.date(2020, 1, 1), None], dtype=object)).kind == "date"
    assert FrameStatistics(pd.Series([datetime.date(2020, 1, 1)], dtype="date32[day][pyarrow]")).kind == "date"
    assert FrameStatistics(pd.Series(["a", "b"], dtype="category")).kind == "text"
    assert FrameStatistics(pd.Series([1, 2], dtype="category")).kind == "integer"
    assert FrameStatistics(pd.Series([[1], {"a": 1}, None])).summary.missing == 1
