"""Notebooks as pages: they lie beside docs/, and Sphinx reads what lies in it."""

from __future__ import annotations

import shutil
from pathlib import Path

from sphinx.application import Sphinx
from sphinx.config import Config

_INDEX = """# Notebooks

Each notebook runs offline, on an embedded server. The outputs are stored in the repository and checked by the tests.

```{{toctree}}
:maxdepth: 1

{}
```
"""


def copy(app: Sphinx, config: Config) -> None:
    """Copy the notebooks into docs/notebooks, with links that lead to pages, and list them."""
    source, target = Path(app.srcdir).parent / "notebooks", Path(app.srcdir) / "notebooks"
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir()
    notebooks = sorted(source.glob("*.ipynb"))
    for notebook in notebooks:
        (target / notebook.name).write_text(notebook.read_text().replace("](../docs/", "](../"))
    (target / "index.md").write_text(_INDEX.format("\n".join(notebook.stem for notebook in notebooks)))


def setup(app: Sphinx) -> dict[str, bool]:
    """Copy before Sphinx looks which pages there are."""
    app.connect("config-inited", copy)
    return {"parallel_read_safe": True}
