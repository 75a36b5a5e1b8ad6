"""Execute notebooks in separate kernels, and normalize the output that changes with each run."""

from __future__ import annotations

import json
import re
from pathlib import Path

import nbformat
from nbformat import NotebookNode

from tests import kernels

FOLDER = Path(__file__).parents[2] / "notebooks"
# Browsers refuse to open port 1, so that a page that is kept never asks whatever listens on the reader's machine.
_NO_PORT = "127.0.0.1:1"
_PORT = re.compile(r"127\.0\.0\.1:\d+")
_CHANGING = re.compile(  # times, ids, and names of Dask's tasks
    r"Expr=\w+\(\w+\)|"
    r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC|datetime\.datetime\([\d, ]+|[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}"
)
_WIDGET = "application/vnd.jupyter.widget-view+json"
_PICTURE = re.compile(r"data:image/png;base64,[A-Za-z0-9+/=]+")


def read(path: Path) -> NotebookNode:
    """Read a notebook, and check that it is one."""
    notebook: NotebookNode = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    return notebook


def executed(path: Path, repository: Path) -> tuple[NotebookNode, str]:
    """Execute a notebook in a copy of the repository that has its data and nothing else.

    Returns
    -------
    tuple of (NotebookNode, str)
        With the outputs as they are kept; and the key of its server, which must not be in them.
    """
    folder = repository / FOLDER.name
    notebook = read(path)
    for cell in code_cells(notebook):
        cell.outputs, cell.execution_count = [], None
    notebook.cells.append(nbformat.v4.new_code_cell("print(server.credentials.api_key)"))
    settings = repository.with_name("settings")
    settings.mkdir()
    kernels.execute(notebook, folder, settings=settings, TQDM_DISABLE="1")
    key = notebook.cells.pop().outputs[0].text.strip()
    notebook.metadata.language_info = {"name": "python"}
    notebook.metadata.pop("widgets", None)  # progress bars, shown if the machine is slow
    for cell in code_cells(notebook):
        cell.outputs = [_settled(output) for output in cell.outputs if _WIDGET not in output.get("data", {})]
    return notebook, key


def save(notebook: NotebookNode, path: Path) -> None:
    """Store a notebook; keep stored outputs that differ only by times and ids."""
    for cell, kept in zip(code_cells(notebook), code_cells(read(path)), strict=True):
        if _lasting(cell) == _lasting(kept):
            cell.outputs = kept.outputs
    nbformat.validate(notebook)
    nbformat.write(notebook, path)


def code_cells(notebook: NotebookNode) -> list[NotebookNode]:
    """Return the cells with code."""
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def said(cell: NotebookNode) -> list[tuple[str, str]]:
    """Return the reproducible text of the output of a cell, and the types of its other outputs."""
    return [
        (output.name, output.text)
        if output.output_type == "stream"
        else (" ".join(sorted(output.data)), "" if "text/html" in output.data else output.data["text/plain"])
        for output in cell.outputs
    ]


def without_pictures(notebook: NotebookNode) -> str:
    """Return a notebook as JSON without images, whose bytes could match any text."""
    bare = nbformat.from_dict(notebook)
    for cell in code_cells(bare):
        for output in cell.outputs:
            output.get("data", {}).pop("image/png", None)
    return _PICTURE.sub("", nbformat.writes(bare))


def _lasting(cell: NotebookNode) -> str:
    """Return the outputs of a cell without the parts that change with each run."""
    return _CHANGING.sub("", json.dumps(cell.outputs, sort_keys=True))


def _settled(output: NotebookNode) -> NotebookNode:
    """Remove the port of the server, and the page of a map, which has no server later: its picture is kept."""
    holder = output.get("data", output)
    if "image/png" in holder:
        holder.pop("text/html", None)
    for kind, value in holder.items():
        if isinstance(value, str):
            holder[kind] = _PORT.sub(_NO_PORT, value)
    return output
