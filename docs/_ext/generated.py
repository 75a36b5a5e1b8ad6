"""Directives whose content is Markdown, generated from tables of the package."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from docutils import nodes
from sphinx.util.docutils import SphinxDirective


def directive(write: Callable[[], str]) -> type[SphinxDirective]:
    """Return a directive that is replaced by the Markdown that a function returns."""

    class Generated(SphinxDirective):
        def run(self) -> list[nodes.Node]:
            parsed = self.parse_text_to_nodes(write())
            for made in parsed:
                if isinstance(made, nodes.table):
                    made["classes"].append("whole-words")
            return parsed

    return Generated


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Format a table in Markdown."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", r"\|") for cell in line) + " |" for line in lines)
