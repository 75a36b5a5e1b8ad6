"""Conversion of nested blocks to definitions with all their conditions, most specific first."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from cartoframes_lite.local.maps.cartocss.properties import REQUIRED
from cartoframes_lite.local.maps.cartocss.settings import background_of, setting_of
from cartoframes_lite.local.maps.cartocss.style import MAX_ZOOM, Definition, Setting, Style, StyleError
from cartoframes_lite.local.maps.cartocss.syntax import Block, Condition, Declaration, Selector, StyleSheet
from cartoframes_lite.local.maps.cartocss.values import Value, Values, quoted
from cartoframes_lite.local.maps.mapnik_library import is_expression

_FILTER_KEYWORDS: Final = {"true", "false", "null", "point", "linestring", "polygon", "collection"}
# Nested selectors multiply: twenty lines can expand to millions of rules, each with the conditions of its ancestors.
_MAX_RULES: Final = 5000
_MAX_PARTS: Final = 50_000  # declarations and conditions of all rules
_MAX_FILTERS: Final = 100  # per rule: the time in which Mapnik parses filters grows with the square of their number
_MAX_ERRORS: Final = 20
_ORDER_OPERATORS: Final = {"<", ">", "<=", ">="}


@dataclass(frozen=True, slots=True)
class _FlatBlock:
    """A block, with its selector merged with those of its ancestors."""

    selector: Selector
    declarations: tuple[Declaration, ...]

    @property
    def specificity(self) -> tuple[int, int, int, int]:
        """Sort key: of several blocks that set the same property, the one with the greatest key takes precedence."""
        ids = sum(element.startswith("#") for element in self.selector.elements)
        position = self.declarations[0].position if self.declarations else 0
        return ids, 0, len(self.selector.conditions), position


def resolve(source: StyleSheet, sheet: Block) -> Style:
    """Return the style of a parsed style sheet.

    Raises
    ------
    StyleError
        If the style sheet has errors; the message has one line per error.
    """
    variables: dict[str, Declaration] = {}
    for declaration in sheet.declarations:
        if not declaration.name.startswith("@"):
            code = f"Invalid code: {declaration.name}: {declaration.value};"
            raise source.error(declaration.position, code)
        variables.setdefault(declaration.name, declaration)
    evaluator = _Evaluator(source, variables)
    flat: list[_FlatBlock] = []
    parts = 0
    for one in (flat for block in sheet.blocks for flat in _flatten(block, Selector((), (), ""))):
        flat.append(one)
        parts += len(one.declarations) + len(one.selector.conditions) + len(one.selector.elements)
        if len(flat) > _MAX_RULES or parts > _MAX_PARTS:
            raise StyleError(f"{source.name}: more than {_MAX_RULES} rules are not supported by this server")
        if len(one.selector.conditions) > _MAX_FILTERS:
            message = f"more than {_MAX_FILTERS} filters of a rule are not supported by this server"
            raise source.error(one.selector.conditions[-1].position, message)
    background = evaluator.background(one for one in flat if "Map" in one.selector.elements)
    # Layers have no classes, so selectors with a class match nothing.
    matching = [one for one in flat if not any(element[0] in ".M" for element in one.selector.elements)]
    matching.sort(key=lambda one: one.specificity, reverse=True)
    converted = (evaluator.definition(one) for one in matching)
    definitions = tuple(dict.fromkeys(one for one in converted if one is not None))
    evaluator.check_required(definitions)
    evaluator.raise_errors()
    return Style(definitions, background)


def _flatten(block: Block, ancestor: Selector) -> Iterator[_FlatBlock]:
    """Yield a block and its descendants, once per selector."""
    for selector in block.selectors:
        names = [name for name in (ancestor.attachment, selector.attachment) if name]
        merged = Selector(
            ancestor.elements + selector.elements, ancestor.conditions + selector.conditions, "/".join(names)
        )
        yield _FlatBlock(merged, tuple(block.declarations))
        for inner in block.blocks:
            yield from _flatten(inner, merged)


class _Evaluator:
    """Evaluate conditions and declarations, and collect their errors."""

    def __init__(self, source: StyleSheet, variables: Mapping[str, Declaration]) -> None:
        self._source = source
        self._values = Values(source, variables)
        self.errors: dict[str, StyleError] = {}

    def _collect(self, error: StyleError) -> None:
        self.errors.setdefault(error.message, error)
        if len(self.errors) == _MAX_ERRORS:
            self.raise_errors()

    def raise_errors(self) -> None:
        """Raise the collected errors, if there are any."""
        if self.errors:
            raise StyleError("\n".join(self.errors))

    def background(self, maps: Iterator[_FlatBlock]) -> str | None:
        """Return the background color of the `Map` blocks; None if there is none."""
        color = None
        for declaration in (declaration for one in maps for declaration in one.declarations):
            try:
                color = background_of(self._source, declaration, self._value(declaration))
            except StyleError as error:
                self._collect(error)
        return color

    def definition(self, flat: _FlatBlock) -> Definition | None:
        """Convert a block to a definition; None if it has no settings or matches no zoom."""
        settings: list[Setting] = []
        for declaration in flat.declarations:
            try:
                setting = setting_of(self._source, declaration, self._value)
                settings += [setting] if setting else []
            except StyleError as error:
                self._collect(error)
        min_zoom, max_zoom, filters = 0, MAX_ZOOM, []
        for condition in flat.selector.conditions:
            try:
                if condition.key == "zoom":
                    low, high = self._zoom_range(condition)
                    min_zoom, max_zoom = max(min_zoom, low), min(max_zoom, high)
                else:
                    filters.append(self._filter(condition))
            except StyleError as error:
                self._collect(error)
        if not settings or min_zoom > max_zoom:
            return None
        return Definition(flat.selector.attachment, min_zoom, max_zoom, tuple(dict.fromkeys(filters)), tuple(settings))

    def _value(self, declaration: Declaration) -> Value:
        return self._values.of(declaration)

    def _condition_value(self, condition: Condition) -> Value:
        """Evaluate the value of a condition."""
        value = Declaration(condition.key, condition.value, condition.position, condition.value_position)
        return self._value(value)

    def _zoom_range(self, condition: Condition) -> tuple[int, int]:
        """Return the minimum and maximum zoom of a condition."""
        value = self._condition_value(condition)
        zoom = int(value.number)
        if value.kind != "float" or condition.operator in {"!=", "=~"}:
            raise self._source.error(
                condition.position, f'Cannot use operator "{condition.operator}" with value {condition.value}'
            )
        if not 0 <= zoom <= MAX_ZOOM:
            raise self._source.error(condition.position, f"Only zoom levels between 0 and {MAX_ZOOM} supported.")
        ranges = {
            "=": (zoom, zoom),
            ">": (zoom + 1, MAX_ZOOM),
            ">=": (zoom, MAX_ZOOM),
            "<": (0, zoom - 1),
            "<=": (0, zoom),
        }
        return ranges[condition.operator]

    def _filter(self, condition: Condition) -> str:
        """Convert a condition on an attribute to a Mapnik expression."""
        value = self._condition_value(condition)
        if value.kind == "keyword" and value.text not in _FILTER_KEYWORDS:
            message = f"{value.text} is not a valid keyword in a filter expression"
            raise self._source.error(condition.position, message)
        is_valid = {"=~": value.kind == "string", **dict.fromkeys(_ORDER_OPERATORS, value.kind in {"float", "field"})}
        if not is_valid.get(condition.operator, True):
            raise self._source.error(
                condition.position, f'Cannot use operator "{condition.operator}" with value {value.text}'
            )
        key = condition.key.strip("[]\"'")
        if key.startswith("@"):
            key = self._value(Declaration(key, key, condition.position, condition.position)).text.strip("[]")
        text = quoted(value.text) if value.kind == "string" else value.text
        expression = f"[{key}].match({text})" if condition.operator == "=~" else f"[{key}] {condition.operator} {text}"
        if not is_expression(expression):
            code = f"[{condition.key}{condition.operator}{condition.value}]"
            raise self._source.error(condition.position, f"Invalid code: {code}")
        return expression

    def check_required(self, definitions: tuple[Definition, ...]) -> None:
        """Collect an error for a symbolizer that lacks a required property."""
        present = {(one.attachment, setting.instance, setting.name) for one in definitions for setting in one.settings}
        for one in definitions:
            for setting in one.settings:
                for name in REQUIRED.get(setting.symbolizer, ()):
                    if (one.attachment, setting.instance, name) not in present:
                        message = f"Property {name} required for defining {setting.symbolizer} styles."
                        self._collect(self._source.error(setting.position, message))
                        return
