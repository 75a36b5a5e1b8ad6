"""CSS colors as numbers."""

from __future__ import annotations

import re
from functools import lru_cache

_RGBA_FUNCTION = re.compile(r"rgba?\(([^()]*)\)")

RGBA = tuple[float, float, float, float]


@lru_cache(maxsize=1024)
def rgba(color: str, opacity: float = 1.0) -> RGBA:
    """Return red, green, blue and alpha of a CSS color, from 0 to 1.

    Raises
    ------
    ValueError
        If it is not a color.
    """
    from PIL import ImageColor

    if color.strip().lower() == "transparent":
        return 0.0, 0.0, 0.0, 0.0
    color = _RGBA_FUNCTION.sub(_integers, color.strip().lower())
    red, green, blue, *alpha = ImageColor.getrgb(color)
    return red / 255, green / 255, blue / 255, (alpha[0] / 255 if alpha else 1.0) * opacity


def _integers(match: re.Match[str]) -> str:
    """Return rgb() or rgba() with the alpha that Pillow expects: an integer up to 255."""
    *channels, last = match[1].replace("/", ",").split(",")
    if len(channels) < 3 or "%" in last:
        return match[0]
    return f"rgba({','.join(channels)},{round(float(last) * 255)})"
