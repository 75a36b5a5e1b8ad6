"""What the classification of a column needs to know about its values, wherever these are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple, Protocol

ColumnKind = Literal["integer", "number", "boolean", "date", "datetime", "text"]

MAX_DISTINCT = 21
"""Distinct values are counted up to this number."""


class Group(NamedTuple):
    """Neighboring values: the largest one, their mean and number."""

    top: float
    mean: float
    size: int


@dataclass(frozen=True, slots=True)
class Summary:
    """Figures of a column; dates and times count as seconds since 1970-01-01 UTC.

    Attributes
    ----------
    count : int
        Number of finite values; of texts and booleans, the number of values that are not NULL.
    missing : int
        Number of the other rows: NULL, NaN and infinite values.
    distinct : int
        Number of distinct values, at most ``MAX_DISTINCT``.
    minimum, maximum : float
        Of the finite values; 0 if there are none, and of texts.
    """

    count: int
    missing: int
    distinct: int
    minimum: float = 0.0
    maximum: float = 0.0


class ColumnStatistics(Protocol):
    """Statistics of a column of a query or of a frame."""

    @property
    def name(self) -> str:
        """Name of the column."""

    @property
    def kind(self) -> ColumnKind:
        """What the values are."""

    @property
    def summary(self) -> Summary:
        """Figures of the values."""

    def mean_and_std(self) -> tuple[float, float]:
        """Return the mean and the sample standard deviation of the finite values."""

    def quantiles(self, fractions: Sequence[float], *, absolute: bool = False) -> list[float]:
        """Return quantiles of the finite values, or of their distances from zero; interpolated linearly."""

    def groups(self, most: int) -> list[Group]:
        """Return the finite values in ascending order, in groups of about the same size; equal values together."""

    def frequent_texts(self, most: int) -> list[tuple[str, int]]:
        """Return the most frequent values as text, with their numbers; equally frequent ones in order."""

    def frequent_numbers(self, most: int) -> list[tuple[float, int]]:
        """Return the most frequent finite values, with their numbers; equally frequent ones in order."""
