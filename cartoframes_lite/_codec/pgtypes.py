"""The one table of types: PostgreSQL to Arrow to pandas when reading, Arrow to PostgreSQL when writing."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum
from typing import Any

import pyarrow as pa

from cartoframes_lite._codec.binary_values import BINARY_ELEMENTS
from cartoframes_lite._codec.geometric_text import GEOMETRIC_TEXT


class Kind(Enum):
    """How a column becomes pandas values after it has been decoded into Arrow."""

    PLAIN = "an Arrow array with a pandas dtype of its own"
    NUMERIC = "text that is a decimal number"
    JSON = "text that is JSON"
    ARRAY = "text that is a JSON array of the elements"
    BINARY_ARRAY = "an array as array_send gives it"
    BINARY_TEXT = "what its send function gives, to be written as text"
    GEOMETRY = "EWKB"


@dataclass(frozen=True, slots=True)
class Incoming:
    """How a column is asked for and decoded.

    Attributes
    ----------
    arrow : pyarrow.DataType
        What the binary COPY is decoded into.
    select : str
        The expression to select, with ``{}`` for the quoted column.
    kind : Kind
        How it becomes pandas values.
    element : str or None
        Of an array, the PostgreSQL type of its elements; of what comes in binary form, its own.
    """

    arrow: pa.DataType
    select: str
    kind: Kind = Kind.PLAIN
    element: str | None = None


_SEND = {"polygon": "poly"}  # whose send function is not called as the type
# What comes does not depend on the settings of the role, as DateStyle, IntervalStyle, bytea_output or
# extra_float_digits: binary where the text would.
# Every expression casts to the type that was announced: a column that changes its type between the probe and
# the COPY becomes an error of the server or a right value, never bytes that are read as another type.
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
    # A cast to text would strip the blanks that pad char(n); its own output function keeps them.
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
    """Find how to read a type that the SQL API calls ``pgtype``; anything unknown is read as text.

    Parameters
    ----------
    pgtype : str
        A name of ``pg_type``, as ``int4`` or ``_text`` (an array), in any case; ``mood[]`` for an array of a type
        that is not built in.
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
    """A column of a table or query, as the probe found it.

    Attributes
    ----------
    name : str
    pgtype : str
        The name in ``pg_type``, as ``int4``; ``geometry`` for geometries.
    srid : int
        Of a geometry with a declared SRID; else 0 or less.
    dims : int
        Of a geometry, the number of coordinates of a point; 4 if that is not declared.
    """

    name: str
    pgtype: str
    srid: int = 0
    dims: int = 4

    @property
    def rule(self) -> Incoming:
        """How the column is asked for and decoded."""
        return incoming(self.pgtype)


# What Arrow sends, by the id of its type, and the PostgreSQL type that receives it.
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
    """Name the PostgreSQL type that holds every value of an Arrow type; None if there is none."""
    if pa.types.is_timestamp(arrow) and arrow.unit == "us":
        return "timestamp" if arrow.tz is None else "timestamptz"
    if pa.types.is_large_list(arrow):
        element = None if pa.types.is_nested(arrow.value_type) else outgoing(arrow.value_type)
        return None if element is None else f"{element}[]"
    return _OUTGOING.get(arrow.id)


# Families of types between which values may be converted; by the names of pg_type and by those of SQL.
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
    """Take the name of a type without its length or precision, in lower case; an array as ``name[]``."""
    name = re.sub(r"\s+", " ", re.sub(r"\([^()]*\)", "", sql_type)).strip().lower()
    return f"{name[1:]}[]" if name.startswith("_") else name


def family(sql_type: str) -> str:
    """Name the family of a type; a type of which nothing is known is its own family."""
    name = bare(sql_type)
    if name.endswith("[]"):
        return f"{family(name[:-2])}[]"
    return _MEMBERS.get(name, name)


def is_integer(sql_type: str) -> bool:
    """Say whether a type holds whole numbers only."""
    return bare(sql_type) in _INTEGERS


def convertible(have: str, want: str) -> bool:
    """Say whether values of type ``have`` may be stored in a column of type ``want``.

    Allowed is what keeps every value or fails loudly in the server. Text may become any type that is not a
    number, a truth value, binary or a geometry: uuid, enum, inet, interval and so on are only ever written as
    text, and the server refuses what is not valid.
    """
    source, target = family(have), family(want)
    if target == "text":
        return source not in ("bytea", "geometry") and not source.endswith("[]")
    if source == "text":
        return target not in ("number", "boolean", "bytea", "geometry")
    return source == target or (source, target) == ("date", "timestamp")


def is_limited(sql_type: str) -> bool:
    """Say whether a type has a length, a precision, or a range of fields, which cut or round values off."""
    name = bare(sql_type).removesuffix("[]")
    return "(" in sql_type or name in _LIMITED or name.startswith("interval ")


def holds(column: str, values: str) -> bool:
    """Say whether a column of one type has room for every value of another; both as they are written in SQL."""
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
    # Of several words there are only these: others would be constraints of the column, as REFERENCES.
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
    """Let only the name of a type through, for it becomes part of a statement.

    Raises
    ------
    ValueError
        If it is anything but the name of a PostgreSQL type.
    """
    if not isinstance(sql_type, str) or not _TYPE_NAME.fullmatch(sql_type.strip()):
        raise ValueError(f'{sql_type!r} is not the name of a PostgreSQL type, such as "numeric(10,2)" or "text"')
    if bare(sql_type) in _SERIAL:
        raise ValueError(f"{sql_type!r} is no type but an integer with a default: use {_SERIAL[bare(sql_type)]!r}")
    return sql_type.strip()
