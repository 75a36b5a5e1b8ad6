"""What users name as the source of rows: the name of a table, or a query."""

from __future__ import annotations

import re

# Nothing is tried in two ways (*+ gives nothing back), so that no source takes long.
_QUERY = re.compile(
    r"(?:\s|\(|--[^\n]*(?:\n|$)|/\*.*?\*/)*+(?:select|with|values|table)\b\s*\S", re.IGNORECASE | re.DOTALL
)

# Comments, strings, quoted names, words and single characters, as far as a semicolon in them means nothing. What is not
# closed goes on to the end.
_LEXEME = re.compile(
    r"""--[^\n]*|/\*.*?(?:\*/|\Z)|[eE]'(?:[^'\\]|\\.|'')*+(?:'|\Z)|'(?:[^']|'')*+(?:'|\Z)|"(?:[^"]|"")*+(?:"|\Z)
    |\$(\w*)\$.*?(?:\$\1\$|\Z)|\w[\w$]*|\s+|.""",
    re.DOTALL | re.VERBOSE,
)


def is_query(source: str) -> bool:
    """Say whether a source is a query; else it is the name of a table."""
    return _QUERY.match(source) is not None


def without_end(query: str) -> str:
    """Cut off the semicolon that ends a query, also if only comments follow it."""
    end = len(query)
    for lexeme in reversed(list(_LEXEME.finditer(query))):
        if lexeme[0] == ";":
            end = lexeme.start()
        elif not lexeme[0].isspace() and not lexeme[0].startswith(("--", "/*")):
            break
    return query[:end]
