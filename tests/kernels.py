"""Jupyter kernels for tests: notebooks that run in one, and kernels that end."""

from __future__ import annotations

import os
from pathlib import Path

import nbformat
from jupyter_client.manager import KernelManager
from nbclient import NotebookClient
from nbformat import NotebookNode
from traitlets.config import Config

CELL_TIMEOUT_S = 120


def environment(folder: Path) -> dict[str, str]:
    """Return the environment of a kernel: no account, and no settings of Jupyter's user."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("CARTO_")}
    own = ("XDG_CONFIG_HOME", "IPYTHONDIR", "JUPYTER_CONFIG_DIR")
    return kept | {name: str(folder / f".{name.lower()}") for name in own}


def execute(notebook: NotebookNode, folder: Path, *, settings: Path, **variables: str) -> None:
    """Execute a notebook in a folder; its outputs are stored in it."""
    client = NotebookClient(
        notebook,
        timeout=CELL_TIMEOUT_S,
        record_timing=False,
        coalesce_streams=True,
        resources={"metadata": {"path": str(folder)}},
        config=Config({"KernelManager": _sockets(settings)}),
    )
    client.execute(env=environment(settings) | variables)


def outputs(source: str, folder: Path, **variables: str) -> list[NotebookNode]:
    """Execute code in the only cell of a notebook, and return its outputs."""
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source)])
    execute(notebook, folder, settings=folder, **variables)
    return list(notebook.cells[0].outputs)


def start(folder: Path) -> KernelManager:
    """Start a kernel."""
    manager = KernelManager(**_sockets(folder))
    manager.start_kernel(env=environment(folder))
    return manager


def _sockets(folder: Path) -> dict[str, str]:
    """Return where a kernel listens: on sockets in a folder, not on ports."""
    return {"transport": "ipc", "ip": str(folder / ".kernel")}
