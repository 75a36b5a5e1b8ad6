"""Colors of CartoCSS: their names, and functions that make one of another."""

from __future__ import annotations

import colorsys
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final

_NAMED: Final = """
aliceblue=f0f8ff antiquewhite=faebd7 aqua=00ffff aquamarine=7fffd4 azure=f0ffff beige=f5f5dc bisque=ffe4c4
black=000000 blanchedalmond=ffebcd blue=0000ff blueviolet=8a2be2 brown=a52a2a burlywood=deb887 cadetblue=5f9ea0
chartreuse=7fff00 chocolate=d2691e coral=ff7f50 cornflowerblue=6495ed cornsilk=fff8dc crimson=dc143c cyan=00ffff
darkblue=00008b darkcyan=008b8b darkgoldenrod=b8860b darkgray=a9a9a9 darkgreen=006400 darkgrey=a9a9a9
darkkhaki=bdb76b darkmagenta=8b008b darkolivegreen=556b2f darkorange=ff8c00 darkorchid=9932cc darkred=8b0000
darksalmon=e9967a darkseagreen=8fbc8f darkslateblue=483d8b darkslategrey=2f4f4f darkturquoise=00ced1
darkviolet=9400d3 deeppink=ff1493 deepskyblue=00bfff dimgray=696969 dimgrey=696969 dodgerblue=1e90ff
firebrick=b22222 floralwhite=fffaf0 forestgreen=228b22 fuchsia=ff00ff gainsboro=dcdcdc ghostwhite=f8f8ff
gold=ffd700 goldenrod=daa520 gray=808080 grey=808080 green=008000 greenyellow=adff2f honeydew=f0fff0
hotpink=ff69b4 indianred=cd5c5c indigo=4b0082 ivory=fffff0 khaki=f0e68c lavender=e6e6fa lavenderblush=fff0f5
lawngreen=7cfc00 lemonchiffon=fffacd lightblue=add8e6 lightcoral=f08080 lightcyan=e0ffff
lightgoldenrodyellow=fafad2 lightgray=d3d3d3 lightgreen=90ee90 lightgrey=d3d3d3 lightpink=ffb6c1
lightsalmon=ffa07a lightseagreen=20b2aa lightskyblue=87cefa lightslategray=778899 lightslategrey=778899
lightsteelblue=b0c4de lightyellow=ffffe0 lime=00ff00 limegreen=32cd32 linen=faf0e6 magenta=ff00ff maroon=800000
mediumaquamarine=66cdaa mediumblue=0000cd mediumorchid=ba55d3 mediumpurple=9370db mediumseagreen=3cb371
mediumslateblue=7b68ee mediumspringgreen=00fa9a mediumturquoise=48d1cc mediumvioletred=c71585
midnightblue=191970 mintcream=f5fffa mistyrose=ffe4e1 moccasin=ffe4b5 navajowhite=ffdead navy=000080
oldlace=fdf5e6 olive=808000 olivedrab=6b8e23 orange=ffa500 orangered=ff4500 orchid=da70d6 palegoldenrod=eee8aa
palegreen=98fb98 paleturquoise=afeeee palevioletred=db7093 papayawhip=ffefd5 peachpuff=ffdab9 peru=cd853f
pink=ffc0cb plum=dda0dd powderblue=b0e0e6 purple=800080 red=ff0000 rosybrown=bc8f8f royalblue=4169e1
saddlebrown=8b4513 salmon=fa8072 sandybrown=f4a460 seagreen=2e8b57 seashell=fff5ee sienna=a0522d silver=c0c0c0
skyblue=87ceeb slateblue=6a5acd slategray=708090 slategrey=708090 snow=fffafa springgreen=00ff7f
steelblue=4682b4 tan=d2b48c teal=008080 thistle=d8bfd8 tomato=ff6347 turquoise=40e0d0 violet=ee82ee wheat=f5deb3
white=ffffff whitesmoke=f5f5f5 yellow=ffff00 yellowgreen=9acd32
"""


@dataclass(frozen=True, slots=True)
class Color:
    """A color: red, green and blue from 0 to 255, opacity from 0 to 1."""

    red: float
    green: float
    blue: float
    alpha: float = 1

    def __str__(self) -> str:
        red, green, blue = (round(min(max(part, 0), 255)) for part in (self.red, self.green, self.blue))
        if self.alpha < 1:
            return f"rgba({red}, {green}, {blue}, {round(max(self.alpha, 0), 2):g})"
        return f"#{red:02x}{green:02x}{blue:02x}"

    @property
    def hsl(self) -> tuple[float, float, float]:
        """Hue, saturation and lightness, each from 0 to 1."""
        hue, lightness, saturation = colorsys.rgb_to_hls(self.red / 255, self.green / 255, self.blue / 255)
        return hue, saturation, lightness


def from_hex(digits: str) -> Color:
    """Return the color of three or six hexadecimal digits."""
    wide = digits if len(digits) == 6 else "".join(digit * 2 for digit in digits)
    return Color(int(wide[:2], 16), int(wide[2:4], 16), int(wide[4:], 16))


NAMES: Final = {
    "transparent": Color(0, 0, 0, 0),
    **{name: from_hex(digits) for name, digits in (pair.split("=") for pair in _NAMED.split())},
}


def _from_hsl(hue: float, saturation: float, lightness: float, alpha: float = 1) -> Color:
    """Return the color of a hue (1 is all round), a saturation and a lightness, both from 0 to 1."""
    saturation, lightness = (min(max(part, 0), 1) for part in (saturation, lightness))
    red, green, blue = colorsys.hls_to_rgb(hue % 1, lightness, saturation)
    return Color(red * 255, green * 255, blue * 255, alpha)


def _lighten(color: Color, percent: float) -> Color:
    hue, saturation, lightness = color.hsl
    return _from_hsl(hue, saturation, lightness + percent / 100, color.alpha)


def _saturate(color: Color, percent: float) -> Color:
    hue, saturation, lightness = color.hsl
    return _from_hsl(hue, saturation + percent / 100, lightness, color.alpha)


def _spin(color: Color, degrees: float) -> Color:
    hue, saturation, lightness = color.hsl
    return _from_hsl(hue + degrees / 360, saturation, lightness, color.alpha)


def _fade_in(color: Color, percent: float) -> Color:
    return replace(color, alpha=min(max(color.alpha + percent / 100, 0), 1))


def _mix(one: Color, other: Color, percent: float) -> Color:
    share = percent / 100
    pairs = ((one.red, other.red), (one.green, other.green), (one.blue, other.blue), (one.alpha, other.alpha))
    return Color(*(first * share + second * (1 - share) for first, second in pairs))


def _hsla(hue: float, saturation: float, lightness: float, alpha: float = 1) -> Color:
    return _from_hsl(hue / 360, saturation, lightness, alpha)


_NUMBER: Final = "float"
_COLOR: Final = "color"
_OF_ONE = (_COLOR, _NUMBER)

FUNCTIONS: Final[dict[str, tuple[Callable[..., Color], tuple[str, ...]]]] = {
    "rgb": (Color, (_NUMBER,) * 3),
    "rgba": (Color, (_NUMBER,) * 4),
    "hsl": (_hsla, (_NUMBER,) * 3),
    "hsla": (_hsla, (_NUMBER,) * 4),
    "lighten": (_lighten, _OF_ONE),
    "darken": (lambda color, percent: _lighten(color, -percent), _OF_ONE),
    "saturate": (_saturate, _OF_ONE),
    "desaturate": (lambda color, percent: _saturate(color, -percent), _OF_ONE),
    "fadein": (_fade_in, _OF_ONE),
    "fadeout": (lambda color, percent: _fade_in(color, -percent), _OF_ONE),
    "spin": (_spin, _OF_ONE),
    "mix": (_mix, (_COLOR, _COLOR, _NUMBER)),
}
"""By name: what makes the color, and of values of which kinds."""

SHARES: Final = {"rgb", "rgba", "hsl", "hsla"}
"""Functions that take a percentage for a share of 1; the others count in percent."""
