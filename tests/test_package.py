from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pandas as pd

import cartoframes_lite as cfl
from cartoframes_lite import errors

ROOT = Path(__file__).parents[1]


def test_type_checkers_see_all_public_names():
    tree = ast.parse(Path(cfl.__file__).read_text())
    (block,) = (node for node in tree.body if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING")
    imports = [node for node in block.body if isinstance(node, ast.ImportFrom)]
    seen = {alias.asname: node.module for node in imports for alias in node.names}
    assert {seen.pop(name) for name in ("dask", "local")} == {"cartoframes_lite"}
    assert seen == {name: f"cartoframes_lite.{module}" for name, module in cfl._MODULES.items()}


def test_all_public_names_can_be_imported():
    names: dict[str, object] = {}
    exec("from cartoframes_lite import *", names)
    assert set(cfl.__all__) <= set(names)
    assert cfl.__all__ == sorted(cfl.__all__)
    assert dir(cfl) == sorted([*cfl.__all__, "__version__", "dask", "local"])
    assert not hasattr(cfl, "nothing")


def test_the_package_imports_only_pandas():
    script = (
        "import sys, pandas; before = set(sys.modules)\n"
        "import cartoframes_lite\n"
        "print(*(name for name in set(sys.modules) - before if '.' not in name or name.startswith('cartoframes')))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["cartoframes_lite"]


def test_threads_may_import_all_names_at_once():
    script = """
import threading
from concurrent.futures import ThreadPoolExecutor
import pandas
import cartoframes_lite as cfl

begin = threading.Barrier(8)

def use(number):
    begin.wait()
    if number == 0:
        pandas.DataFrame.carto
    for name in cfl.__all__[::-1] if number % 2 else cfl.__all__:
        getattr(cfl, name)

with ThreadPoolExecutor(8) as pool:
    list(pool.map(use, range(8)))
"""
    subprocess.run([sys.executable, "-c", script], check=True)


def test_the_accessor_is_imported_at_its_first_use():
    script = (
        "import sys, pandas, cartoframes_lite\n"
        "frame = pandas.DataFrame({'carto': [1], 'n': [2]})\n"
        "assert 'carto' in dir(frame) and 'cartoframes_lite.accessor' not in sys.modules\n"
        "assert type(frame.carto) is pandas.DataFrame.carto is cartoframes_lite.CartoAccessor\n"
    )
    subprocess.run([sys.executable, "-W", "error", "-c", script], check=True)


def test_import_jobs_import_the_class_of_datasets(credentials: cfl.Credentials):
    cfl.to_carto(pd.DataFrame({"n": [1]}), "t", credentials)
    script = (
        "import sys, cartoframes_lite as cfl\n"
        "imports = cfl.Client().imports\n"
        "job = imports.wait(imports.create_from_table('t', 'u', cfl._client.imports.complete_options({})))\n"
        "assert 'cartoframes_lite.dataset' not in sys.modules\n"
        "assert job.dataset == cfl.Dataset('u', cfl.Client().credentials)\n"
    )
    account = {"CARTO_API_URL": str(credentials.base_url), "CARTO_API_KEY": str(credentials.api_key)}
    subprocess.run([sys.executable, "-c", script], env={**os.environ, **account}, check=True)


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
