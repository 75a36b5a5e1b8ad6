"""Run the Python blocks of a documentation page one after the other, in the current directory."""

from __future__ import annotations

import contextlib
import doctest
import io
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cartoframes_lite.local import LocalCarto

ROOT = Path(__file__).parents[2]
# A block of Python, and of the text that it prints, if that is shown.
_BLOCKS = re.compile(r"^```python\n(.*?)^```(?:\n+```text\n(.*?)^```)?", re.DOTALL | re.MULTILINE)
_TEST_FILE = re.compile(r"# ((?:test_\w+|conftest)\.py)\n")


@dataclass(frozen=True)
class Block:
    """A block of Python on a page.

    If it begins with a comment such as ``# test_pipeline.py``, it is a file that pytest runs.
    """

    place: str
    code: str
    shown: str

    @property
    def file_name(self) -> str | None:
        """Name of the file to save the block as."""
        found = _TEST_FILE.match(self.code)
        return found[1] if found else None


def pages() -> list[Path]:
    """List the README and the pages in docs/ that contain Python blocks."""
    every = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
    return [path for path in every if blocks(path)]


def blocks(page: Path) -> list[Block]:
    """Find the blocks of a page."""
    text = page.read_text()
    return [
        Block(f"{page.relative_to(ROOT)}, line {text.count(chr(10), 0, found.start()) + 1}", found[1], found[2] or "")
        for found in _BLOCKS.finditer(text)
    ]


def run(page: Path) -> None:
    """Run all blocks of a page; raise AssertionError if the output of one differs from the page."""
    names: dict[str, Any] = {"__name__": "__main__"}
    try:
        for block in blocks(page):
            printed = _run_code(block, names) if block.file_name is None else _run_pytest(block)
            if block.shown:
                said = f"{block.place} prints\n{printed}and shows\n{block.shown}"
                assert doctest.OutputChecker().check_output(block.shown, printed, doctest.ELLIPSIS), said
    finally:
        for server in names.values():
            if isinstance(server, LocalCarto):
                server.stop()


def _run_code(block: Block, names: dict[str, Any]) -> str:
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(compile(block.code, block.place, "exec"), names)
    return printed.getvalue()


def _run_pytest(block: Block) -> str:
    """Save a file of tests and run it; a ``conftest.py`` is only saved."""
    path = Path(str(block.file_name))
    path.write_text(block.code)
    if path.name == "conftest.py":
        return ""
    # By its name, for its entry point is not there where the package is on the path and not installed.
    plugin = "cartoframes_lite.local.pytest_plugin"
    command = [sys.executable, "-m", "pytest", "-q", "-p", plugin, "-p", "no:cacheprovider", path.name]
    tests = subprocess.run(command, capture_output=True, text=True)
    assert tests.returncode == 0, f"{block.place}: {tests.stdout}{tests.stderr}"
    return tests.stdout
