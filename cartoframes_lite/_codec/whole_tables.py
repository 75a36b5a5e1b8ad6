"""Which frames are the rows of a whole table, as they were read or written, and not a part of them or changed.

``DataFrame.attrs`` cannot tell: pandas copies it to every frame derived from another.
"""

from __future__ import annotations

import weakref
from dataclasses import dataclass
from typing import Any

import geopandas as gpd
import numpy as np
import pandas as pd

_SAMPLED_ROWS = 32


@dataclass(frozen=True, slots=True)
class _Snapshot:
    """What a frame was like when it was read or written."""

    frame: weakref.ref[pd.DataFrame]
    columns: tuple[object, ...]
    geometry: str | None
    rows: int
    sample: int


# By the id of the frame, because frames are not hashable; an entry is removed with its frame.
_snapshots: dict[int, _Snapshot] = {}


def mark_whole(frame: pd.DataFrame) -> None:
    """Note that a frame has all rows of the table in its ``attrs``."""
    key = id(frame)
    reference = weakref.ref(frame, lambda _: _snapshots.pop(key, None))
    _snapshots[key] = _snapshot(frame, reference)


def describe_difference(frame: pd.DataFrame) -> str | None:
    """Describe why a frame is not the table in its ``attrs``; None if it is.

    Only 32 of the rows are compared, so that a change of few values in place may stay unnoticed.
    """
    before = _snapshots.get(id(frame))
    if before is None or before.frame() is not frame:
        return "it is a part or a copy of it, was made from it, or was appended to it"
    now = _snapshot(frame, before.frame)
    if now.columns != before.columns:
        return "its columns were changed"
    if now.geometry != before.geometry:
        return f"its active geometry was changed from {before.geometry!r} to {now.geometry!r}"
    if now.rows != before.rows:
        return f"it has {now.rows:,} instead of {before.rows:,} rows"
    return None if now.sample == before.sample else "its values were changed"


def _snapshot(frame: pd.DataFrame, reference: weakref.ref[pd.DataFrame]) -> _Snapshot:
    geometry = frame.active_geometry_name if isinstance(frame, gpd.GeoDataFrame) else None
    return _Snapshot(reference, tuple(frame.columns), geometry, len(frame), _sample(frame))


def _sample(frame: pd.DataFrame) -> int:
    """Return a hash of the index and values of some rows, evenly distributed over the frame."""
    positions = np.unique(np.linspace(0, max(len(frame) - 1, 0), min(len(frame), _SAMPLED_ROWS)).astype("int64"))
    columns: list[list[Any]] = [frame.index[positions].tolist()]
    for number in range(frame.shape[1]):
        column = frame.iloc[positions, number]
        columns.append(column.to_wkb().tolist() if isinstance(column, gpd.GeoSeries) else column.tolist())
    return hash(tuple(_text(value) for values in columns for value in values))


def _text(value: object) -> str:
    """Return the representation of a value, or its type: a timestamp after the year 9999 has no representation."""
    try:
        return repr(value)
    except (ArithmeticError, NotImplementedError, RecursionError, TypeError, ValueError):
        return type(value).__name__
