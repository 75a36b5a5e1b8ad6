"""The properties of CartoCSS, and the Mapnik attributes of those that this server supports."""

from dataclasses import dataclass
from operator import itemgetter
from typing import Final


@dataclass(frozen=True, slots=True)
class Property:
    """A supported property: its symbolizer and attribute in Mapnik, and the type of its values."""

    symbolizer: str
    attribute: str
    type: str
    options: tuple[str, ...] = ()

    @property
    def expected(self) -> str:
        """Description of the type in error messages."""
        return f"keyword (options: {', '.join(self.options)})" if self.type == "keyword" else self.type


_COMPOSITIONS: Final = """
    clear src dst src-over dst-over src-in dst-in src-out dst-out src-atop dst-atop xor plus minus multiply divide
    screen overlay darken lighten color-dodge color-burn linear-dodge linear-burn hard-light soft-light difference
    exclusion contrast invert invert-rgb grain-merge grain-extract hue saturation color value
"""

COMPOSITION: Final = Property("*", "comp-op", "keyword", tuple(_COMPOSITIONS.split()))

PROPERTIES: Final[dict[str, Property]] = {
    "polygon-fill": Property("polygon", "fill", "color"),
    "polygon-opacity": Property("polygon", "fill-opacity", "float"),
    "polygon-gamma": Property("polygon", "gamma", "float"),
    "polygon-gamma-method": Property(
        "polygon", "gamma-method", "keyword", ("power", "linear", "none", "threshold", "multiply")
    ),
    "polygon-clip": Property("polygon", "clip", "boolean"),
    "polygon-simplify": Property("polygon", "simplify", "float"),
    "polygon-simplify-algorithm": Property(
        "polygon", "simplify-algorithm", "keyword", ("radial-distance", "zhao-saalfeld", "visvalingam-whyatt")
    ),
    "polygon-smooth": Property("polygon", "smooth", "float"),
    "line-color": Property("line", "stroke", "color"),
    "line-width": Property("line", "stroke-width", "float"),
    "line-opacity": Property("line", "stroke-opacity", "float"),
    "line-join": Property("line", "stroke-linejoin", "keyword", ("miter", "miter-revert", "round", "bevel")),
    "line-cap": Property("line", "stroke-linecap", "keyword", ("butt", "round", "square")),
    "line-gamma": Property("line", "stroke-gamma", "float"),
    "line-gamma-method": Property(
        "line", "stroke-gamma-method", "keyword", ("power", "linear", "none", "threshold", "multiply")
    ),
    "line-dasharray": Property("line", "stroke-dasharray", "numbers"),
    "line-dash-offset": Property("line", "stroke-dashoffset", "float"),
    "line-miterlimit": Property("line", "stroke-miterlimit", "float"),
    "line-clip": Property("line", "clip", "boolean"),
    "line-simplify": Property("line", "simplify", "float"),
    "line-simplify-algorithm": Property(
        "line", "simplify-algorithm", "keyword", ("radial-distance", "zhao-saalfeld", "visvalingam-whyatt")
    ),
    "line-smooth": Property("line", "smooth", "float"),
    "line-offset": Property("line", "offset", "float"),
    "line-rasterizer": Property("line", "rasterizer", "keyword", ("full", "fast")),
    "marker-opacity": Property("markers", "opacity", "float"),
    "marker-fill-opacity": Property("markers", "fill-opacity", "float"),
    "marker-line-color": Property("markers", "stroke", "color"),
    "marker-line-width": Property("markers", "stroke-width", "float"),
    "marker-line-opacity": Property("markers", "stroke-opacity", "float"),
    "marker-placement": Property(
        "markers", "placement", "keyword", ("point", "line", "interior", "vertex-first", "vertex-last")
    ),
    "marker-multi-policy": Property("markers", "multi-policy", "keyword", ("each", "whole", "largest")),
    "marker-type": Property("markers", "marker-type", "keyword", ("arrow", "ellipse")),
    "marker-width": Property("markers", "width", "float"),
    "marker-height": Property("markers", "height", "float"),
    "marker-fill": Property("markers", "fill", "color"),
    "marker-allow-overlap": Property("markers", "allow-overlap", "boolean"),
    "marker-avoid-edges": Property("markers", "avoid-edges", "boolean"),
    "marker-ignore-placement": Property("markers", "ignore-placement", "boolean"),
    "marker-spacing": Property("markers", "spacing", "float"),
    "marker-max-error": Property("markers", "max-error", "float"),
    "marker-clip": Property("markers", "clip", "boolean"),
    "marker-simplify": Property("markers", "simplify", "float"),
    "marker-simplify-algorithm": Property(
        "markers", "simplify-algorithm", "keyword", ("radial-distance", "zhao-saalfeld", "visvalingam-whyatt")
    ),
    "marker-smooth": Property("markers", "smooth", "float"),
    "marker-offset": Property("markers", "offset", "float"),
    "marker-direction": Property(
        "markers",
        "direction",
        "keyword",
        ("auto", "auto-down", "left", "right", "left-only", "right-only", "up", "down"),
    ),
    "text-name": Property("text", "name", "string"),
    "text-face-name": Property("text", "face-name", "string"),
    "text-size": Property("text", "size", "float"),
    "text-ratio": Property("text", "text-ratio", "unsigned"),
    "text-wrap-width": Property("text", "wrap-width", "unsigned"),
    "text-wrap-before": Property("text", "wrap-before", "boolean"),
    "text-wrap-character": Property("text", "wrap-character", "string"),
    "text-repeat-wrap-character": Property("text", "repeat-wrap-character", "boolean"),
    "text-spacing": Property("text", "spacing", "unsigned"),
    "text-character-spacing": Property("text", "character-spacing", "float"),
    "text-line-spacing": Property("text", "line-spacing", "float"),
    "text-label-position-tolerance": Property("text", "label-position-tolerance", "float"),
    "text-max-char-angle-delta": Property("text", "max-char-angle-delta", "float"),
    "text-fill": Property("text", "fill", "color"),
    "text-opacity": Property("text", "opacity", "float"),
    "text-halo-opacity": Property("text", "halo-opacity", "float"),
    "text-halo-fill": Property("text", "halo-fill", "color"),
    "text-halo-radius": Property("text", "halo-radius", "float"),
    "text-halo-rasterizer": Property("text", "halo-rasterizer", "keyword", ("full", "fast")),
    "text-dx": Property("text", "dx", "float"),
    "text-dy": Property("text", "dy", "float"),
    "text-vertical-alignment": Property("text", "vertical-alignment", "keyword", ("top", "middle", "bottom", "auto")),
    "text-avoid-edges": Property("text", "avoid-edges", "boolean"),
    "text-margin": Property("text", "margin", "float"),
    "text-repeat-distance": Property("text", "repeat-distance", "float"),
    "text-min-distance": Property("text", "minimum-distance", "float"),
    "text-min-padding": Property("text", "minimum-padding", "float"),
    "text-min-path-length": Property("text", "minimum-path-length", "float"),
    "text-allow-overlap": Property("text", "allow-overlap", "boolean"),
    "text-orientation": Property("text", "orientation", "float"),
    "text-rotate-displacement": Property("text", "rotate-displacement", "boolean"),
    "text-upright": Property(
        "text", "upright", "keyword", ("auto", "auto-down", "left", "right", "left-only", "right-only")
    ),
    "text-placement": Property("text", "placement", "keyword", ("point", "line", "vertex", "interior")),
    "text-transform": Property(
        "text", "text-transform", "keyword", ("none", "uppercase", "lowercase", "capitalize", "reverse")
    ),
    "text-horizontal-alignment": Property(
        "text", "horizontal-alignment", "keyword", ("left", "middle", "right", "auto", "adjust")
    ),
    "text-align": Property("text", "justify-alignment", "keyword", ("left", "right", "center", "auto")),
    "text-clip": Property("text", "clip", "boolean"),
    "text-simplify": Property("text", "simplify", "float"),
    "text-simplify-algorithm": Property(
        "text", "simplify-algorithm", "keyword", ("radial-distance", "zhao-saalfeld", "visvalingam-whyatt")
    ),
    "text-smooth": Property("text", "smooth", "float"),
    "text-largest-bbox-only": Property("text", "largest-bbox-only", "boolean"),
    "dot-fill": Property("dot", "fill", "color"),
    "dot-opacity": Property("dot", "opacity", "float"),
    "dot-width": Property("dot", "width", "float"),
    "dot-height": Property("dot", "height", "float"),
}

# Valid but unsupported properties, by prefix.
_UNSUPPORTED: Final = {
    "": """
        image-filters image-filters-inflate direct-image-filters comp-op opacity background-color
        background-image background-image-comp-op background-image-opacity srs buffer-size maximum-extent base
        font-directory
    """,
    "polygon-": """
        geometry-transform comp-op
    """,
    "line-": """
        geometry-transform comp-op
    """,
    "marker-": """
        file transform geometry-transform comp-op
    """,
    "shield-": """
        name file face-name unlock-image size fill placement avoid-edges allow-overlap margin repeat-distance
        min-distance spacing min-padding label-position-tolerance wrap-width wrap-before wrap-character
        halo-fill halo-radius halo-rasterizer halo-transform halo-comp-op halo-opacity character-spacing
        line-spacing text-dx text-dy dx dy opacity text-opacity horizontal-alignment vertical-alignment
        placement-type placements text-transform justify-alignment transform clip simplify simplify-algorithm
        smooth comp-op
    """,
    "line-pattern-": """
        file clip opacity simplify simplify-algorithm smooth offset geometry-transform transform comp-op
    """,
    "polygon-pattern-": """
        file alignment gamma opacity clip simplify simplify-algorithm smooth geometry-transform transform
        comp-op
    """,
    "raster-": """
        opacity filter-factor scaling mesh-size comp-op colorizer-default-mode colorizer-default-color
        colorizer-epsilon colorizer-stops
    """,
    "point-": """
        file allow-overlap ignore-placement opacity placement transform comp-op
    """,
    "text-": """
        halo-transform placement-type placements comp-op halo-comp-op font-feature-settings
    """,
    "building-": """
        fill fill-opacity height
    """,
    "debug-": """
        mode
    """,
    "dot-": """
        comp-op
    """,
}

NAMES: Final = (*PROPERTIES, *(prefix + name for prefix, names in _UNSUPPORTED.items() for name in names.split()))

REQUIRED: Final = {"text": ("text-name", "text-face-name")}
"""Required properties by symbolizer."""


def suggestion(name: str) -> str | None:
    """Return the property name closest to an unknown one; None if its edit distance is above 2."""
    # CARTO also has a property with an empty name, which is the closest to names of two letters.
    near = [known for known in ("", *NAMES) if abs(len(known) - len(name)) <= 2]
    distance, nearest = min(((_distance(name, known), known) for known in near), key=itemgetter(0), default=(3, ""))
    return nearest if distance <= 2 else None


def _distance(one: str, other: str) -> int:
    """Return the Levenshtein distance of two words."""
    row = list(range(len(other) + 1))
    for i, letter in enumerate(one, 1):
        corner, row[0] = row[0], i
        for j, known in enumerate(other, 1):
            corner, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, corner + (letter != known))
    return row[-1]
