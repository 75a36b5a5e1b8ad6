"""A layer's style in Mapnik's XML, for the combinations of definitions that its rows have."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final
from xml.etree import ElementTree

from cartoframes_lite.local.maps.cartocss import Definition, Symbolizer, symbolizers
from cartoframes_lite.local.maps.mapnik_library import faces

CASE: Final = "cartodb:case"
"""The attribute that says which combination of definitions a row has."""

SRS: Final = "epsg:3857"

_TAGS: Final = {
    "polygon": "PolygonSymbolizer",
    "line": "LineSymbolizer",
    "markers": "MarkersSymbolizer",
    "text": "TextSymbolizer",
    "dot": "DotSymbolizer",
}
_FALLBACK: Final = "DejaVu Sans Book"
_VARIANTS: Final = {
    ("bold", "italic"): "DejaVu Sans Bold Oblique",
    ("bold",): "DejaVu Sans Bold",
    ("italic",): "DejaVu Sans Oblique",
    ("light",): "DejaVu Sans ExtraLight",
}


class MapnikXML:
    """The document of one map: styles and layers, each layer over those before it."""

    def __init__(self) -> None:
        self._map = ElementTree.Element("Map", srs=SRS)
        self._fonts: dict[tuple[str, ...], str] = {}
        self._layers = 0

    def add(self, cases: Sequence[Sequence[Definition]], attachments: Sequence[str]) -> None:
        """Add a layer: its rows are of one of some cases, and of each case these definitions apply."""
        names = []
        for number, attachment in enumerate(attachments):
            name = f"layer{self._layers}-{number}"
            style = ElementTree.Element("Style", {"name": name, "filter-mode": "first"})
            for case, definitions in enumerate(cases):
                drawn = symbolizers([one for one in definitions if one.attachment == attachment])
                if drawn:
                    self._add_rule(style, case if len(cases) > 1 else None, drawn)
            if len(style):
                self._map.append(style)
                names.append(name)
        layer = ElementTree.SubElement(self._map, "Layer", name=f"layer{self._layers}", srs=SRS)
        for name in names:
            ElementTree.SubElement(layer, "StyleName").text = name
        self._layers += 1

    def _add_rule(self, style: ElementTree.Element, case: int | None, drawn: Sequence[Symbolizer]) -> None:
        """Add what is drawn for the rows of a case."""
        rule = ElementTree.SubElement(style, "Rule")
        if case is not None:
            ElementTree.SubElement(rule, "Filter").text = f"[{CASE}] = {case}"
        for one in drawn:
            attributes = dict(one.attributes)
            text = attributes.pop("name", None)
            if one.kind == "text":
                if text is None:
                    continue
                attributes["fontset-name"] = self._fontset(attributes.pop("face-name", "").split("\n"))
            ElementTree.SubElement(rule, _TAGS[one.kind], attributes).text = text

    def _fontset(self, wanted: Sequence[str]) -> str:
        """Return the name of a set of fonts that there are: the wanted ones, then one that is always there."""
        present = faces()
        chosen = tuple(dict.fromkeys(face if face in present else _like(face) for face in (*wanted, _FALLBACK)))
        if chosen not in self._fonts:
            self._fonts[chosen] = f"fonts{len(self._fonts)}"
            fonts = ElementTree.Element("FontSet", name=self._fonts[chosen])
            for face in chosen:
                ElementTree.SubElement(fonts, "Font", {"face-name": face})
            self._map.insert(0, fonts)
        return self._fonts[chosen]

    def __str__(self) -> str:
        return ElementTree.tostring(self._map, encoding="unicode")


def _like(face: str) -> str:
    """Return the font that is always there, in the weight and slope that the name of another one asks for."""
    name = face.lower().replace("oblique", "italic")
    return next((found for words, found in _VARIANTS.items() if all(word in name for word in words)), _FALLBACK)
