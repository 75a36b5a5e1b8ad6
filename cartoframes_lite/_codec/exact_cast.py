"""Cast between numeric Arrow types without loss, or raise for the first value that would change."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from cartoframes_lite._codec.bad_value import BadValue
from cartoframes_lite._codec.copy_columns import with_elements

_ADVICE = "convert it to one type, e.g. with astype"


def exact_cast(values: pa.ChunkedArray, target: pa.DataType, *, to_nearest: bool = False) -> pa.ChunkedArray:
    """Cast numbers or lists of numbers; strings contain numbers with any number of digits.

    With ``to_nearest``, a decimal such as 0.1 may become the float with this shortest notation.

    Raises
    ------
    BadValue
        If a number would be rounded, truncated or become infinite.
    ArrowInvalid, ArrowNotImplementedError
        If Arrow does not support the cast.
    """
    kind = values.type
    if kind == target:
        return values
    if pa.types.is_large_list(kind) and pa.types.is_large_list(target):
        try:
            return with_elements(values, exact_cast(pc.list_flatten(values), target.value_type))
        except BadValue as bad:
            raise bad.at(pc.list_parent_indices(values)[bad.position].as_py()) from bad
    if pa.types.is_large_string(target):
        # A float32 would be written with too few digits for numeric, so it is widened first.
        return (values.cast(pa.float64()) if pa.types.is_floating(kind) else values).cast(target)
    if pa.types.is_large_string(kind) or pa.types.is_decimal(kind):
        return _from_decimals(values, target, to_nearest=to_nearest)
    try:
        result = values.cast(target)
    except pa.ArrowInvalid as error:
        raise first_bad(values, target) from error
    changed = pc.fill_null(pc.not_equal(result.cast(kind, safe=False), values), fill_value=False)
    if pa.types.is_floating(kind):
        changed = pc.and_(changed, pc.fill_null(pc.is_finite(values), fill_value=False))
    if pc.any(changed).as_py():
        at = pc.index(changed, pa.scalar(value=True)).as_py()
        raise _bad_value(values[at].as_py(), at, target)
    return result


def _from_decimals(values: pa.ChunkedArray, target: pa.DataType, *, to_nearest: bool) -> pa.ChunkedArray:
    """Cast decimals one by one, because Arrow would round them."""
    convert: Callable[[Decimal], Any] = float if pa.types.is_floating(target) else int
    if pa.types.is_decimal(target):
        convert = Decimal
    numbers: list[Any] = []
    for at, value in enumerate(values.to_pylist()):
        number = None if value is None else Decimal(value)
        try:
            found = None if number is None else convert(number)
            fits = pa.scalar(found, target).as_py() == number or (number is not None and number.is_nan())
            fits = fits or (to_nearest and isinstance(found, float) and Decimal(repr(found)) == number)
        except (OverflowError, ValueError, pa.ArrowInvalid):
            fits = False
        if not fits:
            raise _bad_value(value, at, target)
        numbers.append(found)
    return pa.chunked_array([pa.array(numbers, target)])


def first_bad(values: pa.ChunkedArray, target: pa.DataType) -> BadValue:
    """Return the error for the first value that cannot be cast."""
    for at in range(len(values)):
        try:
            values[at : at + 1].cast(target)
        except pa.ArrowInvalid:
            return _bad_value(values[at].as_py(), at, target)
    return _bad_value(None, 0, target)


def _bad_value(value: Any, at: int, target: pa.DataType) -> BadValue:
    return BadValue(f"a number that {target} cannot hold", at, value, _ADVICE)
