"""Types of columns: what Arrow knows of them, or what all values of a column of text can be read as."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

_INT4_MOST = 2**31 - 1
_MICROSECONDS = pa.timestamp("us", "UTC")


@dataclass(frozen=True, slots=True)
class Kind:
    """A type of columns.

    Attributes
    ----------
    sql : str
        PostgreSQL's name.
    arrow : pyarrow.DataType
        What is sent as it.
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


def kind_of(arrow: pa.DataType) -> Kind:
    """Return the kind of values that come with a type."""
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
    """Make values those of a kind: text that was found to be of it, or values that came with a type.

    Raises
    ------
    pyarrow.ArrowInvalid
        If one of them is not of the kind.
    """
    if is_text(values.type):
        return _READ.get(kind, _as_it_is)(values).cast(kind.arrow)
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
    """Finds out what a column of text holds, batch by batch."""

    def __init__(self) -> None:
        self._left = [BOOLEAN, BIGINT, DOUBLE, DATE, TIMESTAMP]
        self._most = 0
        self._seen = False

    def look(self, values: pa.Array) -> None:
        """Drop the kinds that do not fit these values."""
        values = trimmed(values).drop_null()
        if not len(values):
            return
        self._seen = True
        self._left = [kind for kind in self._left if self._fits(kind, values)]

    @property
    def kind(self) -> Kind:
        """The narrowest kind that fits all values; text if there are none."""
        if not self._seen or not self._left:
            return TEXT
        found = self._left[0]
        return INTEGER if found is BIGINT and self._most <= _INT4_MOST else found

    def _fits(self, kind: Kind, values: pa.Array) -> bool:
        if not pc.all(pc.match_substring_regex(values, _PATTERNS[kind])).as_py():
            return False
        if kind is DOUBLE and pc.any(pc.match_substring_regex(values, r"^-?\d{16,}$")).as_py():
            return False  # would lose digits
        try:
            read = convert(values, kind)
        except pa.ArrowInvalid:  # beyond the limits, or a 31st of February
            return False
        if kind is DOUBLE:
            return bool(pc.all(pc.is_finite(read)).as_py())
        if kind is BIGINT:
            ends = pc.min_max(read)
            self._most = max(self._most, ends["max"].as_py(), -ends["min"].as_py())
        return True


def trimmed(values: pa.Array) -> pa.Array:
    """Cut white space off; what is only that becomes NULL."""
    texts = pc.utf8_trim_whitespace(values)
    return pc.if_else(pc.equal(texts, ""), pa.scalar(None, texts.type), texts)


def is_text(arrow: pa.DataType) -> bool:
    """Tell whether values are text."""
    return bool(pa.types.is_string(arrow) or pa.types.is_large_string(arrow))


def _as_it_is(values: pa.Array) -> pa.Array:
    return values


def _boolean(values: pa.Array) -> pa.Array:
    return pc.equal(pc.utf8_lower(trimmed(values)), "true")


def _date(values: pa.Array) -> pa.Array:
    return pc.replace_substring(trimmed(values), "/", "-")


def _timestamp(values: pa.Array) -> pa.Array:
    """Write dates and times as Arrow reads them: with a zone, and no more than microseconds."""
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


_READ: dict[Kind, Callable[[pa.Array], pa.Array]] = {
    BOOLEAN: _boolean,
    INTEGER: trimmed,
    BIGINT: trimmed,
    DOUBLE: trimmed,
    DATE: _date,
    TIMESTAMP: _timestamp,
}
# A number with a zero in front, or a plus, is a code or a telephone number. PostgreSQL has no year 0.
_DAY = r"(?:[1-9]\d{3}|0[1-9]\d\d|00[1-9]\d|000[1-9])[-/]\d\d[-/]\d\d"
_PATTERNS = {
    BOOLEAN: r"^(?i:true|false)$",
    BIGINT: r"^-?(?:0|[1-9]\d*)$",
    DOUBLE: r"^-?(?:(?:0|[1-9]\d*)(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d+)?$",
    DATE: f"^{_DAY}$",
    TIMESTAMP: rf"^{_DAY}(?:[T ]\d\d:\d\d(?::\d\d(?:\.\d+)?)?(?: ?(?:[Zz]|UTC|[+-]\d\d(?::?\d\d)?))?)?$",
}
