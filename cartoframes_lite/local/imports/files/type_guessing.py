"""Column types: from Arrow types, or guessed from all values of a text column."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

_INT4_MAX = 2**31 - 1
_MICROSECONDS = pa.timestamp("us", "UTC")


@dataclass(frozen=True, slots=True)
class Kind:
    """Column type.

    Attributes
    ----------
    sql : str
        PostgreSQL type.
    arrow : pyarrow.DataType
        Arrow type to which values are converted for COPY.
    """

    sql: str
    arrow: pa.DataType


TEXT = Kind("text", pa.large_string())
BOOLEAN = Kind("boolean", pa.bool_())
INTEGER = Kind("integer", pa.int32())
BIGINT = Kind("bigint", pa.int64())
DOUBLE = Kind("double precision", pa.float64())
DATE = Kind("date", pa.date32())
TIMESTAMP = Kind("timestamp with time zone", _MICROSECONDS)
BYTES = Kind("bytea", pa.large_binary())


def kind_from_arrow(arrow: pa.DataType) -> Kind:
    """Return the column type for an Arrow type; text for unsupported types."""
    types = pa.types
    table: tuple[tuple[Callable[[pa.DataType], bool], Kind], ...] = (
        (types.is_boolean, BOOLEAN),
        (lambda kind: types.is_integer(kind) and kind not in (pa.int64(), pa.uint32(), pa.uint64()), INTEGER),
        (types.is_integer, BIGINT),
        (types.is_floating, DOUBLE),
        (types.is_date, DATE),
        (types.is_timestamp, TIMESTAMP),
        (lambda kind: types.is_binary(kind) or types.is_large_binary(kind), BYTES),
    )
    return next((kind for matches, kind in table if matches(arrow)), TEXT)


def convert(values: pa.Array, kind: Kind) -> pa.Array:
    """Convert text or typed values to a column type.

    Raises
    ------
    pyarrow.ArrowInvalid
        If a value is invalid for the type.
    """
    if is_text(values.type):
        return _PARSERS.get(kind, _identity)(values).cast(kind.arrow)
    if pa.types.is_nested(values.type):
        texts = [
            None if value is None else json.dumps(value, ensure_ascii=False, default=str)
            for value in values.to_pylist()
        ]
        return pa.array(texts, TEXT.arrow)
    if kind is TIMESTAMP and values.type.tz is None:
        return pc.assume_timezone(values.cast(pa.timestamp("us")), "UTC")
    return values.cast(kind.arrow)


class TypeGuess:
    """Guess the type of a text column, batch by batch."""

    def __init__(self) -> None:
        self._candidates = [BOOLEAN, BIGINT, DOUBLE, DATE, TIMESTAMP]
        self._max_abs = 0
        self._has_values = False

    def inspect(self, values: pa.Array) -> None:
        """Discard candidate types that do not fit these values."""
        values = trim(values).drop_null()
        if not len(values):
            return
        self._has_values = True
        self._candidates = [kind for kind in self._candidates if self._fits(kind, values)]

    @property
    def kind(self) -> Kind:
        """The narrowest type that fits all values; text for an empty column."""
        if not self._has_values or not self._candidates:
            return TEXT
        found = self._candidates[0]
        return INTEGER if found is BIGINT and self._max_abs <= _INT4_MAX else found

    def _fits(self, kind: Kind, values: pa.Array) -> bool:
        if not pc.all(pc.match_substring_regex(values, _PATTERNS[kind])).as_py():
            return False
        if kind is DOUBLE and pc.any(pc.match_substring_regex(values, r"^-?\d{16,}$")).as_py():
            return False  # float64 would lose digits
        try:
            read = convert(values, kind)
        except pa.ArrowInvalid:  # out of range, or an invalid date
            return False
        if kind is DOUBLE:
            return bool(pc.all(pc.is_finite(read)).as_py())
        if kind is BIGINT:
            bounds = pc.min_max(read)
            self._max_abs = max(self._max_abs, bounds["max"].as_py(), -bounds["min"].as_py())
        return True


def trim(values: pa.Array) -> pa.Array:
    """Strip white space; blank values become NULL."""
    texts = pc.utf8_trim_whitespace(values)
    return pc.if_else(pc.equal(texts, ""), pa.scalar(None, texts.type), texts)


def is_text(arrow: pa.DataType) -> bool:
    """Return whether an Arrow type is text."""
    return bool(pa.types.is_string(arrow) or pa.types.is_large_string(arrow))


def _identity(values: pa.Array) -> pa.Array:
    return values


def _boolean(values: pa.Array) -> pa.Array:
    return pc.equal(pc.utf8_lower(trim(values)), "true")


def _date(values: pa.Array) -> pa.Array:
    return pc.replace_substring(trim(values), "/", "-")


def _timestamp(values: pa.Array) -> pa.Array:
    """Rewrite dates and times for Arrow's parser: with a time zone and at most six fractional digits."""
    texts = _date(values)
    for pattern, replacement in (
        (r"^(\d{4}-\d\d-\d\d)$", r"\1T00:00"),
        (r" ?(?:[Zz]|UTC)$", "Z"),
        (r" ([+-])", r"\1"),
        (r"(\.\d{6})\d+", r"\1"),
    ):
        texts = pc.replace_substring_regex(texts, pattern, replacement)
    zoned = pc.match_substring_regex(texts, r"(?:Z|:\d\d(?:\.\d+)?[+-]\d\d(?::?\d\d)?)$")
    return pc.if_else(zoned, texts, pc.binary_join_element_wise(texts, "Z", ""))


_PARSERS: dict[Kind, Callable[[pa.Array], pa.Array]] = {
    BOOLEAN: _boolean,
    INTEGER: trim,
    BIGINT: trim,
    DOUBLE: trim,
    DATE: _date,
    TIMESTAMP: _timestamp,
}
# Numbers with a leading zero or plus are codes or telephone numbers, hence text. PostgreSQL has no year 0.
_DAY = r"(?:[1-9]\d{3}|0[1-9]\d\d|00[1-9]\d|000[1-9])[-/]\d\d[-/]\d\d"
_PATTERNS = {
    BOOLEAN: r"^(?i:true|false)$",
    BIGINT: r"^-?(?:0|[1-9]\d*)$",
    DOUBLE: r"^-?(?:(?:0|[1-9]\d*)(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d+)?$",
    DATE: f"^{_DAY}$",
    TIMESTAMP: rf"^{_DAY}(?:[T ]\d\d:\d\d(?::\d\d(?:\.\d+)?)?(?: ?(?:[Zz]|UTC|[+-]\d\d(?::?\d\d)?))?)?$",
}
