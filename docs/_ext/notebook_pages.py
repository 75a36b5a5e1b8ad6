"""Copy the notebooks into docs/, because Sphinx reads only files below its source directory."""

from __future__ import annotations

import shutil
from pathlib import Path

from sphinx.application import Sphinx
from sphinx.config import Config

_INDEX = """# Notebooks

Each notebook runs offline, on an embedded server, and begins with what you will see. These pages show pictures of the
maps; in Jupyter, choose *Run All Cells* to get maps that you can drag, zoom and click. Files that a notebook writes are
in the folder `output` beside it.

```{{toctree}}
:maxdepth: 1

{}
```
"""


def copy(app: Sphinx, config: Config) -> None:
    """Copy the notebooks to docs/notebooks, make their links relative to that folder, and write an index."""
    source, target = Path(app.srcdir).parent / "notebooks", Path(app.srcdir) / "notebooks"
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir()
    notebooks = sorted(source.glob("*.ipynb"))
    for notebook in notebooks:
        (target / notebook.name).write_text(notebook.read_text().replace("](../docs/", "](../"))
    (target / "index.md").write_text(_INDEX.format("\n".join(notebook.stem for notebook in notebooks)))


def setup(app: Sphinx) -> dict[str, bool]:
    """Copy the notebooks before Sphinx searches for pages."""
    app.connect("config-inited", copy)
    return {"parallel_read_safe": True}
