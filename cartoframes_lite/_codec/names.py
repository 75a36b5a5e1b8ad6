"""Normalize table and column names as cartoframes and as CARTO do, and quote identifiers and strings for SQL."""

from __future__ import annotations

import re
from collections.abc import Hashable, Sequence

from unidecode import unidecode

from cartoframes_lite.errors import ConversionError

MAX_BYTES = 63  # PostgreSQL truncates longer identifiers, which could then name another object

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
# Tables and views of PostGIS and CARTO in the search path.
_SYSTEM_TABLES = {"spatial_ref_sys", "geometry_columns", "geography_columns", "raster_columns", "raster_overviews"}
_SYSTEM_TABLES |= {"cdb_tablemetadata", "cdb_tablemetadata_text", "cdb_conf", "cdb_analysis_catalog"}

# Names of tables to which CARTO appends "_t".
_CARTO_RESERVED_WORDS = """
    all analyse analyze and any array as asc asymmetric authorization between binary both case cast check collate
    collation column concurrently constraint create cross current_catalog current_date current_role current_schema
    current_time current_timestamp current_user default deferrable desc distinct do else end except false fetch for
    foreign freeze from full grant group having ilike in initially inner intersect into is isnull join lateral leading
    left like limit localtime localtimestamp natural new not notnull null off offset old on only or order outer overlaps
    placing primary references returning right select session_user similar some symmetric table tablesample then to
    trailing true union unique user using variadic verbose when where window with action controller format
    layergroup public spatial_ref_sys geography_columns geometry_columns raster_columns raster_overviews
    cdb_tablemetadata geometry raster
"""
_CARTO_RESERVED = frozenset(_CARTO_RESERVED_WORDS.split())


def normalize(name: Hashable) -> str:
    """Normalize a label to lowercase ASCII letters, digits and underscores, truncated to 63 bytes."""
    return _normalize_untruncated(name)[:MAX_BYTES]


def is_truncated(name: Hashable) -> bool:
    """Return whether ``normalize`` truncates a label."""
    return len(_normalize_untruncated(name)) > MAX_BYTES


def carto_table_name(name: str) -> str:
    """Return the name that CARTO gives to a table that is imported or renamed under a requested name.

    CARTO appends ``_1``, ``_2`` ... if this name is taken. It differs from that of ``normalize``, which ``to_carto``
    uses: ``Café`` becomes ``caf_`` instead of ``cafe``.
    """
    text = name.lower().strip(" \t\n\v\f\r\0") or "untitled_table"
    if re.search("^[^a-z]", text, re.MULTILINE):
        text = f"table_{text}"
    text = re.sub("_{2,}", "_", re.sub("[^a-z0-9_|]", "_", text))[:MAX_BYTES]
    return f"{text}_t" if text in _CARTO_RESERVED else text


def carto_table_name_of_file(stem: str) -> str:
    """Return the name that CARTO gives to a table that is imported from a file, from its name without extension."""
    return carto_table_name(re.sub("""[()'"&]""", "", stem.replace(" ", "_")))


def refuse_system_name(table: str) -> None:
    """Raise if a table name is reserved by PostgreSQL, PostGIS or CARTO.

    Raises
    ------
    ValueError
        If the name could refer to a system table instead.
    """
    if table.startswith("pg_"):
        raise ValueError(
            f"{table!r} begins with 'pg_', which PostgreSQL reserves for system tables: choose another name"
        )
    if table in _SYSTEM_TABLES:
        raise ValueError(f"{table!r} is a system table of PostGIS or CARTO: choose another name")


def is_unicode(text: str) -> bool:
    """Return whether text can be encoded as UTF-8; lone surrogates cannot."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _normalize_untruncated(name: Hashable) -> str:
    """Normalize a label without truncating it."""
    label = str(name)
    if not is_unicode(label):
        raise ConversionError(f"the name {name!r} has a lone surrogate, which is not valid Unicode: rename it")
    text = unidecode(label).lower()
    # Only up to the last possible end: searching the rest from every "<" would take quadratic time.
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
        If two labels normalize to the same name, or a label is a tuple (MultiIndex columns).
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
    """Split a table name into schema (None if there is none) and table.

    Raises
    ------
    TypeError
        If it is not a string.
    ValueError
        If schema or table is empty: ``.places`` is not ``places``.
    """
    if not isinstance(name, str):
        raise TypeError(f"a table name must be a string, not {name!r}")
    schema, dot, table = name.partition(".")
    if not dot:
        schema, table = "", name
    if not table or (dot and not schema):
        raise ValueError(f"{name!r} is not a valid table name: use TABLE or SCHEMA.TABLE")
    return schema or None, table


def quote(name: str) -> str:
    """Quote an identifier for SQL.

    Raises
    ------
    ValueError
        If it is empty, not valid text, or too long for PostgreSQL.
    """
    if not isinstance(name, str) or not name or "\0" in name or not is_unicode(name):
        raise ValueError(f"{name!r} is not a valid name for a table or column: use text without U+0000")
    if len(name.encode()) > MAX_BYTES:
        raise ValueError(f"the name {name!r} is longer than {MAX_BYTES} bytes, the limit of PostgreSQL: shorten it")
    return '"' + name.replace('"', '""') + '"'


def qualify(schema: str | None, table: str) -> str:
    """Quote a table name and its optional schema."""
    return quote(table) if schema is None else f"{quote(schema)}.{quote(table)}"


def literal(text: str) -> str:
    """Quote a string for SQL; the E'' syntax does not depend on standard_conforming_strings."""
    if "\0" in text or not is_unicode(text):
        raise ValueError(f"{text!r} has the character U+0000 or a lone surrogate, which PostgreSQL cannot store")
    return "E'" + text.replace("\\", "\\\\").replace("'", "''") + "'"
