"""Labels of legends: numbers and ranges with as many digits as their differences need."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

_MAX_PLAIN = 1e15  # larger numbers have an exponent, as in Python
_MIN_PLAIN = 1e-6
_YEARS = (1400, 2200)  # integers in this range are probably years, which have no thousands separators
_DIGITS = 2  # significant digits of the smallest difference between limits


def number_labels(values: Sequence[float]) -> list[str]:
    """Return numbers as text, all rounded to the same digit, so that those that differ remain different."""
    gaps = [abs(high - low) for low, high in pairwise(sorted(set(values)))]
    gap = min(gaps, default=0.0) or max(map(abs, values), default=0.0) / 100
    largest = max(map(abs, values), default=0.0)
    if largest >= _MAX_PLAIN or 0 < largest < _MIN_PLAIN:
        return [f"{value:.4g}" for value in values]
    # Four digits of the largest number, however close to each other some limits are.
    coarsest = math.floor(math.log10(largest)) - 3 if largest else 0
    exact = math.floor(math.log10(gap)) - _DIGITS + 1 if gap else coarsest
    texts = _rounded(values, max(exact, coarsest))
    return texts if len(set(texts)) == len(set(values)) else _rounded(values, exact)


def number_ranges(limits: Sequence[float]) -> list[str]:
    """Return the labels of the classes between numbers: "2.5 to 10"."""
    labels = number_labels(limits)
    return [low if low == high else f"{low} to {high}" for low, high in pairwise(labels)]


def integer_ranges(limits: Sequence[float]) -> list[str]:
    """Return the labels of the classes of integers between numbers; the classes do not share a limit: "4 to 7"."""
    tops = [math.floor(limit) for limit in limits[1:]]
    lows = [math.ceil(limits[0]), *(top + 1 for top in tops[:-1])]
    if max(map(abs, limits)) >= _MAX_PLAIN:
        return number_ranges(limits)
    spread = min(high - low for low, high in zip(lows, tops, strict=True))
    if spread >= 10_000:  # exact limits would have more digits than anybody reads
        return number_ranges(limits)
    separator = "" if _YEARS[0] <= min(lows) and max(tops) <= _YEARS[1] else ","
    return [
        f"{high:{separator}d}" if low >= high else f"{low:{separator}d} to {high:{separator}d}"
        for low, high in zip(lows, tops, strict=True)
    ]


def _rounded(values: Sequence[float], digit: int) -> list[str]:
    """Return numbers rounded to a power of ten."""
    decimals = max(0, -digit)
    texts = (f"{round(value, -digit) + 0.0:,.{decimals}f}" for value in values)
    return [text.rstrip("0").rstrip(".") if "." in text else text for text in texts]


def nice_below(value: float) -> float:
    """Return the largest number with one significant digit that is not above a positive value."""
    exponent = math.floor(math.log10(value))
    digit = 10.0 ** (exponent if 10.0**exponent <= value else exponent - 1)
    return math.floor(value / digit) * digit
