"""Limits of the classes of numbers, by scheme."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from cartoframes_lite.maps.styling.natural_breaks import MAX_GROUPS, natural_breaks
from cartoframes_lite.maps.styling.options import Scheme
from cartoframes_lite.maps.styling.statistics import ColumnStatistics

_MINOR_SIDE = 0.01  # values on the other side of zero that are closer to it than this share of the range do not count


@dataclass(frozen=True, slots=True)
class Breaks:
    """Limits of classes.

    Attributes
    ----------
    tops : tuple of float
        Upper limit of each class, which belongs to the class. The first and the last class also have all values beyond.
    low : float
        Where the first class begins.
    """

    tops: tuple[float, ...]
    low: float


def scheme_breaks(
    statistics: ColumnStatistics, scheme: Scheme, k: int, limits: tuple[float | None, float | None] = (None, None)
) -> Breaks:
    """Return the classes of a scheme with ``k`` classes; fewer if there are fewer different values.

    Parameters
    ----------
    statistics : ColumnStatistics
        Of at least one finite value.
    scheme : {"quantiles", "equal_interval", "natural_breaks", "std_mean"}
    k : int
    limits : tuple of (float, float)
        Limits of equal intervals. None: the smallest or largest value.
    """
    breaks = _breaks(statistics, scheme, k, limits)
    return _without_empty_classes(breaks) if statistics.kind == "integer" else breaks


def _breaks(statistics: ColumnStatistics, scheme: Scheme, k: int, limits: tuple[float | None, float | None]) -> Breaks:
    """Return the classes of a scheme, whatever the values between the limits are."""
    summary = statistics.summary
    if scheme == "equal_interval":
        low = summary.minimum if limits[0] is None else limits[0]
        high = summary.maximum if limits[1] is None else limits[1]
        return Breaks(_increasing([between(low, high, part / k) for part in range(1, k + 1)]), low)
    if scheme == "natural_breaks":
        tops = natural_breaks(statistics.groups(MAX_GROUPS), k)
    elif scheme == "std_mean":
        mean, std = statistics.mean_and_std()
        tops = [mean + times * std for times in _multiples(k)]
    else:
        tops = statistics.quantiles([part / k for part in range(1, k + 1)])
    return within(tops, summary.minimum, summary.maximum)


def _without_empty_classes(breaks: Breaks) -> Breaks:
    """Return the classes of integers, without those between two neighboring integers."""
    inner = {math.floor(top): top for top in reversed(breaks.tops[:-1]) if breaks.low <= math.floor(top)}
    return Breaks(_increasing([*inner.values(), breaks.tops[-1]]), breaks.low)


def within(tops: Sequence[float], minimum: float, maximum: float) -> Breaks:
    """Return the classes between the smallest and the largest value, without those that are empty for that reason."""
    inner = [top for top in tops if minimum <= top < maximum]
    return Breaks(_increasing([*inner, maximum]), minimum)


def user_breaks(tops: Sequence[float], minimum: float, maximum: float) -> Breaks:
    """Return classes with given upper limits, and one more if there are larger values."""
    return Breaks((*tops, maximum) if maximum > tops[-1] else tuple(tops), min(minimum, tops[0]))


def crosses_zero(minimum: float, maximum: float) -> bool:
    """Return whether there are values on both sides of zero, and not only by a hair."""
    return minimum < -_MINOR_SIDE * maximum and maximum > -_MINOR_SIDE * minimum


def centered_breaks(statistics: ColumnStatistics, k: int) -> list[float]:
    """Return the limits between at most ``k`` classes that are symmetric about zero, by quantiles of the distance."""
    levels = k // 2
    if k % 2:
        distances = statistics.quantiles([(2 * level - 1) / k for level in range(1, levels + 1)], absolute=True)
    else:
        distances = statistics.quantiles([level / levels for level in range(1, levels)], absolute=True)
    positive = sorted({distance for distance in distances if distance > 0})
    return [*(-distance for distance in reversed(positive)), *([] if k % 2 else [0.0]), *positive]


def between(low: float, high: float, share: float) -> float:
    """Return a value between two others, without overflow; exact if they are equal."""
    return high if share == 1 or low == high else low * (1 - share) + high * share


def _multiples(k: int) -> list[int]:
    """Return the multiples of the standard deviation between ``k`` classes: with 5, -2, -1, 1 and 2, as mapclassify."""
    half = k // 2
    return [times for times in range(-half, half + 1) if times] if k % 2 else list(range(1 - half, half))


def _increasing(values: Sequence[float]) -> tuple[float, ...]:
    return tuple(sorted(set(values)))
