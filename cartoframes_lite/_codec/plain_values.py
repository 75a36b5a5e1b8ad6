"""Instances of subclasses as values of the built-in class, whatever methods the subclass overrides.

A class made of float can have a ``__float__`` of its own, one of dict its own ``items``: what is sent must not depend
on which of them pandas, Arrow or this package happens to call. It is the value of the built-in class.
"""

from __future__ import annotations

import datetime
from collections.abc import Callable, Iterable, Sequence
from decimal import Decimal
from typing import Any
from uuid import UUID

import numpy as np
import pandas as pd

# Their own values are more than those of the class they are made of.
_OWN = (type(pd.NaT), pd.Timestamp, pd.Timedelta, np.datetime64, np.timedelta64)
# Subclasses that hold no more than an array does; a unit, for example, would be lost.
_ARRAYS = (np.ndarray, np.memmap, np.matrix, np.ma.MaskedArray)
_DATE = ("year", "month", "day")
_TIME = ("hour", "minute", "second", "microsecond", "tzinfo", "fold")
_DURATION = ("days", "seconds", "microseconds")


class LosesNames(ValueError):
    """A value has names or a meaning that neither a list nor an array keeps."""

    def __init__(self, problem: str, advice: str) -> None:
        super().__init__(problem)
        self.problem = problem
        self.advice = advice


def plain_all(values: list[Any], types: Iterable[type]) -> tuple[list[Any], int | None, LosesNames | None]:
    """Give the plain values; or as many as there are before one that is refused, with its number and the reason.

    ``types`` are those of the values.
    """
    converters = {kind: convert for kind in types if (convert := _converter(kind)) is not None}
    if not converters:
        return values, None, None
    found: list[Any] = []
    for at, value in enumerate(values):
        own = converters.get(type(value))
        try:
            found.append(value if own is None else own(value))
        except LosesNames as refusal:
            return found, at, refusal
    return found, None, None


def plain(value: Any) -> Any:
    """Give the value of the built-in class; values of other classes stay as they are.

    Raises
    ------
    LosesNames
        If it is a named tuple or a structured array, or an array with a meaning of its own, such as a unit.
    """
    convert = _converter(type(value))
    return value if convert is None else convert(value)


def array_items(array: np.ndarray[Any, Any]) -> list[Any]:
    """Give the elements of an array of one or more dimensions, masked ones as None."""
    if isinstance(array, np.ma.MaskedArray):
        content, mask = np.ma.MaskedArray.__getitem__(array, slice(None)).data, np.ma.getmaskarray(array)
        return _unmasked(content, mask)
    return list(array) if array.dtype.kind in "mM" else array.tolist()  # which would make integers of some


def _unmasked(content: np.ndarray[Any, Any], mask: np.ndarray[Any, Any]) -> list[Any]:
    if content.ndim > 1:
        return [_unmasked(part, hidden) for part, hidden in zip(content, mask, strict=True)]
    return [None if hidden else value for value, hidden in zip(array_items(content), mask, strict=True)]


def _converter(kind: type) -> Callable[[Any], Any] | None:
    """Find how instances of a class become plain; None if they are."""
    if kind in _PLAIN or issubclass(kind, _OWN):
        return None
    return next((convert for base, convert in _CONVERTERS if issubclass(kind, base)), None)


def _fields(base: type, names: Sequence[str]) -> Callable[[Any], dict[str, Any]]:
    """Read the fields that the built-in class keeps, past the properties of a subclass."""
    getters = {name: getattr(base, name).__get__ for name in names}
    return lambda value: {name: getter(value) for name, getter in getters.items()}


_DATE_FIELDS = _fields(datetime.date, _DATE)
_TIME_FIELDS = _fields(datetime.time, _TIME)
_CLOCK_FIELDS = _fields(datetime.datetime, _TIME)
_DURATION_FIELDS = _fields(datetime.timedelta, _DURATION)


def _from_tuple(value: Any) -> tuple[Any, ...]:
    if hasattr(type(value), "_fields") or hasattr(type(value), "n_fields"):
        raise LosesNames(
            "a named tuple, whose names would be lost,",
            "make it a dict, e.g. with its _asdict(), or a tuple",
        )
    return tuple.__getitem__(value, slice(None))


def _from_array(value: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    if np.ndarray.dtype.__get__(value).names is not None:
        raise LosesNames(
            "a structured array, whose names would be lost,", "make columns of its fields, or a list of dicts"
        )
    if isinstance(value, np.ma.MaskedArray):
        return value
    if not any(type(value) is kind for kind in _ARRAYS):
        raise LosesNames(
            f"an array of the type {type(value).__name__}, of which only the numbers would be kept,",
            "make it a plain one, e.g. with numpy.asarray",
        )
    return np.ndarray.view(value, np.ndarray)


_PLAIN = {type(None), bool, int, float, str, bytes, Decimal, datetime.date, datetime.datetime, datetime.time}
_PLAIN |= {datetime.timedelta, UUID, list, tuple, dict}
# The first that fits counts: a datetime is a date, too.
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
