"""Tokenize SQL: tell queries from table names, and validate single and COPY statements."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

_KEYWORDS = ("select", "with", "values", "table")
_CHANGES = [("(", command) for command in ("insert", "update", "delete", "merge")]
_PAIRS = {"(": ")", "[": "]"}
_EXCERPT = 30  # characters of the query in a message

# As in PostgreSQL's scanner: letters are ASCII letters and all non-ASCII characters, and names may contain $.
# All quantifiers are possessive (++, *+), which prevents backtracking and keeps the time linear.
_LETTER = r"A-Za-z_\x80-\U0010ffff"
_TOKEN = re.compile(
    rf"""(?P<space>[ \t\n\r\f\v]++|--[^\n\r]*+)
    |(?P<comment>/\*)
    |(?P<escaped>[eE]')
    |(?P<string>')
    |(?P<name>")
    |(?P<dollar>\$(?:[{_LETTER}][{_LETTER}0-9]*+)?\$)
    |(?P<word>[{_LETTER}][{_LETTER}0-9$]*+)
    |(?P<mark>.)""",
    re.VERBOSE | re.DOTALL,
)
_COMMENT_EDGE = re.compile(r"/\*|\*/")
_ENDS = {
    "escaped": re.compile(r"(?:[^'\\]|\\.|'')*+'", re.DOTALL),
    "string": re.compile(r"(?:[^']|'')*+'"),
    "name": re.compile(r'(?:[^"]|"")*+"'),
}
# A string continued after a line break keeps the escape rules of its first part.
_CONTINUED = re.compile(r"(?:[ \t\f\v]|--[^\n\r]*+)*+[\n\r](?:[ \t\n\r\f\v]|--[^\n\r]*+[\n\r])*+'")
_WHAT = {"comment": "a comment", "escaped": "a string", "string": "a string", "name": "a quoted name"}


@dataclass(frozen=True, slots=True)
class _Token:
    """A token of a query; ``kind`` is ``space`` (also comments), ``word``, ``quoted`` or ``mark``."""

    kind: str
    text: str
    position: int


def is_query(source: str) -> bool:
    """Return whether a source is a query; otherwise it is a table name."""
    tokens = (token for token in _tokens(source) if token.kind != "space" and token.text != "(")
    try:
        first = next(tokens, None)
    except ValueError:  # unterminated comment or quoted name; `single_statement` raises the specific error
        return source.lstrip().startswith("/*")
    if first is None or first.text.lower() not in _KEYWORDS:
        return False
    end = first.position + len(first.text)
    return not source[end:].isspace() and end < len(source)


def changes_data(query: str) -> bool:
    """Return whether a query has a WITH clause that changes data, which PostgreSQL does not accept in a subquery."""
    tokens = [token.text.lower() for token in _tokens(query) if token.kind != "space"]
    return any(
        first in ("as", "materialized") and (second, third) in _CHANGES
        for first, second, third in zip(tokens, tokens[1:], tokens[2:], strict=False)
    )


def single_statement(query: str) -> str:
    """Return a query without its final semicolon, for use as a subquery in parentheses.

    Its last line may be a comment: put a line break before the closing parenthesis.

    Raises
    ------
    ValueError
        If a string, quoted name or comment is unterminated, parentheses are unbalanced, or there is not exactly one
        statement.
    """
    opened: list[_Token] = []
    end: int | None = None
    is_empty = True
    for token in _tokens(query):
        if token.kind == "space" or (token.text == ";" and end is not None):
            continue
        if end is not None:
            raise _syntax_error(query, token.position, "a second statement; pass one at a time")
        if token.kind == "mark":
            _match(query, token, opened)
            if token.text == ";":
                end = token.position
                continue
        is_empty = False
    if opened:
        raise _syntax_error(query, opened[-1].position, f"{opened[-1].text!r} that is not closed")
    if is_empty:
        raise ValueError(f"the query is empty: {query[:_EXCERPT]!r}")
    return query[:end]


def opaque_parts(query: str) -> list[tuple[int, int]]:
    """Return start and end of the strings, quoted names and comments of a query.

    Raises
    ------
    ValueError
        If one of them does not end.
    """
    return [
        (token.position, token.position + len(token.text))
        for token in _tokens(query)
        if token.kind == "quoted" or (token.kind == "space" and not token.text.isspace())
    ]


def _match(query: str, token: _Token, opened: list[_Token]) -> None:
    """Keep track of parentheses and brackets."""
    if token.text in _PAIRS:
        opened.append(token)
    elif token.text in _PAIRS.values():
        if not opened or _PAIRS[opened[-1].text] != token.text:
            raise _syntax_error(query, token.position, f"{token.text!r} without its opening counterpart")
        opened.pop()
    elif token.text == ";" and opened:
        raise _syntax_error(query, opened[-1].position, f"{opened[-1].text!r} that is not closed before a semicolon")


def _tokens(query: str) -> Iterator[_Token]:
    """Yield the tokens of a query; ValueError for an unterminated one."""
    at = 0
    while found := _TOKEN.match(query, at):
        kind, start = str(found.lastgroup), at
        at = found.end()
        if kind == "comment":
            kind, at = "space", _end_of_comment(query, start)
        elif kind == "dollar":
            end = query.find(found[0], at)
            if end < 0:
                raise _syntax_error(query, start, f"a string between {found[0]} that does not end")
            kind, at = "quoted", end + len(found[0])
        elif kind in _ENDS:
            at = _end_of_quoted(query, kind, start, at)
            kind = "quoted"
        yield _Token(kind, query[start:at], start)


def _end_of_comment(query: str, start: int) -> int:
    """Return the end of a comment; comments can be nested."""
    depth = 0
    for edge in _COMMENT_EDGE.finditer(query, start):
        depth += 1 if edge[0] == "/*" else -1
        if not depth:
            return edge.end()
    raise _syntax_error(query, start, "a comment that does not end")


def _end_of_quoted(query: str, kind: str, start: int, at: int) -> int:
    """Return the end of a string or quoted name that begins at ``start`` and whose content begins at ``at``."""
    while True:
        found = _ENDS[kind].match(query, at)
        if found is None:
            raise _syntax_error(query, start, f"{_WHAT[kind]} that does not end")
        more = _CONTINUED.match(query, found.end()) if kind == "escaped" else None
        if more is None:
            return found.end()
        at = more.end()


def _syntax_error(query: str, position: int, what: str) -> ValueError:
    """Return the error for a position in a query."""
    line = query.count("\n", 0, position) + 1
    return ValueError(f"the query has {what}, in line {line}: {query[position : position + _EXCERPT]!r}")


@dataclass(frozen=True, slots=True)
class CopyStatement:
    """A COPY statement between a table or query and the client.

    Attributes
    ----------
    direction : str
        "FROM" the client or "TO" it.
    is_binary : bool
        Whether its format is binary.
    """

    direction: str
    is_binary: bool

    @classmethod
    def of(cls, query: str) -> CopyStatement:
        """Parse a statement; ValueError if it is not COPY FROM STDIN or COPY TO STDOUT."""
        tokens = [token for token in _tokens(single_statement(query)) if token.kind != "space"]
        words = _outer_words(tokens)
        names = [word.text.lower() for word in words]
        at = next((number for number, name in enumerate(names) if name in ("from", "to")), len(names))
        # PostgreSQL accepts STDIN and STDOUT for both directions.
        if names[:1] != ["copy"] or not {*names[at + 1 : at + 2]} & {"stdin", "stdout"}:
            raise ValueError(f"the query is not COPY ... FROM STDIN or COPY ... TO STDOUT: {query[:_EXCERPT]!r}")
        options = [token.text.strip("'\"").lower() for token in tokens if token.position > words[at + 1].position]
        return cls(names[at].upper(), "binary" in names or ("format", "binary") in pairwise(options))


def _outer_words(tokens: Sequence[_Token]) -> list[_Token]:
    """Return the words outside of parentheses, of a qualified name only the first."""
    words: list[_Token] = []
    depth, before = 0, ""
    for token in tokens:
        depth += (token.text in _PAIRS) - (token.text in _PAIRS.values())
        if token.kind == "word" and depth == 0 and before != ".":
            words.append(token)
        before = token.text
    return words
