"""Mapnik XML of the styles of layers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final
from xml.etree import ElementTree

from cartoframes_lite.local.maps.cartocss import Definition, Symbolizer, symbolizers
from cartoframes_lite.local.maps.mapnik_library import faces

CASE: Final = "cartodb:case"
"""Attribute with the case of a row: the number of the combination of definitions that apply to it."""

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
    """The XML document of a map: styles and layers, from bottom to top."""

    def __init__(self) -> None:
        self._map = ElementTree.Element("Map", srs=SRS)
        self._fonts: dict[tuple[str, ...], str] = {}
        self._layers = 0

    def add(self, cases: Sequence[Sequence[Definition]], attachments: Sequence[str]) -> None:
        """Add a layer, with the definitions of each case."""
        names = []
        for number, attachment in enumerate(attachments):
            name = f"layer{self._layers}-{number}"
            style = ElementTree.Element("Style", {"name": name, "filter-mode": "first"})
            for case, definitions in enumerate(cases):
                applied = symbolizers([one for one in definitions if one.attachment == attachment])
                if applied:
                    self._add_rule(style, case if len(cases) > 1 else None, applied)
            if len(style):
                self._map.append(style)
                names.append(name)
        layer = ElementTree.SubElement(self._map, "Layer", name=f"layer{self._layers}", srs=SRS)
        for name in names:
            ElementTree.SubElement(layer, "StyleName").text = name
        self._layers += 1

    def _add_rule(self, style: ElementTree.Element, case: int | None, applied: Sequence[Symbolizer]) -> None:
        """Add the rule of a case; None for a layer with a single case."""
        rule = ElementTree.SubElement(style, "Rule")
        if case is not None:
            ElementTree.SubElement(rule, "Filter").text = f"[{CASE}] = {case}"
        for one in applied:
            attributes = dict(one.attributes)
            text = attributes.pop("name", None)
            if one.kind == "text":
                if text is None:
                    continue
                attributes["fontset-name"] = self._fontset(attributes.pop("face-name", "").split("\n"))
            ElementTree.SubElement(rule, _TAGS[one.kind], attributes).text = text

    def _fontset(self, requested: Sequence[str]) -> str:
        """Return the name of a FontSet: the requested fonts or similar ones, then the fallback font."""
        available = faces()
        chosen = tuple(
            dict.fromkeys(face if face in available else _fallback_variant(face) for face in (*requested, _FALLBACK))
        )
        if chosen not in self._fonts:
            self._fonts[chosen] = f"fonts{len(self._fonts)}"
            fonts = ElementTree.Element("FontSet", name=self._fonts[chosen])
            for face in chosen:
                ElementTree.SubElement(fonts, "Font", {"face-name": face})
            self._map.insert(0, fonts)
        return self._fonts[chosen]

    def __str__(self) -> str:
        return ElementTree.tostring(self._map, encoding="unicode")


def _fallback_variant(face: str) -> str:
    """Return the variant of the fallback font whose weight and slope match the name of a font."""
    name = face.lower().replace("oblique", "italic")
    return next((found for words, found in _VARIANTS.items() if all(word in name for word in words)), _FALLBACK)
