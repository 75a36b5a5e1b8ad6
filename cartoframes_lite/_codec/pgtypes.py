"""Type mapping: PostgreSQL to Arrow to pandas for reading, Arrow to PostgreSQL for writing."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum
from typing import Any

import pyarrow as pa

from cartoframes_lite._codec.binary_values import BINARY_ELEMENTS
from cartoframes_lite._codec.geometric_text import GEOMETRIC_TEXT


class Kind(Enum):
    """How a decoded Arrow column is converted to pandas."""

    PLAIN = "an Arrow type with a corresponding pandas dtype"
    NUMERIC = "text that is a decimal number"
    JSON = "text that is JSON"
    ARRAY = "text that is a JSON array of the elements"
    BINARY_ARRAY = "output of array_send"
    BINARY_TEXT = "output of the type's send function, to be converted to text"
    GEOMETRY = "EWKB"


@dataclass(frozen=True, slots=True)
class Incoming:
    """How a column is selected and decoded.

    Attributes
    ----------
    arrow : pyarrow.DataType
        Type that the binary COPY is decoded to.
    select : str
        SQL expression, with ``{}`` for the quoted column.
    kind : Kind
        How the decoded column is converted to pandas.
    element : str or None
        PostgreSQL type of the elements of an array, or of a BINARY_TEXT column.
    """

    arrow: pa.DataType
    select: str
    kind: Kind = Kind.PLAIN
    element: str | None = None


_SEND = {"polygon": "poly"}  # prefix of the send function, if it differs from the type name
# Values must not depend on settings of the role such as DateStyle, IntervalStyle, bytea_output or extra_float_digits,
# so types whose text does are read in binary format.
# Every expression casts to the expected type: if the column type changes between the query for the columns and the
# COPY, the result is a server error or a correct value, never bytes decoded as the wrong type.
_INCOMING = {
    "int2": Incoming(pa.int16(), "{}::int2"),
    "int4": Incoming(pa.int32(), "{}::int4"),
    "int8": Incoming(pa.int64(), "{}::int8"),
    "oid": Incoming(pa.int64(), "{}::int8"),
    "float4": Incoming(pa.float32(), "{}::float4"),
    "float8": Incoming(pa.float64(), "{}::float8"),
    "bool": Incoming(pa.bool_(), "{}::bool"),
    "date": Incoming(pa.date32(), "{}::date"),
    "time": Incoming(pa.time64("us"), "{}::time"),
    "timestamp": Incoming(pa.timestamp("us"), "{}::timestamp"),
    "timestamptz": Incoming(pa.timestamp("us", tz="UTC"), "{}::timestamptz"),
    "bytea": Incoming(pa.large_binary(), "{}::bytea"),
    # A cast to text would strip the padding of char(n); the output function keeps it.
    "bpchar": Incoming(pa.large_string(), "textin(bpcharout({}))"),
    "inet": Incoming(pa.large_string(), "textin(inet_out({}))"),  # a cast adds the /32 of a host
    "numeric": Incoming(pa.large_string(), "{}::text", Kind.NUMERIC),
    "json": Incoming(pa.large_string(), "{}::text", Kind.JSON),
    "jsonb": Incoming(pa.large_string(), "{}::text", Kind.JSON),
    **{
        name: Incoming(pa.large_binary(), f"{_SEND.get(name, name)}_send({{}}::{name})", Kind.BINARY_TEXT, element=name)
        for name in ("interval", *GEOMETRIC_TEXT)
    },
    "geometry": Incoming(pa.large_binary(), "{}::geometry", Kind.GEOMETRY),
    "geography": Incoming(pa.large_binary(), "{}::geometry", Kind.GEOMETRY),
}
_TEXT = Incoming(pa.large_string(), "{}::text")
_ARRAYS_OF_OBJECTS = ("_record", "_geometry", "_geography", "_hstore")  # to_json would make objects of the elements


def incoming(pgtype: str) -> Incoming:
    """Return how to read a PostgreSQL type; unknown types are read as text.

    Parameters
    ----------
    pgtype : str
        Name in ``pg_type`` as returned by the SQL API, case-insensitive, such as ``int4`` or ``_text`` (an array);
        ``mood[]`` for an array of a user-defined type.
    """
    name = pgtype.lower()
    if name.endswith("[]"):
        return Incoming(pa.large_string(), "to_json({}::text[])::text", Kind.ARRAY, element="text")
    if name.removeprefix("_") in BINARY_ELEMENTS and name.startswith("_"):
        select = f"array_send({{}}::{name[1:]}[])"
        return Incoming(pa.large_binary(), select, Kind.BINARY_ARRAY, element=name[1:])
    if name in _ARRAYS_OF_OBJECTS:
        return Incoming(pa.large_string(), "to_json({}::text[])::text", Kind.ARRAY, element="text")
    if name.startswith("_"):
        return Incoming(pa.large_string(), "to_json({})::text", Kind.ARRAY, element=name[1:])
    return _INCOMING.get(name, _TEXT)


@dataclass(frozen=True, slots=True)
class SourceColumn:
    """A column of a table or query.

    Attributes
    ----------
    name : str
    pgtype : str
        Name in ``pg_type``, such as ``int4``; ``geometry`` for geometries.
    srid : int
        Declared SRID of a geometry column; 0 or less if none.
    dims : int
        Declared number of dimensions of a geometry column; 4 if none.
    """

    name: str
    pgtype: str
    srid: int = 0
    dims: int = 4

    @property
    def rule(self) -> Incoming:
        """How the column is selected and decoded."""
        return incoming(self.pgtype)


# Arrow type id to the PostgreSQL type that receives its values.
_OUTGOING = {
    pa.bool_().id: "boolean",
    pa.int8().id: "smallint",
    pa.int16().id: "smallint",
    pa.int32().id: "integer",
    pa.int64().id: "bigint",
    pa.uint8().id: "smallint",
    pa.uint16().id: "integer",
    pa.uint32().id: "bigint",
    pa.uint64().id: "numeric",
    pa.float16().id: "real",
    pa.float32().id: "real",
    pa.float64().id: "double precision",
    pa.decimal128(1).id: "numeric",
    pa.large_string().id: "text",
    pa.large_binary().id: "bytea",
    pa.date32().id: "date",
    pa.time64("us").id: "time",
    pa.duration("us").id: "interval",
}


def outgoing(arrow: pa.DataType) -> str | None:
    """Return the PostgreSQL type that can store every value of an Arrow type; None if there is none."""
    if pa.types.is_timestamp(arrow) and arrow.unit == "us":
        return "timestamp" if arrow.tz is None else "timestamptz"
    if pa.types.is_large_list(arrow):
        element = None if pa.types.is_nested(arrow.value_type) else outgoing(arrow.value_type)
        return None if element is None else f"{element}[]"
    return _OUTGOING.get(arrow.id)


# Families of types that can be converted into each other; names of pg_type, then names of SQL after the first "|".
_FAMILIES = {
    "number": "int2 int4 int8 float4 float8 numeric|smallint|integer|int|bigint|real|double precision|decimal|float",
    "text": 'text varchar bpchar citext name "char"|character varying|character',
    "boolean": "bool boolean",
    "date": "date",
    "time": "time|time without time zone",
    "timestamp": "timestamp|timestamp without time zone",
    "timestamptz": "timestamptz|timestamp with time zone",
    "interval": "interval",
    "bytea": "bytea",
    "json": "json jsonb",
    "geometry": "geometry geography",
}
_MEMBERS = {
    member: name
    for name, members in _FAMILIES.items()
    for part, members_of in enumerate(members.split("|"))
    for member in (members_of.split() if part == 0 else [members_of])
}
_INTEGERS = {"int2": 2, "smallint": 2, "int4": 4, "integer": 4, "int": 4, "int8": 8, "bigint": 8}
_LIMITED = ("name", "character", "char", "bpchar", '"char"', "bit")
_FLOATS = {"float4": 4, "real": 4, "float8": 8, "double precision": 8, "float": 8}


def bare(sql_type: str) -> str:
    """Return a type name without length or precision, in lowercase; an array as ``name[]``."""
    name = re.sub(r"\s+", " ", re.sub(r"\([^()]*\)", "", sql_type)).strip().lower()
    return f"{name[1:]}[]" if name.startswith("_") else name


def family(sql_type: str) -> str:
    """Return the family of a type; an unknown type is its own family."""
    name = bare(sql_type)
    if name.endswith("[]"):
        return f"{family(name[:-2])}[]"
    return _MEMBERS.get(name, name)


def is_integer(sql_type: str) -> bool:
    """Return whether a type is an integer type."""
    return bare(sql_type) in _INTEGERS


def convertible(have: str, want: str) -> bool:
    """Return whether values of type ``have`` may be written to a column of type ``want``.

    Allowed are conversions that keep every value or raise on the server. Text may be converted to any type except
    numbers, booleans, bytea and geometries: uuid, enum, inet, interval and others are always written as text, and the
    server rejects invalid values. The same holds for the elements of arrays, except that they are not parsed as JSON.
    """
    source, target = family(have), family(want)
    if source.endswith("[]") and target.endswith("[]"):
        return source == target or (target != "json[]" and convertible(source[:-2], target[:-2]))
    if target == "text":
        return source not in ("bytea", "geometry") and not source.endswith("[]")
    if source == "text":
        return target not in ("number", "boolean", "bytea", "geometry")
    return source == target or (source, target) == ("date", "timestamp")


def is_limited(sql_type: str) -> bool:
    """Return whether a type has a length, precision or interval fields, which may truncate or round values."""
    name = bare(sql_type).removesuffix("[]")
    return "(" in sql_type or name in _LIMITED or name.startswith("interval ")


def holds(column: str, values: str) -> bool:
    """Return whether a column of type ``column`` can store every value of type ``values``; both are SQL types."""
    have, want = bare(values), bare(column)
    if is_limited(column):
        return re.sub(r"\s", "", column.lower()) == re.sub(r"\s", "", values.lower())
    if family(have) != family(want):
        return False
    for widths in (_INTEGERS, _FLOATS):
        if have in widths:
            return (want == "numeric" and widths is _INTEGERS) or widths.get(want, 0) >= widths[have]
    return have == want or not family(have).startswith("number")


_SERIAL = dict.fromkeys(("serial2", "smallserial"), "smallint")
_SERIAL |= dict.fromkeys(("serial4", "serial"), "integer") | dict.fromkeys(("serial8", "bigserial"), "bigint")
_TYPE_NAME = re.compile(
    # The only types of several words; other words would be column constraints such as REFERENCES.
    r"""(?:double\ precision|(?:(?:national\ )?char(?:acter)?|bit)\ varying|national\ char(?:acter)?
        |interval(?:\ (?:year|month|day|hour|minute|second|to))+
        |(?:"(?:[^"]|"")+"|[^\W\d]\w*)           # a name, quoted or not
         (?:\.(?:"(?:[^"]|"")+"|[^\W\d]\w*))?)   # of a schema
        (?:\ ?\(\ *\w+\ *(?:,\ *\w+\ *)*\))?     # numeric(10, 2)
        (?:\ with(?:out)?\ time\ zone)?          # timestamp(3) with time zone
        (?:\[\])*""",
    re.VERBOSE | re.IGNORECASE,
)


def checked_type(sql_type: Any) -> str:
    """Validate a type name, which becomes part of a SQL statement, and return it stripped.

    Raises
    ------
    ValueError
        If it is not the name of a PostgreSQL type.
    """
    if not isinstance(sql_type, str) or not _TYPE_NAME.fullmatch(sql_type.strip()):
        raise ValueError(
            f'{sql_type!r} is not the name of a PostgreSQL type: use one such as "numeric(10,2)" or "text"'
        )
    if bare(sql_type) in _SERIAL:
        raise ValueError(f"{sql_type!r} is an integer type with a default value: use {_SERIAL[bare(sql_type)]!r}")
    return sql_type.strip()
