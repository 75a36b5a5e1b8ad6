"""Databases of SQLite are looked at before GDAL opens them: their schema may hold programs.

Virtual tables of SpatiaLite read any file of the computer, and a schema can name them without their ever having been
created.
"""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

from cartoframes_lite.local.imports.files.error_codes import ImportRefused

# What GDAL, QGIS and SpatiaLite put into their files; these look at nothing but the tables beside them.
_MODULES = """
    rtree rtree_i32 geopoly fts3 fts4 fts4aux fts5 fts5vocab
    virtualspatialindex virtualelementary virtualknn virtualknn2 virtualnetwork virtualrouting
"""
_HARMLESS = frozenset(_MODULES.split())
# As SQLite's: anything beyond ASCII, spaces too, is a letter.
_TOKEN = re.compile(
    r"""[ \t-\r]++ | --[^\n]*+ | /\*.*?(?:\*/|\Z)
    | (?P<token> [A-Za-z0-9_$\u0080-\U0010ffff]++
      | "(?:[^"]|"")*+(?:"|\Z) | `(?:[^`]|``)*+(?:`|\Z) | '(?:[^']|'')*+(?:'|\Z) | \[[^\]]*+(?:\]|\Z) | . )""",
    re.VERBOSE | re.DOTALL,
)
_MOST_STEPS = 10_000_000  # of SQLite's machine; a damaged schema may go round in circles
_MOST_TOKENS = 12  # CREATE VIRTUAL TABLE IF NOT EXISTS schema . name USING module


def check_database(path: Path) -> None:
    """Refuse a database whose schema reaches out of it.

    Raises
    ------
    ImportRefused
        2001 if it has virtual tables of other modules than the harmless ones, or cannot be read.
    """
    uri = f"{path.resolve().as_uri()}?mode=ro&immutable=1"
    try:
        with closing(sqlite3.connect(uri, uri=True)) as database:
            database.set_progress_handler(lambda: True, _MOST_STEPS)
            database.execute("PRAGMA trusted_schema = OFF")
            database.execute("PRAGMA query_only = ON")
            statements = [row[0] for row in database.execute("SELECT sql FROM sqlite_master WHERE sql IS NOT NULL")]
    except (sqlite3.Error, UnicodeError):
        raise ImportRefused(2001, "SQLite cannot read it") from None
    for statement in statements:
        module = _module(statement)
        if module is not None and module.lower() not in _HARMLESS:
            raise ImportRefused(2001, "a virtual table in it may reach out of it")


def _module(statement: object) -> str | None:
    """Return the module of a statement that creates a virtual table, None of any other."""
    if not isinstance(statement, str):
        return ""
    tokens = [token for token, _ in zip(_tokens(statement), range(_MOST_TOKENS), strict=False)]
    words = [token.upper() for token in tokens]
    if words[1:2] != ["VIRTUAL"]:
        return None
    # A name could be called USING as well: the one that is meant comes behind the name.
    at = 6 if words[3:6] == ["IF", "NOT", "EXISTS"] else 3
    at += 3 if words[at + 1 : at + 2] == ["."] else 1
    return _bare(tokens[at + 1]) if words[at : at + 1] == ["USING"] and len(tokens) > at + 1 else ""


def _tokens(statement: str) -> Iterator[str]:
    """Cut a statement up as SQLite does, without comments."""
    return (match["token"] for match in _TOKEN.finditer(statement) if match["token"] is not None)


def _bare(name: str) -> str:
    return name[1:-1] if name[:1] in ('"', "`", "'", "[") else name
