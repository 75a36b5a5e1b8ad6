"""Conditions, checked when publishing, that find values which a cast in PostgreSQL would change.

PostgreSQL's explicit casts round, truncate and pad silently: 1.005 to numeric(10,2), "abcd" to varchar(3), "ab" to
char(5), 2**53 + 1 to double precision.
"""

from __future__ import annotations

import re

from cartoframes_lite._codec.names import quote
from cartoframes_lite._codec.pgtypes import bare, family, is_integer, is_limited
from cartoframes_lite.write.columns import Column

# Types whose input functions accept no text that has more information than the value.
_SAME_FROM_TEXT = ("uuid", "inet", "cidr", "macaddr", "macaddr8", "json", "jsonb", "xml", "citext")
_ANY_TEXT = ("text", "varchar", "character varying", "citext")  # without a length, they store any text
# Type families that are rounded to a precision.
_ROUNDED = ("number", "time", "timestamp", "timestamptz")


def cast(column: Column) -> str:
    """Compose the expression that casts a staged column to its type in the table."""
    name, final = quote(column.name), column.final_type
    if column.is_geometry or final == column.staged_type:
        return name
    if _is_float(column.staged_type) and _is_numeric(final):
        return f"{_digits(name)}::{final}"
    if column.staged_as == "text" and family(column.sql_type) == "number" and is_integer(final):
        return f"{name}::numeric::{final}"  # integers are not parsed from "1.0"
    return f"{name}::{final}"


def changed(column: Column, *, chosen: bool) -> str | None:
    """Compose the condition that casting a staged value to its type in the table changes it; None if it never does.

    The condition is NULL for NULL. Casts that fail raise an error in PostgreSQL.

    Parameters
    ----------
    column : Column
    chosen : bool
        Whether the type was requested for this write with ``dtype``, so that rounding numbers and times to its
        precision is intended.
    """
    staged, final = column.staged_type, column.final_type
    name, kind = quote(column.name), family(final)
    if column.is_geometry and bare(final) == "geography":
        return (  # PostGIS would normalize coordinates outside these ranges
            f"NOT (ST_XMin({name}) >= -180 AND ST_XMax({name}) <= 180"
            f" AND ST_YMin({name}) >= -90 AND ST_YMax({name}) <= 90)"
        )
    if column.is_geometry or staged == final:
        return None
    if chosen and is_limited(final) and kind in _ROUNDED and kind == family(column.sql_type):
        return None
    if kind in ("text", "text[]"):
        return _changed_text(name, staged, final)
    if kind in ("number", "number[]"):
        return _changed_number(name, staged, final)
    if (
        family(column.sql_type) in ("text", "text[]")
        and bare(final).removesuffix("[]") not in _SAME_FROM_TEXT
        and not is_limited(final)
    ):
        if not final.endswith("[]"):
            return _changed_from_text(name, final)
        changed_element = _changed_from_text("staged.element", final.removesuffix("[]"))
        return f"EXISTS (SELECT FROM unnest({name}) AS staged (element) WHERE {changed_element})"
    if not is_limited(final):
        return None
    if bare(final) in ("bit", "bit varying"):
        return f"({name}::{final})::text <> {name}::text"
    return f"{name}::{final} <> {name}::{_unlimited(final)}"


def _changed_from_text(name: str, final: str) -> str:
    """Compose the condition that a type read from text loses information; canonical text never matches it."""
    kind = family(final)
    excess_digits = rf"{name} ~ '[.][0-9]{{6}}[0-9]*[1-9]'"
    with_zone = rf"{name} ~ ':[0-9.]+ *([+-]|[A-Za-z])'"
    if kind == "date":
        return f"({name}::timestamp <> {name}::date OR {with_zone})"
    if kind == "timestamp":
        return f"({excess_digits} OR {with_zone})"
    if kind == "time":
        return f"({excess_digits} OR {with_zone} OR {name} ~ '[0-9][-/][0-9]')"
    if kind in ("timestamptz", "interval") or bare(final) == "time with time zone":
        return excess_digits
    return f"concat({name}::{final}) <> {name}"


def _changed_text(name: str, staged: str, final: str) -> str | None:
    if bare(final).removesuffix("[]") in _ANY_TEXT and not is_limited(final):
        return None
    if final.endswith("[]"):
        return f"({name}::{final})::text <> {name}::text"
    # A cast of char(n) to text strips the padding blanks; concat keeps them.
    return f"concat({name}::{final}) <> {name}::text"


def _changed_number(name: str, staged: str, final: str) -> str | None:
    if _is_float(staged) and _is_numeric(final):
        return f"{_digits(name)}::{final} <> {_digits(name)}" if is_limited(final) else None
    array = "[]" if final.endswith("[]") else ""
    staged_as_text = family(staged).removesuffix("[]") == "text"
    if bare(staged) == bare(final):
        return f"{name}::{final} <> {name}" if is_limited(final) else None
    exact = f"{name}::numeric{array}" if staged_as_text else name
    if staged_as_text and bare(final).removesuffix("[]") in ("numeric", "decimal"):
        return f"{exact}::{final} <> {exact}" if is_limited(final) else None
    if is_integer(staged.removesuffix("[]")) and is_integer(final.removesuffix("[]")):
        return None  # a value out of range is an error in PostgreSQL
    if (
        is_integer(staged.removesuffix("[]"))
        and not is_limited(final)
        and bare(final).startswith(("numeric", "decimal"))
    ):
        return None
    back = f"numeric{array}" if staged_as_text else staged
    # PostgreSQL's cast from double to numeric keeps 15 digits; the shortest text keeps all of them.
    by_text = "::text" if back.startswith("numeric") and not array else ""
    return f"({exact}::{final}){by_text}::{back} <> {exact}"


def _is_float(sql_type: str) -> bool:
    return bare(sql_type) in ("double precision", "real")


def _is_numeric(sql_type: str) -> bool:
    return bare(sql_type) in ("numeric", "decimal")


def _digits(name: str) -> str:
    """Compose the numeric with all digits of a float: PostgreSQL's cast keeps 15 of them."""
    return f"{name}::double precision::text::numeric"


def _unlimited(sql_type: str) -> str:
    """Remove the modifiers from the name of a type that is neither text nor a number."""
    name = bare(sql_type)
    return re.sub(r"^interval [a-z ]+", "interval", name)
