"""Convert a column of a frame to Arrow, and choose its PostgreSQL type."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from cartoframes_lite._codec.bad_value import BadValue, row_name
from cartoframes_lite._codec.copy_columns import CopyColumn, to_copy_column
from cartoframes_lite._codec.from_objects import from_objects, surrogate
from cartoframes_lite.errors import ConversionError

_CONVERSION_ERRORS = (
    pa.ArrowInvalid,
    pa.ArrowTypeError,
    pa.ArrowNotImplementedError,
    OverflowError,
    RecursionError,
)


def from_series(
    series: pd.Series[Any], name: str, *, keep_nan: bool = False, requested_type: str | None = None
) -> CopyColumn:
    """Convert a column other than a geometry.

    Parameters
    ----------
    series : pandas.Series
    name : str
        Column name for messages.
    keep_nan : bool
        Send NaN in a float column as NaN instead of NULL.
    requested_type : str, optional
        PostgreSQL type that Python objects of several types are converted to.

    Raises
    ------
    ConversionError
        If the column has a type or a value that PostgreSQL cannot store.
    """
    try:
        return _convert(series, name, keep_nan=keep_nan, requested_type=requested_type)
    except BadValue as bad:
        raise bad.named(name, series.index) from bad
    except UnicodeEncodeError as error:
        raise _lone_surrogate(series).named(name, series.index) from error
    except _CONVERSION_ERRORS as error:
        where = _first_refused(series, name, keep_nan=keep_nan, requested_type=requested_type)
        raise ConversionError(f"column {name!r} ({series.dtype}) cannot be sent{where}: {error}") from error


def _convert(series: pd.Series[Any], name: str, *, keep_nan: bool, requested_type: str | None) -> CopyColumn:
    """Convert by dtype; errors are those of Arrow and BadValue."""
    if isinstance(series.dtype, pd.SparseDtype):
        series = series.astype(series.dtype.subtype)
    values_type = series.dtype.categories.dtype if isinstance(series.dtype, pd.CategoricalDtype) else series.dtype
    if isinstance(values_type, pd.PeriodDtype | pd.IntervalDtype):  # Arrow would convert such categories to integers
        series = series.astype(values_type)
    if values_type == np.dtype(object):
        return from_objects(series.to_numpy(object), name, requested_type)
    return to_copy_column(pa.array(series, from_pandas=not keep_nan), name, keep_nan=keep_nan)


def _lone_surrogate(series: pd.Series[Any]) -> BadValue:
    """Return the error for the first value that cannot be encoded as UTF-8."""
    for at, value in enumerate(series):
        try:
            str(value).encode()
        except UnicodeEncodeError:
            return surrogate(at, value)
    return surrogate(0, series.iloc[0])


def _first_refused(series: pd.Series[Any], name: str, *, keep_nan: bool, requested_type: str | None) -> str:
    """Describe the first row that cannot be converted, by bisection; "" if no single row is the cause."""

    def fails(rows: int) -> bool:
        try:
            _convert(series.iloc[:rows], name, keep_nan=keep_nan, requested_type=requested_type)
        except (*_CONVERSION_ERRORS, ConversionError, BadValue):
            return True
        return False

    with warnings.catch_warnings(action="ignore"):
        if fails(0):
            return ""
        good, bad = 0, len(series)
        while bad - good > 1:
            middle = (good + bad) // 2
            good, bad = (good, middle) if fails(middle) else (middle, bad)
    return f", {row_name(series.index, good)}"
