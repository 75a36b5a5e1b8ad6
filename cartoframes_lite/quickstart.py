"""Quickstart: write real data to a local CARTO server, run a spatial query there, and read its result."""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.resources import as_file, files
from pathlib import Path

import geopandas as gpd
import pandas as pd

import cartoframes_lite as cfl

_QUERY = """
SELECT countries.name, countries.continent, countries.pop_est, count(places.cartodb_id) AS cities,
       countries.the_geom
  FROM countries LEFT JOIN places ON ST_Contains(countries.the_geom, places.the_geom)
 GROUP BY countries.cartodb_id
"""


def main() -> int:
    """Run the quickstart; return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m cartoframes_lite", description=__doc__)
    parser.add_argument("--picture", type=Path, default=Path("quickstart.png"), help="path of the map to write")
    picture: Path = parser.parse_args().picture
    countries, places = _load("countries"), _load("places")
    with _timed("started a local CARTO server (PostgreSQL + PostGIS)"):
        server = cfl.local.start()
    with server, cfl.set_default_credentials(server.credentials):
        print(f"  base URL: {server.base_url}\n")
        for name, frame in (("countries", countries), ("places", places)):
            with _timed(f'to_carto(gdf, "{name}"): {len(frame)} rows'):
                cfl.to_carto(frame, name, progress=False)
        with _timed("read_carto(query): cities in each country, joined in SQL"):
            joined = cfl.read_carto(_QUERY, progress=False)
    is_equal = _report(joined, countries, places)
    _draw(joined, places, picture)
    print(f"\nThe map is {picture.resolve()}")
    return 0 if is_equal else 1


def _load(name: str) -> gpd.GeoDataFrame:
    """Read a data file of the package."""
    with as_file(files("cartoframes_lite") / "data" / f"{name}.geojson") as path:
        return gpd.read_file(path)


@contextmanager
def _timed(what: str) -> Iterator[None]:
    """Print the time that the block takes."""
    started = time.perf_counter()
    yield
    print(f"{(time.perf_counter() - started) * 1000:7.0f} ms  {what}")


def _report(joined: gpd.GeoDataFrame, countries: gpd.GeoDataFrame, places: gpd.GeoDataFrame) -> bool:
    """Print the result; return whether a spatial join in GeoPandas gives the same counts."""
    print(f"\nA {type(joined).__name__} with {len(joined)} rows in {joined.crs}; the countries with the most cities:\n")
    table = pd.DataFrame(joined.drop(columns="the_geom")).nlargest(5, "cities")
    print(table.to_string(index=False, formatters={"pop_est": "{:,.0f}".format}))
    expected = places.sjoin(countries, predicate="within").groupby("name_right").size()
    counts = joined.set_index("name")["cities"]
    is_equal: bool = counts[counts > 0].sort_index().to_dict() == expected.sort_index().to_dict()
    print(f"\n{counts.sum()} cities joined by PostGIS, {expected.sum()} by GeoPandas: ", end="")
    print("the numbers agree." if is_equal else "the numbers DIFFER.")
    return is_equal


def _draw(joined: gpd.GeoDataFrame, places: gpd.GeoDataFrame, picture: Path) -> None:
    """Write a map of the result to a PNG file."""
    import matplotlib as mpl

    mpl.use("agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(11, 5.6), layout="constrained")
    legend = {"label": "cities", "shrink": 0.6}
    joined.plot("cities", ax=axes, cmap="YlGnBu", edgecolor="white", linewidth=0.3, legend=True, legend_kwds=legend)
    places.plot(ax=axes, color="#d7301f", markersize=5)
    axes.set_axis_off()
    axes.set_title("Cities in each country: joined by PostGIS, read with read_carto")
    axes.annotate("Natural Earth, public domain", (0.01, 0.02), xycoords="axes fraction", fontsize=8, color="grey")
    figure.savefig(picture, dpi=110)
    plt.close(figure)
