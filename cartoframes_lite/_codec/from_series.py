"""One column of a frame to Arrow, with the PostgreSQL type that receives it."""

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

_REFUSALS = (
    pa.ArrowInvalid,
    pa.ArrowTypeError,
    pa.ArrowNotImplementedError,
    OverflowError,
    RecursionError,
)


def from_series(series: pd.Series[Any], name: str, *, keep_nan: bool = False) -> CopyColumn:
    """Convert a column that is not a geometry.

    Parameters
    ----------
    series : pandas.Series
    name : str
        What messages call the column.
    keep_nan : bool
        Send NaN in a float column as NaN instead of NULL.

    Raises
    ------
    ConversionError
        If the column has a type or a value that PostgreSQL cannot hold.
    """
    try:
        return _converted(series, name, keep_nan=keep_nan)
    except BadValue as bad:
        raise bad.named(name, series.index) from bad
    except UnicodeEncodeError as error:
        raise _lone_surrogate(series).named(name, series.index) from error
    except _REFUSALS as error:
        where = _first_refused(series, name, keep_nan=keep_nan)
        raise ConversionError(f"column {name!r} ({series.dtype}) cannot be sent{where}: {error}") from error


def _converted(series: pd.Series[Any], name: str, *, keep_nan: bool) -> CopyColumn:
    if isinstance(series.dtype, pd.SparseDtype):
        series = series.astype(series.dtype.subtype)
    values_type = series.dtype.categories.dtype if isinstance(series.dtype, pd.CategoricalDtype) else series.dtype
    if isinstance(values_type, pd.PeriodDtype | pd.IntervalDtype):  # Arrow would make numbers of such categories
        series = series.astype(values_type)
    if values_type == np.dtype(object):
        return from_objects(series.to_numpy(object), name)
    return to_copy_column(pa.array(series, from_pandas=not keep_nan), name, keep_nan=keep_nan)


def _lone_surrogate(series: pd.Series[Any]) -> BadValue:
    """Find the text that is no Unicode."""
    for at, value in enumerate(series):
        try:
            str(value).encode()
        except UnicodeEncodeError:
            return surrogate(at, value)
    return surrogate(0, series.iloc[0])


def _first_refused(series: pd.Series[Any], name: str, *, keep_nan: bool) -> str:
    """Find the row with which the column begins to be refused; nothing if no value is the reason."""

    def is_refused(rows: int) -> bool:
        try:
            _converted(series.iloc[:rows], name, keep_nan=keep_nan)
        except (*_REFUSALS, ConversionError, BadValue):
            return True
        return False

    with warnings.catch_warnings(action="ignore"):
        if is_refused(0):
            return ""
        good, bad = 0, len(series)
        while bad - good > 1:
            middle = (good + bad) // 2
            good, bad = (good, middle) if is_refused(middle) else (middle, bad)
    return f", {row_name(series.index, good)}"
