"""Names of tables and columns, derived from requested names as in CARTO."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence

MAX_LENGTH = 63  # PostgreSQL truncates longer identifiers
UNTITLED_TABLE = "untitled_table"
_BLANK = " \t\n\v\f\r\0"  # what Ruby's String#strip removes
# Two names with so many characters in common could have the same type name in PostgreSQL.
_DISTINCT_LENGTH = 62

# PostgreSQL's reserved words, and some of CARTO.
_WORDS = """
    all analyse analyze and any array as asc asymmetric authorization binary both case cast check collate collation
    column concurrently constraint create cross current_catalog current_date current_role current_schema current_time
    current_timestamp current_user default deferrable desc distinct do else end except false fetch for foreign freeze
    from full grant group having ilike in initially inner intersect into is isnull join lateral leading left like limit
    localtime localtimestamp natural not notnull null offset on only or order outer overlaps placing primary references
    returning right select session_user similar some symmetric table tablesample then to trailing true union unique
    user using variadic verbose when where window with between new off old format controller action
"""
_KEYWORDS = frozenset(_WORDS.split())
_SYSTEM_COLUMNS = frozenset({"tableoid", "xmin", "cmin", "xmax", "cmax", "ctid"})
_SYSTEM_TABLES = frozenset({"spatial_ref_sys", "geography_columns", "geometry_columns", "raster_columns"})
_SYSTEM_TABLES |= {"raster_overviews", "cdb_tablemetadata", "geometry", "raster", "layergroup", "all", "public"}
_RESERVED_TABLES = _KEYWORDS | _SYSTEM_TABLES
_RESERVED_COLUMNS = _KEYWORDS | _SYSTEM_COLUMNS

# The letters that CARTO replaces in names of columns; all others are not transliterated.
_LATIN = {
    "a": "àáâãäåāăą",
    "ae": "æ",
    "c": "çćčĉċ",
    "d": "ďđ",
    "e": "èéêëēęěĕė",
    "f": "ƒ",
    "g": "ĝğġģ",
    "h": "ĥħ",
    "i": "ìíîïīĩĭįı",
    "j": "ĳĵ",
    "k": "ķĸ",
    "l": "łľĺļŀ",
    "n": "ñńňņŉŋ",
    "o": "òóôõöøōőŏ",
    "oe": "œ",
    "r": "ŕřŗ",
    "s": "śšşŝș",
    "t": "ťţŧț",
    "u": "ùúûüūůűŭũų",
    "w": "ŵ",
    "y": "ýÿŷ",
    "z": "žżź",
}
_CYRILLIC_SOUNDS = "a b v g d e yo zh z i j k l m n o p r s t u f x cz ch sh shh y e yu ya"
_CYRILLIC = dict(zip("абвгдеёжзийклмнопрстуфхцчшщыэюя", _CYRILLIC_SOUNDS.split(), strict=True), ъ="", ь="")
_LETTERS = str.maketrans({letter: latin for latin, letters in _LATIN.items() for letter in letters} | _CYRILLIC)


def sanitize_table(name: str) -> str:
    """Return the name that CARTO gives to a table for which a name was requested; it may be taken.

    Parameters
    ----------
    name : str
        Any text; a blank one becomes ``untitled_table``.

    Returns
    -------
    str
        At most 63 of the characters ``a``-``z``, ``0``-``9``, ``_`` and ``|``, beginning with a letter.
    """
    text = name.lower().strip(_BLANK) or UNTITLED_TABLE
    if re.search("^[^a-z]", text, re.MULTILINE):
        text = f"table_{text}"
    text = re.sub("_{2,}", "_", re.sub("[^a-z0-9_|]", "_", text))[:MAX_LENGTH]
    return f"{text}_t" if text in _RESERVED_TABLES else text


def free_table_name(name: str, taken: Collection[str]) -> str:
    """Sanitize a table name and append ``_1``, ``_2`` and so on until no table has it.

    Parameters
    ----------
    name : str
    taken : collection of str
        Names in use.
    """
    sanitized = found = sanitize_table(name)
    number = 0
    used = {one[:_DISTINCT_LENGTH] for one in taken} | _SYSTEM_TABLES
    while found[:_DISTINCT_LENGTH] in used:
        number += 1
        suffix = f"_{number}"
        found = sanitize_table(sanitized[: MAX_LENGTH - len(suffix)] + suffix)
    return found


def sanitize_column(name: str) -> str:
    """Return the name that CARTO gives to a column for which a name was requested.

    Parameters
    ----------
    name : str
        Any text.

    Returns
    -------
    str
        The characters ``a``-``z``, ``0``-``9`` and ``_``, not beginning with a digit. May be longer than 63.
    """
    # Tags and entities without an end match, too, and are kept: searching from each "<" would take quadratic time.
    text = re.sub(r"<[^>]++(>|\Z)", lambda tag: "" if tag[1] else tag[0], name).lower().translate(_LETTERS)
    text = re.sub(r"&.[^;\n]*+(;|\n|\Z)", lambda entity: "-" if entity[1] == ";" else entity[0], text)
    text = re.sub("[^a-z0-9 _-]", "-", text).strip(_BLANK)
    text = re.sub("[ -]+", " ", text).strip(" ").replace(" ", "_")
    return text if is_column_name(text) else f"_{text}"


def is_column_name(name: str) -> bool:
    """Return whether a sanitized name is neither reserved nor begins with a digit."""
    return name not in _RESERVED_COLUMNS and re.match("[a-z_]", name) is not None


def is_rejected_column(name: str) -> bool:
    """Return whether CARTO rejects a new column with this name."""
    return name in _SYSTEM_COLUMNS or name in ("oid", "ogc_fid") or re.match("[0-9]", name) is not None


def sanitize_columns(names: Sequence[str]) -> list[str]:
    """Sanitize the column names of an imported table and make them unique.

    Columns without a name become ``field_1``, ``field_2`` and so on, by position from 1.
    """
    result: list[str] = []
    for position, name in enumerate(names, 1):
        sanitized = re.sub("_{2,}", "_", sanitize_column(name if name.strip() else f"field_{position}"))
        result.append(append_number(sanitized[:MAX_LENGTH], result))
    return result


def append_number(name: str, taken: Collection[str]) -> str:
    """Append ``_1``, ``_2`` and so on to a name until it is unused."""
    found, number = name, 0
    while found in taken:
        number += 1
        suffix = f"_{number}"
        found = name[: MAX_LENGTH - len(suffix)] + suffix
    return found
