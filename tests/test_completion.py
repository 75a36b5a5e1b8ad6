"""IPython completes the public names of modules and objects, with jedi and without."""

from __future__ import annotations

import subprocess
import sys
from importlib.util import find_spec

import geopandas
import pandas as pd
import pytest
from IPython.core.completer import IPCompleter, provisionalcompleter

import cartoframes_lite as cfl
import cartoframes_lite.dask
import cartoframes_lite.local

CREDENTIALS = cfl.Credentials("ann", "key")
NAMES = {
    "cfl": cfl,
    "df": pd.DataFrame({"a": [1]}),
    "gdf": geopandas.GeoDataFrame({"a": [1]}, geometry=geopandas.points_from_xy([1], [2]), crs=4326),
    "dataset": cfl.Dataset("stations", CREDENTIALS),
    "client": cfl.Client(CREDENTIALS),
}
NEEDS_JEDI = pytest.mark.skipif(find_spec("jedi") is None, reason="jedi is not installed")
EITHER_COMPLETER = pytest.mark.parametrize(
    "use_jedi", [pytest.param(True, marks=NEEDS_JEDI, id="jedi"), pytest.param(False, id="dir")]
)


def completions(text, use_jedi):
    completer = IPCompleter(namespace=NAMES, global_namespace={}, use_jedi=use_jedi, jedi_compute_type_timeout=0)
    completer.disable_matchers = ["IPCompleter.magic_matcher"]  # needs a running IPython
    with provisionalcompleter():
        return {found.text.lstrip(".") for found in completer.completions(text, len(text))}


def public_names(value):
    return {name for name in dir(value) if not name.startswith("_")}


def public_classes():
    return [value for name in cfl.__all__ if isinstance(value := getattr(cfl, name), type)]


@EITHER_COMPLETER
@pytest.mark.parametrize(
    ("text", "value"), [("df.carto.", NAMES["df"].carto), ("gdf.carto.", NAMES["gdf"].carto), ("dataset.", None)]
)
def test_objects_are_completed(text, value, use_jedi):
    expected = public_names(NAMES["dataset"] if value is None else value)
    assert {"map", "privacy", "sync"} <= expected
    assert completions(text, use_jedi) == expected


@NEEDS_JEDI  # without it, IPython does not complete the results of calls
@pytest.mark.parametrize("text", ['cfl.Dataset("x").', "gdf.carto.dataset."])
def test_results_of_calls_and_properties_are_completed(text):
    assert completions(text, use_jedi=True) == public_names(NAMES["dataset"])


@EITHER_COMPLETER
@pytest.mark.parametrize("kind", public_classes(), ids=lambda kind: kind.__name__)
def test_every_public_class_is_completed(kind, use_jedi):
    assert completions(f"cfl.{kind.__name__}.", use_jedi) >= public_names(kind)


@EITHER_COMPLETER
@pytest.mark.parametrize("service", sorted(public_names(NAMES["client"])))
def test_services_of_the_client_are_completed(service, use_jedi):
    expected = public_names(getattr(NAMES["client"], service))
    assert completions(f"client.{service}.", use_jedi) == expected - {"mro"}


@EITHER_COMPLETER
def test_modules_complete_public_names_only(use_jedi):
    assert completions("cfl.", use_jedi) == {*cfl.__all__, "dask", "local"}
    assert completions("cfl.local.", use_jedi) == set(cartoframes_lite.local.__all__)
    assert completions("cfl.dask.", use_jedi) == set(cartoframes_lite.dask.__all__)


@EITHER_COMPLETER
@pytest.mark.parametrize(
    ("text", "keywords"),
    [
        ('cfl.read_carto("x", ', {"where=", "bbox=", "limit="}),
        ('cfl.to_carto(df, "x", ', {"if_exists=", "privacy="}),
        ('gdf.carto.to_table("x", ', {"if_exists=", "privacy="}),
        ("dataset.map(", {"color_by=", "basemap="}),
        ("cfl.Layer(", {"color_by=", "size_by="}),
        ('cfl.Dataset.from_file("x", ', {"name=", "wait="}),
        ("cfl.local.start(", {"data_dir=", "port="}),
    ],
)
def test_keywords_of_calls_are_completed(text, keywords, use_jedi):
    assert completions(text, use_jedi) >= keywords


@EITHER_COMPLETER
def test_completion_imports_no_optional_dependencies(use_jedi):
    script = (
        "import sys\n"
        "from IPython.core.completer import IPCompleter, provisionalcompleter\n"
        "import cartoframes_lite as cfl\n"
        f"completer = IPCompleter(namespace={{'cfl': cfl}}, global_namespace={{}}, use_jedi={use_jedi})\n"
        "with provisionalcompleter():\n"
        "    found = {item.text: item.type for item in completer.completions('cfl.', 4)}\n"
        "assert any(name.endswith('dask') for name in found), found\n"
        "imported = {'dask', 'uvicorn', 'psycopg'} & set(sys.modules)\n"
        "assert not imported, imported\n"
    )
    subprocess.run([sys.executable, "-W", "ignore", "-c", script], check=True)
