"""The gallery: its examples run on an embedded server when the pages are built.

``gallery-example`` contains code that assigns a map to ``shown``. Its page displays the map as a file that needs no
server; ``gallery-thumbnails`` has a picture of each map. ``docs/gallery/set_up.py`` runs before the first example.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from html import escape
from pathlib import Path
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

_FOLDER = "gallery_files"
_HEIGHT_PIXELS = 460
_THUMBNAIL_PIXELS = 680, 425


class Example(SphinxDirective):
    """Show code and the map that it makes."""

    has_content = True

    def run(self) -> list[nodes.Node]:
        """Run the code and write the map."""
        code = "\n".join(self.content)
        name = Path(self.env.docname).name
        folder = Path(self.env.app.outdir) / _FOLDER
        folder.mkdir(parents=True, exist_ok=True)
        with _root_directory():
            names = dict(_set_up(self.env.app))
            exec(compile(code, self.env.docname, "exec"), names)
        names["shown"].to_html(folder / f"{name}.html", embed=True)
        names["shown"].to_png(folder / f"{name}.png", *_THUMBNAIL_PIXELS)
        frame = (
            f'<iframe class="gallery-map" src="../{_FOLDER}/{name}.html" title="{escape(name)}" loading="lazy"'
            f' height="{_HEIGHT_PIXELS}"></iframe>'
        )
        return [nodes.raw("", frame, format="html"), nodes.literal_block(code, code, language="python")]


class Thumbnails(SphinxDirective):
    """Show the map of each example as a picture with the title of its page: one name of a page in each line."""

    has_content = True

    def run(self) -> list[nodes.Node]:
        """Return the pictures, each a link to its page."""
        cards = [self._card(line.strip()) for line in self.content if line.strip()]
        return [nodes.raw("", f'<div class="gallery">{"".join(cards)}</div>', format="html")]

    def _card(self, name: str) -> str:
        page = Path(self.env.doc2path(f"gallery/{name}"))
        title = escape(page.read_text().partition("\n")[0].removeprefix("# "))
        width, height = _THUMBNAIL_PIXELS
        picture = f'<img src="../{_FOLDER}/{name}.png" width="{width}" height="{height}" alt="" loading="lazy">'
        return f'<a href="{name}.html">{picture}<span>{title}</span></a>'


def _set_up(app: Sphinx) -> dict[str, Any]:
    """Run the set-up once; return its names."""
    if not hasattr(app, "gallery_names"):
        path = Path(app.srcdir) / "gallery" / "set_up.py"
        names: dict[str, Any] = {}
        exec(compile(path.read_text(), str(path), "exec"), names)
        app.gallery_names = names
    result: dict[str, Any] = app.gallery_names
    return result


@contextmanager
def _root_directory() -> Iterator[None]:
    """Work in the root of the repository, as the paths in the examples do."""
    before = Path.cwd()
    os.chdir(Path(__file__).parents[2])
    try:
        yield
    finally:
        os.chdir(before)


def _stop(app: Sphinx, error: Exception | None) -> None:
    """Stop the embedded server."""
    if hasattr(app, "gallery_names"):
        app.gallery_names["server"].stop()


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the directives."""
    app.add_directive("gallery-example", Example)
    app.add_directive("gallery-thumbnails", Thumbnails)
    app.connect("build-finished", _stop)
    return {"parallel_read_safe": False}
