"""Convert instances of subclasses to values of the built-in class, ignoring overridden methods.

A subclass of float may override ``__float__``, one of dict ``items``. The value that is sent must not depend on which
of these methods pandas, Arrow or this package calls, so it is always the value stored by the built-in class.
"""

from __future__ import annotations

import datetime
from collections.abc import Callable, Iterable, Sequence
from decimal import Decimal
from typing import Any
from uuid import UUID

import numpy as np
import pandas as pd

# Subclasses that hold more than their base class, and are converted elsewhere.
_KEPT = (type(pd.NaT), pd.Timestamp, pd.Timedelta, np.datetime64, np.timedelta64)
# Array classes that hold nothing but the array; others have, for example, a unit, which would be lost.
_ARRAYS = (np.ndarray, np.memmap, np.matrix, np.ma.MaskedArray)
_DATE = ("year", "month", "day")
_TIME = ("hour", "minute", "second", "microsecond", "tzinfo", "fold")
_DURATION = ("days", "seconds", "microseconds")


class LossyConversion(ValueError):
    """A value has field names or metadata that a list or array would not keep."""

    def __init__(self, problem: str, advice: str) -> None:
        super().__init__(problem)
        self.problem = problem
        self.advice = advice


def to_builtin_all(values: list[Any], types: Iterable[type]) -> tuple[list[Any], int | None, LossyConversion | None]:
    """Convert values of the given types; stop at the first error.

    Returns
    -------
    tuple
        The converted values, and the position and error of the value that could not be converted, or None and None.
    """
    converters = {kind: convert for kind in types if (convert := _converter(kind)) is not None}
    if not converters:
        return values, None, None
    converted: list[Any] = []
    for at, value in enumerate(values):
        convert = converters.get(type(value))
        try:
            converted.append(value if convert is None else convert(value))
        except LossyConversion as error:
            return converted, at, error
    return converted, None, None


def to_builtin(value: Any) -> Any:
    """Convert a value to the built-in class; values of unrelated classes are returned unchanged.

    Raises
    ------
    LossyConversion
        If it is a named tuple, a structured array, or an array subclass with metadata such as a unit.
    """
    convert = _converter(type(value))
    return value if convert is None else convert(value)


def array_items(array: np.ndarray[Any, Any]) -> list[Any]:
    """Return the elements of an array of one or more dimensions as a list; masked ones are None."""
    if isinstance(array, np.ma.MaskedArray):
        content, mask = np.ma.MaskedArray.__getitem__(array, slice(None)).data, np.ma.getmaskarray(array)
        return _unmasked(content, mask)
    return list(array) if array.dtype.kind in "mM" else array.tolist()  # tolist makes integers of nanoseconds


def _unmasked(content: np.ndarray[Any, Any], mask: np.ndarray[Any, Any]) -> list[Any]:
    if content.ndim > 1:
        return [_unmasked(part, hidden) for part, hidden in zip(content, mask, strict=True)]
    return [None if hidden else value for value, hidden in zip(array_items(content), mask, strict=True)]


def _converter(kind: type) -> Callable[[Any], Any] | None:
    """Return the function that converts instances of a class; None if they need no conversion."""
    if kind in _BUILTIN or issubclass(kind, _KEPT):
        return None
    return next((convert for base, convert in _CONVERTERS if issubclass(kind, base)), None)


def _fields(base: type, names: Sequence[str]) -> Callable[[Any], dict[str, Any]]:
    """Return a function that reads attributes of the base class, ignoring properties of a subclass."""
    getters = {name: getattr(base, name).__get__ for name in names}
    return lambda value: {name: getter(value) for name, getter in getters.items()}


_DATE_FIELDS = _fields(datetime.date, _DATE)
_TIME_FIELDS = _fields(datetime.time, _TIME)
_CLOCK_FIELDS = _fields(datetime.datetime, _TIME)
_DURATION_FIELDS = _fields(datetime.timedelta, _DURATION)


def _from_tuple(value: Any) -> tuple[Any, ...]:
    if hasattr(type(value), "_fields") or hasattr(type(value), "n_fields"):
        raise LossyConversion(
            "a named tuple, whose field names would be lost,",
            "convert it to a dict, e.g. with _asdict(), or to a tuple",
        )
    return tuple.__getitem__(value, slice(None))


def _from_array(value: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    if np.ndarray.dtype.__get__(value).names is not None:
        raise LossyConversion(
            "a structured array, whose field names would be lost,",
            "make a column of each field, or convert it to a list of dicts",
        )
    if isinstance(value, np.ma.MaskedArray):
        return value
    if not any(type(value) is kind for kind in _ARRAYS):
        raise LossyConversion(
            f"an array of type {type(value).__name__}, of which only the numbers would be kept,",
            "convert it, e.g. with numpy.asarray",
        )
    return np.ndarray.view(value, np.ndarray)


_BUILTIN = {type(None), bool, int, float, str, bytes, Decimal, datetime.date, datetime.datetime, datetime.time}
_BUILTIN |= {datetime.timedelta, UUID, list, tuple, dict}
# In order, because datetime is a subclass of date.
_CONVERTERS: tuple[tuple[Any, Callable[[Any], Any]], ...] = (
    (int, int.__int__),
    (float, float.__float__),
    (str, str.__str__),
    (bytes, lambda value: bytes.__getitem__(value, slice(None))),
    ((np.bool_, np.integer, np.float16, np.float32), np.generic.item),
    (Decimal, Decimal),
    (datetime.datetime, lambda value: datetime.datetime(**_DATE_FIELDS(value), **_CLOCK_FIELDS(value))),
    (datetime.date, lambda value: datetime.date(**_DATE_FIELDS(value))),
    (datetime.time, lambda value: datetime.time(**_TIME_FIELDS(value))),
    (datetime.timedelta, lambda value: datetime.timedelta(**_DURATION_FIELDS(value))),
    (UUID, lambda value: UUID(int=vars(UUID)["int"].__get__(value))),
    (dict, lambda value: dict(dict.items(value))),
    (list, list.copy),
    (tuple, _from_tuple),
    (np.ndarray, _from_array),
)
