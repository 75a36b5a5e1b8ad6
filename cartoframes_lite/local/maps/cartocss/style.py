"""Parsed CartoCSS: definitions with filters and settings for Mapnik."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

MAX_ZOOM: Final = 25
COLOR: Final = "color of "
"""Prefix of the attributes whose value is that of a column as a valid Mapnik color."""

_FIELD = re.compile(r"\[([^\[\]]++)\]")


class StyleError(ValueError):
    """Invalid CartoCSS, or CartoCSS that this server does not support.

    Attributes
    ----------
    message : str
        Position and description, such as `style0:1:10 Unrecognized rule: marker-wid. Did you mean marker-width?`.
    """

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


@dataclass(frozen=True, slots=True)
class Setting:
    """A property with its value.

    Attributes
    ----------
    symbolizer : str
        Mapnik symbolizer: `polygon`, `line`, `markers`, `text` or `dot`.
    instance : str
        Name of the instance (`halo` in `halo/line-width`); empty for the default one.
    name : str
        The CartoCSS property.
    attribute, value : str
        Mapnik attribute and its value; of `face-name`, one font per line.
    position : int
        Offset in the text; symbolizers are drawn in this order.
    is_expression : bool
        Whether Mapnik evaluates the value for each row.
    """

    symbolizer: str
    instance: str
    name: str
    attribute: str
    value: str
    position: int
    is_expression: bool = False


@dataclass(frozen=True, slots=True)
class Definition:
    """Settings for the rows that pass all filters at the zooms from `min_zoom` to `max_zoom`."""

    attachment: str
    min_zoom: int
    max_zoom: int
    filters: tuple[str, ...]
    settings: tuple[Setting, ...]

    def applies(self, zoom: int) -> bool:
        """Return whether the definition applies to a zoom."""
        return self.min_zoom <= zoom <= self.max_zoom


@dataclass(frozen=True, slots=True)
class Symbolizer:
    """A Mapnik symbolizer: kind and attributes."""

    kind: str
    attributes: dict[str, str]


@dataclass(frozen=True, slots=True)
class Style:
    """The style of a layer.

    Attributes
    ----------
    definitions : tuple of Definition
        Most specific first; the first one that applies and has a property determines its value.
    background : str or None
        Background color; None for transparent.
    """

    definitions: tuple[Definition, ...]
    background: str | None = None

    @property
    def columns(self) -> frozenset[str]:
        """The columns that filters, labels and expressions use."""
        return frozenset(name.removeprefix(COLOR) for name in self.attributes)

    @property
    def attributes(self) -> frozenset[str]:
        """The attributes in expressions: columns, and columns with the prefix `COLOR`."""
        texts = [setting.value for one in self.definitions for setting in one.settings if setting.is_expression]
        texts += [text for one in self.definitions for text in one.filters]
        return frozenset(name for text in texts for name in fields(text))

    def at(self, zoom: float) -> Style:
        """Return the definitions for a zoom, rounded to the nearest integer."""
        nearest = min(max(int(zoom + 0.5), 0), MAX_ZOOM)
        return Style(tuple(one for one in self.definitions if one.applies(nearest)), self.background)

    @property
    def attachments(self) -> list[str]:
        """The names of the attachments, in drawing order."""
        first: dict[str, int] = {}
        for one in self.definitions:
            for setting in one.settings:
                first[one.attachment] = min(setting.position, first.get(one.attachment, setting.position))
        return sorted(first, key=lambda name: first[name])


def fields(expression: str) -> Iterator[str]:
    """Yield the columns in a Mapnik expression."""
    return (name for name in _FIELD.findall(expression) if not name.startswith("mapnik::"))


def symbolizers(definitions: Sequence[Definition]) -> list[Symbolizer]:
    """Return the symbolizers of definitions that all apply to a row, in drawing order."""
    settings = _cascaded(setting for one in definitions for setting in one.settings)
    order: dict[tuple[str, str], int] = {}
    for setting in settings:
        key = (setting.symbolizer, setting.instance)
        order[key] = min(setting.position, order.get(key, setting.position))
    return [
        Symbolizer(key[0], {one.attribute: one.value for one in settings if (one.symbolizer, one.instance) == key})
        for key in sorted(order, key=lambda key: order[key])
    ]


def _cascaded(settings: Iterable[Setting]) -> list[Setting]:
    """Keep the first setting of each property."""
    by_property: dict[tuple[str, str, str], Setting] = {}
    for one in settings:
        by_property.setdefault((one.symbolizer, one.instance, one.attribute), one)
    return list(by_property.values())
