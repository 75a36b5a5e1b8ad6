"""Check the keys of an upsert: present, unique, and of a type that a unique constraint can have."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence

import pyarrow as pa
import pyarrow.compute as pc

from cartoframes_lite._codec.bad_value import short_repr
from cartoframes_lite._codec.pgtypes import family
from cartoframes_lite.errors import ConversionError
from cartoframes_lite.write.columns import Column, names_of
from cartoframes_lite.write.payload import Payload

_NOT_KEYS = ("geometry", "json")


def check_keys(columns: Sequence[Column], payloads: Callable[[Collection[str]], Iterator[Payload]]) -> None:
    """Check the keys of all rows of a frame.

    Parameters
    ----------
    columns : sequence of Column
        Columns of the key; empty if the rows have none.
    payloads : callable
        Converts the rows, given the names of columns.

    Raises
    ------
    ConversionError
        If a column cannot be part of a key, or rows have no key or the same one.
    """
    if not columns:
        return
    for column in columns:
        if family(column.sql_type) in _NOT_KEYS or column.sql_type.endswith("[]"):
            raise ConversionError(
                f"column {column.name!r} is {column.sql_type}, which cannot be a key: use columns of numbers, text or"
                " dates"
            )
    names = names_of(columns)
    batches = []
    for payload in payloads(names):
        for name in names:
            _require_present(name, payload)
        batches.append(pa.table([payload.values[name] for name in names], names))
    if batches:
        _require_unique(pa.concat_tables(batches), names)


def _require_present(name: str, payload: Payload) -> None:
    values = payload.values[name]
    if isinstance(values, pa.ChunkedArray) and values.null_count:
        at = pc.index(values.is_null(), pa.scalar(value=True)).as_py()
        raise ConversionError(
            f"column {name!r} of the key has no value in row {payload.first_row + at}: NULL is not equal to any value,"
            " so that each upsert would append this row again; give it a value, or leave the row out"
        )


def _require_unique(keys: pa.Table, names: list[str]) -> None:
    frame = keys.to_pandas()
    repeated = frame.duplicated().to_numpy()
    if not repeated.any():
        return
    later = int(repeated.argmax())
    is_same = (frame == frame.iloc[later]).all(axis=1).to_numpy()
    first = int(is_same.argmax())
    key = ", ".join(f"{name}={short_repr(value)}" for name, value in keys.slice(later, 1).to_pylist()[0].items())
    raise ConversionError(
        f"rows {first} and {later} of the frame have the same key, {key}: leave one of them out, e.g. with"
        f" df.drop_duplicates({names!r}, keep='last')"
    )
