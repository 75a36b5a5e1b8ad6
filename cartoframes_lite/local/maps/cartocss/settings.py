"""One declaration as a setting of one of Mapnik's symbolizers, if this server draws it."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final

from cartoframes_lite.local.maps.cartocss.properties import COMPOSITION, NAMES, PROPERTIES, Property, suggestion
from cartoframes_lite.local.maps.cartocss.style import COLOR, Setting, StyleError, fields
from cartoframes_lite.local.maps.cartocss.syntax import Declaration, Source
from cartoframes_lite.local.maps.cartocss.values import Value
from cartoframes_lite.local.maps.mapnik_library import is_expression

# What a column may decide. Of the others, values as data have them (1e40) would keep Mapnik busy for minutes.
_BY_ROW: Final = {
    *("fill", "stroke", "halo-fill"),
    *("opacity", "fill-opacity", "stroke-opacity", "halo-opacity"),
    *("width", "height", "stroke-width", "size", "halo-radius"),
    *("dx", "dy", "orientation"),
}
_COLUMN = re.compile(r"\[([^\[\]]++)\]")

# Beyond these, Mapnik draws for minutes: of numbers as they are, of the strength of smoothing, and of dots by row.
_LARGEST: Final = 100_000
_SMOOTHEST: Final = 10
_LARGEST_DOT: Final = 1000

# Pixels of one dash with its gap: of shorter ones there may be millions along a line.
_SHORTEST: Final = 0.5


def background_of(source: Source, declaration: Declaration, value: Value) -> str | None:
    """Return the color that a declaration of `Map` gives.

    Raises
    ------
    StyleError
        It gives none.
    """
    if declaration.name not in NAMES or declaration.name in PROPERTIES:
        raise source.refusal(declaration.position, f"Rule {declaration.name} not allowed for Map.")
    if declaration.name != "background-color":
        raise _unsupported(source, declaration)
    if value.kind != "color":
        raise _wrong(source, declaration, "color", value)
    return value.text


def setting_of(source: Source, declaration: Declaration, evaluate: Callable[[Declaration], Value]) -> Setting | None:
    """Return what a declaration sets, None if it sets what is so anyway.

    Raises
    ------
    StyleError
        The property does not exist, this server does not draw it, or the value is not for it.
    """
    instance, _, name = declaration.name.rpartition("/")
    if name not in NAMES:
        near = suggestion(name)
        hint = "" if near is None else f". Did you mean {near}?"
        raise source.refusal(declaration.position, f"Unrecognized rule: {name}{hint}")
    if name == "background-color":
        raise source.refusal(declaration.position, "Map properties are not permitted in other rules")
    is_composition = name == "comp-op" or name.endswith("-comp-op")
    known = COMPOSITION if is_composition else PROPERTIES.get(name)
    if known is None:
        raise _unsupported(source, declaration)
    value = evaluate(declaration)
    _check(source, declaration, known, value)
    if is_composition:
        if value.text != "src-over":
            raise _unsupported(source, declaration, f"{name}: {value.text}")
        return None
    text, needs_row = _for_mapnik(source, declaration, known, value)
    if needs_row and not is_expression(text):
        raise source.refusal(declaration.position, f"Invalid value for {name}, {text} is no expression.")
    return Setting(known.symbolizer, instance, name, known.attribute, text, declaration.position, needs_row)


def _unsupported(source: Source, declaration: Declaration, what: str = "") -> StyleError:
    return source.refusal(declaration.position, f"{what or declaration.name} is not supported by this server")


def _wrong(source: Source, declaration: Declaration, expected: str, value: Value) -> StyleError:
    name = declaration.name.rpartition("/")[2]
    return source.refusal(
        declaration.position,
        f"Invalid value for {name}, the type {expected} is expected. {value.text} (of type {value.kind})  was given.",
    )


def _check(source: Source, declaration: Declaration, known: Property, value: Value) -> None:
    """Refuse a value of a wrong kind: fields and texts are expressions, about which only rows can tell."""
    listed = value.parts or (value,)
    kinds = {one.kind for one in listed}
    match known.type:
        case "numbers":
            good = kinds == {"float"}
        case "string":
            good = kinds <= {"string", "field", "keyword"}
        case "keyword":
            good = value.text in known.options and not value.parts
        case "boolean":
            good = value.text in {"true", "false"} and not value.parts
        case _:
            kind = "color" if known.type == "color" else "float"
            good = kinds <= {kind, "field", "string"} and not value.parts
    if not good:
        raise _wrong(source, declaration, known.expected, value)


def _for_mapnik(source: Source, declaration: Declaration, known: Property, value: Value) -> tuple[str, bool]:
    """Return the text of a value, and whether it is an expression that needs a row."""
    if known.attribute == "face-name":
        return "\n".join(one.text for one in value.parts or (value,)), False
    if known.attribute == "name":
        return value.text, True
    if known.type == "numbers" and 0 < sum(one.number for one in value.parts or (value,)) < _SHORTEST:
        name = declaration.name.rpartition("/")[2]
        message = f"{name}: dashes shorter than {_SHORTEST} are not supported by this server"
        raise source.refusal(declaration.position, message)
    _check_size(source, declaration, known, value)
    if known.type == "unsigned" and value.kind == "float":
        return str(max(int(value.number + 0.5), 0)), False
    if value.kind == "float":
        return value.text.rstrip("%"), False
    needs_row = value.kind == "field" or any(fields(value.text))
    if needs_row and known.attribute not in _BY_ROW:
        raise _unsupported(source, declaration, f"{declaration.name} by row")
    if needs_row and known.symbolizer == "dot" and known.type == "float":
        return f"max(min({value.text},{_LARGEST_DOT}),0)", True
    simple = known.type == "color" and _COLUMN.fullmatch(value.text)
    return (f"[{COLOR}{simple.group(1)}]" if simple else value.text), needs_row


def _check_size(source: Source, declaration: Declaration, known: Property, value: Value) -> None:
    """Refuse numbers that would take too long to draw."""
    most = _SMOOTHEST if known.attribute == "smooth" else _LARGEST
    if any(abs(one.number) > most for one in value.parts or (value,)):
        name = declaration.name.rpartition("/")[2]
        raise source.refusal(declaration.position, f"{name}: numbers above {most} are not supported by this server")
