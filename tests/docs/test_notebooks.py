"""Every notebook runs and prints its stored output; stored notebooks contain no keys, paths or local names."""

from __future__ import annotations

import re
import shutil
import subprocess

import matplotlib.font_manager  # noqa: F401  # lists the fonts once, which a kernel would say in red
import pytest

import tests.docs.stored_notebooks as notebooks

NOTEBOOKS = sorted(notebooks.FOLDER.glob("*.ipynb"))
MOST_BYTES = 1_000_000
# Keys and tokens as URLs and pages have them; a server that others may have there; directories of a machine.
NOT_TO_BE_KEPT = re.compile(
    r"api_key=(?!'\*\*\*')|auth_token|cfl_(shown|saved)_|127\.0\.0\.1:(?!1\b)\d|(?<![\w.])/(tmp|home|root|Users)/"
)


@pytest.fixture
def repository(tmp_path):
    """A Git repository that ignores what this one ignores."""
    root = tmp_path / "repository"
    shutil.copytree(notebooks.FOLDER / "data", root / notebooks.FOLDER.name / "data")
    shutil.copy(notebooks.FOLDER.parent / ".gitignore", root)
    subprocess.run(["git", "init", "--quiet", root], check=True)
    subprocess.run(["git", "-C", root, "add", "."], check=True)
    return root


def changes(root):
    """Return what Git reports since the files were added."""
    command = ["git", "-C", root, "status", "--porcelain", "--untracked-files=all"]
    lines = subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()
    return [line for line in lines if not line.startswith("A  ")]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_the_notebook_gives_its_stored_output(path, repository, request):
    kept = notebooks.read(path)
    done, key = notebooks.executed(path, repository)
    cells = notebooks.code_cells(done)
    assert not [output for cell in cells for output in cell.outputs if output.get("name") == "stderr"]
    assert key
    assert key not in notebooks.without_pictures(done)
    assert changes(repository) == []
    if request.config.getoption("--refresh-notebooks"):
        notebooks.save(done, path)
    else:
        assert [notebooks.said(cell) for cell in cells] == [notebooks.said(cell) for cell in notebooks.code_cells(kept)]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_stored_notebooks_are_small_complete_and_without_secrets(path):
    kept = notebooks.read(path)
    assert path.stat().st_size < MOST_BYTES
    text = notebooks.without_pictures(kept)
    assert not NOT_TO_BE_KEPT.search(text)
    counts = [cell.execution_count for cell in notebooks.code_cells(kept)]
    assert counts == list(range(1, len(counts) + 1))
    assert any("image/png" in output.get("data", {}) for cell in notebooks.code_cells(kept) for output in cell.outputs)
    assert all(output.get("data", True) for cell in notebooks.code_cells(kept) for output in cell.outputs), "no bars"
    first = notebooks.code_cells(kept)[0].source
    assert "server = cfl.local.start()" in first, "a notebook runs without internet and account"
    assert not any("server.stop" in cell.source for cell in notebooks.code_cells(kept)), "its maps need the server"


@pytest.mark.parametrize(
    "text",
    [
        "http://127.0.0.1:1/x.png?api_key=abc",
        "Credentials(username='local', api_key='abc')",
        '{"auth_token": "abc"}',
        "named/cfl_shown_20260101_abc",
        "http://127.0.0.1:40123/user/local",
        "'/home/ann/storms.csv'",
    ],
)
def test_unstable_output_is_detected(text):
    assert NOT_TO_BE_KEPT.search(text)
