"""Write and read 300,000 rows, compared with the limits of the connection and with geopandas and PostgreSQL.

    python -m tests.benchmarks.speed [--rows 300000] [--repeat 5] [--only read]

Each figure is the best of the repeats, all in one run; take the ratios, not the seconds. The processor time is the mean
of the repeats.
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import time
from collections.abc import Callable
from typing import Any

import geopandas as gpd
import numpy as np
import pandas as pd
import sqlalchemy

import cartoframes_lite as cfl
from cartoframes_lite._codec.copybinary import encode
from cartoframes_lite.credentials import Credentials
from cartoframes_lite.write.columns import arrow_schema
from cartoframes_lite.write.plan import plan_new
from cartoframes_lite.write.prepare import prepare
from cartoframes_lite.write.statements import column_definitions, copy_in
from tests.benchmarks.processor_time import ProcessorClock, ProcessorTime
from tests.benchmarks.server_process import server


def frame_of(rows: int) -> gpd.GeoDataFrame:
    """Make the frame of the measurements: bigint, text, 2 x float8, bool, timestamp, text, point."""
    rng = np.random.default_rng(1)
    return gpd.GeoDataFrame(
        {
            "id": np.arange(rows),
            "name": pd.Series([f"place number {i}" for i in range(rows)], dtype="str"),
            "height": rng.normal(500, 200, rows),
            "weight": rng.normal(size=rows),
            "active": rng.random(rows) > 0.5,
            "seen": np.datetime64("2020-01-01", "us") + rng.integers(0, 10**14, rows).astype("m8[us]"),
            "note": pd.Series(["lorem ipsum dolor"[: i % 18] for i in range(rows)], dtype="str"),
        },
        geometry=gpd.points_from_xy(rng.uniform(-180, 180, rows), rng.uniform(-80, 80, rows)),
        crs=4326,
    )


def best(function: Callable[[], Any], repeat: int) -> float:
    """Return the shortest time in seconds; throwing the result away does not count."""
    return min(_durations(function, repeat))


def _durations(function: Callable[[], Any], repeat: int, notify: Callable[[], None] = lambda: None) -> list[float]:
    """Return the times of several calls; ``notify`` is called before and after each."""
    times = []
    for _ in range(repeat):
        gc.collect()
        notify()
        started = time.perf_counter()
        result = function()
        times.append(time.perf_counter() - started)
        notify()
        del result
    return times


class Timings:
    """Measure and print the shortest duration of a call, and its mean processor time."""

    def __init__(self, clock: ProcessorClock, repeat: int, rows: int) -> None:
        self._clock, self._repeat, self._rows = clock, repeat, rows

    def add(self, name: str, function: Callable[[], Any], *, repeat: int | None = None) -> float:
        """Return the shortest duration of a call in seconds."""
        readings: list[ProcessorTime] = []
        times = _durations(function, repeat or self._repeat, lambda: readings.append(self._clock.read()))
        spent = [after - before for before, after in zip(readings[::2], readings[1::2], strict=True)]
        each = sum(spent, ProcessorTime(0, 0, 0)) / len(spent)
        print(f"{name}: {min(times):.3f} s; for a million rows {each.per_million(self._rows)}")
        return min(times)


class Measurement:
    """The measurements on one server."""

    def __init__(self, credentials: Credentials, dsn: str, rows: int) -> None:
        self.frame, self.credentials = frame_of(rows), credentials
        self.client = cfl.Client(credentials)
        import psycopg

        self.engine = sqlalchemy.create_engine("postgresql+psycopg://", creator=lambda: psycopg.connect(dsn))
        prepared = prepare(self.frame)
        plan = plan_new("posted", prepared.columns, cartodbfy=True)
        batches = (payload.record_batch() for payload in plan.staged_rows(prepared.payloads()))
        self.columns = plan.columns
        self.binary = list(encode(batches, arrow_schema(plan.columns)))

    def drain(self) -> None:
        """Fetch the same binary COPY and discard it."""
        with self.client.copy.copy_to(self._copy) as blocks:
            self.size = sum(map(len, blocks))

    def drain_directly(self) -> None:
        """Fetch it with psycopg, without the server."""
        with (
            contextlib.closing(self.engine.raw_connection()) as connection,
            connection.cursor().copy(self._copy) as blocks,
        ):
            sum(map(len, blocks))

    @property
    def _copy(self) -> str:
        return (
            "COPY (SELECT '\\x0011223344556677'::bytea, cartodb_id, the_geom, id, name, height, weight, active, seen,"
            " note FROM ours) TO STDOUT WITH (FORMAT binary)"
        )

    def read(self) -> gpd.GeoDataFrame:
        """read_carto."""
        return cfl.read_carto("ours", self.credentials, progress=False)

    def read_postgis(self) -> gpd.GeoDataFrame:
        """GeoPandas, directly to PostgreSQL."""
        query = "SELECT cartodb_id, the_geom, id, name, height, weight, active, seen, note FROM ours"
        return gpd.read_postgis(query, self.engine, geom_col="the_geom")

    def post(self) -> None:
        """POST ready-made bytes into a table without key and indexes."""
        definitions = column_definitions(self.columns, with_sequence=True)
        self.client.sql.send(f"DROP TABLE IF EXISTS posted; CREATE TABLE posted ({definitions})")
        self.client.copy.copy_from(copy_in("posted"), lambda: iter(self.binary))

    def write(self) -> None:
        """to_carto."""
        self.client.sql.send("DROP TABLE IF EXISTS ours")
        cfl.to_carto(self.frame, "ours", self.credentials, progress=False)

    def write_plain(self) -> None:
        """to_carto of what geopandas writes, too: the columns of the frame and one spatial index."""
        self.client.sql.send("DROP TABLE IF EXISTS plain")
        cfl.to_carto(self.frame, "plain", self.credentials, cartodbfy=False, progress=False)
        self.client.sql.send("CREATE INDEX ON plain USING gist (the_geom)")

    def to_postgis(self) -> None:
        """Geopandas, straight to PostgreSQL."""
        self.frame.to_postgis("theirs", self.engine, if_exists="replace")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=300_000)
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--only", choices=("read", "write"))
    options = parser.parse_args()
    with server() as (credentials, dsn):
        run = Measurement(credentials, dsn, options.rows)
        timings = Timings(ProcessorClock(dsn), options.repeat, options.rows)
        if options.only != "write":
            run.write()
            print_reads(run, timings)
        if options.only != "read":
            print_writes(run, timings)
        run.engine.dispose()


def print_reads(run: Measurement, timings: Timings) -> None:
    """Measure reads, and print their ratios."""
    drain = timings.add("drain", run.drain)
    direct = timings.add("drain, directly from PostgreSQL", run.drain_directly)
    print(f"{len(run.frame):,} rows, {run.size / 1e6:.0f} MB of binary COPY")
    read = timings.add("read_carto", run.read)
    read_postgis = timings.add("geopandas.read_postgis", run.read_postgis, repeat=1)
    print(f"drain / the same directly from PostgreSQL = {drain / direct:.2f}")
    print(f"read_carto / drain = {read / drain:.2f} (at most 1.2)")
    print(f"read_postgis / read_carto = {read_postgis / read:.1f} (at least 5)")


def print_writes(run: Measurement, timings: Timings) -> None:
    """Measure writes, and print their ratios."""
    post = timings.add("POST", run.post)
    write = timings.add("to_carto", run.write)
    plain = timings.add("to_carto, one spatial index", run.write_plain)
    to_postgis = timings.add("geopandas.to_postgis", run.to_postgis, repeat=1)
    print(f"to_carto / POST = {write / post:.1f} (at most 4): a CARTO table has a key and two spatial indexes")
    print(f"to_postgis / to_carto = {to_postgis / write:.1f} (at least 4)")
    print(f"to_postgis / to_carto of the same columns and one spatial index = {to_postgis / plain:.1f} (at least 5)")


if __name__ == "__main__":
    main()
