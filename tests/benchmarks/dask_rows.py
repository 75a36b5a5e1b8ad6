"""Write and read many rows with the workers of a Dask cluster, compared with one process.

    python -m tests.benchmarks.dask_rows [--rows 20000000] [--workers 2] [--chunk-rows 250000]

The account has CARTO's time limit for statements, so that the publish runs as a batch job. One process writes and reads
the same rows from and into frames of the same size, or a part of them with --one-process-rows. Take the ratios.
"""

from __future__ import annotations

import argparse
import resource
import time
from collections.abc import Iterator
from contextlib import contextmanager

import dask.dataframe as dd
import geopandas as gpd
import numpy as np
import pandas as pd
from distributed import Client, LocalCluster

import cartoframes_lite as cfl
from tests.benchmarks.server_process import server

STATEMENT_TIMEOUT_S = 25.0


def frame_of(first: int, rows: int) -> gpd.GeoDataFrame:
    """Make the frame that begins at a row: bigint, text, float8, bool, timestamp, point."""
    rng = np.random.default_rng(first)
    numbers = np.arange(first, first + rows)
    return gpd.GeoDataFrame(
        {
            "id": numbers,
            "name": pd.Series("place number " + pd.Series(numbers).astype(str), dtype="str"),
            "height": rng.normal(500, 200, rows),
            "active": rng.random(rows) > 0.5,
            "seen": np.datetime64("2020-01-01", "us") + rng.integers(0, 10**14, rows).astype("m8[us]"),
        },
        geometry=gpd.points_from_xy(rng.uniform(-180, 180, rows), rng.uniform(-80, 80, rows)),
        crs=4326,
    )


def peak_mb() -> float:
    """Return the largest resident size so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


@contextmanager
def timed(what: str, rows: int) -> Iterator[None]:
    """Print the duration and the rows per second."""
    started = time.perf_counter()
    yield
    took_s = time.perf_counter() - started
    print(f"{what:<28}{rows:>12,} rows {took_s:>8.1f} s {rows / took_s:>10,.0f} rows/s", flush=True)


def tell_memory(client: Client, before: dict[str, float]) -> None:
    """Print the largest resident size of each worker, and the share of rows."""
    peaks = client.run(peak_mb)
    print("peak of each worker: " + ", ".join(f"{mb:.0f} MB (+{mb - before[name]:.0f})" for name, mb in peaks.items()))


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=20_000_000)
    parser.add_argument("--chunk-rows", type=int, default=250_000)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--one-process-rows", type=int)
    options = parser.parse_args()
    rows, step = options.rows, options.chunk_rows
    firsts = list(range(0, rows, step))
    few = min(options.one_process_rows or rows, rows)
    with (
        server(statement_timeout_s=STATEMENT_TIMEOUT_S) as (credentials, _),
        LocalCluster(
            n_workers=options.workers, threads_per_worker=1, host="127.0.0.1", dashboard_address="127.0.0.1:0"
        ) as cluster,
        Client(cluster) as client,
    ):
        client.run(frame_of, 0, 10)  # imports
        before = client.run(peak_mb)
        frames = dd.from_map(frame_of, firsts, [min(step, rows - first) for first in firsts], meta=frame_of(0, 0))
        with timed(f"up, {options.workers} workers", rows):
            cfl.dask.to_carto(frames, "many", credentials)
        tell_memory(client, before)
        with timed(f"down, {options.workers} workers", rows):
            read = cfl.dask.read_carto("many", credentials, chunk_rows=step)
            print(f"{read.npartitions} partitions planned", flush=True)
            assert read.map_partitions(lambda frame: pd.Series([len(frame)])).compute().sum() == rows
        tell_memory(client, before)
        total = read.id.sum().compute()
        assert total == rows * (rows - 1) // 2, total
        with timed("up, one process", few):
            chunks = (frame_of(first, min(step, few - first)) for first in range(0, few, step))
            cfl.to_carto(chunks, "few", credentials, progress=False)
        with timed("down, one process", few):
            assert sum(len(f) for f in cfl.read_carto("few", credentials, chunksize=step, progress=False)) == few


if __name__ == "__main__":
    main()
