"""Every Python block in the README and in docs/ runs, and prints the output on the page."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import cartoframes_lite as cfl
from tests.docs.documents import ROOT, pages, run


@pytest.fixture(autouse=True)
def _empty_directory(tmp_path, monkeypatch):
    """Work in an empty directory, as a user without settings."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("CARTO_API_URL", "CARTO_USERNAME", "CARTO_API_KEY", "XDG_CONFIG_HOME"):
        monkeypatch.delenv(name, raising=False)
    yield
    cfl.set_default_credentials(None)


@pytest.mark.parametrize("page", pages(), ids=lambda page: str(page.relative_to(ROOT)))
def test_the_python_blocks_of_a_page_run(page: Path):
    run(page)


def test_every_recipe_of_the_cookbook_has_code():
    recipes = re.split(r"^## ", (ROOT / "docs/cookbook.md").read_text(), flags=re.MULTILINE)[1:]
    assert [recipe.partition("\n")[0] for recipe in recipes if "```python\n" not in recipe] == []
