"""Conversion of declarations to settings of Mapnik symbolizers."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final

from cartoframes_lite.local.maps.cartocss.properties import COMPOSITION, NAMES, PROPERTIES, Property, suggestion
from cartoframes_lite.local.maps.cartocss.style import COLOR, Setting, StyleError, fields
from cartoframes_lite.local.maps.cartocss.syntax import Declaration, StyleSheet
from cartoframes_lite.local.maps.cartocss.values import Value
from cartoframes_lite.local.maps.mapnik_library import is_expression

# Attributes that may depend on a column. Extreme values of the others, such as 1e40, take Mapnik minutes to render.
_ROW_ATTRIBUTES: Final = {
    *("fill", "stroke", "halo-fill"),
    *("opacity", "fill-opacity", "stroke-opacity", "halo-opacity"),
    *("width", "height", "stroke-width", "size", "halo-radius"),
    *("dx", "dy", "orientation"),
}
_COLUMN = re.compile(r"\[([^\[\]]++)\]")

# Beyond these limits rendering takes minutes: numbers in general, the smooth property, and the size of dots by column.
_MAX_NUMBER: Final = 100_000
_MAX_SMOOTH: Final = 10
_MAX_DOT_SIZE: Final = 1000

# Pixels of all dashes and gaps of a pattern: a shorter one would repeat millions of times along a line.
_MIN_DASH: Final = 0.5


def background_of(source: StyleSheet, declaration: Declaration, value: Value) -> str | None:
    """Return the background color from a declaration of a `Map` block.

    Raises
    ------
    StyleError
        If the property is not a background color, or the value not a color.
    """
    if declaration.name not in NAMES or declaration.name in PROPERTIES:
        raise source.error(declaration.position, f"Rule {declaration.name} not allowed for Map.")
    if declaration.name != "background-color":
        raise _unsupported(source, declaration)
    if value.kind != "color":
        raise _type_error(source, declaration, "color", value)
    return value.text


def setting_of(
    source: StyleSheet, declaration: Declaration, evaluate: Callable[[Declaration], Value]
) -> Setting | None:
    """Convert a declaration to a setting; None if it only sets the default composite operation.

    Raises
    ------
    StyleError
        If the property is unknown or not supported, or the value is invalid.
    """
    instance, _, name = declaration.name.rpartition("/")
    if name not in NAMES:
        closest = suggestion(name)
        hint = "" if closest is None else f". Did you mean {closest}?"
        raise source.error(declaration.position, f"Unrecognized rule: {name}{hint}")
    if name == "background-color":
        raise source.error(declaration.position, "Map properties are not permitted in other rules")
    is_composition = name == "comp-op" or name.endswith("-comp-op")
    supported = COMPOSITION if is_composition else PROPERTIES.get(name)
    if supported is None:
        raise _unsupported(source, declaration)
    value = evaluate(declaration)
    _check(source, declaration, supported, value)
    if is_composition:
        if value.text != "src-over":
            raise _unsupported(source, declaration, f"{name}: {value.text}")
        return None
    text, needs_row = _mapnik_text(source, declaration, supported, value)
    if needs_row and not is_expression(text):
        raise source.error(declaration.position, f"Invalid value for {name}, {text} is no expression.")
    return Setting(supported.symbolizer, instance, name, supported.attribute, text, declaration.position, needs_row)


def _unsupported(source: StyleSheet, declaration: Declaration, subject: str = "") -> StyleError:
    return source.error(declaration.position, f"{subject or declaration.name} is not supported by this server")


def _type_error(source: StyleSheet, declaration: Declaration, expected: str, value: Value) -> StyleError:
    name = declaration.name.rpartition("/")[2]
    return source.error(
        declaration.position,
        f"Invalid value for {name}, the type {expected} is expected. {value.text} (of type {value.kind})  was given.",
    )


def _check(source: StyleSheet, declaration: Declaration, supported: Property, value: Value) -> None:
    """Raise StyleError for a value of the wrong type; fields and strings are expressions, evaluated for each row."""
    items = value.parts or (value,)
    kinds = {one.kind for one in items}
    match supported.type:
        case "numbers":
            is_valid = kinds == {"float"}
        case "string":
            is_valid = kinds <= {"string", "field", "keyword"}
        case "keyword":
            is_valid = value.text in supported.options and not value.parts
        case "boolean":
            is_valid = value.text in {"true", "false"} and not value.parts
        case _:
            kind = "color" if supported.type == "color" else "float"
            is_valid = kinds <= {kind, "field", "string"} and not value.parts
    if not is_valid:
        raise _type_error(source, declaration, supported.expected, value)


def _mapnik_text(source: StyleSheet, declaration: Declaration, supported: Property, value: Value) -> tuple[str, bool]:
    """Return the Mapnik text of a value, and whether it is an expression that depends on the row."""
    if supported.attribute == "face-name":
        return "\n".join(one.text for one in value.parts or (value,)), False
    if supported.attribute == "name":
        return value.text, True
    if supported.type == "numbers" and 0 < sum(one.number for one in value.parts or (value,)) < _MIN_DASH:
        name = declaration.name.rpartition("/")[2]
        message = f"{name}: dashes shorter than {_MIN_DASH} are not supported by this server"
        raise source.error(declaration.position, message)
    _check_size(source, declaration, supported, value)
    if supported.type == "unsigned" and value.kind == "float":
        return str(max(int(value.number + 0.5), 0)), False
    if value.kind == "float":
        return value.text.rstrip("%"), False
    needs_row = value.kind == "field" or any(fields(value.text))
    if needs_row and supported.attribute not in _ROW_ATTRIBUTES:
        raise _unsupported(source, declaration, f"{declaration.name} by row")
    if needs_row and supported.symbolizer == "dot" and supported.type == "float":
        return f"max(min({value.text},{_MAX_DOT_SIZE}),0)", True
    simple = supported.type == "color" and _COLUMN.fullmatch(value.text)
    return (f"[{COLOR}{simple.group(1)}]" if simple else value.text), needs_row


def _check_size(source: StyleSheet, declaration: Declaration, supported: Property, value: Value) -> None:
    """Raise StyleError for numbers that would take too long to render."""
    maximum = _MAX_SMOOTH if supported.attribute == "smooth" else _MAX_NUMBER
    if any(abs(one.number) > maximum for one in value.parts or (value,)):
        name = declaration.name.rpartition("/")[2]
        raise source.error(declaration.position, f"{name}: numbers above {maximum} are not supported by this server")
