"""Every recipe of the cookbook runs, and prints what the page says."""

from __future__ import annotations

import contextlib
import io
import re
from pathlib import Path

import pytest

import cartoframes_lite as cfl

PAGE = Path(__file__).parents[1] / "docs/cookbook.md"
RECIPES = {recipe.partition("\n")[0]: recipe for recipe in re.split(r"^##? ", PAGE.read_text(), flags=re.MULTILINE)[1:]}
# A block of Python, and of the text that it prints, if that is shown.
BLOCKS = re.compile(r"```python\n(.*?)```(?:\n+```text\n(.*?)```)?", re.DOTALL)


@pytest.fixture(scope="module")
def names():
    """Give the names that the recipes define, one after the other."""
    defined: dict[str, object] = {}
    yield defined
    for server in (defined.get("ann"), defined.get("bob")):
        if server is not None:
            server.stop()
    cfl.set_default_credentials(None)


@pytest.mark.parametrize("title", RECIPES)
def test_recipe(title, names):
    blocks = BLOCKS.findall(RECIPES[title])
    assert blocks, f"{title} shows no code"
    for code, shown in blocks:
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            exec(compile(code, f"{PAGE.name}: {title}", "exec"), names)
        if shown:
            assert printed.getvalue() == shown
