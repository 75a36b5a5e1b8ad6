"""Convert Python, NumPy and pandas datetimes and durations to Arrow microseconds, without loss."""

from __future__ import annotations

import datetime
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa

from cartoframes_lite._codec.bad_value import BadValue
from cartoframes_lite._codec.copy_columns import warn_about_nanoseconds

_EPOCH = datetime.datetime(1970, 1, 1)
_EPOCH_UTC = _EPOCH.replace(tzinfo=datetime.UTC)
_US = datetime.timedelta(microseconds=1)
_INT64 = np.iinfo(np.int64)

Exact = tuple[int, int, npt.NDArray[Any]]


def from_datetimes(values: Sequence[Any], name: str) -> pa.Array:
    """Convert datetimes, ``datetime64`` and dates, either all with or all without a time zone; None is null.

    Raises
    ------
    BadValue
        If only some have a time zone, or a value is outside the range of 64-bit microseconds.
    """
    if {type(value) for value in values} <= {datetime.datetime, type(None)} and not any(
        value is not None and value.tzinfo is not None for value in values
    ):
        return pa.array(values, pa.timestamp("us"))
    aware = [None if value is None else _is_aware(value) for value in values]
    first = next((flag for flag in aware if flag is not None), False)
    other = next((at for at, flag in enumerate(aware) if flag is not None and flag is not first), None)
    if other is not None:
        raise BadValue(
            "a mix of times with and without time zone",
            other,
            values[other],
            f"convert all of them to one time zone, e.g. with pd.to_datetime(df[{name!r}], utc=True)",
        )
    numbers = _microseconds(values, name, _since_utc if first else _since_epoch)
    return numbers.view(pa.timestamp("us", tz="UTC" if first else None))


def from_timedeltas(values: Sequence[Any], name: str) -> pa.Array:
    """Convert durations; None is null."""
    return _microseconds(values, name, lambda value: value // _US).view(pa.duration("us"))


def _is_aware(value: Any) -> bool:
    return isinstance(value, datetime.datetime) and value.utcoffset() is not None


def _since_utc(value: datetime.datetime) -> int:
    return (value - _EPOCH_UTC) // _US


def _since_epoch(value: datetime.date) -> int:
    if isinstance(value, datetime.datetime):
        return (value.replace(tzinfo=None) - _EPOCH) // _US
    return (value - _EPOCH.date()) // _US


def _microseconds(values: Sequence[Any], name: str, convert: Callable[[Any], int]) -> pa.Array:
    """Convert each value to microseconds; NumPy and pandas values are grouped by unit and converted by NumPy."""
    numbers: list[int | None] = [None] * len(values)
    by_unit: dict[np.dtype[Any], list[int]] = {}
    scalars: dict[int, Any] = {}
    for at, value in enumerate(values):
        if value is None:
            continue
        if isinstance(value, np.datetime64 | np.timedelta64):
            scalars[at] = value
        elif isinstance(value, pd.Timestamp | pd.Timedelta):
            scalars[at] = value.asm8
        else:
            numbers[at] = convert(value)
            continue
        by_unit.setdefault(scalars[at].dtype, []).append(at)
    truncated = False
    for unit, positions in by_unit.items():
        exact, has_nanoseconds = _convert_unit([scalars[at] for at in positions], unit, positions)
        truncated |= has_nanoseconds
        for at, number in zip(positions, exact, strict=True):
            numbers[at] = number
    for at, number in enumerate(numbers):
        if number is not None and not _INT64.min < number <= _INT64.max:
            raise _out_of_range(at, values[at])
    if truncated:
        warn_about_nanoseconds(name)
    return pa.array(numbers, pa.int64())


def _convert_unit(scalars: list[Any], unit: np.dtype[Any], positions: list[int]) -> tuple[Iterable[int | None], bool]:
    """Convert scalars of one unit; also return whether anything below microseconds was truncated."""
    values = np.array(scalars, unit)
    missing = np.isnat(values)
    name, _ = np.datetime_data(unit)
    if name == "generic" or (unit.kind == "m" and name in "YM"):
        known = np.flatnonzero(~missing)
        if len(known):
            raise BadValue(
                "a duration without a fixed length", positions[known[0]], scalars[known[0]], "convert it to seconds"
            )
        return [None] * len(scalars), False
    converted = values.astype(f"{unit.kind}8[us]")
    differs = (converted.astype(unit) != values) & ~missing
    finer = name in ("ns", "ps", "fs", "as")
    if differs.any() and not finer:  # overflow, which NumPy does not report
        at = int(differs.argmax())
        raise _out_of_range(positions[at], scalars[at])
    numbers = converted.view(np.int64).tolist()
    return [None if is_missing else number for is_missing, number in zip(missing, numbers, strict=True)], bool(
        differs.any()
    )


def _out_of_range(at: int, value: Any) -> BadValue:
    return BadValue(
        "a time outside the range of 64-bit microseconds", at, value, "make it missing, or convert the column to text"
    )
