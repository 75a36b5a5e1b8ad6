"""A directive whose content is Markdown that the package's own tables say."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from docutils import nodes
from sphinx.util.docutils import SphinxDirective


def directive(write: Callable[[], str]) -> type[SphinxDirective]:
    """Make a directive that stands for the Markdown that a function writes."""

    class Generated(SphinxDirective):
        def run(self) -> list[nodes.Node]:
            return self.parse_text_to_nodes(write())

    return Generated


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Write a table in Markdown."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", r"\|") for cell in line) + " |" for line in lines)
