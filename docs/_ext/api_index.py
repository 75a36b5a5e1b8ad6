"""Directive ``api-index``: the public names by page of docs/api, each with the first line of its docstring."""

from __future__ import annotations

import inspect
import re
from pathlib import Path

from generated import directive, table
from sphinx.application import Sphinx
from sphinx.errors import ExtensionError

import cartoframes_lite as cfl

_PAGES = Path(__file__).parents[1] / "api"
_ORDER = re.compile(r"^```{toctree}\n(?::.*\n)*\n(.*?)```", re.MULTILINE | re.DOTALL)
_TITLE = re.compile(r"^# (.*)$", re.MULTILINE)
_DOCUMENTED = re.compile(r"^\.\. auto(?:function|class|exception):: ([\w.]+)", re.MULTILINE)
_ROLES = {True: "py:class", False: "py:func"}
_OTHER_PAGES = ("errors", "dask", "local")  # a generated list; names of other modules


def index() -> str:
    """Return the tables in Markdown; raise ExtensionError if a public name is on none of the pages."""
    public = {name for name in cfl.__all__ if name[0] != "_"}
    listed, parts = set(cfl.errors.__all__), []
    order = _ORDER.search((_PAGES / "index.md").read_text())
    for page in (_PAGES / f"{name}.md" for name in (order[1].split() if order else ())):
        found = [name.removeprefix("cartoframes_lite.") for name in _DOCUMENTED.findall(page.read_text())]
        names = [name for name in found if name in public]
        title = _TITLE.search(page.read_text())
        if names and title and page.stem not in _OTHER_PAGES:
            listed.update(names)
            rows = [[_link(name), _summary(name)] for name in dict.fromkeys(names)]
            parts.append(f"**[{title[1]}]({page.name})**\n\n{table(['name', ''], rows)}")
    modules = {name for name in public if inspect.ismodule(getattr(cfl, name))}
    missing = sorted(public - listed - modules)
    if missing:
        raise ExtensionError(f"public names without a place in docs/api: {', '.join(missing)}")
    return "\n\n".join(parts)


def _link(name: str) -> str:
    role = _ROLES[inspect.isclass(getattr(cfl, name))]
    return f"{{{role}}}`~cartoframes_lite.{name}`"


def _summary(name: str) -> str:
    docstring = inspect.getdoc(getattr(cfl, name)) or ""
    return docstring.partition("\n\n")[0].replace("\n", " ").replace("``", "`")


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the directive."""
    app.add_directive("api-index", directive(index))
    return {"parallel_read_safe": True}
