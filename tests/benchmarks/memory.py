"""Peak memory of a chunked read of a large table, and of writing one frame. Linux only.

    python -m tests.benchmarks.memory [--rows 5000000] [--chunksize 50000] [--written-rows 1000000]

Prints by how much the resident memory of this process grows while it reads a tenth of the rows and all of them, and
while it writes a frame: into a new table, in place of the rows of a table, and behind them; from EPSG:4326 and from
another CRS, from which it is reprojected.
"""

from __future__ import annotations

import argparse
import gc
import re
from collections.abc import Callable
from functools import partial
from pathlib import Path

import geopandas as gpd
import numpy as np
import pandas as pd

import cartoframes_lite as cfl
from cartoframes_lite.write.options import IfExists
from tests.benchmarks.server_process import server

_QUERY = """
SELECT n AS id, 'place number ' || n AS name, n / 7.0::float8 AS height, n % 2 = 0 AS active,
       timestamp '2020-01-01' + n * interval '1 second' AS seen,
       ST_SetSRID(ST_MakePoint(n % 180, n % 90), 4326) AS the_geom
  FROM generate_series(1, {rows}) n
"""
_PROCESS = Path("/proc/self")
_RESET_PEAK = "5"


def resident_mb(counter: str) -> float:
    """Return the resident size, now (``VmRSS``) or at its peak (``VmHWM``)."""
    found = re.search(rf"{counter}:\s+(\d+) kB", (_PROCESS / "status").read_text())
    assert found is not None
    return int(found[1]) / 1024


def growth_mb(work: Callable[[], object]) -> float:
    """Return by how much the resident size grows while something runs."""
    gc.collect()
    (_PROCESS / "clear_refs").write_text(_RESET_PEAK)
    start = resident_mb("VmRSS")
    work()
    return resident_mb("VmHWM") - start


def frame_of(rows: int) -> gpd.GeoDataFrame:
    """Make a frame with integers, text, floats, times, points, and floats for a ``numeric`` column."""
    numbers = np.arange(rows)
    frame = pd.DataFrame(
        {
            "id": numbers,
            "name": pd.Series(numbers).map("place number {}".format),
            "height": numbers / 7.0,
            "price": numbers / 100.0,
            "seen": pd.Timestamp("2020-01-01") + pd.to_timedelta(numbers, unit="s"),
        }
    )
    return gpd.GeoDataFrame(frame, geometry=gpd.points_from_xy(numbers % 180, numbers % 90), crs=4326)


def read(credentials: cfl.Credentials, rows: int, chunksize: int) -> None:
    """Read rows in chunks and count them."""
    chunks = cfl.read_carto(_QUERY.format(rows=rows), credentials, chunksize=chunksize, progress=False)
    assert sum(len(chunk) for chunk in chunks) == rows


def write(credentials: cfl.Credentials, frame: gpd.GeoDataFrame, if_exists: IfExists) -> None:
    """Write a frame."""
    dtype = {"price": "numeric(12,2)"}
    cfl.to_carto(frame, "memory", credentials, if_exists=if_exists, dtype=dtype, progress=False)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=5_000_000)
    parser.add_argument("--chunksize", type=int, default=50_000)
    parser.add_argument("--written-rows", type=int, default=1_000_000)
    options = parser.parse_args()
    with server() as (credentials, _):
        for rows in (options.rows // 10, options.rows):
            grown_mb = growth_mb(partial(read, credentials, rows, options.chunksize))
            print(f"reading {rows:,} rows in chunks of {options.chunksize:,}: {grown_mb:.0f} MB")
        lon_lat = frame_of(options.written_rows)
        size_mb = lon_lat.memory_usage(deep=True).sum() / 2**20
        writes: list[tuple[gpd.GeoDataFrame, IfExists]] = [
            (lon_lat, "fail"),
            (lon_lat, "replace"),
            (lon_lat, "append"),
            (lon_lat.to_crs(3857), "replace"),
        ]
        for frame, if_exists in writes:
            grown_mb = growth_mb(partial(write, credentials, frame, if_exists))
            print(
                f"writing {len(frame):,} rows, {size_mb:.0f} MB in EPSG:{frame.crs.to_epsg()}, {if_exists=}:"
                f" {grown_mb:.0f} MB"
            )


if __name__ == "__main__":
    main()
