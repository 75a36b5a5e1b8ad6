from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path
from types import ModuleType

import cartoframes_lite as cfl
from cartoframes_lite import errors

ROOT = Path(__file__).parents[1]


def test_all_public_names_are_listed():
    public = {
        name for name, value in vars(cfl).items() if not name.startswith("_") and not isinstance(value, ModuleType)
    }
    public.discard("annotations")
    assert public == set(cfl.__all__)
    assert cfl.__all__ == sorted(cfl.__all__)


def test_importing_has_no_side_effects():
    script = (
        "import sys, socket, logging\n"
        "socket.socket.connect = lambda *_: sys.exit('it connects')\n"
        "import pandas, cartoframes_lite\n"
        "assert not logging.getLogger('cartoframes_lite').handlers\n"
        "assert 'cartoframes_lite.local' not in sys.modules\n"
        "assert hasattr(pandas.DataFrame, 'carto')\n"
    )
    subprocess.run([sys.executable, "-c", script], check=True)


def test_the_embedded_server_is_imported_lazily():
    assert callable(cfl.local.start)


def test_the_package_version_is_that_of_the_project():
    project = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text())["project"]
    assert cfl.__version__ == project["version"]


def test_the_api_pages_list_all_public_names():
    pages = "".join(page.read_text() for page in (ROOT / "docs/api").glob("*.md"))
    described = set(re.findall(r"^\.\. auto\w+:: (?:[\w.]+\.)?(\w+)", pages, re.MULTILINE))
    assert set(cfl.__all__) - described - set(errors.__all__) == set()  # the page of errors lists all there are
