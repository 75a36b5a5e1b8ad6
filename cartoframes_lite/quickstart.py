"""Quickstart: write real data to a local CARTO server, join it there, read the result, and make a map of it."""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.resources import as_file, files
from pathlib import Path
from typing import Literal

import geopandas as gpd
import numpy as np
import pandas as pd
from pyproj import Geod

import cartoframes_lite as cfl

_NEAR_M = 100_000
_CITIES = f"""
SELECT cities.name, count(DISTINCT (storms.season, storms.name)) AS hurricanes, cities.the_geom
  FROM cities
  JOIN storms ON category >= 1 AND ST_DWithin(cities.the_geom::geography, storms.the_geom::geography, {_NEAR_M})
 GROUP BY cities.cartodb_id
"""
_TRACKS = """
SELECT cartodb_id, name, season, wind_knots,
       ST_Transform(ST_MakeLine(the_geom, lead(the_geom) OVER track), 3857) AS the_geom_webmercator
  FROM storms
WINDOW track AS (PARTITION BY season, name ORDER BY time)
 ORDER BY wind_knots
"""
_TITLE = "Tropical storms of the Atlantic, 2004 to 2022, and cities less than 100 km from a hurricane"
_BBOX = (-100.0, 8.0, -20.0, 50.0)
_PICTURE_PIXELS = 1100, 620


def main() -> int:
    """Run the quickstart; return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m cartoframes_lite", description=__doc__)
    parser.add_argument("--picture", type=Path, default=Path("quickstart.png"), help="path of the picture to write")
    parser.add_argument("--page", type=Path, default=Path("quickstart.html"), help="path of the page to write")
    parser.add_argument("--basemap", choices=("light", "dark"), default="light", help="theme of the map")
    arguments = parser.parse_args()
    storms, cities = _load_storms(), _load_cities()
    with _timed("started a local CARTO server (PostgreSQL + PostGIS)"):
        server = cfl.local.start()
    with server, cfl.set_default_credentials(server.credentials):
        print(f"  base URL: {server.base_url}\n")
        with _timed(f'to_carto(storms, "storms", lnglat=("longitude", "latitude")): {len(storms):,} rows'):
            cfl.to_carto(storms, "storms", lnglat=("longitude", "latitude"), progress=False)
        with _timed(f'to_carto(cities, "cities"): {len(cities):,} rows'):
            cfl.to_carto(cities, "cities", progress=False)
        with _timed("read_carto(query): cities near hurricanes, joined in SQL"):
            near = cfl.read_carto(_CITIES, progress=False)
        is_equal = _report(near, storms, cities)
        with _timed("made a map, as a page and as a picture"):
            shown = _map(near, arguments.basemap)
            shown.to_html(arguments.page, embed=True)
            shown.to_png(arguments.picture, *_PICTURE_PIXELS)
    print(f"\nThe map is {arguments.picture.resolve()}\nand, to open in a browser, {arguments.page.resolve()}")
    return 0 if is_equal else 1


def _load_storms() -> pd.DataFrame:
    """Read the positions of the storms, every six hours."""
    with as_file(files("cartoframes_lite") / "data" / "storms.csv.gz") as path:
        return pd.read_csv(path, parse_dates=["time"])


def _load_cities() -> gpd.GeoDataFrame:
    """Read the cities."""
    with as_file(files("cartoframes_lite") / "data" / "places.geojson") as path:
        return gpd.read_file(path)


@contextmanager
def _timed(what: str) -> Iterator[None]:
    """Print the time that the block takes."""
    started = time.perf_counter()
    yield
    print(f"{(time.perf_counter() - started) * 1000:7.0f} ms  {what}")


def _report(near: gpd.GeoDataFrame, storms: pd.DataFrame, cities: gpd.GeoDataFrame) -> bool:
    """Print the result; return whether distances computed by pyproj give the same numbers."""
    print(f"\nA {type(near).__name__} with {len(near)} rows in {near.crs}; the cities with the most hurricanes:\n")
    table = pd.DataFrame(near[["name", "hurricanes"]]).sort_values(["hurricanes", "name"], ascending=[False, True])
    print(table.head(5).to_string(index=False))
    counts = near.set_index("name")["hurricanes"].sort_index().to_dict()
    is_equal: bool = counts == _count_hurricanes(storms, cities)
    print(
        f"\n{sum(counts.values())} hurricanes near {len(counts)} cities, joined by PostGIS and compared with pyproj: ",
        end="",
    )
    print("the numbers agree.\n" if is_equal else "the numbers DIFFER.\n")
    return is_equal


def _count_hurricanes(storms: pd.DataFrame, cities: gpd.GeoDataFrame) -> dict[str, int]:
    """Count the hurricanes near each city without the server."""
    hurricanes = storms[storms["category"] >= 1]
    pairs = cities.assign(x=cities.geometry.x, y=cities.geometry.y)[["name", "x", "y"]].merge(
        hurricanes, how="cross", suffixes=("", "_of_storm")
    )
    _, _, meters = Geod(ellps="WGS84").inv(*(pairs[name].to_numpy() for name in ("x", "y", "longitude", "latitude")))
    near = pairs[np.asarray(meters) <= _NEAR_M].drop_duplicates(["name", "season", "name_of_storm"])
    return {str(name): int(count) for name, count in near.groupby("name").size().sort_index().items()}


def _map(near: gpd.GeoDataFrame, basemap: Literal["light", "dark"]) -> cfl.Map:
    """Compose the map: the tracks are on the server, the cities in the frame."""
    tracks = cfl.Layer(
        _TRACKS,
        color_by="wind_knots",
        scheme="user_defined",
        k=[33, 63, 95, 136],
        cmap="Sunset" if basemap == "light" else "Sunset_r",  # the strongest wind is visible on both
        opacity=0.8,
        hover=["name", "season", "wind_knots"],
        title="Wind in knots",
    )
    cities = cfl.Layer(near, size_by="hurricanes", popup=["name", "hurricanes"], title="Hurricanes near a city")
    return cfl.Map([tracks, cities], basemap=basemap, bbox=_BBOX, title=_TITLE)
