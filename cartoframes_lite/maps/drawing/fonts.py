"""The font of pictures: that of Matplotlib, so that pictures are the same everywhere, and others for what it lacks."""

from __future__ import annotations

from functools import cache

_FONT = "DejaVu Sans"  # comes with Matplotlib; Latin, Greek, Cyrillic and more
# Fonts of operating systems with the scripts that it lacks.
_OTHERS = (
    *("Noto Sans CJK SC", "Noto Sans CJK JP", "Noto Sans Arabic", "Noto Sans Devanagari", "Noto Sans Thai"),
    *("PingFang SC", "Hiragino Sans", "Apple SD Gothic Neo", "Arial Unicode MS"),
    *("Microsoft YaHei", "Yu Gothic", "Malgun Gothic", "Nirmala UI"),
)
_UNKNOWN = "\u25a1"  # a square


@cache
def families() -> list[str]:
    """Return the names of the fonts, in the order in which characters are looked up."""
    from matplotlib.font_manager import fontManager

    installed = {font.name for font in fontManager.ttflist}
    return [_FONT, *(name for name in _OTHERS if name in installed)]


def drawable(text: str) -> str:
    """Return a text with a square for each character that no font has; Matplotlib would warn of them."""
    known = _characters()
    return "".join(character if ord(character) in known else _UNKNOWN for character in text)


@cache
def _characters() -> frozenset[int]:
    """Return the code points that the fonts have."""
    from matplotlib.font_manager import FontProperties, findfont, get_font

    fonts = (get_font(findfont(FontProperties(family=family))) for family in families())
    return frozenset(code for font in fonts for code in font.get_charmap())
