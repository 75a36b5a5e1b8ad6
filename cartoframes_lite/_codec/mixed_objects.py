"""Convert Python objects of several types to the type that ``dtype`` requests."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import numpy as np
import pyarrow as pa

from cartoframes_lite._codec.bad_value import BadValue
from cartoframes_lite._codec.copy_columns import CopyColumn, chunked, to_copy_column
from cartoframes_lite._codec.json_text import NotJSON, json_text
from cartoframes_lite._codec.pgtypes import family
from cartoframes_lite._codec.text_values import text_of

_NUMBERS = (int, float, Decimal, np.integer, np.floating)
_NOT_FROM_TEXT = ("boolean", "bytea", "geometry")


def from_mixed(values: list[Any], requested_type: str, name: str) -> CopyColumn | None:
    """Convert values of several types to text, which PostgreSQL parses; None if it cannot parse the type from text.

    Missing values are None. In a column of JSON, text is JSON as well, as in a column that has only text.

    Raises
    ------
    BadValue
        If a value cannot be of the requested type.
    """
    kind = family(requested_type)
    if kind in _NOT_FROM_TEXT or kind.endswith("[]"):
        return None
    if kind == "number":
        texts = [None if value is None else _number_text(value, at, requested_type) for at, value in enumerate(values)]
        return CopyColumn(chunked(pa.array(texts, pa.large_string())), "numeric", "text")
    render = _json_text if kind == "json" else text_of
    return to_copy_column(
        pa.array([None if value is None else render(value, at) for at, value in enumerate(values)], pa.large_string()),
        name,
    )


def _number_text(value: Any, at: int, requested_type: str) -> str:
    if isinstance(value, bool | np.bool_) or not isinstance(value, _NUMBERS):
        raise BadValue(
            f"a value of type {type(value).__name__}",
            at,
            value,
            f"dtype requests {requested_type}; convert the column to numbers, e.g. with pandas.to_numeric, or request"
            " text",
        )
    return text_of(value, at)


def _json_text(value: Any, at: int) -> str:
    if isinstance(value, str):
        return value
    try:
        return json_text(value)
    except NotJSON as error:
        raise BadValue("a value that cannot be stored as JSON", at, value, f"it has {error}") from error
