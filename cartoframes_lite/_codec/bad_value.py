"""Error for a value that cannot be sent, with its column, row, value and advice."""

from __future__ import annotations

import reprlib
from typing import Any

import numpy as np
import pandas as pd

from cartoframes_lite.errors import ConversionError

_REPR = reprlib.Repr()
_REPR.maxstring = _REPR.maxother = _REPR.maxlong = 60


class BadValue(ValueError):
    """A value of a column cannot be sent.

    Parameters
    ----------
    problem : str
        Such as "text with the character U+0000"; completes "column 'x' has ...".
    position : int
        Row number, from 0.
    value : object
    advice : str
        How to fix it.
    """

    def __init__(self, problem: str, position: int, value: object, advice: str) -> None:
        super().__init__(problem)
        self.problem = problem
        self.position = position
        self.value = value
        self.advice = advice

    def at(self, position: int) -> BadValue:
        """Return the error with another row number, for a value inside a list."""
        return BadValue(self.problem, position, self.value, self.advice)

    def named(self, name: str, index: pd.Index[Any]) -> ConversionError:
        """Return the ConversionError for the user."""
        where = row_name(index, self.position)
        return ConversionError(
            f"column {name!r} has {self.problem} in {where}, {short_repr(self.value)}: {self.advice}"
        )


def row_name(index: pd.Index[Any], position: int) -> str:
    """Describe a row by its number from 0, and by its index label if that differs."""
    label = index[position]
    label = label.item() if isinstance(label, np.generic) else label
    is_number = isinstance(label, int | np.integer) and label == position
    return f"row {position}" if is_number else f"row {position} (label {short_repr(label)})"


def short_repr(value: object) -> str:
    """Return a shortened repr, also for values whose full repr fails (nested too deeply, too many digits)."""
    if isinstance(value, np.number | np.bool_):  # 1.5, not np.float64(1.5)
        value = value.item()
    try:
        return _REPR.repr(value)
    except (ValueError, RecursionError):
        return f"a value of the type {type(value).__name__}"
