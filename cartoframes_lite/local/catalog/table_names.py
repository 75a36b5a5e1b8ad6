"""Names of tables: sanitized as CARTO does, and unused."""

from __future__ import annotations

import re
from collections.abc import Collection

MAX_CHARACTERS = 63  # PostgreSQL truncates longer identifiers
UNTITLED = "untitled_table"
_COMPARED_CHARACTERS = 62  # the types of two tables whose names begin with these are the same for PostgreSQL
_SYSTEM_NAMES = frozenset(
    [
        "spatial_ref_sys",
        "geography_columns",
        "geometry_columns",
        "raster_columns",
        "raster_overviews",
        "cdb_tablemetadata",
        "geometry",
        "raster",
        "layergroup",
        "all",
        "public",
    ]
)
_RESERVED_WORDS = """
    all analyse analyze and any array as asc asymmetric authorization between binary both case cast check collate
    collation column concurrently constraint create cross current_catalog current_date current_role current_schema
    current_time current_timestamp current_user default deferrable desc distinct do else end except false fetch for
    foreign freeze from full grant group having ilike in initially inner intersect into is isnull join lateral
    leading left like limit localtime localtimestamp natural not notnull null offset on only or order outer overlaps
    placing primary references returning right select session_user similar some symmetric table tablesample then to
    trailing true union unique user using variadic verbose when where window with new off old format controller action
"""
_RESERVED = _SYSTEM_NAMES | frozenset(_RESERVED_WORDS.split())


def sanitize(name: str) -> str:
    """Return the name that CARTO gives a table for which a name was requested."""
    text = name.lower().strip()
    if re.match("[^a-z]", text):
        text = f"table_{text}"
    text = re.sub("_{2,}", "_", re.sub("[^a-z0-9_|]", "_", text))[:MAX_CHARACTERS]
    return f"{text}_t" if text in _RESERVED else text


def propose(name: str, taken: Collection[str]) -> str:
    """Return the sanitized name, with ``_1``, ``_2`` and so on if it is taken.

    Parameters
    ----------
    name : str
        An empty one is replaced by `UNTITLED`.
    taken : collection of str
        Names in use. Also a name with the same first 62 characters is taken.
    """
    used = {known[:_COMPARED_CHARACTERS] for known in (*taken, *_SYSTEM_NAMES)}
    found = prefix = sanitize(name if name.strip() else UNTITLED)
    number = 0
    while found[:_COMPARED_CHARACTERS] in used:
        number += 1
        suffix = f"_{number}"
        found = sanitize(prefix[: MAX_CHARACTERS - len(suffix)] + suffix)
    return found
