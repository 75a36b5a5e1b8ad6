"""Evaluation of property values into the text that Mapnik expects."""

from __future__ import annotations

import math
import operator
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from cartoframes_lite.local.maps.cartocss.colors import FRACTION_FUNCTIONS, FUNCTIONS, NAMES, Color, from_hex
from cartoframes_lite.local.maps.cartocss.style import StyleError
from cartoframes_lite.local.maps.cartocss.syntax import Declaration, StyleSheet

# No pattern backtracks, as in `syntax`.
_TOKEN = re.compile(
    r"""\s*+(?:
    (?P<number>-?(?:\d++(?:\.\d++)?|\.\d++)(?:[eE][-+]?\d++)?)(?P<unit>%|[A-Za-z]\w*+)?
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
_MAX_DEPTH: Final = 50
_MAX_CHARACTERS: Final = 1000  # the time in which Mapnik parses an expression grows with the square of its length
_ARITHMETIC: Final = {
    "+": operator.add,
    "-": operator.sub,
    "*": operator.mul,
    "/": operator.truediv,
    "%": operator.mod,
}
# Functions of Turbo-CARTO, which queries the classes of a column before CartoCSS is parsed.
_TURBO_FUNCTIONS: Final = {
    "ramp",
    "buckets",
    "range",
    "quantiles",
    "jenks",
    "equal",
    "headtails",
    "category",
    "colorbrewer",
}


@dataclass(frozen=True, slots=True)
class Value:
    """The value of a property.

    Attributes
    ----------
    kind : str
        `float`, `color`, `keyword`, `string`, `field` (a Mapnik expression) or `uri`; of a list, the kind of its first
        item.
    text : str
        The value in the syntax of Mapnik.
    number : float
        The number of a `float`; 50 for 50 %.
    color : Color or None
        The color of a `color`.
    parts : tuple of Value
        The items of a list; empty for other values.
    """

    kind: str
    text: str
    number: float = 0
    color: Color | None = None
    parts: tuple[Value, ...] = ()


class Values:
    """The values of the declarations of a style sheet, each evaluated once.

    Without this cache, a chain of variables that each use the previous one twice takes exponential time.

    Parameters
    ----------
    source : StyleSheet
    variables : mapping of str to Declaration
    """

    def __init__(self, source: StyleSheet, variables: Mapping[str, Declaration]) -> None:
        self._source = source
        self._variables = variables
        self._evaluated: dict[Declaration, Value | StyleError] = {}

    def of(self, declaration: Declaration, depth: int = 0) -> Value:
        """Return the value of a declaration; ``depth`` is the current nesting of variables.

        Raises
        ------
        StyleError
            If the value is invalid, or has an unknown variable or function.
        """
        if declaration not in self._evaluated:
            try:
                self._evaluated[declaration] = _Parser(self._source, declaration, self, depth).value()
            except StyleError as error:
                self._evaluated[declaration] = error
        value = self._evaluated[declaration]
        if isinstance(value, StyleError):
            raise value
        return value

    def variable(self, name: str) -> Declaration | None:
        """Return the declaration of a variable; None if there is none."""
        return self._variables.get(name)


class _Parser:
    """Recursive descent parser of the value of a declaration."""

    def __init__(self, source: StyleSheet, declaration: Declaration, values: Values, depth: int) -> None:
        self._source = source
        self._declaration = declaration
        self._text = _without_comments(declaration.value)
        self._values = values
        self._depth = depth
        self._at = 0

    def _error(self, at: int, message: str) -> StyleError:
        return self._source.error(self._declaration.value_position + at, message)

    def _invalid(self) -> StyleError:
        code = f"{self._declaration.name}: {self._declaration.value};"
        return self._source.error(self._declaration.position, f"Invalid code: {code}")

    def _take(self, pattern: re.Pattern[str]) -> re.Match[str] | None:
        matched = pattern.match(self._text, self._at)
        self._at = matched.end() if matched else self._at
        return matched

    def _next_is(self, mark: str) -> bool:
        """Consume a mark, if it is next."""
        at = self._next_position()
        if not self._text.startswith(mark, at):
            return False
        self._at = at + len(mark)
        return True

    def _next_position(self) -> int:
        """Return the position of the next token."""
        blank = _BLANK.match(self._text, self._at)
        return blank.end() if blank else self._at

    def value(self) -> Value:
        """Parse the whole value: one expression, or several separated by commas."""
        items = [self._sum()]
        while self._next_is(","):
            items.append(self._sum())
        if self._next_position() < len(self._text):
            raise self._invalid()
        if len(items) == 1:
            return items[0]
        return self._check_limits(Value(items[0].kind, ", ".join(one.text for one in items), parts=tuple(items)))

    def _check_limits(self, value: Value) -> Value:
        """Return the value; raise StyleError if it is too long, or its number not finite."""
        if len(value.text) > _MAX_CHARACTERS:
            raise self._error(self._at, f"Values are longer than {_MAX_CHARACTERS} characters.")
        if not math.isfinite(value.number):
            raise self._error(self._at, "the number is out of range")
        return value

    def _sum(self) -> Value:
        result = self._product()
        while matched := self._take(_SUM):
            result = self._operation(matched.group(1), result, self._product())
        return result

    def _product(self) -> Value:
        result = self._operand()
        while matched := self._take(_PRODUCT):
            result = self._operation(matched.group(1), result, self._operand())
        return result

    def _operand(self) -> Value:
        if not self._next_is("("):
            return self._checked_token()
        self._enter()
        inner = self._sum()
        self._depth -= 1
        if not self._next_is(")"):
            raise self._invalid()
        return Value("field", f"({inner.text})") if inner.kind == "field" else inner

    def _enter(self) -> None:
        """Increase the depth; raise StyleError before the recursion limit of Python is reached."""
        self._depth += 1
        if self._depth > _MAX_DEPTH:
            raise self._error(self._at, f"Values are nested deeper than {_MAX_DEPTH} levels.")

    def _operation(self, sign: str, left: Value, right: Value) -> Value:
        """Compute an operation of numbers; convert one with fields to a Mapnik expression."""
        if left.kind == right.kind == "float":
            if sign in "/%" and not right.number:
                raise self._error(self._at, "division by zero")
            return self._check_limits(_number_value(_ARITHMETIC[sign](left.number, right.number)))
        if left.kind == "color" or right.kind == "color":
            raise self._error(self._at, f"{sign} between colors is not supported by this server")
        return self._check_limits(Value("field", f"{_operand_text(left)}{sign}{_operand_text(right)}"))

    def _checked_token(self) -> Value:
        return self._check_limits(self._token())

    def _token(self) -> Value:
        start = self._next_position()
        matched = self._take(_TOKEN)
        if not matched:
            raise self._invalid()
        match matched.lastgroup:
            case "number" | "unit":
                return _number_value(float(matched["number"]), "%" if matched["unit"] == "%" else "")
            case "hex":
                return _color_value(from_hex(matched["hex"]))
            case "double" | "single":
                return Value("string", matched["double"] or matched["single"] or "")
            case "field":
                return Value("field", f"[{matched['field']}]")
            case "variable":
                return self._variable(matched["variable"], start)
            case "call":
                return self._call(matched["call"])
        word = matched["word"]
        return _color_value(NAMES[word]) if word in NAMES else Value("keyword", word)

    def _variable(self, name: str, start: int) -> Value:
        declaration = self._values.variable(name)
        if declaration is None:
            raise self._error(start, f"variable {name} is undefined")
        self._enter()
        value = self._values.of(declaration, self._depth)
        self._depth -= 1
        return value

    def _call(self, name: str) -> Value:
        """Parse the arguments of a function and evaluate it."""
        if name == "url":
            return self._url()
        if name in _TURBO_FUNCTIONS:
            raise self._error(self._at - len(name) - 1, f"{name}() is not supported by this server")
        self._enter()
        arguments: list[Value] = []
        while not self._next_is(")"):
            if arguments and not self._next_is(","):
                raise self._invalid()
            arguments.append(self._sum())
        self._depth -= 1
        if name not in FUNCTIONS:
            raise self._error(self._at, f"unknown function {name}()")
        function, expected = FUNCTIONS[name]
        if len(arguments) != len(expected):
            message = f"incorrect number of arguments for {name}(). {len(expected)} expected."
            raise self._error(self._at, message)
        converted: list[Color | float] = []
        for argument, kind in zip(arguments, expected, strict=True):
            if argument.kind != kind:
                raise self._error(self._at, f"incorrect arguments given to {name}()")
            divisor = 100 if name in FRACTION_FUNCTIONS and argument.text.endswith("%") else 1
            converted.append(argument.color or argument.number / divisor)
        color = function(*converted)
        if not all(map(math.isfinite, (color.red, color.green, color.blue, color.alpha))):
            raise self._error(self._at, "the number is out of range")
        return _color_value(color)

    def _url(self) -> Value:
        end = self._text.find(")", self._at)
        if end < 0:
            raise self._error(self._at, "Missing closing ) in URL.")
        url, self._at = self._text[self._at : end].strip(), end + 1
        return Value("uri", url.strip("\"'"))


def _without_comments(text: str) -> str:
    """Replace comments by spaces of the same length, so that positions do not change."""
    parts, at = [], 0
    while matched := _COMMENT_START.search(text, at):
        end = matched.end()
        if matched[0] == "/*":
            end = text.find("*/", end) + 2
            if end < 2:  # unterminated comment
                break
        parts += [text[at : matched.start()], " " * (end - matched.start())]
        at = end
    return "".join([*parts, text[at:]])


def _number_value(number: float, unit: str = "") -> Value:
    return Value("float", f"{number:.12g}{unit}", number=number)


def _color_value(color: Color) -> Value:
    return Value("color", str(color), color=color)


def _operand_text(value: Value) -> str:
    """Return a value as an operand of a Mapnik expression."""
    return quoted(value.text) if value.kind in {"string", "keyword"} else value.text


def quoted(text: str) -> str:
    """Return a CartoCSS string, with its backslash escapes, as a quoted string of Mapnik."""
    return "'" + _ESCAPED.sub(lambda matched: matched.group(1) or r"\'", text) + "'"
