"""Which values a cast on the server would change: the conditions that publishing checks.

PostgreSQL's explicit casts round, cut and pad without a word: 1.005 to numeric(10,2), "abcd" to varchar(3), "ab" to
char(5), 2**53 + 1 to double precision.
"""

from __future__ import annotations

import re

from cartoframes_lite._codec.names import quote
from cartoframes_lite._codec.pgtypes import bare, family, is_integer, is_limited
from cartoframes_lite.write.payload import PayloadColumn

# Text types without a length hold any text.
# What these types read from a text is all that it says.
_SAME_FROM_TEXT = ("uuid", "inet", "cidr", "macaddr", "macaddr8", "json", "jsonb", "xml", "citext")
_ANY_TEXT = ("text", "varchar", "character varying", "citext")


# What a precision rounds.
_ROUNDED = ("number", "time", "timestamp", "timestamptz")


def cast(column: PayloadColumn) -> str:
    """Select a staged column in its type of the table."""
    name = quote(column.name)
    return name if column.is_geometry or column.final_type == column.staged_type else f"{name}::{column.final_type}"


def changed(column: PayloadColumn, *, chosen: bool) -> str | None:
    """Compose the condition that the cast to the type of the table changes a staged value; None if it never does.

    A cast that fails is an error of its own. NULL stays NULL, and makes the condition NULL.

    Parameters
    ----------
    column : PayloadColumn
    chosen : bool
        Whether the user chose the type for this write: then numbers and times are rounded to its precision.
    """
    have, want = column.staged_type, column.final_type
    name, kind = quote(column.name), family(want)
    if column.is_geometry and bare(want) == "geography":
        return (  # PostGIS would wrap them around the globe
            f"NOT (ST_XMin({name}) >= -180 AND ST_XMax({name}) <= 180"
            f" AND ST_YMin({name}) >= -90 AND ST_YMax({name}) <= 90)"
        )
    if column.is_geometry or have == want:
        return None
    if chosen and is_limited(want) and kind in _ROUNDED and kind == family(column.sql_type):
        return None
    if kind in ("text", "text[]"):
        return _changed_text(name, have, want)
    if kind in ("number", "number[]"):
        return _changed_number(name, have, want)
    if family(column.sql_type) == "text" and bare(want) not in _SAME_FROM_TEXT and not is_limited(want):
        return _changed_from_text(name, want)
    if not is_limited(want):
        return None
    if bare(want) in ("bit", "bit varying"):
        return f"({name}::{want})::text <> {name}::text"
    return f"{name}::{want} <> {name}::{_unlimited(want)}"


def _changed_from_text(name: str, want: str) -> str:
    """Tell a text of which a type that is read from it loses a part; the canonical text of any value passes."""
    kind = family(want)
    too_exact = rf"{name} ~ '[.][0-9]{{6}}[0-9]*[1-9]'"
    with_zone = rf"{name} ~ ':[0-9.]+ *([+-]|[A-Za-z])'"
    if kind == "date":
        return f"({name}::timestamp <> {name}::date OR {with_zone})"
    if kind == "timestamp":
        return f"({too_exact} OR {with_zone})"
    if kind == "time":
        return f"({too_exact} OR {with_zone} OR {name} ~ '[0-9][-/][0-9]')"
    if kind in ("timestamptz", "interval") or bare(want) == "time with time zone":
        return too_exact
    return f"concat({name}::{want}) <> {name}"


def _changed_text(name: str, have: str, want: str) -> str | None:
    if bare(want).removesuffix("[]") in _ANY_TEXT and not is_limited(want):
        return None
    if want.endswith("[]"):
        return f"({name}::{want})::text <> {name}::text"
    # A cast of char(n) to text would strip the blanks that it pads with; concat does not.
    return f"concat({name}::{want}) <> {name}::text"


def _changed_number(name: str, have: str, want: str) -> str | None:
    array = "[]" if want.endswith("[]") else ""
    staged_as_text = family(have).removesuffix("[]") == "text"
    if bare(have) == bare(want):
        return f"{name}::{want} <> {name}" if is_limited(want) else None
    exact = f"{name}::numeric{array}" if staged_as_text else name
    if staged_as_text and bare(want).removesuffix("[]") in ("numeric", "decimal"):
        return f"{exact}::{want} <> {exact}" if is_limited(want) else None
    if is_integer(have.removesuffix("[]")) and is_integer(want.removesuffix("[]")):
        return None  # what is out of range is an error
    if is_integer(have.removesuffix("[]")) and not is_limited(want) and bare(want).startswith(("numeric", "decimal")):
        return None
    back = f"numeric{array}" if staged_as_text else have
    # Doubles become numeric by their shortest text; PostgreSQL's own cast keeps 15 digits.
    by_text = "::text" if back.startswith("numeric") and not array else ""
    return f"({exact}::{want}){by_text}::{back} <> {exact}"


def _unlimited(sql_type: str) -> str:
    """Take the limits off a type that is neither text nor a number."""
    name = bare(sql_type)
    return re.sub(r"^interval [a-z ]+", "interval", name)
