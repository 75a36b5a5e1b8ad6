"""Write and read tables of one kind of column each, and compare the times per byte.

    python -m tests.benchmarks.kinds [--megabytes 32] [--repeat 3] [NAME ...]

The bytes are those of the binary COPY that reads the table. Tables are written without ``cartodbfy``: spatial indexes
take time per geometry, not per byte. Each figure is the best of the repeats; take the ratios, not the seconds.
"""

from __future__ import annotations

import argparse
import datetime
import decimal
import math
from collections.abc import Callable
from typing import Any

import geopandas as gpd
import numpy as np
import pandas as pd
import shapely

import cartoframes_lite as cfl
from cartoframes_lite.maps.basemap.data import natural_earth
from tests.benchmarks.server_process import server
from tests.benchmarks.speed import best

_TABLE = "kinds"
_COLUMNS = 10
_SAMPLE_ROWS = 200
_MIN_POINTS = 500  # of a big polygon
_EARTH_WIDTH_M = 2 * math.pi * 6_378_137

Make = Callable[[int], pd.DataFrame]


def numbers(rows: int) -> np.ndarray[Any, Any]:
    """Return random numbers."""
    return np.random.default_rng(1).normal(size=rows)


def columns(values: Any, dtype: Any = None) -> pd.DataFrame:
    """Make a frame with ten columns of the same values: each row has costs of its own, too."""
    return pd.DataFrame({f"column_{number}": pd.Series(values, dtype=dtype) for number in range(_COLUMNS)})


def objects(make: Callable[[int], object], rows: int, dtype: Any = object) -> pd.DataFrame:
    """Make ten columns from a function of the row number."""
    return columns([make(row) for row in range(rows)], dtype)


def many_columns(rows: int) -> pd.DataFrame:
    """Make a frame with 200 columns: numbers, integers and texts."""
    kinds: list[Any] = [
        numbers(rows),
        np.arange(rows),
        pd.Series([f"text {row % 1000}" for row in range(rows)], dtype="str"),
    ]
    return pd.DataFrame({f"column_{number}": kinds[number % 3] for number in range(200)})


def nulls(rows: int) -> pd.DataFrame:
    """Make a frame with ten columns of different types without a value."""
    types = ["Int64", "Float64", "boolean", "str", "datetime64[us]"] * 2
    return pd.DataFrame(
        {f"column_{number}": pd.Series([None] * rows, dtype=dtype) for number, dtype in enumerate(types)}
    )


def points(rows: int) -> gpd.GeoDataFrame:
    """Make a frame of points."""
    return gpd.GeoDataFrame(geometry=gpd.points_from_xy(numbers(rows) * 40, numbers(rows)[::-1] * 20), crs=4326)


def big_polygons(rows: int) -> gpd.GeoDataFrame:
    """Repeat the larger polygons of Natural Earth's land at 1:10m, as they are in the offline basemap."""
    world = natural_earth()
    land, size = world.lines["land"], 2**world.bits
    coordinates = np.column_stack([land.x / size - 0.5, 0.5 - land.y / size]) * _EARTH_WIDTH_M
    rings = np.split(coordinates, np.cumsum(land.lengths)[:-1])
    polygons = gpd.GeoSeries([shapely.Polygon(ring) for ring in rings if len(ring) >= _MIN_POINTS], crs=3857).to_crs(
        4326
    )
    repeated = np.resize(polygons.to_numpy(), rows)
    return gpd.GeoDataFrame(geometry=repeated, crs=4326)


KINDS: dict[str, Make] = {
    "bigint": lambda rows: columns(np.arange(rows)),
    "float8": lambda rows: columns(numbers(rows)),
    "boolean": lambda rows: columns(numbers(rows) > 0),
    "numeric": lambda rows: objects(lambda row: decimal.Decimal(row) / 100, rows),
    "timestamp": lambda rows: columns(np.datetime64("2020-01-01", "us") + np.arange(rows).astype("m8[s]")),
    "date": lambda rows: objects(lambda row: datetime.date(2020, 1, 1 + row % 31), rows),
    "short text": lambda rows: objects("place number {}".format, rows, "str"),
    "text of 10 kB": lambda rows: objects(lambda row: f"{row} " * (10_000 // (len(str(row)) + 1)), rows, "str"),
    "bytea of 200 bytes": lambda rows: objects(lambda row: row.to_bytes(200, "little"), rows),
    "point": points,
    "polygon of 500 points or more": big_polygons,
    "array of 20 float8": lambda rows: objects(lambda row: [row + item / 7 for item in range(20)], rows),
    "array of 20 text": lambda rows: objects(lambda row: [f"item {row + item}" for item in range(20)], rows),
    "json": lambda rows: objects(lambda row: {"name": f"place {row}", "tags": ["a", "b"], "height": row / 7}, rows),
    "only NULL": nulls,
    "200 columns": many_columns,
}


class Measurement:
    """The measurements on one server."""

    def __init__(self, credentials: cfl.Credentials, repeat: int) -> None:
        self._credentials, self._repeat = credentials, repeat
        self._client = cfl.Client(credentials)

    def times(self, make: Make, size_bytes: float) -> tuple[int, float, float, float]:
        """Return the number of rows, the size in MB, and the seconds of a write and of a read."""
        self._write(make(_SAMPLE_ROWS))
        rows = max(_SAMPLE_ROWS, round(size_bytes / self._copy_bytes() * _SAMPLE_ROWS))
        frame = make(rows)
        write_s = best(lambda: self._write(frame), self._repeat)
        read_s = best(self._read, self._repeat)
        return rows, self._copy_bytes() / 1e6, write_s, read_s

    def _write(self, frame: pd.DataFrame) -> None:
        self._client.sql.send(f"DROP TABLE IF EXISTS {_TABLE}")
        cfl.to_carto(frame, _TABLE, self._credentials, cartodbfy=False, progress=False)

    def _read(self) -> pd.DataFrame:
        return cfl.read_carto(_TABLE, self._credentials, progress=False)

    def _copy_bytes(self) -> int:
        with self._client.copy.copy_to(f"COPY {_TABLE} TO STDOUT WITH (FORMAT binary)") as blocks:
            return sum(map(len, blocks))


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(KINDS)}")
    parser.add_argument("--megabytes", type=int, default=32)
    parser.add_argument("--repeat", type=int, default=3)
    options = parser.parse_args()
    with server() as (credentials, _):
        measurement = Measurement(credentials, options.repeat)
        found = {name: measurement.times(KINDS[name], options.megabytes * 1e6) for name in options.names or KINDS}
    least_write, least_read = (min(row[2 + at] / row[1] for row in found.values()) for at in range(2))
    print(f"{'kind':30} {'rows':>9} {'MB':>5} {'write s/100 MB':>15} {'ratio':>6} {'read s/100 MB':>14} {'ratio':>6}")
    for name, (rows, size_mb, write_s, read_s) in found.items():
        write, read = write_s / size_mb, read_s / size_mb
        print(
            f"{name:30} {rows:9,} {size_mb:5.0f} {100 * write:15.2f} {write / least_write:6.1f}"
            f" {100 * read:14.2f} {read / least_read:6.1f}"
        )


if __name__ == "__main__":
    main()
