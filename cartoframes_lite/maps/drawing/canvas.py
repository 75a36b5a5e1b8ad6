"""A picture under construction: a Matplotlib figure without axes, measured in pixels from the upper left corner."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from cartoframes_lite.maps.drawing.colors import RGBA, rgba
from cartoframes_lite.maps.drawing.fonts import drawable, families
from cartoframes_lite.maps.drawing.view import PictureView

if TYPE_CHECKING:
    from matplotlib.path import Path

Sides = tuple[float, float, float, float]  # left, upper, right, lower

_DPI = 100
POINTS_PER_PIXEL = 72 / _DPI


class Canvas:
    """A figure to which shapes, images and texts are added, each above those before it.

    Parameters
    ----------
    view : PictureView
    scale : float
        Pixels of the file for each pixel of the view.
    background : str
        CSS color.

    Raises
    ------
    ImportError
        If Matplotlib is not installed.
    """

    def __init__(self, view: PictureView, scale: float, background: str) -> None:
        try:
            from matplotlib.backends.backend_agg import FigureCanvasAgg
            from matplotlib.figure import Figure
            from matplotlib.transforms import Affine2D
        except ImportError as error:
            raise ImportError("drawing a map needs Matplotlib: pip install 'cartoframes_lite[maps]'") from error
        self.view, self.scale = view, scale
        size_inches = (view.width / _DPI, view.height / _DPI)
        self._figure = Figure(size_inches, dpi=_DPI * scale, facecolor=rgba(background), frameon=True)
        self._agg: Any = FigureCanvasAgg(self._figure)
        self._to_display = Affine2D().translate(0, -view.height).scale(scale, -scale)
        self._order = 0

    def add_box(
        self, left: float, upper: float, width: float, height: float, face: Any, *, radius: float = 0, edge: Any = None
    ) -> None:
        """Draw a rectangle, with round corners if `radius` is given."""
        from matplotlib.patches import FancyBboxPatch

        style = f"round,pad=0,rounding_size={radius}" if radius else "square,pad=0"
        self._add(
            FancyBboxPatch(
                (left, upper),
                width,
                height,
                boxstyle=style,
                facecolor=rgba(face),
                edgecolor="none" if edge is None else rgba(edge),
                linewidth=0 if edge is None else POINTS_PER_PIXEL,
                antialiased=bool(radius),
            )
        )

    def add_path(self, path: Path, *, face: Any = None, edge: Any = None, width_px: float = 0) -> None:
        """Fill and outline a path."""
        from matplotlib.patches import PathPatch

        self._add(
            PathPatch(
                path,
                facecolor="none" if face is None else rgba(face),
                edgecolor="none" if edge is None else rgba(edge),
                linewidth=width_px * POINTS_PER_PIXEL,
                joinstyle="round",
                capstyle="round",
            )
        )

    def add_collection(self, collection: Any) -> None:
        """Draw a collection whose coordinates are in pixels."""
        self._add(collection)

    def add_circles(self, centers: Any, diameters_px: Any, *, faces: Sequence[RGBA], **outlines: Any) -> None:
        """Draw circles of the given diameters and colors."""
        from matplotlib.collections import PathCollection
        from matplotlib.path import Path
        from matplotlib.transforms import Affine2D

        # Sizes of a PathCollection are areas in square points; the unit circle is two units wide.
        sizes = (np.asarray(diameters_px, float) * POINTS_PER_PIXEL / 2) ** 2
        # Agg moves collections of one color to whole pixels; with two colors, it does not.
        colors = [*faces, faces[-1]]
        circles = PathCollection([Path.unit_circle()], sizes=sizes, offsets=centers, facecolors=colors, **outlines)
        circles.set_offset_transform(self._to_display)
        circles.set_transform(Affine2D())
        self._place(circles)

    def add_image(self, image: bytes, sides: Sides | None = None) -> None:
        """Draw an image file between left, upper, right and lower side, in pixels. None: over the whole picture."""
        from PIL import Image

        with Image.open(io.BytesIO(image)) as opened:
            self.add_pixels(np.asarray(opened.convert("RGBA")), sides)

    def add_pixels(self, pixels: NDArray[np.uint8], sides: Sides | None = None) -> None:
        """Draw RGBA pixels in the same way; those of the file are theirs if the size is the same."""
        from matplotlib.image import FigureImage
        from PIL import Image

        corners = sides or (0, 0, self.view.width, self.view.height)
        left, upper, right, lower = (round(side * self.scale) for side in corners)
        size = (max(1, right - left), max(1, lower - upper))
        if pixels.shape[1::-1] != size:
            pixels = np.asarray(Image.fromarray(pixels).resize(size, Image.Resampling.LANCZOS))
        below = round(self.view.height * self.scale) - lower
        image = FigureImage(self._figure, offsetx=left, offsety=below, origin="upper")
        image.set_data(pixels)
        self._order += 1
        image.set_zorder(self._order)
        self._figure.images.append(image)

    def text_width(self, text: str, size_px: float, weight: str = "normal") -> float:
        """Return the width of a line of text in pixels."""
        from matplotlib.font_manager import FontProperties

        font = FontProperties(family=families(), size=size_px * POINTS_PER_PIXEL, weight=weight)
        width, _, _ = self._agg.get_renderer().get_text_width_height_descent(drawable(text), font, False)
        return float(width) / self.scale

    def add_text(
        self,
        x: float,
        y: float,
        text: str,
        color: Any,
        size_px: float,
        *,
        align: str = "left",
        weight: str = "normal",
        halo: tuple[Any, float] | None = None,
    ) -> None:
        """Write a line of text whose x-height is centered at y, with a halo of a color and a width."""
        from matplotlib.patheffects import withStroke

        written = self._figure.text(
            x,
            y,
            drawable(text),
            color=rgba(color),
            fontsize=size_px * POINTS_PER_PIXEL,
            fontfamily=families(),
            fontweight=weight,
            fontstyle="normal",
            fontvariant="normal",
            fontstretch="normal",
            ha=align,
            va="center_baseline",
            parse_math=False,
            usetex=False,
            antialiased=True,
            transform=self._to_display,
        )
        if halo:
            written.set_path_effects([withStroke(linewidth=halo[1] * POINTS_PER_PIXEL, foreground=rgba(halo[0]))])
        self._order += 1
        written.set_zorder(self._order)

    def to_png(self) -> bytes:
        """Return the picture as a PNG file."""
        buffer = io.BytesIO()
        self._agg.print_png(buffer, metadata={"Software": None})
        return buffer.getvalue()

    def _add(self, artist: Any) -> None:
        artist.set_transform(self._to_display)
        self._place(artist)

    def _place(self, artist: Any) -> None:
        self._order += 1
        artist.set_zorder(self._order)
        self._figure.add_artist(artist)
