"""Colormaps by name, of lists of colors, and of matplotlib."""

from __future__ import annotations

import subprocess
import sys

import matplotlib as mpl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cartoframes_lite.maps.styling.colormaps import colormap_names, of_colors, resolve
from cartoframes_lite.maps.styling.themes import theme_colors

NAMES = [
    "Teal",
    "ag_GrnYl",
    "Geyser",
    "Bold",
    "YlGnBu",
    "RdBu",
    "Set1",
    "viridis",
    "coolwarm",
    "tab10",
    "cividis",
    "jet",
]


@pytest.mark.parametrize("name", NAMES)
def test_names_in_any_case_and_reversed(name):
    found = resolve(name)
    assert resolve(name.upper()) == resolve(name.lower()) == found
    assert resolve(f"{name}_r").colors == found.colors[::-1]
    assert resolve(f"{name}_r").classes(5)[0] == (found.reversed().classes(5)[0])
    assert all(len(color) == 7 and color == color.lower() for color in found.classes(5))


def test_all_names_are_colormaps():
    names = colormap_names()
    assert {"Teal", "Mint", "Safe", "RdYlGn", "Greys", "magma", "tab20"} <= set(names)
    for name in names:
        assert len(set(resolve(name).classes(5))) >= 4


@pytest.mark.parametrize("name", ["viridis", "YlGnBu", "RdBu", "coolwarm", "turbo", "gray"])
def test_colors_are_those_of_matplotlib(name):
    expected = [mpl.colors.to_hex(mpl.colormaps[name](place / 64)) for place in range(65)]
    for found, wanted in zip(resolve(name).colors, expected, strict=True):
        assert all(abs(int(found[i : i + 2], 16) - int(wanted[i : i + 2], 16)) <= 2 for i in (1, 3, 5))
    assert resolve(mpl.colormaps[name]).colors == tuple(expected)


def test_colorbrewer_and_carto_have_colors_for_each_number_of_classes():
    assert resolve("Reds").classes(3) == ("#fee0d2", "#fc9272", "#de2d26")
    assert resolve("Teal").classes(3) == ("#d1eeea", "#68abb8", "#2a5674")
    assert resolve("Teal").classes(7)[0] == "#d1eeea"


def test_lists_of_colors():
    assert resolve(["red", "#00f"]).classes(2) == ("#ff0000", "#0000ff")
    assert resolve(["red", "#00f"]).classes(3) == ("#ff0000", "#800080", "#0000ff")
    assert resolve(["rgb(1, 2, 3)"]).classes(4) == ("#010203",) * 4


@given(
    st.lists(st.integers(0, 0xFFFFFF).map(lambda number: f"#{number:06x}"), min_size=1, max_size=9),
    st.sampled_from(["sequential", "diverging", "qualitative"]),
    st.integers(1, 20),
)
def test_classes_have_a_color_each(colors, nature, n):
    found = of_colors(colors, nature)
    assert len(found.classes(n)) == n
    assert 1 <= len(found.categories(n)) <= n
    assert all(len(color) == 7 for color in found.classes(n))
    if nature != "qualitative" and n > 1:
        assert (found.classes(n)[0], found.classes(n)[-1]) == (colors[0], colors[-1])


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_default_colors_differ_from_the_background(theme):
    """The largest values have the strongest contrast, and no two classes look the same."""
    colors, background = theme_colors(theme), 20 if theme == "dark" else 245
    for colormap in (colors.sequential, colors.count, colors.heat):
        contrasts = [abs(brightness(color) - background) for color in colormap.classes(5)]
        assert contrasts == sorted(contrasts)
        assert contrasts[0] > 15
    diverging = [abs(brightness(color) - background) for color in colors.diverging.classes(5)]
    assert min(diverging) == diverging[2] > 10
    assert len(set(colors.qualitative.categories(8))) == 8


def brightness(color):
    red, green, blue = (int(color[place : place + 2], 16) for place in (1, 3, 5))
    return 0.299 * red + 0.587 * green + 0.114 * blue


def test_colormaps_are_loaded_only_when_they_are_named():
    code = "import sys, cartoframes_lite; print(*({'cmap', 'palettable', 'matplotlib'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""
