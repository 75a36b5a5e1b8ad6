"""Blocks in blocks, flattened: definitions with all their conditions, the most specific first."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from cartoframes_lite.local.maps.cartocss.properties import REQUIRED
from cartoframes_lite.local.maps.cartocss.settings import background_of, setting_of
from cartoframes_lite.local.maps.cartocss.style import MAX_ZOOM, Definition, Setting, Style, StyleError
from cartoframes_lite.local.maps.cartocss.syntax import Block, Condition, Declaration, Selector, Source
from cartoframes_lite.local.maps.cartocss.values import Value, Values, quoted
from cartoframes_lite.local.maps.mapnik_library import is_expression

_KEYWORDS: Final = {"true", "false", "null", "point", "linestring", "polygon", "collection"}
# Selectors in selectors multiply: twenty lines can stand for millions of rules, and each rule has what is around it.
_MOST: Final = 5000
_MOST_PARTS: Final = 50_000  # declarations and conditions of all rules
_MOST_FILTERS: Final = 100  # of a rule: Mapnik takes the square of it to read them
_ENOUGH: Final = 20
_NUMERIC: Final = {"<", ">", "<=", ">="}


@dataclass(frozen=True, slots=True)
class _Flat:
    """A block with the selectors of all blocks around it."""

    selector: Selector
    declarations: tuple[Declaration, ...]

    @property
    def specificity(self) -> tuple[int, int, int, int]:
        """What decides between two that set the same property: the greater one wins."""
        ids = sum(element.startswith("#") for element in self.selector.elements)
        position = self.declarations[0].position if self.declarations else 0
        return ids, 0, len(self.selector.conditions), position


def styled(source: Source, sheet: Block) -> Style:
    """Return what a sheet says of its layer.

    Raises
    ------
    StyleError
        With one line for each thing that is wrong.
    """
    variables: dict[str, Declaration] = {}
    for declaration in sheet.declarations:
        if not declaration.name.startswith("@"):
            code = f"Invalid code: {declaration.name}: {declaration.value};"
            raise source.refusal(declaration.position, code)
        variables.setdefault(declaration.name, declaration)
    reading = _Reading(source, variables)
    flat: list[_Flat] = []
    parts = 0
    for one in (flat for block in sheet.blocks for flat in _flattened(block, Selector((), (), ""))):
        flat.append(one)
        parts += len(one.declarations) + len(one.selector.conditions) + len(one.selector.elements)
        if len(flat) > _MOST or parts > _MOST_PARTS:
            raise StyleError(f"{source.name}: more than {_MOST} rules are not supported by this server")
        if len(one.selector.conditions) > _MOST_FILTERS:
            message = f"more than {_MOST_FILTERS} filters of a rule are not supported by this server"
            raise source.refusal(one.selector.conditions[-1].position, message)
    background = reading.background(one for one in flat if "Map" in one.selector.elements)
    # No layer of a map has a class, so what is for a class is for none.
    ours = [one for one in flat if not any(element[0] in ".M" for element in one.selector.elements)]
    ours.sort(key=lambda one: one.specificity, reverse=True)
    found = (reading.definition(one) for one in ours)
    definitions = tuple(dict.fromkeys(one for one in found if one is not None))
    reading.check_required(definitions)
    reading.stop()
    return Style(definitions, background)


def _flattened(block: Block, around: Selector) -> Iterator[_Flat]:
    """Yield a block and those inside it, once for each of its selectors."""
    for selector in block.selectors:
        names = [name for name in (around.attachment, selector.attachment) if name]
        merged = Selector(around.elements + selector.elements, around.conditions + selector.conditions, "/".join(names))
        yield _Flat(merged, tuple(block.declarations))
        for inner in block.blocks:
            yield from _flattened(inner, merged)


class _Reading:
    """Evaluates conditions and declarations, and collects what is wrong with them."""

    def __init__(self, source: Source, variables: Mapping[str, Declaration]) -> None:
        self._source = source
        self._values = Values(source, variables)
        self.refusals: dict[str, StyleError] = {}

    def _refuse(self, refusal: StyleError) -> None:
        self.refusals.setdefault(refusal.message, refusal)
        if len(self.refusals) == _ENOUGH:
            self.stop()

    def stop(self) -> None:
        """Raise what is wrong, if anything is."""
        if self.refusals:
            raise StyleError("\n".join(self.refusals))

    def background(self, maps: Iterator[_Flat]) -> str | None:
        """Return the color that `Map` gives."""
        color = None
        for declaration in (declaration for one in maps for declaration in one.declarations):
            try:
                color = background_of(self._source, declaration, self._value(declaration))
            except StyleError as refusal:
                self._refuse(refusal)
        return color

    def definition(self, flat: _Flat) -> Definition | None:
        """Return a block as a definition, None if it says nothing or is for no zoom."""
        settings: list[Setting] = []
        for declaration in flat.declarations:
            try:
                setting = setting_of(self._source, declaration, self._value)
                settings += [setting] if setting else []
            except StyleError as refusal:
                self._refuse(refusal)
        lowest, highest, filters = 0, MAX_ZOOM, []
        for condition in flat.selector.conditions:
            try:
                if condition.key == "zoom":
                    low, high = self._zooms(condition)
                    lowest, highest = max(lowest, low), min(highest, high)
                else:
                    filters.append(self._filter(condition))
            except StyleError as refusal:
                self._refuse(refusal)
        if not settings or lowest > highest:
            return None
        return Definition(flat.selector.attachment, lowest, highest, tuple(dict.fromkeys(filters)), tuple(settings))

    def _value(self, declaration: Declaration) -> Value:
        return self._values.of(declaration)

    def _compared(self, condition: Condition) -> Value:
        """Return the value of a condition."""
        value = Declaration(condition.key, condition.value, condition.position, condition.value_position)
        return self._value(value)

    def _zooms(self, condition: Condition) -> tuple[int, int]:
        """Return the lowest and the highest zoom of a condition."""
        value = self._compared(condition)
        zoom = int(value.number)
        if value.kind != "float" or condition.operator in {"!=", "=~"}:
            raise self._source.refusal(
                condition.position, f'Cannot use operator "{condition.operator}" with value {condition.value}'
            )
        if not 0 <= zoom <= MAX_ZOOM:
            raise self._source.refusal(condition.position, f"Only zoom levels between 0 and {MAX_ZOOM} supported.")
        ranges = {
            "=": (zoom, zoom),
            ">": (zoom + 1, MAX_ZOOM),
            ">=": (zoom, MAX_ZOOM),
            "<": (0, zoom - 1),
            "<=": (0, zoom),
        }
        return ranges[condition.operator]

    def _filter(self, condition: Condition) -> str:
        """Return a condition on an attribute as an expression of Mapnik."""
        value = self._compared(condition)
        if value.kind == "keyword" and value.text not in _KEYWORDS:
            message = f"{value.text} is not a valid keyword in a filter expression"
            raise self._source.refusal(condition.position, message)
        suits = {"=~": value.kind == "string", **dict.fromkeys(_NUMERIC, value.kind in {"float", "field"})}
        if not suits.get(condition.operator, True):
            raise self._source.refusal(
                condition.position, f'Cannot use operator "{condition.operator}" with value {value.text}'
            )
        key = condition.key.strip("[]\"'")
        if key.startswith("@"):
            key = self._value(Declaration(key, key, condition.position, condition.position)).text.strip("[]")
        text = quoted(value.text) if value.kind == "string" else value.text
        found = f"[{key}].match({text})" if condition.operator == "=~" else f"[{key}] {condition.operator} {text}"
        if not is_expression(found):
            code = f"[{condition.key}{condition.operator}{condition.value}]"
            raise self._source.refusal(condition.position, f"Invalid code: {code}")
        return found

    def check_required(self, definitions: tuple[Definition, ...]) -> None:
        """Refuse symbolizers that lack what CartoCSS requires of them."""
        present = {(one.attachment, setting.instance, setting.name) for one in definitions for setting in one.settings}
        for one in definitions:
            for setting in one.settings:
                for name in REQUIRED.get(setting.symbolizer, ()):
                    if (one.attachment, setting.instance, name) not in present:
                        message = f"Property {name} required for defining {setting.symbolizer} styles."
                        self._refuse(self._source.refusal(setting.position, message))
                        return
