"""Convert values and columns of a result to JSON as CARTO does.

CARTO converts values to JavaScript types and then to JSON: numbers are doubles, times have no fractions of a second,
an interval is an object. Each converter takes the text of PostgreSQL and returns the text of a JSON value.
"""

from __future__ import annotations

import asyncio
import json
import math
import re
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime, timedelta
from json.encoder import encode_basestring as quote
from typing import Any

from psycopg.pq.abc import PGresult
from starlette.concurrency import run_in_threadpool

Converter = Callable[[str], str]

_WKB_TYPES = [
    "Unknown",
    "Point",
    "LineString",
    "Polygon",
    "MultiPoint",
    "MultiLineString",
    "MultiPolygon",
    "GeometryCollection",
    "CircularString",
    "CompoundCurve",
    "CurvePolygon",
    "MultiCurve",
    "MultiSurface",
    "PolyhedralSurface",
    "Triangle",
    "Tin",
]
_TIMESTAMP = re.compile(
    r"(\d+)-(\d\d)-(\d\d)(?: (\d\d):(\d\d):(\d\d)(?:\.\d+)?)?(?:([+-])(\d\d)(?::?(\d\d))?(?::?\d\d)?)?( BC)?"
)
_INTERVAL = re.compile(
    r"(?:([+-]?\d+) years? ?)?(?:([+-]?\d+) mons? ?)?(?:([+-]?\d+) days? ?)?"
    r"(?:([+-])?(\d+):(\d\d):(\d\d)(?:\.(\d{1,6}))?)?"
)
# The end of the text also closes quotes, so that each character is looked at once.
_ARRAY_TOKEN = re.compile(r'[{},]|"((?:[^"\\]++|\\.)*+)(?:"|\Z|\\\Z)|([^{},"]++)', re.DOTALL)
_JSON_INTEGER_LIMIT = 2**53
_PIECE_BYTES = 65_536
_LARGE_BYTES = 65_536  # a value of this size takes some milliseconds to write
_YIELD_AFTER_S = 0.01  # writing rows of one response yields to other requests after this time


def field(type_name: str | None, oid: int, modifier: int) -> dict[str, Any]:
    """Return the description of a column in ``fields``.

    Parameters
    ----------
    type_name : str or None
        Name of the type; None if CARTO does not support it.
    oid, modifier : int
        Oid and modifier of the type, from the result.
    """
    if type_name in ("geometry", "geography", "raster"):
        return {"type": type_name, **_geometry_modifier(modifier)}
    if type_name is None:
        return {"type": f"unknown({oid})"}
    name = "JSON" if type_name == "json" else type_name
    kinds = (("bool", "boolean"), ("int|float|numeric", "number"), ("text|char|unknown", "string"))
    patterns = (*kinds, ("date|time", "date"))
    kind = next((kind for pattern, kind in patterns if re.search(pattern, name)), name)
    return {"type": kind + "[]" * name.startswith("_"), "pgtype": name}


def fields(result: PGresult, type_names: dict[int, str], skip: frozenset[str]) -> dict[str, dict[str, Any]]:
    """Return ``fields``, the descriptions of the columns of a result by name."""
    described = {}
    for column in range(result.nfields):
        name, oid = (result.fname(column) or b"").decode(), result.ftype(column)
        if name not in skip:
            described[name] = field(type_names.get(oid), oid, result.fmod(column))
    return described


class Rows:
    """Writer of the rows of one result as JSON objects.

    Of several columns with the same name, the value of the last is written at the position of the first.

    Parameters
    ----------
    result : PGresult
        Any of the rows, for its columns.
    skip : frozenset of str
        Columns to omit.
    finite : bool
        Write NaN and infinity as null, not as strings.
    """

    def __init__(self, result: PGresult, skip: frozenset[str] = frozenset(), *, finite: bool = False) -> None:
        self._yielded_at = time.monotonic()
        columns: dict[str, int] = {}
        for column in range(result.nfields):
            name = (result.fname(column) or b"").decode()
            if name not in skip:
                columns[name] = column
        self._columns = [
            (column, f"{',' * (position > 0)}{quote(name)}:", converter(result.ftype(column), finite=finite))
            for position, (name, column) in enumerate(columns.items())
        ]

    def object(self, result: PGresult, row: int = 0) -> str:
        """Return a row of a result as a JSON object."""
        return self.write(self.values(result, row))

    def values(self, result: PGresult, row: int = 0) -> list[bytes | None]:
        """Return the values of a row, without those of omitted columns."""
        return [result.get_value(row, column) for column, _, _ in self._columns]

    def write(self, values: Sequence[bytes | None]) -> str:
        """Return values as a JSON object."""
        parts = ["{"]
        for value, (_, label, convert) in zip(values, self._columns, strict=True):
            parts.append(label)
            parts.append("null" if value is None else convert(value.decode()))
        parts.append("}")
        return "".join(parts)

    async def write_row(self, result: PGresult) -> str:
        """Return the row of a result as a JSON object. A large row is written in a worker thread.

        Yields to the event loop from time to time, so that many rows do not block other requests.
        """
        values = self.values(result)
        if (now := time.monotonic()) - self._yielded_at > _YIELD_AFTER_S:
            await asyncio.sleep(0)
            self._yielded_at = now
        for value in values:
            if value is not None and len(value) > _LARGE_BYTES:
                return await run_in_threadpool(self.write, values)
        return self.write(values)


def converter(oid: int, *, finite: bool = False) -> Converter:
    """Return the converter of a type. Types that CARTO does not parse are written as strings.

    Parameters
    ----------
    oid : int
        Oid of the type.
    finite : bool
        Write NaN and infinity as null, not as strings.
    """
    table = _FINITE if finite else _CONVERTERS
    if oid in table:
        return table[oid]
    if oid in _ARRAYS:
        element = table.get(_ARRAYS[oid], quote)
        return lambda text: array(text, element)
    return quote


def number(text: str) -> str:
    """Write a number like JavaScript, as the nearest double."""
    value = float(text)
    if not math.isfinite(value):
        return quote("NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity")
    if value.is_integer() and abs(value) < 1e21:
        return str(int(value))
    return re.sub(r"e([+-])0", r"e\1", repr(value))


def big_integer(text: str) -> str:
    """Write an int8, unchanged if a double can represent it."""
    return text if len(text) < 16 or abs(int(text)) <= _JSON_INTEGER_LIMIT else number(text)


def timestamp(text: str) -> str:
    """Write a date or a timestamp in UTC and without fractions of a second."""
    if text.endswith("infinity"):
        return quote("-Infinity" if text.startswith("-") else "Infinity")
    found = _TIMESTAMP.fullmatch(text)
    if found is None:  # the query changed DateStyle
        return quote(text)
    year, month, day, hour, minute, second = (int(part or 0) for part in found.group(1, 2, 3, 4, 5, 6))
    if found[10]:
        year = 1 - year  # 1 BC is the year 0
    if found[7]:
        offset = (int(found[8]) * 60 + int(found[9] or 0)) * (1 if found[7] == "+" else -1)
        if offset:
            year, month, day, hour, minute = _in_utc(year, month, day, hour, minute, offset)
    return f'"{year}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z"'


def interval(text: str) -> str:
    """Write an interval as an object of its non-zero parts."""
    found = _INTERVAL.fullmatch(text)
    if found is None:  # the query changed IntervalStyle
        return quote(text)
    sign = -1 if found[4] == "-" else 1
    values: dict[str, float] = {
        "years": int(found[1] or 0),
        "months": int(found[2] or 0),
        "days": int(found[3] or 0),
        "hours": sign * int(found[5] or 0),
        "minutes": sign * int(found[6] or 0),
        "seconds": sign * int(found[7] or 0),
        "milliseconds": sign * int((found[8] or "").ljust(6, "0")) / 1000,
    }
    return "{" + ",".join(f"{quote(name)}:{number(str(value))}" for name, value in values.items() if value) + "}"


def document(text: str) -> str:
    """Write json or jsonb as JavaScript would parse and serialize it; unchanged if it is nested too deeply."""
    try:
        return "".join(_encode(json.loads(text, parse_int=_exact, parse_float=_exact)))
    except RecursionError:
        return text


def buffer(text: str) -> str:
    """Write bytea in hex format like a Buffer of Node.js."""
    data = bytes.fromhex(text[2:]) if text.startswith("\\x") else text.encode()
    # In pieces: a list of all numbers would take many times the memory of their text.
    pieces = (data[start : start + _PIECE_BYTES] for start in range(0, len(data), _PIECE_BYTES))
    return f'{{"type":"Buffer","data":[{",".join(",".join(map(str, piece)) for piece in pieces)}]}}'


def point(text: str) -> str:
    """Write a point."""
    x, y = text.strip("()").split(",")
    return f'{{"x":{number(x)},"y":{number(y)}}}'


def circle(text: str) -> str:
    """Write a circle."""
    x, y, radius = re.sub(r"[<>()]", "", text).split(",")
    return f'{{"x":{number(x)},"y":{number(y)},"radius":{number(radius)}}}'


def array(text: str, element: Converter) -> str:
    """Write an array, given as PostgreSQL's array literal."""
    parts: list[str] = []
    bounds = re.match(r"(?:\[[-+:\d]+\])+=", text)  # present if a subscript does not start at 1
    for token in _ARRAY_TOKEN.finditer(text, bounds.end() if bounds else 0):
        if token[1] is not None:
            parts.append(element(re.sub(r"\\(.)", r"\1", token[1], flags=re.DOTALL)))
        elif token[2] is not None:
            parts.append("null" if token[2] == "NULL" else element(token[2]))
        else:
            parts.append({"{": "[", "}": "]", ",": ","}[token[0]])
    return "".join(parts)


class _Number(str):
    """A number that is already JSON text."""


def _exact(text: str) -> _Number:
    """Convert a number of a JSON document to the double that it is in JavaScript."""
    return _Number(number(text) if math.isfinite(float(text)) else "null")


def _encode(value: Any) -> Iterator[str]:
    """Yield the parts of a JSON document."""
    if isinstance(value, _Number):
        yield value
    elif isinstance(value, dict):
        opening = "{"
        for name, item in value.items():
            yield f"{opening}{quote(name)}:"
            yield from _encode(item)
            opening = ","
        yield "}" if value else "{}"
    elif isinstance(value, list):
        opening = "["
        for item in value:
            yield opening
            yield from _encode(item)
            opening = ","
        yield "]" if value else "[]"
    else:
        yield json.dumps(value, ensure_ascii=False)


def _in_utc(year: int, month: int, day: int, hour: int, minute: int, offset: int) -> tuple[int, ...]:
    """Convert a local time to UTC, in the proleptic Gregorian calendar; ``offset`` is in minutes east of UTC."""
    cycle = year // 400 * 400  # the calendar repeats every 400 years; Python supports only the years 1 to 9999
    moved = datetime(year - cycle + 2000, month, day, hour, minute) - timedelta(minutes=offset)
    return moved.year - 2000 + cycle, moved.month, moved.day, moved.hour, moved.minute


def _geometry_modifier(modifier: int) -> dict[str, Any]:
    """Return type, dimensions and SRID of a geometry column; without a modifier, 4 dimensions and SRID -1."""
    if modifier < 0:
        return {"dims": 4, "srid": -1}
    srid = (modifier & 0x0FFFFF00) - (modifier & 0x10000000) >> 8
    dims = 2 + bool(modifier & 2) + bool(modifier & 1)
    code = (modifier & 0xFC) >> 2
    kind = {"wkbtype": _WKB_TYPES[code]} if code < len(_WKB_TYPES) else {}
    return {**kind, "dims": dims, "srid": srid}


def _as_is(text: str) -> str:
    """Write an integer that fits into a double unchanged."""
    return text


def _boolean(text: str) -> str:
    """Write a boolean."""
    return "true" if text == "t" else "false"


def _finite(convert: Converter) -> Converter:
    """Return a converter that writes NaN and infinity as null."""

    def convert_finite(text: str) -> str:
        written = convert(text)
        return "null" if written in ('"NaN"', '"Infinity"', '"-Infinity"') else written

    return convert_finite


# Converters by oid of the type. The oids are fixed, in PostgreSQL's pg_type.dat.
_CONVERTERS: dict[int, Converter] = {
    16: _boolean,
    17: buffer,
    20: big_integer,
    21: _as_is,
    23: _as_is,
    26: _as_is,
    114: document,
    600: point,
    700: number,
    701: number,
    718: circle,
    1082: timestamp,
    1114: timestamp,
    1184: timestamp,
    1186: interval,
    1700: number,
    3802: document,
}
_FINITE = _CONVERTERS | {oid: _finite(_CONVERTERS[oid]) for oid in (700, 701, 1082, 1114, 1184, 1700)}
# Array types that are parsed, with their element types. Other arrays are strings with PostgreSQL's array literal.
_ARRAYS = {
    199: 114, 651: 650, 791: 790, 1000: 16, 1001: 17, 1005: 21, 1007: 23, 1008: 25, 1009: 25, 1014: 1042,
    1015: 1043, 1016: 20, 1017: 600, 1021: 700, 1022: 701, 1028: 26, 1040: 829, 1041: 869, 1115: 1114,
    1182: 1082, 1183: 1083, 1185: 1184, 1187: 1186, 1231: 1700, 1270: 1266, 2951: 2950, 3807: 3802, 3907: 3906,
}  # fmt: skip
