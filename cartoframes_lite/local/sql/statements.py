"""Split SQL text into statements, and find the first word of a statement, in a single pass.

Comments, strings and quoted identifiers are recognized as in PostgreSQL with its default settings, in time proportional
to the length of the text. The result is not relied on for security: only PostgreSQL decides what a statement means.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

# Start of a token that can contain a semicolon, or a semicolon.
_OPENING = re.compile(r"""['"$;]|--|/\*""")
_WORD = re.compile(r"[^\W\d]\w*")
_TAG = re.compile(r"\$(?:[^\W\d]\w*)?\$")
_ESCAPED_END = re.compile(r"\\.|'", re.DOTALL)
_LINE_END = re.compile(r"[\n\r]")
_COMMENT_MARK = re.compile(r"/\*|\*/")


def statements(sql: str) -> list[str]:
    """Return the statements of a text, without their semicolons and without blank statements."""
    parts, begin = [], 0
    for at in _semicolons(sql):
        parts.append(sql[begin:at])
        begin = at + 1
    return [part for part in (*parts, sql[begin:]) if part.strip()]


def without_semicolon(sql: str) -> str:
    """Return a text without a semicolon, and whitespace after it, at its end."""
    cut = sql.rstrip()
    return cut[:-1] if cut.endswith(";") else sql


def first_word(sql: str) -> str:
    """Return the first word of a statement in lower case, after whitespace, comments and opening parentheses."""
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
    """Yield the positions of the semicolons that end a statement."""
    at = 0
    while found := _OPENING.search(sql, at):
        if found[0] == ";":
            yield found.start()
        at = _end(sql, found.start(), found[0])


def _end(sql: str, at: int, opening: str) -> int:
    """Return the end of the token that starts at a position; the end of the text if it is not closed."""
    match opening:
        case "--":
            found = _LINE_END.search(sql, at)
            return found.end() if found else len(sql)
        case "/*":
            return _comment_end(sql, at)
        case "'" if _is_escaped(sql, at):
            return next((one.end() for one in _ESCAPED_END.finditer(sql, at + 1) if one[0] == "'"), len(sql))
        case "'" | '"':
            return _end_of(sql, opening, at + 1)  # a doubled quote is read as the start of another string
        case "$":
            # In an identifier, or before the number of a parameter, it does not start a string.
            tag = None if at and _is_name(sql[at - 1]) else _TAG.match(sql, at)
            return at + 1 if tag is None else _end_of(sql, tag[0], tag.end())
    return at + 1


def _end_of(sql: str, text: str, at: int) -> int:
    """Return the position after the next occurrence of a text; the end of the SQL if there is none."""
    found = sql.find(text, at)
    return len(sql) if found < 0 else found + len(text)


def _comment_end(sql: str, at: int) -> int:
    """Return the end of a comment, which may be nested."""
    depth = 0
    for mark in _COMMENT_MARK.finditer(sql, at):
        depth += 1 if mark[0] == "/*" else -1
        if not depth:
            return mark.end()
    return len(sql)


def _is_escaped(sql: str, at: int) -> bool:
    """Return whether a string has backslash escapes, ``E'...'``."""
    return at > 0 and sql[at - 1] in "eE" and not (at > 1 and _is_name(sql[at - 2]))


def _is_name(character: str) -> bool:
    """Return whether a character can be part of an identifier."""
    return character.isalnum() or character in "_$"
