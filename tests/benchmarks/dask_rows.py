"""Write and read rows with the workers of a Dask cluster, compared with one process and with the database alone. Linux.

    python -m tests.benchmarks.dask_rows [--rows 500000] [--workers 2] [--chunk-rows 125000] [--repeat 2]

The account has CARTO's time limit for statements, so that the publish of many rows runs as a batch job. One process
writes and reads the same rows from and into frames of the same size. The database alone receives the same rows as
prepared bytes, over direct connections, and publishes them with the same transactions. Take the ratios, which are
those of the best repeats: the first call of a process imports modules and takes memory from the system.

``busy`` is the processor time of all these processes, divided by the time and the number of cores.
"""

from __future__ import annotations

import argparse
import os
import resource
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import chain

import dask.dataframe as dd
import geopandas as gpd
import numpy as np
import pandas as pd
import psycopg
from distributed import Client, LocalCluster
from psycopg import sql

import cartoframes_lite as cfl
from cartoframes_lite._codec.copybinary import encode
from cartoframes_lite.dask.merged_parts import merge_large
from cartoframes_lite.write.columns import arrow_schema
from cartoframes_lite.write.plan import WritePlan, plan_new
from cartoframes_lite.write.prepare import prepare
from cartoframes_lite.write.spatial_indexes import MIN_ROWS, build_spatial_indexes
from cartoframes_lite.write.staged_sql import Parts, Staged
from cartoframes_lite.write.staging_sql import create_staging
from cartoframes_lite.write.statements import column_definitions
from cartoframes_lite.write.target import Destination
from tests.benchmarks.processor_time import ProcessorClock, ProcessorTime
from tests.benchmarks.server_process import server

STATEMENT_TIMEOUT_S = 25.0
CORES = len(os.sched_getaffinity(0))


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


def print_memory(client: Client, before: dict[str, float]) -> None:
    """Print the largest resident size of each worker, and how much of it is due to rows."""
    peaks = client.run(peak_mb)
    print("peak of each worker: " + ", ".join(f"{mb:.0f} MB (+{mb - before[name]:.0f})" for name, mb in peaks.items()))


@dataclass(frozen=True, slots=True)
class Stopwatch:
    """Measure calls, and print their time and the processor time of each process."""

    clock: ProcessorClock

    def __call__(self, what: str, rows: int, function: Callable[[], object]) -> float:
        """Return the duration of a call in seconds."""
        before, started = self.clock.read(), time.perf_counter()
        function()
        took_s = time.perf_counter() - started
        self._print(what, rows, took_s, self.clock.read() - before)
        return took_s

    @staticmethod
    def _print(what: str, rows: int, took_s: float, spent: ProcessorTime) -> None:
        print(
            f"{what:<40}{took_s:7.2f} s {rows / took_s:10,.0f} rows/s; a million rows: {spent.per_million(rows)};"
            f" busy {spent.total / took_s / CORES:.0%}",
            flush=True,
        )


@dataclass(frozen=True, slots=True)
class Slices:
    """The first rows of all, in slices."""

    rows: int
    step: int

    @property
    def sizes(self) -> dict[int, int]:
        """Number of rows of each slice, by its first row."""
        return {first: min(self.step, self.rows - first) for first in range(0, self.rows, self.step)}

    def partitions(self) -> dd.DataFrame:
        """Return a Dask frame of one partition per slice."""
        return dd.from_map(frame_of, list(self.sizes), list(self.sizes.values()), meta=frame_of(0, 0))

    def frames(self) -> Iterator[gpd.GeoDataFrame]:
        """Make the frames one after the other."""
        return (frame_of(first, rows) for first, rows in self.sizes.items())


def read_partitions(table: str, credentials: cfl.Credentials, rows: int, step: int) -> None:
    """Read a table with the workers."""
    read = cfl.dask.read_carto(table, credentials, chunk_rows=step)
    assert read.map_partitions(lambda frame: pd.Series([len(frame)])).compute().sum() == rows


def read_chunks(table: str, credentials: cfl.Credentials, rows: int, step: int) -> None:
    """Read a table with this process."""
    chunks = cfl.read_carto(table, credentials, chunksize=step, progress=False)
    assert sum(map(len, chunks)) == rows


class DatabaseAlone:
    """The same rows as prepared bytes, sent to PostgreSQL over direct connections."""

    def __init__(self, credentials: cfl.Credentials, dsn: str, slices: Slices) -> None:
        self._client, self._dsn, self._slices = cfl.Client(credentials), dsn, slices
        self._destination = Destination(self._client, "public", "bare")
        self._plan: WritePlan = plan_new("bare", prepare(frame_of(0, 1)).columns, cartodbfy=True)
        self._parts = [self._encoded([frame]) for frame in slices.frames()]
        self._whole = [self._encoded(slices.frames())]

    def _encoded(self, frames: Iterable[gpd.GeoDataFrame]) -> list[bytes]:
        payloads = chain.from_iterable(prepare(frame).payloads() for frame in frames)
        batches = (payload.record_batch() for payload in self._plan.staged_rows(payloads))
        return list(encode(batches, arrow_schema(self._plan.columns)))

    def create(self, names: Sequence[str], kind: str = "") -> list[Staged]:
        """Create empty staging tables; the first one has a sequence, as the parent of the others."""
        created = []
        for name in names:
            definition = column_definitions(self._plan.columns, with_sequence=name == names[0])
            request = create_staging("public", name, definition).replace("CREATE TABLE", f"CREATE {kind} TABLE", 1)
            (row,) = self._client.sql.send(request)["rows"]
            created.append(Staged(name, int(row["oid"]), 0, row["shape"]))
        return created

    def copy(self, tables: Sequence[str], connections: int) -> None:
        """Send the rows to one table, or the slices to a table each, over several connections at the same time."""

        def send(blocks: list[bytes], table: str) -> None:
            with psycopg.connect(self._dsn) as connection, connection.cursor() as cursor:
                statement = sql.SQL("COPY {} FROM STDIN WITH (FORMAT binary)").format(sql.Identifier("public", table))
                with cursor.copy(statement) as copy:
                    for block in blocks:
                        copy.write(block)

        with ThreadPoolExecutor(connections) as threads:
            list(threads.map(send, self._whole if len(tables) == 1 else self._parts, tables))

    def publish_parts(self, parent: Staged, parts: Sequence[Staged]) -> None:
        """Publish as a Dask write does."""
        counts = self._slices.sizes.values()
        suffixes = tuple(part.name.removeprefix(parent.name) for part in parts)
        contents = tuple((part.oid, rows) for part, rows in zip(parts, counts, strict=True))
        staged = Staged(parent.name, parent.oid, sum(counts), parent.shape)
        merged = merge_large(self._destination, self._plan, staged, Parts(suffixes, contents))
        assert merged == (staged.rows >= MIN_ROWS)
        self._client.sql.send(self._plan.publish("public", staged, None if merged else Parts(suffixes, contents)))

    def publish_whole(self, whole: Staged) -> None:
        """Build the indexes over two connections, and run the publishing transaction of ``to_carto``."""
        staged = Staged(whole.name, whole.oid, sum(self._slices.sizes.values()), whole.shape)
        build_spatial_indexes(self._destination, staged, self._plan.spatial_indexes)
        self._client.sql.send(self._plan.publish("public", staged))

    def drop(self, *names: str) -> None:
        """Drop tables."""
        self._client.sql.send(f"DROP TABLE IF EXISTS {', '.join(names)}")


def measure_database(watch: Stopwatch, alone: DatabaseAlone, slices: Slices) -> tuple[float, float]:
    """Return the seconds that the database alone takes for the write by workers, and for that by one process."""
    names = [f"bare_part_{number}_000000" for number in range(len(slices.sizes))]
    for connections in (1, 2):
        alone.create(names, "UNLOGGED")
        watch(f"COPY into unlogged tables, {connections} conn.", slices.rows, partial(alone.copy, names, connections))
        alone.drop(*names)
    whole, *_ = alone.create(["bare_part"])
    copied_s = watch("COPY into one table, 1 conn.", slices.rows, lambda: alone.copy(["bare_part"], 1))
    one_s = copied_s + watch("publish one table", slices.rows, lambda: alone.publish_whole(whole))
    alone.drop("bare")
    parent, *parts = alone.create(["bare_part", *names])
    copied_s = watch("COPY into tables of partitions, 2 conn.", slices.rows, lambda: alone.copy(names, 2))
    workers_s = copied_s + watch("publish partitions", slices.rows, lambda: alone.publish_parts(parent, parts))
    alone.drop("bare")
    return workers_s, one_s


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=500_000)
    parser.add_argument("--chunk-rows", type=int, default=125_000)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--repeat", type=int, default=2)
    options = parser.parse_args()
    rows, step = options.rows, options.chunk_rows
    slices = Slices(rows, step)
    with (
        server(statement_timeout_s=STATEMENT_TIMEOUT_S) as (credentials, dsn),
        LocalCluster(
            n_workers=options.workers, threads_per_worker=1, host="127.0.0.1", dashboard_address="127.0.0.1:0"
        ) as cluster,
        Client(cluster) as client,
    ):
        print(f"{rows:,} rows in partitions of {step:,}; {CORES} cores")
        watch = Stopwatch(ProcessorClock(dsn))
        client.run(frame_of, 0, 10)  # imports
        before = client.run(peak_mb)
        workers = f"{options.workers} workers"
        account = cfl.Client(credentials)

        def best(what: str, function: Callable[[], object], table: str = "") -> float:
            times = []
            for _ in range(options.repeat):
                if table:
                    account.sql.send(f"DROP TABLE IF EXISTS {table}")
                times.append(watch(what, rows, function))
            return min(times)

        write_s = best(f"write, {workers}", lambda: cfl.dask.to_carto(slices.partitions(), "many", credentials), "many")
        print_memory(client, before)
        read_s = best(f"read, {workers}", lambda: read_partitions("many", credentials, rows, step))
        print_memory(client, before)
        total = cfl.dask.read_carto("many", credentials).id.sum().compute()
        assert total == rows * (rows - 1) // 2, total
        write_one_s = best(
            "write, one process", lambda: cfl.to_carto(slices.frames(), "one", credentials, progress=False), "one"
        )
        read_one_s = best("read, one process", lambda: read_chunks("one", credentials, rows, step))
        alone = DatabaseAlone(credentials, dsn, slices)
        limit_s, limit_one_s = measure_database(watch, alone, slices)
    print(f"write: one process / {workers} = {write_one_s / write_s:.2f}")
    print(f"read: one process / {workers} = {read_one_s / read_s:.2f}")
    print(f"write: {workers} / database alone = {write_s / limit_s:.2f}")
    print(f"write: one process / database alone = {write_one_s / limit_one_s:.2f}")
    print(f"database alone: one table / a table per partition = {limit_one_s / limit_s:.2f}")


if __name__ == "__main__":
    main()
