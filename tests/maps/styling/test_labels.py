"""Labels of numbers and times, and sizes by density."""

from __future__ import annotations

import datetime
import math
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cartoframes_lite.maps.styling.density import fit_zoom, marker_growth, marker_width
from cartoframes_lite.maps.styling.labels import integer_ranges, nice_below, number_labels, number_ranges
from cartoframes_lite.maps.styling.times import time_classes, time_labels

MOMENTS = st.datetimes(datetime.datetime(1, 1, 1), datetime.datetime(9998, 1, 1), timezones=st.just(datetime.UTC))


@pytest.mark.parametrize(
    ("values", "labels"),
    [
        ([0, 1234567, 7654321], ["0", "1,200,000", "7,700,000"]),
        ([0.123456, 0.5, 1.25], ["0.12", "0.5", "1.25"]),
        ([-3.14159, 0.0, 3.14159], ["-3.1", "0", "3.1"]),
        ([1000, 1000.001], ["1,000", "1,000.001"]),
        ([1e20, 2e20], ["1e+20", "2e+20"]),
        ([1e-9, 2e-9], ["1e-09", "2e-09"]),
        ([-0.0, 1], ["0", "1"]),
        ([5], ["5"]),
    ],
    ids=["millions", "decimals", "negative", "close", "huge", "tiny", "zero", "one"],
)
def test_numbers_have_the_digits_that_tell_them_apart(values, labels):
    assert number_labels(values) == labels


@given(st.lists(st.floats(-1e12, 1e12), min_size=1, max_size=6, unique=True))
def test_labels_of_numbers_are_close_and_without_exponent(values):
    values = sorted(value for value in values if not 0 < abs(value) < 1e-3)
    labels = number_labels(values)
    assert len(labels) == len(values)
    assert not any("e" in label for label in labels)
    largest = max(map(abs, values), default=0)
    for label, value in zip(labels, values, strict=True):
        assert float(label.replace(",", "")) == pytest.approx(value, abs=largest / 10)
    assert len(number_ranges(values)) == max(len(values) - 1, 0)


@given(st.lists(st.integers(-(10**6), 10**6), min_size=2, max_size=6, unique=True))
def test_ranges_of_integers_do_not_overlap(limits):
    labels = integer_ranges(sorted(limits))
    bounds = [[int(part.replace(",", "")) for part in label.split(" to ")] for label in labels]
    if min(high - low for low, high in pairwise(sorted(limits))) < 1000:
        assert all(low[-1] < high[0] for low, high in pairwise(bounds))


def test_years_have_no_separator():
    assert integer_ranges([1990, 2000, 2020]) == ["1990 to 2000", "2001 to 2020"]
    assert integer_ranges([1000, 2000, 5000]) == ["1,000 to 2,000", "2,001 to 5,000"]


@given(st.floats(1e-300, 1e300))
def test_nice_numbers_have_one_digit(value):
    nice = nice_below(value)
    assert value / 2.000001 <= nice <= value * 1.000001
    assert len(f"{nice:.10g}".partition("e")[0].strip("0.")) == 1


@given(MOMENTS, MOMENTS, st.integers(2, 12))
def test_classes_of_times_increase_and_have_a_label_each(one, other, k):
    first, last = sorted((one.timestamp(), other.timestamp()))
    classes = time_classes(first, last, k)
    assert 1 <= len(classes.labels) <= k
    assert len(classes.labels) == len(classes.limits) + 1
    assert list(classes.limits) == sorted(set(classes.limits))
    assert all(limit < last for limit in classes.limits)
    assert all(first <= limit for limit in classes.limits)
    assert len(set(classes.labels)) == len(classes.labels)
    assert all(time_labels([first, last]))


def test_times_beyond_the_calendar_have_classes():
    for first, last in ((-1e15, 0.0), (0.0, 1e15), (-math.inf, 0.0)):
        assert len(time_classes(first, last, 5).labels) >= 1


@pytest.mark.parametrize(
    ("first", "last", "labels"),
    [
        ("2019-06-01", "2022-05-01", ["2019", "2020", "2021", "2022"]),
        ("2024-01-05", "2024-03-31", ["Jan 2024", "Feb 2024", "Mar 2024"]),
        ("2024-05-05", "2024-05-05", ["5 May 2024"]),
        ("1990-01-01", "2013-01-01", ["1990 to 1994", "1995 to 1999", "2000 to 2004", "2005 to 2009", "2010 to 2014"]),
    ],
    ids=["years", "months", "day", "half-decades"],
)
def test_classes_of_times_are_calendar_units(first, last, labels):
    seconds = [datetime.datetime.fromisoformat(f"{day}T00:00+00:00").timestamp() for day in (first, last)]
    assert list(time_classes(*seconds, 7).labels) == labels


def test_dense_points_are_smaller_and_grow_when_zooming_in():
    box = (0.0, 0.0, 800_000.0, 400_000.0)
    widths = [marker_width(rows, box) for rows in (1, 100, 1000, 5000, 100_000)]
    assert widths == sorted(widths, reverse=True)
    assert widths[0] == 10
    assert widths[-1] == 3
    assert marker_width(100, None) == marker_width(100, (1.0, 1.0, 1.0, 1.0)) == 10
    (zoom, larger), (later, largest) = marker_growth(3, box)
    assert fit_zoom(box) < zoom < later
    assert 3 < larger < largest <= 10
    assert marker_growth(10, box) == ()
