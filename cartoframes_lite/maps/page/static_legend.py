"""Legends as plain HTML, for places that remove scripts, iframes and style sheets."""

from __future__ import annotations

import re
import struct
import zlib
from base64 import b64encode
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from cartoframes_lite.maps.page.content import PageLayer

_HEX = re.compile(r"#[0-9a-fA-F]{6}")
_SWATCH_PIXELS, _GRADIENT_PIXELS = 12, 160
_PNG = b"\x89PNG\r\n\x1a\n"
_RGB = 2  # color type of PNG


def static_legend(layers: Sequence[PageLayer]) -> str:
    """Return the legends of the layers in lines, the top layer first; "" if there are none.

    They are no table, because notebooks have styles of their own for tables, such as white text.
    """
    lines = [line for layer in reversed(layers) for line in _layer_lines(layer, len(layers) > 1)]
    return "".join(lines) if any(layer.legends for layer in layers) else ""


def _layer_lines(layer: PageLayer, has_others: bool) -> list[str]:
    titles = [_heading(layer.title)] if has_others and layer.title else []
    return titles + [line for legend in layer.legends for line in _legend_lines(legend)]


def _legend_lines(legend: Mapping[str, Any]) -> list[str]:
    lines = [_heading(legend["title"])] if legend["title"] else []
    if legend["colors"]:
        limits = " &ndash; ".join(escape(str(limit)) for limit in legend["limits"])
        lines.append(_line(_swatch(legend["colors"], _GRADIENT_PIXELS), limits))
    for item in legend["items"]:
        width = round(item.get("size_px") or _SWATCH_PIXELS)
        lines.append(_line(_swatch([item["color"]], width), escape(item["label"])))
    return lines


def _heading(title: str) -> str:
    return f"<div><b>{escape(title)}</b></div>"


def _line(swatch: str, label: str) -> str:
    return f"<div>{swatch} {label}</div>"


def _swatch(colors: Sequence[str], width: int) -> str:
    """Return an image of one or more colors: it needs no style, which some sites remove."""
    if not all(_HEX.fullmatch(color) for color in colors):
        return f'<span style="color:{escape(colors[0])}">&#9632;</span>'
    source = b64encode(_png_row(colors)).decode()
    return f'<img src="data:image/png;base64,{source}" width="{width}" height="{_SWATCH_PIXELS}" alt="">'


def _png_row(colors: Sequence[str]) -> bytes:
    """Return a PNG that is one pixel high, with a pixel for each color."""
    pixels = b"".join(bytes.fromhex(color[1:]) for color in colors)
    header = struct.pack(">IIBBBBB", len(colors), 1, 8, _RGB, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(b"\0" + pixels)), (b"IEND", b""))
    return _PNG + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in chunks
    )
