"""Normalize names of tables and columns to identifiers that need no quotes in SQL."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from pathlib import PurePosixPath

from unidecode import unidecode

MAX_BYTES = 63  # PostgreSQL truncates longer identifiers
UNTITLED = "untitled_table"

# PostgreSQL's reserved words and the system columns of its tables.
_RESERVED_WORDS = """
    all analyse analyze and any array as asc asymmetric authorization between binary both case cast check collate
    collation column concurrently constraint create cross current_catalog current_date current_role current_schema
    current_time current_timestamp current_user default deferrable desc distinct do else end except false fetch for
    foreign freeze from full grant group having ilike in initially inner intersect into is isnull join lateral
    leading left like limit localtime localtimestamp natural not notnull null offset on only or order outer overlaps
    placing primary references returning right select session_user similar some symmetric system_user table
    tablesample then to trailing true union unique user using variadic verbose when where window with cmin cmax ctid
    tableoid xmin xmax oid
"""
_RESERVED = frozenset(_RESERVED_WORDS.split())


def normalize(name: str) -> str:
    """Normalize a table name.

    Parameters
    ----------
    name : str
        Any text, such as a file name without extension.

    Returns
    -------
    str
        At most 63 lower case ASCII letters, digits and underscores.
    """
    text = _plain(name) or UNTITLED
    if text[0].isdigit():
        text = f"table_{text}"
    return _unreserved(text)[:MAX_BYTES]


def normalize_columns(names: Iterable[str]) -> list[str]:
    """Normalize the column names of one table and make them unique.

    Columns without a name become ``field_1``, ``field_2`` and so on, by position from 1.
    """
    result: list[str] = []
    for place, name in enumerate(names, 1):
        text = _plain(name) or f"field_{place}"
        if text[0].isdigit():
            text = f"_{text}"
        result.append(unique(_unreserved(text)[:MAX_BYTES], result))
    return result


def unique(name: str, taken: Collection[str]) -> str:
    """Append ``_1``, ``_2`` and so on to a name until it is unused."""
    found, number = name, 0
    while found in taken:
        number += 1
        suffix = f"_{number}"
        found = name[: MAX_BYTES - len(suffix)] + suffix
    return found


def stem(file_name: str) -> str:
    """Return a file name without directories and extension."""
    name = PurePosixPath(file_name.replace("\\", "/")).name
    return name.rpartition(".")[0] or name


def _plain(name: str) -> str:
    """Transliterate to ASCII and replace runs of other characters by one underscore, which is stripped at the ends."""
    text = re.sub(r"[^a-z0-9_]+|_{2,}", "_", unidecode(name).strip().lower())
    text = re.sub(r"_{2,}", "_", text).rstrip("_")
    return text if name.startswith("_") else text.lstrip("_")


def _unreserved(text: str) -> str:
    return f"_{text}" if text in _RESERVED else text
