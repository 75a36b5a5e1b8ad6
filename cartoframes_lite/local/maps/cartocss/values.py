"""Values of properties: what is written as what Mapnik reads."""

from __future__ import annotations

import math
import operator
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from cartoframes_lite.local.maps.cartocss.colors import FUNCTIONS, NAMES, SHARES, Color, from_hex
from cartoframes_lite.local.maps.cartocss.style import StyleError
from cartoframes_lite.local.maps.cartocss.syntax import Declaration, Source

# No pattern tries a piece of text twice, as in `syntax`.
_TOKEN = re.compile(
    r"""\s*+(?:
    (?P<number>-?(?:\d++(?:\.\d++)?+|\.\d++)(?:[eE][-+]?\d++)?+)(?P<unit>%|[A-Za-z]\w*+)?
    |(?P<call>[A-Za-z][\w-]*+)\(
    |\#(?P<hex>[0-9a-fA-F]{6}|[0-9a-fA-F]{3})(?![0-9a-fA-F])
    |"(?P<double>(?:[^"\\\n]|\\.)*+)"|'(?P<single>(?:[^'\\\n]|\\.)*+)'
    |\[(?P<field>[^\]\n]++)\]
    |(?P<variable>@[\w-]++)
    |(?P<word>[A-Za-z-][\w.-]*+)
    )""",
    re.VERBOSE,
)
_PRODUCT = re.compile(r"\s*+([*/%])")
_SUM = re.compile(r"\s*+([-+])(?=\s|[\w@(\[\"'.#])")
_BLANK = re.compile(r"\s*+")
_ESCAPED = re.compile(r"(\\.)|'")
_COMMENT_START = re.compile(r"/\*|//[^\n]*+")
_DEEPEST: Final = 50
_MOST_CHARACTERS: Final = 1000  # Mapnik takes the square of it to read an expression
_ARITHMETIC: Final = {
    "+": operator.add,
    "-": operator.sub,
    "*": operator.mul,
    "/": operator.truediv,
    "%": operator.mod,
}
# Of Turbo-CARTO, which asks the database for the classes of a column before CartoCSS is read.
_TURBO: Final = {"ramp", "buckets", "range", "quantiles", "jenks", "equal", "headtails", "category", "colorbrewer"}


@dataclass(frozen=True, slots=True)
class Value:
    """What is written after a property.

    Attributes
    ----------
    kind : str
        `float`, `color`, `keyword`, `string`, `field` (an expression of Mapnik) or `uri`; of a list, that of its first.
    text : str
        As Mapnik reads it.
    number : float
        Of a `float`: the number, 50 for 50 %.
    color : Color or None
        Of a `color`.
    parts : tuple of Value
        What a list lists; empty for everything else.
    """

    kind: str
    text: str
    number: float = 0
    color: Color | None = None
    parts: tuple[Value, ...] = ()


class Values:
    """The values of the declarations of a sheet, each of which is evaluated once.

    Variables that use each other twice would otherwise be evaluated exponentially often.

    Parameters
    ----------
    source : Source
    variables : mapping of str to Declaration
    """

    def __init__(self, source: Source, variables: Mapping[str, Declaration]) -> None:
        self._source = source
        self._variables = variables
        self._known: dict[Declaration, Value | StyleError] = {}

    def of(self, declaration: Declaration, depth: int = 0) -> Value:
        """Return the value of a declaration; ``depth`` says in how many others it is used.

        Raises
        ------
        StyleError
            It is no value, or names a variable or a function that does not exist.
        """
        if declaration not in self._known:
            try:
                self._known[declaration] = _Reader(self._source, declaration, self, depth).value()
            except StyleError as refusal:
                self._known[declaration] = refusal
        found = self._known[declaration]
        if isinstance(found, StyleError):
            raise found
        return found

    def variable(self, name: str) -> Declaration | None:
        """Return the declaration of a variable."""
        return self._variables.get(name)


class _Reader:
    """Reads the value of one declaration, from left to right."""

    def __init__(self, source: Source, declaration: Declaration, values: Values, depth: int) -> None:
        self._source = source
        self._declaration = declaration
        self._text = _without_comments(declaration.value)
        self._values = values
        self._depth = depth
        self._at = 0

    def _refusal(self, at: int, message: str) -> StyleError:
        return self._source.refusal(self._declaration.value_position + at, message)

    def _invalid(self) -> StyleError:
        code = f"{self._declaration.name}: {self._declaration.value};"
        return self._source.refusal(self._declaration.position, f"Invalid code: {code}")

    def _take(self, pattern: re.Pattern[str]) -> re.Match[str] | None:
        found = pattern.match(self._text, self._at)
        self._at = found.end() if found else self._at
        return found

    def _next_is(self, mark: str) -> bool:
        """Step over a mark, if it is next."""
        at = self._next_position()
        if not self._text.startswith(mark, at):
            return False
        self._at = at + len(mark)
        return True

    def _next_position(self) -> int:
        """Return where the next token begins."""
        blank = _BLANK.match(self._text, self._at)
        return blank.end() if blank else self._at

    def value(self) -> Value:
        """Read all of it: one expression, or several with commas between them."""
        listed = [self._sum()]
        while self._next_is(","):
            listed.append(self._sum())
        if self._next_position() < len(self._text):
            raise self._invalid()
        if len(listed) == 1:
            return listed[0]
        return self._bounded(Value(listed[0].kind, ", ".join(one.text for one in listed), parts=tuple(listed)))

    def _bounded(self, value: Value) -> Value:
        """Refuse a value that is longer, or larger, than anything that can be drawn."""
        if len(value.text) > _MOST_CHARACTERS:
            raise self._refusal(self._at, f"Values are longer than {_MOST_CHARACTERS} characters.")
        if not math.isfinite(value.number):
            raise self._refusal(self._at, "the number is out of range")
        return value

    def _sum(self) -> Value:
        result = self._product()
        while found := self._take(_SUM):
            result = self._operation(found.group(1), result, self._product())
        return result

    def _product(self) -> Value:
        result = self._operand()
        while found := self._take(_PRODUCT):
            result = self._operation(found.group(1), result, self._operand())
        return result

    def _operand(self) -> Value:
        if not self._next_is("("):
            return self._entity()
        self._deeper()
        inner = self._sum()
        self._depth -= 1
        if not self._next_is(")"):
            raise self._invalid()
        return Value("field", f"({inner.text})") if inner.kind == "field" else inner

    def _deeper(self) -> None:
        """Refuse what leads back to itself, before Python does."""
        self._depth += 1
        if self._depth > _DEEPEST:
            raise self._refusal(self._at, f"Values are nested deeper than {_DEEPEST} levels.")

    def _operation(self, sign: str, left: Value, right: Value) -> Value:
        """Compute what is known now, and leave to Mapnik what depends on a row."""
        if left.kind == right.kind == "float":
            if sign in "/%" and not right.number:
                raise self._refusal(self._at, "division by zero")
            return self._bounded(_number(_ARITHMETIC[sign](left.number, right.number)))
        if left.kind == "color" or right.kind == "color":
            raise self._refusal(self._at, f"{sign} between colors is not supported by this server")
        return self._bounded(Value("field", f"{_quoted(left)}{sign}{_quoted(right)}"))

    def _entity(self) -> Value:
        return self._bounded(self._token())

    def _token(self) -> Value:
        start = self._next_position()
        found = self._take(_TOKEN)
        if not found:
            raise self._invalid()
        match found.lastgroup:
            case "number" | "unit":
                return _number(float(found["number"]), "%" if found["unit"] == "%" else "")
            case "hex":
                return _of_color(from_hex(found["hex"]))
            case "double" | "single":
                return Value("string", found["double"] or found["single"] or "")
            case "field":
                return Value("field", f"[{found['field']}]")
            case "variable":
                return self._variable(found["variable"], start)
            case "call":
                return self._call(found["call"])
        word = found["word"]
        return _of_color(NAMES[word]) if word in NAMES else Value("keyword", word)

    def _variable(self, name: str, start: int) -> Value:
        declaration = self._values.variable(name)
        if declaration is None:
            raise self._refusal(start, f"variable {name} is undefined")
        self._deeper()
        value = self._values.of(declaration, self._depth)
        self._depth -= 1
        return value

    def _call(self, name: str) -> Value:
        """Read the arguments of a function and call it."""
        if name == "url":
            return self._url()
        if name in _TURBO:
            raise self._refusal(self._at - len(name) - 1, f"{name}() is not supported by this server")
        self._deeper()
        arguments: list[Value] = []
        while not self._next_is(")"):
            if arguments and not self._next_is(","):
                raise self._invalid()
            arguments.append(self._sum())
        self._depth -= 1
        if name not in FUNCTIONS:
            raise self._refusal(self._at, f"unknown function {name}()")
        function, expected = FUNCTIONS[name]
        if len(arguments) != len(expected):
            message = f"incorrect number of arguments for {name}(). {len(expected)} expected."
            raise self._refusal(self._at, message)
        taken: list[Color | float] = []
        for argument, kind in zip(arguments, expected, strict=True):
            if argument.kind != kind:
                raise self._refusal(self._at, f"incorrect arguments given to {name}()")
            share = 100 if name in SHARES and argument.text.endswith("%") else 1
            taken.append(argument.color or argument.number / share)
        color = function(*taken)
        if not all(map(math.isfinite, (color.red, color.green, color.blue, color.alpha))):
            raise self._refusal(self._at, "the number is out of range")
        return _of_color(color)

    def _url(self) -> Value:
        end = self._text.find(")", self._at)
        if end < 0:
            raise self._refusal(self._at, "Missing closing ) in URL.")
        address, self._at = self._text[self._at : end].strip(), end + 1
        return Value("uri", address.strip("\"'"))


def _without_comments(text: str) -> str:
    """Put as many spaces in the place of comments, so that positions stay."""
    parts, at = [], 0
    while found := _COMMENT_START.search(text, at):
        end = found.end()
        if found[0] == "/*":
            end = text.find("*/", end) + 2
            if end < 2:  # no comment ends behind this
                break
        parts += [text[at : found.start()], " " * (end - found.start())]
        at = end
    return "".join([*parts, text[at:]])


def _number(number: float, unit: str = "") -> Value:
    return Value("float", f"{number:.12g}{unit}", number=number)


def _of_color(color: Color) -> Value:
    return Value("color", str(color), color=color)


def _quoted(value: Value) -> str:
    """Return a value as a part of an expression of Mapnik."""
    return quoted(value.text) if value.kind in {"string", "keyword"} else value.text


def quoted(text: str) -> str:
    """Return a text of CartoCSS, with its own backslashes, as Mapnik quotes it."""
    return "'" + _ESCAPED.sub(lambda found: found.group(1) or r"\'", text) + "'"
