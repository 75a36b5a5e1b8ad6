"""Parser of CartoCSS into a tree of blocks, with the positions of selectors and declarations; values are not parsed."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Final

from cartoframes_lite.local.maps.cartocss.style import StyleError

# No pattern backtracks far: repetitions are possessive (++, *+), and adjacent ones cannot match the same characters, so
# that the parsing time is linear in the length of the text. Optional groups are not possessive: Python 3.11.2 matches
# some of them wrongly.
_STRING = r""""(?:[^"\\\n]|\\.)*+"|'(?:[^'\\\n]|\\.)*+'"""
_NUMBER = r"-?(?:\d++(?:\.\d++)?|\.\d++)(?:[eE][-+]?\d++)?"
_SPACE = re.compile(r"(?:\s++|//[^\n]*+)++")
_NAME = re.compile(r"(@[\w-]++|(?:[a-z][-a-z_0-9]*+/)?\*?-?[-a-z_0-9]++)\s*+:(?!:)")
_VALUE = re.compile(rf"(?:{_STRING}|[^;{{}}\"']++)++")
_ELEMENT = re.compile(r"[.#][\w-]++|\*|Map\b")
_ATTACHMENT = re.compile(r"::([\w-]++(?:/[\w-]++)*)")
_FILTER = re.compile(
    rf"""\[\s*+(?P<key>"[^"\n]*+"|'[^'\n]*+'|\[[^\]\n]++\]|@?[\w-]++)\s*+
    (?P<operator>=~|!=|<=|>=|=|<|>)\s*+
    (?P<value>{_STRING}|@[\w-]++|\[[^\]\n]++\]|{_NUMBER}|[A-Za-z-][\w.-]*+)
    \s*+\]""",
    re.VERBOSE,
)
_SEGMENT = re.compile(r"((?:[^;{}\"']++|\"[^\"\n]*+\"|'[^'\n]*+'|[\"'])*+)([;{}]|$)")
_LAYER = re.compile(r"#[\w-]++")
_MARK = re.compile(r"url\(|//|/\*|[\"'{}]")
_ENDS = {"url(": re.compile(r"[^)\n]*+\)?"), "//": re.compile(r"[^\n]*+")} | {
    quote: re.compile(rf"(?:[^{quote}\\\n]|\\.)*+{quote}?", re.DOTALL) for quote in "\"'"
}
_INVALID_CHARACTER = re.compile("[\0\ud800-\udfff]")  # NUL and lone surrogates
_INVALID = re.compile(r"[^;\n}]*+[;\n]?")

# Parsing is recursive: far below the recursion limit of Python, far above the nesting of real style sheets.
_MAX_DEPTH: Final = 50
_UNCLOSED: Final = "missing closing `}`"
_UNOPENED: Final = "missing opening `{`"


@dataclass(frozen=True, slots=True)
class StyleSheet:
    """The text of a style sheet.

    Attributes
    ----------
    name : str
        Name of the style sheet in error messages (`style0`).
    """

    name: str
    text: str

    def error(self, position: int, message: str) -> StyleError:
        """Return the error for a position in the text."""
        before = self.text[:position]
        return StyleError(f"{self.name}:{before.count(chr(10)) + 1}:{position - before.rfind(chr(10)) - 1} {message}")


@dataclass(frozen=True, slots=True)
class Condition:
    """A comparison in brackets: `[population > 1000]`."""

    key: str
    operator: str
    value: str
    position: int
    value_position: int


@dataclass(frozen=True, slots=True)
class Selector:
    """The selector of a block: elements, conditions and attachment."""

    elements: tuple[str, ...]
    conditions: tuple[Condition, ...]
    attachment: str


@dataclass(frozen=True, slots=True)
class Declaration:
    """A property or variable, with its unparsed value and the position of the value."""

    name: str
    value: str
    position: int
    value_position: int


@dataclass(slots=True)
class Block:
    """Declarations and nested blocks; the style sheet itself is a block without selectors."""

    selectors: tuple[Selector, ...] = ()
    declarations: list[Declaration] = field(default_factory=list)
    blocks: list[Block] = field(default_factory=list)


def parse_blocks(text: str, *, name: str, layer: str) -> tuple[StyleSheet, Block]:
    """Parse a text into a tree of blocks; every `#name` is replaced by the name of the layer.

    Raises
    ------
    StyleError
        If the text is not valid CartoCSS.
    """
    if not text.strip():
        raise StyleError(f"{name}: CartoCSS is empty")
    if _INVALID_CHARACTER.search(text):
        raise StyleError(f"{name}: CartoCSS contains NUL or surrogate characters")
    source = StyleSheet(name, _SEGMENT.sub(partial(_replace_layer, "#" + layer), text.replace("\r\n", "\n")))
    _check_braces(source)
    return source, _Parser(source).block()


def _replace_layer(layer: str, segment: re.Match[str]) -> str:
    """Return a segment of a text with each `#name` replaced, if the segment is the selectors of a block."""
    return _LAYER.sub(layer, segment.group()) if segment.group(2) == "{" else segment.group()


def _check_braces(source: StyleSheet) -> None:
    """Raise StyleError if the braces are not balanced."""
    braces = list(_braces(source.text))
    surplus = braces.count("{") - braces.count("}")
    if surplus:
        end = len(source.text)
        raise source.error(end, _UNCLOSED) if surplus > 0 else source.error(end - 1, _UNOPENED)


def _braces(text: str) -> Iterator[str]:
    """Yield the braces outside of comments, strings and URLs."""
    at = 0
    # Position up to which a mark is known to be unterminated, so that no text is scanned twice.
    unterminated: dict[str, int] = {}
    while matched := _MARK.search(text, at):
        mark, at = matched[0], matched.end()
        if mark in "{}":
            yield mark
        elif at >= unterminated.get(mark, 0):
            end = _end_of(text, mark, at)
            if end > 0:
                at = end
            else:
                unterminated[mark] = -end


def _end_of(text: str, mark: str, at: int) -> int:
    """Return the end of a comment, string or URL; if it is unterminated, minus the position scanned to, minus 1."""
    if mark == "/*":
        end = text.find("*/", at)
        return end + 2 if end >= 0 else -len(text) - 1
    matched = _ENDS[mark].match(text, at)
    assert matched is not None  # every pattern matches the empty text
    closing = {"url(": ")", "//": ""}.get(mark, mark)
    is_closed = text[matched.end() - 1 : matched.end()] == closing and matched.end() > at
    return matched.end() if is_closed or not closing else -matched.end() - 1


class _Parser:
    """Recursive descent parser of a text."""

    def __init__(self, source: StyleSheet) -> None:
        self._source = source
        self._at = 0

    def _take(self, pattern: re.Pattern[str]) -> re.Match[str] | None:
        """Consume a match of the pattern and the following space; None if it does not match."""
        matched = pattern.match(self._source.text, self._at)
        if matched:
            self._at = matched.end()
            self._skip_space()
        return matched

    def _skip_space(self) -> None:
        """Skip space and terminated comments."""
        text = self._source.text
        while True:
            if space := _SPACE.match(text, self._at):
                self._at = space.end()
            end = text.find("*/", self._at + 2) if text.startswith("/*", self._at) else -1
            if end < 0:
                return
            self._at = end + 2

    def block(self, selectors: tuple[Selector, ...] = (), depth: int = 0) -> Block:
        """Parse declarations and blocks up to a closing brace or the end."""
        if depth > _MAX_DEPTH:
            raise self._source.error(self._at, f"Blocks are nested deeper than {_MAX_DEPTH} levels.")
        read = Block(selectors)
        self._skip_space()
        while self._at < len(self._source.text) and self._source.text[self._at] != "}":
            declaration = self._declaration()
            if declaration:
                read.declarations.append(declaration)
                continue
            start = self._at
            inner = self._selectors()
            if not inner or self._source.text[self._at : self._at + 1] != "{":
                matched = _INVALID.match(self._source.text, start)
                raise self._source.error(start, f"Invalid code: {matched.group() if matched else ''}")
            self._at += 1
            read.blocks.append(self.block(inner, depth + 1))
            self._close()
        if not depth and self._at < len(self._source.text):
            raise self._source.error(self._at, _UNOPENED)
        return read

    def _close(self) -> None:
        """Consume a closing brace."""
        if self._source.text[self._at : self._at + 1] != "}":
            raise self._source.error(self._at, _UNCLOSED)
        self._at += 1
        self._skip_space()

    def _declaration(self) -> Declaration | None:
        """Parse `name: value;`; None if the text does not match."""
        start = self._at
        name = self._take(_NAME)
        value_position = self._at
        value = _VALUE.match(self._source.text, self._at) if name else None
        if name and value and value[0].strip():
            self._at = value.end()
            end = self._source.text[self._at : self._at + 1]
            if end in (";", "}"):
                self._at += end == ";"
                self._skip_space()
                return Declaration(name.group(1), value[0].rstrip(), start, value_position)
        self._at = start
        return None

    def _selectors(self) -> tuple[Selector, ...]:
        """Parse selectors separated by commas."""
        selectors = []
        while selector := self._selector():
            selectors.append(selector)
            if self._source.text[self._at : self._at + 1] != ",":
                break
            self._at += 1
            self._skip_space()
        return tuple(selectors)

    def _selector(self) -> Selector | None:
        """Parse elements, conditions and the name of an attachment, in any order."""
        start = self._at
        elements: list[str] = []
        conditions: list[Condition] = []
        attachment = ""
        while True:
            position = self._at
            if element := self._take(_ELEMENT):
                elements.append(element.group())
            elif condition := self._take(_FILTER):
                key, sign, value = condition.group("key", "operator", "value")
                conditions.append(Condition(key, sign, value, position, condition.start("value")))
            elif name := self._take(_ATTACHMENT):
                if attachment:
                    raise self._source.error(self._at - 1, "Encountered second attachment name.")
                attachment = name.group(1)
            else:
                break
        return Selector(tuple(elements), tuple(conditions), attachment) if self._at > start else None
