"""What a parsed CartoCSS is: rules that Mapnik can draw, without a trace of the text that they came from."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

MAX_ZOOM: Final = 25
COLOR: Final = "color of "
"""What the name of an attribute begins with that is a column's value as a color that Mapnik can surely read."""

_FIELD = re.compile(r"\[([^\[\]]++)\]")


class StyleError(ValueError):
    """CartoCSS that cannot be drawn: it is invalid, or asks for what this server does not draw.

    Attributes
    ----------
    message : str
        What is wrong and where, as `style0:1:10 Unrecognized rule: marker-wid. Did you mean marker-width?`.
    """

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


@dataclass(frozen=True, slots=True)
class Setting:
    """One property with its value.

    Attributes
    ----------
    symbolizer : str
        What it belongs to: `polygon`, `line`, `markers`, `text` or `dot`.
    instance : str
        Which of several symbolizers of one kind (`halo/line-width`), empty for the usual one.
    name : str
        The property.
    attribute, value : str
        As Mapnik names and reads them; a line for each font.
    position : int
        Where it stands in the text: what comes first is drawn first.
    is_expression : bool
        Whether Mapnik has to compute the value for each row.
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
    """Settings for the rows that pass all filters at the zooms from `lowest` to `highest`."""

    attachment: str
    lowest: int
    highest: int
    filters: tuple[str, ...]
    settings: tuple[Setting, ...]

    def applies(self, zoom: int) -> bool:
        """Whether it is for a zoom."""
        return self.lowest <= zoom <= self.highest


@dataclass(frozen=True, slots=True)
class Symbolizer:
    """One thing that is drawn for a row: the attributes of one of Mapnik's symbolizers."""

    kind: str
    attributes: dict[str, str]


@dataclass(frozen=True, slots=True)
class Style:
    """What a layer looks like.

    Attributes
    ----------
    definitions : tuple of Definition
        The most specific first; of several that apply, the first one that has a property decides.
    background : str or None
        Color behind all rows, None for transparent.
    """

    definitions: tuple[Definition, ...]
    background: str | None = None

    @property
    def columns(self) -> frozenset[str]:
        """The attributes of a row that filters, labels and expressions look at."""
        return frozenset(name.removeprefix(COLOR) for name in self.attributes)

    @property
    def attributes(self) -> frozenset[str]:
        """The names in its expressions: columns, and columns as colors."""
        texts = [setting.value for one in self.definitions for setting in one.settings if setting.is_expression]
        texts += [text for one in self.definitions for text in one.filters]
        return frozenset(name for text in texts for name in fields(text))

    def at(self, zoom: float) -> Style:
        """Return what of it is for a zoom; between two zooms, for the nearer one."""
        near = min(max(int(zoom + 0.5), 0), MAX_ZOOM)
        return Style(tuple(one for one in self.definitions if one.applies(near)), self.background)

    @property
    def attachments(self) -> list[str]:
        """The names of what is drawn over each other, the lowest first."""
        first: dict[str, int] = {}
        for one in self.definitions:
            for setting in one.settings:
                first[one.attachment] = min(setting.position, first.get(one.attachment, setting.position))
        return sorted(first, key=lambda name: first[name])


def fields(expression: str) -> Iterator[str]:
    """Yield the columns that an expression of Mapnik names."""
    return (name for name in _FIELD.findall(expression) if not name.startswith("mapnik::"))


def symbolizers(definitions: Sequence[Definition]) -> list[Symbolizer]:
    """Return what definitions that all apply to a row draw together, the lowest first."""
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
    kept: dict[tuple[str, str, str], Setting] = {}
    for one in settings:
        kept.setdefault((one.symbolizer, one.instance, one.attribute), one)
    return list(kept.values())
