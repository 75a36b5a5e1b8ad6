"""Tables of docs/errors.md, generated from the classes and the table in ``cartoframes_lite.errors``."""

from __future__ import annotations

import inspect
from collections.abc import Iterator

from generated import directive, table
from sphinx.application import Sphinx

from cartoframes_lite import errors


def _tree(cls: type[BaseException], depth: int = 0) -> Iterator[list[str]]:
    """Yield a row for a class and for each of its subclasses."""
    also = [base.__name__ for base in cls.__bases__ if not issubclass(base, (errors.CartoError, errors.CartoWarning))]
    docstring = inspect.getdoc(cls) or ""
    name = "&nbsp;" * (4 * depth) + f"{{py:exc}}`~cartoframes_lite.{cls.__name__}`"
    builtin = [f"`{base}`" for base in also if base not in ("Exception", "UserWarning")]
    yield [name, ", ".join(builtin), docstring.partition("\n")[0].replace("``", "`")]
    for below in cls.__subclasses__():
        if below.__name__ in errors.__all__:
            yield from _tree(below, depth + 1)


def exceptions() -> str:
    """Return the tree of exceptions."""
    return table(["class", "is also a", "meaning"], _tree(errors.CartoError))


def documented() -> str:
    """Return every class with its docstring."""
    every = "\n\n".join(f".. autoexception:: cartoframes_lite.{name}()" for name in errors.__all__)
    return f"```{{eval-rst}}\n{every}\n```"


def warnings() -> str:
    """Return the tree of warnings."""
    return table(["class", "is also a", "meaning"], _tree(errors.CartoWarning))


def statuses() -> str:
    """Return the class for each status and detail, and the advice that its message contains."""
    rows = [
        [str(status), f"`{detail}`" if detail else "", f"`{cls.__name__}`", _advice(cls)]
        for (status, detail), cls in errors._CLASSES.items()
    ]
    for name, status in (("500 and above", 500), ("any other", 418)):
        cls = errors.error_class(status, None)
        rows.append([name, "", f"`{cls.__name__}`", _advice(cls)])
    return table(["status", "`detail`", "class", "the message adds"], rows)


def _advice(cls: type[errors.APIError]) -> str:
    return errors._DENIED if cls is errors.PermissionDenied else errors._ADVICE.get(cls, "")


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the directives."""
    app.add_directive("errors-tree", directive(exceptions))
    app.add_directive("warnings-tree", directive(warnings))
    app.add_directive("errors-documented", directive(documented))
    app.add_directive("errors-of-answers", directive(statuses))
    return {"parallel_read_safe": True}
