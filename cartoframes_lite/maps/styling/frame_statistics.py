"""Statistics of a column of a frame, and the classes of its rows."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa

from cartoframes_lite.maps.styling.statistics import MAX_DISTINCT, ColumnKind, Group, Summary

Numbers = npt.NDArray[np.float64]


def kind_of_series(series: pd.Series) -> ColumnKind:
    """Return what the values of a series are."""
    dtype = series.dtype
    if isinstance(dtype, pd.CategoricalDtype):
        return kind_of_series(series.cat.categories.to_series())
    if isinstance(dtype, pd.ArrowDtype) and pa.types.is_date(dtype.pyarrow_dtype):
        return "date"
    tests: list[tuple[bool, ColumnKind]] = [
        (pd.api.types.is_bool_dtype(dtype), "boolean"),
        (pd.api.types.is_integer_dtype(dtype), "integer"),
        (pd.api.types.is_float_dtype(dtype), "number"),
        (isinstance(dtype, pd.ArrowDtype) and pa.types.is_decimal(dtype.pyarrow_dtype), "number"),
        (pd.api.types.is_datetime64_any_dtype(dtype), "datetime"),
    ]
    for is_kind, kind in tests:
        if is_kind:
            return kind
    inferred: dict[str, ColumnKind] = {
        "boolean": "boolean",
        "integer": "integer",
        "decimal": "number",
        "floating": "number",
        "mixed-integer-float": "number",
        "date": "date",
        "datetime": "datetime",
    }
    return inferred.get(pd.api.types.infer_dtype(series, skipna=True), "text")


def numbers_of(series: pd.Series, kind: ColumnKind) -> Numbers:
    """Return values as float64; dates and times as seconds since 1970-01-01 UTC; missing ones as NaN."""
    if kind in ("date", "datetime"):
        times = pd.to_datetime(series.astype(object), utc=True, errors="coerce")
        microseconds = times.dt.as_unit("us").astype("int64").to_numpy(dtype=np.float64)
        return np.where(times.isna(), np.nan, microseconds / 1e6)
    return np.array([np.nan if pd.isna(value) else float(value) for value in series.astype(object)], dtype=np.float64)


def texts_of(series: pd.Series, kind: ColumnKind) -> list[str | None]:
    """Return values as the text that PostgreSQL has for them; missing ones as None."""
    is_boolean = kind == "boolean"
    missing = series.isna()
    return [
        None if is_missing else str(bool(value)).lower() if is_boolean else str(value)
        for value, is_missing in zip(series.astype(object), missing, strict=True)
    ]


class FrameStatistics:
    """Statistics of a column of a frame.

    Parameters
    ----------
    series : Series
    """

    def __init__(self, series: pd.Series) -> None:
        self._series = series
        self.name = str(series.name)
        self.kind = kind_of_series(series)

    @cached_property
    def summary(self) -> Summary:
        """Figures of the values."""
        rows = len(self._series)
        if self.kind in ("text", "boolean"):
            texts = [text for text in texts_of(self._series, self.kind) if text is not None]
            return Summary(len(texts), rows - len(texts), min(len(set(texts)), MAX_DISTINCT))
        finite = self._finite
        if not len(finite):
            return Summary(0, rows, 0)
        distinct = min(len(np.unique(finite)), MAX_DISTINCT)
        return Summary(len(finite), rows - len(finite), distinct, float(finite.min()), float(finite.max()))

    def mean_and_std(self) -> tuple[float, float]:
        """Return the mean and the sample standard deviation of the finite values."""
        finite = self._finite
        std = float(np.std(finite, ddof=1)) if len(finite) > 1 else 0.0
        return (float(finite.mean()) if len(finite) else 0.0), std

    def quantiles(self, fractions: Sequence[float], *, absolute: bool = False) -> list[float]:
        """Return quantiles of the finite values, or of their distances from zero; interpolated linearly."""
        values = np.abs(self._finite) if absolute else self._finite
        return [float(value) for value in np.quantile(values, list(fractions))] if len(values) else []

    def groups(self, most: int) -> list[Group]:
        """Return the finite values in ascending order, in groups of about the same size; equal values together."""
        values, counts = np.unique(self._finite, return_counts=True)
        if not len(values):
            return []
        before = np.cumsum(counts) - counts
        part = np.arange(len(values)) if len(values) <= most else before * most // counts.sum()
        starts = np.flatnonzero(np.diff(part, prepend=-1))
        sizes = np.add.reduceat(counts, starts)
        means = np.add.reduceat(values * (counts / np.repeat(sizes, np.diff([*starts, len(values)]))), starts)
        tops = values[np.append(starts[1:], len(values)) - 1]
        return [Group(float(top), float(mean), int(n)) for top, mean, n in zip(tops, means, sizes, strict=True)]

    def frequent_texts(self, most: int) -> list[tuple[str, int]]:
        """Return the most frequent values as text, with their numbers; equally frequent ones in order."""
        texts = [text for text in texts_of(self._series, self.kind) if text is not None]
        counted = pd.Series(texts, dtype=object).value_counts()
        ordered = sorted(counted.items(), key=lambda item: (-item[1], str(item[0]).encode()))
        return [(str(text), int(count)) for text, count in ordered[:most]]

    def frequent_numbers(self, most: int) -> list[tuple[float, int]]:
        """Return the most frequent finite values, with their numbers; equally frequent ones in order."""
        values, counts = np.unique(self._finite, return_counts=True)
        ordered = np.lexsort((values, -counts))[:most]
        return [(float(values[place]), int(counts[place])) for place in ordered]

    @cached_property
    def _finite(self) -> Numbers:
        numbers = numbers_of(self._series, self.kind)
        return numbers[np.isfinite(numbers)]
