"""SQL text, read from left to right in one pass: where statements end, and the word that each begins with.

PostgreSQL alone decides what a text means. This finds comments, strings and quoted names as PostgreSQL does with its
default settings, in time proportional to the length of the text, whatever is in it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

# Where something begins that may hold a semicolon which ends nothing, or the semicolon that does.
_OPENING = re.compile(r"""['"$;]|--|/\*""")
_WORD = re.compile(r"[^\W\d]\w*")
_TAG = re.compile(r"\$(?:[^\W\d]\w*)?\$")
_ESCAPED_END = re.compile(r"\\.|'", re.DOTALL)
_LINE_END = re.compile(r"[\n\r]")
_COMMENT_MARK = re.compile(r"/\*|\*/")


def statements(sql: str) -> list[str]:
    """Split a text at the semicolons between statements; blank ones and semicolons are left out."""
    parts, begin = [], 0
    for at in _semicolons(sql):
        parts.append(sql[begin:at])
        begin = at + 1
    return [part for part in (*parts, sql[begin:]) if part.strip()]


def without_semicolon(sql: str) -> str:
    """Cut the semicolon at the end of a text, and the white space behind it."""
    cut = sql.rstrip()
    return cut[:-1] if cut.endswith(";") else sql


def first_word(sql: str) -> str:
    """Return the word that a statement begins with, in lower case: behind white space, comments and parentheses."""
    at = 0
    while at < len(sql):
        if sql[at].isspace() or sql[at] == "(":
            at += 1
        elif sql.startswith("--", at) or sql.startswith("/*", at):
            at = _end(sql, at, sql[at : at + 2])
        else:
            break
    found = _WORD.match(sql, at)
    return found[0].lower() if found else ""


def _semicolons(sql: str) -> Iterator[int]:
    """Yield the places of the semicolons that end a statement."""
    at = 0
    while found := _OPENING.search(sql, at):
        if found[0] == ";":
            yield found.start()
        at = _end(sql, found.start(), found[0])


def _end(sql: str, at: int, opening: str) -> int:
    """Return the place behind what begins at a place; the end of the text if it is not closed."""
    match opening:
        case "--":
            found = _LINE_END.search(sql, at)
            return found.end() if found else len(sql)
        case "/*":
            return _comment_end(sql, at)
        case "'" if _is_escaped(sql, at):
            return next((one.end() for one in _ESCAPED_END.finditer(sql, at + 1) if one[0] == "'"), len(sql))
        case "'" | '"':
            return _behind(sql, opening, at + 1)  # a doubled one begins another string at once
        case "$":
            # Within a name, or in front of the number of a parameter, it is nothing special.
            tag = None if at and _is_name(sql[at - 1]) else _TAG.match(sql, at)
            return at + 1 if tag is None else _behind(sql, tag[0], tag.end())
    return at + 1


def _behind(sql: str, text: str, at: int) -> int:
    found = sql.find(text, at)
    return len(sql) if found < 0 else found + len(text)


def _comment_end(sql: str, at: int) -> int:
    """Return the end of a comment, in which there may be others."""
    depth = 0
    for mark in _COMMENT_MARK.finditer(sql, at):
        depth += 1 if mark[0] == "/*" else -1
        if not depth:
            return mark.end()
    return len(sql)


def _is_escaped(sql: str, at: int) -> bool:
    """Tell whether a string is one with backslashes, ``E'...'``."""
    return at > 0 and sql[at - 1] in "eE" and not (at > 1 and _is_name(sql[at - 2]))


def _is_name(character: str) -> bool:
    return character.isalnum() or character in "_$"
