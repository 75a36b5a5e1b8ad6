"""Names of tables and columns: normalized as CARTO users know them, and quoted for SQL."""

from __future__ import annotations

import re
from collections.abc import Hashable, Sequence

from unidecode import unidecode

from cartoframes_lite.errors import ConversionError

MAX_BYTES = 63  # PostgreSQL cuts longer identifiers off, and would so reach another object

# PostgreSQL's reserved words and system columns, and the three names that CARTO's own tables reserve.
_RESERVED_WORDS = """
    all analyse analyze and any array as asc asymmetric authorization between binary both case cast check
    collate column constraint create cross current_date current_role current_time current_timestamp
    current_user default deferrable desc distinct do else end except false for foreign freeze from full grant
    group having ilike in initially inner intersect into is isnull join leading left like limit localtime
    localtimestamp natural new not notnull null off offset old on only or order outer overlaps placing primary
    references right select session_user similar some symmetric table then to trailing true union unique user
    using verbose when where cmin cmax ctid tableoid xmin xmax action controller format
"""
RESERVED = frozenset(_RESERVED_WORDS.split())
# Tables and views of PostGIS and CARTO that are found by their bare names.
_SYSTEM_TABLES = {"spatial_ref_sys", "geometry_columns", "geography_columns", "raster_columns", "raster_overviews"}
_SYSTEM_TABLES |= {"cdb_tablemetadata", "cdb_tablemetadata_text", "cdb_conf", "cdb_analysis_catalog"}


def normalize(name: Hashable) -> str:
    """Turn a label into a name that needs no quotes: lower case ASCII letters, digits and underscores."""
    return _whole(name)[:MAX_BYTES]


def is_truncated(name: Hashable) -> bool:
    """Say whether a label is too long, so that the end of it is lost when it is normalized."""
    return len(_whole(name)) > MAX_BYTES


def refuse_system_name(table: str) -> None:
    """Refuse a name for a table that one of PostgreSQL, PostGIS or CARTO has.

    Raises
    ------
    ValueError
        If one of the two would be found in the place of the other.
    """
    if table.startswith("pg_"):
        raise ValueError(
            f"{table!r} begins as PostgreSQL's own tables do, which would be found in its place: rename it"
        )
    if table in _SYSTEM_TABLES:
        raise ValueError(f"{table!r} is a table of PostGIS or CARTO itself, which is not to be changed: rename yours")


def is_unicode(text: str) -> bool:
    """Say whether text can be encoded: a lone surrogate cannot."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _whole(name: Hashable) -> str:
    label = str(name)
    if not is_unicode(label):
        raise ConversionError(f"the name {name!r} has a lone surrogate, which is no Unicode: rename it")
    text = unidecode(label).lower()
    # Up to the last possible end only, for to look for one behind it from each beginning takes long.
    tags_end = text.rfind(">") + 1
    text = re.sub(r"<[^>]+>", "", text[:tags_end]) + text[tags_end:]
    entities_end = text.rfind(";") + 1
    text = re.sub(r"&.[^;\n]*+;", "-", text[:entities_end]) + text[entities_end:]
    text = re.sub(r"[^a-z0-9 _-]", "-", text).strip()
    text = re.sub(r"[\s-]+", "-", text).replace("-", "_")
    if text in RESERVED or not re.fullmatch(r"[a-z_][a-z0-9_]*", text):
        text = f"_{text}"
    return text


def normalize_columns(labels: Sequence[Hashable]) -> list[str]:
    """Normalize the labels of a frame.

    Raises
    ------
    ConversionError
        If two labels become the same name, or a label is a tuple (several levels of columns).
    """
    first: dict[str, Hashable] = {}
    names = []
    for label in labels:
        if isinstance(label, tuple):
            raise ConversionError(f"column {label!r} has several levels: flatten the columns of the frame first")
        name = normalize(label)
        if name in first:
            raise ConversionError(
                f"columns {first[name]!r} and {label!r} would both be named {name!r} in the table: rename one of them"
            )
        first[name] = label
        names.append(name)
    return names


def split_schema(name: str) -> tuple[str | None, str]:
    """Split the name of a table into its schema, None if it has none, and the table.

    Raises
    ------
    TypeError
        If it is no text.
    ValueError
        If one of the two is empty: ``.places`` is not ``places``.
    """
    if not isinstance(name, str):
        raise TypeError(f"the name of a table must be a text, not {name!r}")
    schema, dot, table = name.partition(".")
    if not dot:
        schema, table = "", name
    if not table or (dot and not schema):
        raise ValueError(f"{name!r} cannot be the name of a table: it is TABLE, or SCHEMA.TABLE")
    return schema or None, table


def quote(name: str) -> str:
    """Quote one identifier for SQL.

    Raises
    ------
    ValueError
        If PostgreSQL could not hold the name as it is.
    """
    if not isinstance(name, str) or not name or "\0" in name or not is_unicode(name):
        raise ValueError(f"{name!r} cannot be the name of a table or column")
    if len(name.encode()) > MAX_BYTES:
        raise ValueError(f"the name {name!r} is longer than {MAX_BYTES} bytes: PostgreSQL would cut it off")
    return '"' + name.replace('"', '""') + '"'


def qualify(schema: str | None, table: str) -> str:
    """Quote a table name, with its schema if there is one."""
    return quote(table) if schema is None else f"{quote(schema)}.{quote(table)}"


def literal(text: str) -> str:
    """Quote a string for SQL; the E'' form does not depend on standard_conforming_strings."""
    if "\0" in text or not is_unicode(text):
        raise ValueError(f"{text!r} has the character U+0000 or a lone surrogate, which PostgreSQL text cannot hold")
    return "E'" + text.replace("\\", "\\\\").replace("'", "''") + "'"
