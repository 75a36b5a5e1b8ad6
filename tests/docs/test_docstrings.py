"""Every example in a docstring runs, in an account with a table of stations, and prints its expected output."""

from __future__ import annotations

import doctest
import importlib
import pkgutil

import geopandas as gpd
import pytest

import cartoframes_lite as cfl

MODULES = [
    importlib.import_module(module.name)
    for module in pkgutil.walk_packages(cfl.__path__, "cartoframes_lite.")
    if not module.name.endswith("__main__")
]
EXAMPLES = {
    test.name: test
    for module in MODULES
    for test in doctest.DocTestFinder(exclude_empty=True).find(module)
    if test.examples
}


@pytest.fixture
def gdf(carto, tmp_path, monkeypatch):
    """Return the frame that examples call ``gdf``; it is the table ``stations`` of the default account."""
    monkeypatch.chdir(tmp_path)
    gdf = gpd.GeoDataFrame(
        {"name": ["North", "South", "Harbour"], "year": [1846, 1993, 2021]},
        geometry=gpd.points_from_xy([2.35, 2.36, 2.29], [48.88, 48.84, 48.86]),
        crs=4326,
    )
    cfl.set_default_credentials(carto.credentials)
    cfl.to_carto(gdf, "stations")
    yield gdf
    cfl.set_default_credentials(None)


@pytest.mark.parametrize("name", EXAMPLES)
def test_the_example_of_a_docstring_runs(name, gdf):
    test = EXAMPLES[name]
    test.globs = {"gdf": gdf, **vars(importlib.import_module(test.globs["__name__"]))}
    said: list[str] = []
    results = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS).run(test, out=said.append)
    assert results.failed == 0, "".join(said)


def test_no_example_is_skipped():
    skipped = [name for name, test in EXAMPLES.items() for example in test.examples if doctest.SKIP in example.options]
    assert skipped == []
