"""What to say of a value that cannot be sent: the column, the row, the value, and what to do."""

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
        What the column has: "text with the character U+0000".
    position : int
        Number of the row, from 0.
    value : object
    advice : str
        What to do.
    """

    def __init__(self, problem: str, position: int, value: object, advice: str) -> None:
        super().__init__(problem)
        self.problem = problem
        self.position = position
        self.value = value
        self.advice = advice

    def at(self, position: int) -> BadValue:
        """Give the same with another row: that of the list the value is in."""
        return BadValue(self.problem, position, self.value, self.advice)

    def named(self, name: str, index: pd.Index[Any]) -> ConversionError:
        """Make the error for users."""
        where = row_name(index, self.position)
        return ConversionError(
            f"column {name!r} has {self.problem} in {where}, {short_repr(self.value)}: {self.advice}"
        )


def row_name(index: pd.Index[Any], position: int) -> str:
    """Name a row by its number from 0, and its label if that is another."""
    label = index[position]
    label = label.item() if isinstance(label, np.generic) else label
    is_number = isinstance(label, int | np.integer) and label == position
    return f"row {position}" if is_number else f"row {position} (label {short_repr(label)})"


def short_repr(value: object) -> str:
    """Write a short repr, also of what is nested too deeply, or has too many digits, for a whole one."""
    try:
        return _REPR.repr(value)
    except (ValueError, RecursionError):
        return f"a value of the type {type(value).__name__}"
