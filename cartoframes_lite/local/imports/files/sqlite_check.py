"""Check the schema of SQLite databases before GDAL opens them.

Virtual tables of SpatiaLite can read any file, and a crafted schema can contain them without ever having run their
CREATE statement.
"""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

from cartoframes_lite.local.imports.files.error_codes import ImportJobError

# Modules that GDAL, QGIS and SpatiaLite create; they access only tables of the same database.
_MODULES = """
    rtree rtree_i32 geopoly fts3 fts4 fts4aux fts5 fts5vocab
    virtualspatialindex virtualelementary virtualknn virtualknn2 virtualnetwork virtualrouting
"""
_ALLOWED_MODULES = frozenset(_MODULES.split())
# Tokens of SQLite: every non-ASCII character, including spaces, is a letter.
_TOKEN = re.compile(
    r"""[ \t-\r]++ | --[^\n]*+ | /\*.*?(?:\*/|\Z)
    | (?P<token> [A-Za-z0-9_$\u0080-\U0010ffff]++
      | "(?:[^"]|"")*+(?:"|\Z) | `(?:[^`]|``)*+(?:`|\Z) | '(?:[^']|'')*+(?:'|\Z) | \[[^\]]*+(?:\]|\Z) | . )""",
    re.VERBOSE | re.DOTALL,
)
_MAX_STEPS = 10_000_000  # of SQLite's virtual machine; a damaged schema may cause an endless loop
_MAX_TOKENS = 12  # CREATE VIRTUAL TABLE IF NOT EXISTS schema . name USING module


def check_database(path: Path) -> None:
    """Check that the virtual tables of a database use allowed modules only.

    Raises
    ------
    ImportJobError
        2001 if a virtual table uses another module, or if the database cannot be read.
    """
    uri = f"{path.resolve().as_uri()}?mode=ro&immutable=1"
    try:
        with closing(sqlite3.connect(uri, uri=True)) as database:
            database.set_progress_handler(lambda: True, _MAX_STEPS)
            database.execute("PRAGMA trusted_schema = OFF")
            database.execute("PRAGMA query_only = ON")
            statements = [row[0] for row in database.execute("SELECT sql FROM sqlite_master WHERE sql IS NOT NULL")]
    except (sqlite3.Error, UnicodeError):
        raise ImportJobError(2001, "invalid SQLite database") from None
    for statement in statements:
        module = _module(statement)
        if module is not None and module.lower() not in _ALLOWED_MODULES:
            raise ImportJobError(2001, f"virtual tables of the module {module[:63]!r} are not allowed")


def _module(statement: object) -> str | None:
    """Return the module of a CREATE VIRTUAL TABLE statement, ``""`` if unknown; None for other statements."""
    if not isinstance(statement, str):
        return ""
    tokens = [token for token, _ in zip(_tokens(statement), range(_MAX_TOKENS), strict=False)]
    words = [token.upper() for token in tokens]
    if words[1:2] != ["VIRTUAL"]:
        return None
    # The table itself may be named USING: the keyword follows the name.
    at = 6 if words[3:6] == ["IF", "NOT", "EXISTS"] else 3
    at += 3 if words[at + 1 : at + 2] == ["."] else 1
    return _unquote(tokens[at + 1]) if words[at : at + 1] == ["USING"] and len(tokens) > at + 1 else ""


def _tokens(statement: str) -> Iterator[str]:
    """Yield the tokens of a statement as SQLite does, without comments."""
    return (match["token"] for match in _TOKEN.finditer(statement) if match["token"] is not None)


def _unquote(name: str) -> str:
    return name[1:-1] if name[:1] in ('"', "`", "'", "[") else name
