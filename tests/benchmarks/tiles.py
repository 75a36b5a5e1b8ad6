"""Tiles of a million points: vector tiles, compared with the bare ST_AsMVT query over one connection, and pictures.

    python -m tests.benchmarks.tiles [--rows 1000000] [--repeat 3] [--scale 1] [--parts floor,new,...]

Each tile is fetched once over one HTTP connection that is kept, and queried once straight from PostgreSQL, in turn and
in changing order, with the same envelope, margin, columns and role. Take the ratios: both share the machine's noise.
The parts are repeated with maps of their own, so that no tile comes from the cache unless that is measured.
"""

from __future__ import annotations

import argparse
import math
import os
import random
import statistics
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import cartoframes_lite as cfl
from tests.benchmarks.processor_time import ProcessorClock, ProcessorTime
from tests.benchmarks.server_process import server
from tests.benchmarks.tile_clients import Bare, Place, Served, hello_server

# How many tiles of a zoom there are in a sample: of low zooms there are few, and they take seconds.
TILES = {0: 1, 3: 12, 6: 100, 9: 100, 12: 100, 14: 100}
_SMALL_ZOOM = 14
_SMALL_TILES = 1000
_SEED = 7
_PARALLEL = 4
_HALF_WORLD = 20037508.342789244

# Towns of very different sizes, as people live: the hundredth has a hundredth of the points of the first.
_POINTS = """
SELECT setseed(0.5);
CREATE TABLE crowd AS
WITH towns AS MATERIALIZED (
    SELECT t, 360 * random() - 180 AS longitude, degrees(asin(1.7 * random() - 0.75)) AS latitude,
           0.02 + 0.6 * random() ^ 3 AS size
      FROM generate_series(1, 500) t)
SELECT n AS number, 'place number ' || n AS name, (random() * 1000)::integer AS people, random() * 100 AS height,
       (ARRAY['school', 'shop', 'stop', 'tree'])[1 + n % 4] AS kind, n % 3 = 0 AS active,
       ST_SetSRID(ST_MakePoint(
           least(greatest(longitude + size * sqrt(-2 * ln(1 - r1)) * cos(2 * pi() * r2), -180), 180),
           least(greatest(latitude + size * sqrt(-2 * ln(1 - r1)) * sin(2 * pi() * r2), -85), 85)), 4326) AS the_geom
  FROM (SELECT n, random() AS r1, random() AS r2, floor(501 ^ random())::integer AS t
          FROM generate_series(1, {rows}) n) points
  JOIN towns USING (t);
SELECT cartodb.CDB_CartodbfyTable('crowd');
GRANT SELECT ON crowd TO publicuser;
"""

Times = dict[int, list[tuple[float, float]]]


@dataclass
class Benchmark:
    """The account, the samples, and the parts that are printed."""

    credentials: cfl.Credentials
    dsn: str
    scale: float
    run: int = 0
    rng: random.Random = field(default_factory=lambda: random.Random(_SEED))

    def __post_init__(self) -> None:
        self.client = cfl.Client(self.credentials)
        self.bare = Bare(self.dsn)
        self.points = self.bare.points()
        self._clock = ProcessorClock(self.dsn)
        self.used = self._clock.read

    def served(self, *, aggregated: bool = False, options: dict[str, object] | None = None, **form: str) -> Served:
        """Return a connection to a map that this run has not used before: its query has the number of the run."""
        query: dict[str, object] = {"sql": f"SELECT * FROM crowd /* run {self.run} */"}
        return Served(self.credentials, options or (query if aggregated else {**query, "aggregation": False}), **form)

    # The parts

    def floor(self) -> None:
        """Print what a response and a query take that do nothing."""
        with hello_server() as http:
            times = [timed(lambda _: http.ask("GET", "/token/14/0/0.mvt"), (0, 0, 0)) for _ in range(1000)]
        query = self.bare.connection.cursor()
        pings = [timed(lambda _: bytes(bool(query.execute("SELECT 1"))), (0, 0, 0)) for _ in range(1000)]
        print(f"floor: response of uvicorn and Starlette {quantile(times, 0.5):.2f} ms,", end=" ")
        print(f"SELECT 1 with psycopg {quantile(pings, 0.5):.2f} ms")

    def new(self) -> None:
        """Compare tiles with their queries; that of the world has 74 MB, more than the server's limit of a result."""
        self._compare("all points", self.served(), {zoom: count for zoom, count in TILES.items() if zoom})

    def aggregated(self) -> None:
        """Compare tiles with points taken together, which is the default of maps of vector tiles."""
        self._compare("points taken together", self.served(aggregated=True), TILES)

    def small(self) -> None:
        """Print the ratio for small tiles, and the processor time of each process."""
        served = self.served()
        places = self.sample({_SMALL_ZOOM: _SMALL_TILES})
        pairs = compare(served, self.bare, places[: len(places) // 2])[_SMALL_ZOOM]
        print(heading("small tiles"))
        print(row(str(_SMALL_ZOOM), pairs))
        for name, one in (("new", served), ("bare", self.bare)):
            before = self.used()
            for place in places[len(places) // 2 :]:
                one.get(place)
            print(f"  processor time of a {name} tile, ms: {per_request(self.used() - before, len(places) // 2)}")
        served.close()

    def cached(self) -> None:
        """Print what tiles take that were made before."""
        served, places = self.served(), self.sample({_SMALL_ZOOM: _SMALL_TILES})
        for place in places:
            served.get(place)
        before, times = self.used(), []
        for place in places * 10:
            times.append(timed(served.get, place))
        print(f"from the cache: p50 {quantile(times, 0.5):.2f} ms, p95 {quantile(times, 0.95):.2f} ms")
        print(f"  processor time, ms: {per_request(self.used() - before, len(times))}")
        served.close()

    def parallel(self) -> None:
        """Print how many tiles a second several connections give."""
        places = self.sample({zoom: count for zoom, count in TILES.items() if zoom > 3})
        rates = {}
        opened: dict[str, Callable[[], Served | Bare]] = {"tiles": self.served, "queries": lambda: Bare(self.dsn)}
        for name in list(opened)[:: 1 if self.run % 2 else -1]:
            connections = [opened[name]() for _ in range(_PARALLEL)]
            for connection in connections:
                connection.get((20, 0, 0)) if isinstance(connection, Served) else connection.get(places[0])
            before, started = self.used(), time.perf_counter()
            with ThreadPoolExecutor(_PARALLEL) as pool:
                shares = [places[at::_PARALLEL] for at in range(_PARALLEL)]
                list(pool.map(lambda way, share: [way.get(place) for place in share], connections, shares))
            rates[name] = len(places) / (time.perf_counter() - started)
            print(f"  processor time of {name}, ms: {per_request(self.used() - before, len(places))}")
            for connection in connections:
                connection.close()
        print(f"{_PARALLEL} connections: {rates['tiles']:.0f} tiles/s, {rates['queries']:.0f} queries/s,", end=" ")
        print(f"ratio {rates['tiles'] / rates['queries']:.2f}")

    def changed(self) -> None:
        """Print how long a tile takes after a change of its table, which it has to show."""
        served, kind = self.served(), f"changed{self.run}"
        [place] = self.sample({3: 1})
        before, kept_ms = served.get(place), timed(served.get, place)
        self.client.sql.send(f"UPDATE crowd SET kind = '{kind}' WHERE number <= 1000")
        changed_ms = timed(served.get, place)
        after = served.get(place)
        assert after != before or kind.encode() not in before
        print(f"tile {place}: {kept_ms:.1f} ms from the cache, {changed_ms:.0f} ms after a change of the table")
        served.close()

    def pictures(self) -> None:
        """Print how long the pictures of displayed maps take: with aggregated points, and with colors by value."""
        places = self.sample({zoom: min(count, 25) for zoom, count in TILES.items()})
        for title, layer in (
            ("a grid of numbers of points, the default", cfl.Layer("crowd")),
            ("heatmap", cfl.Layer("crowd", aggregation="heatmap")),
            ("colors by value", cfl.Layer("crowd", color_by="height")),
        ):
            started = time.perf_counter()
            options = dict(layer.compile(self.client).config["options"])
            drawn = self.served(options={**options, "sql": f"{options['sql']} /* run {self.run} */"}, format="png")
            made_s, before = time.perf_counter() - started, self.used()
            times = [timed(drawn.get, place) for place in places]
            drawn.close()
            world_ms = times[[place[0] for place in places].index(0)]
            print(
                f"PNG, {title}: made in {made_s:.1f} s; p50 {quantile(times, 0.5):.0f} ms,"
                f" p95 {quantile(times, 0.95):.0f} ms; the world {world_ms:.0f} ms"
            )
            print(f"  processor time, ms: {per_request(self.used() - before, len(places))}")

    def _compare(self, title: str, served: Served, tiles: dict[int, int]) -> None:
        """Print the table of a comparison of tiles with their queries."""
        served.get((20, 0, 0))
        times = compare(served, self.bare, self.sample(tiles))
        print(heading(title))
        for zoom, pairs in sorted(times.items()):
            print(row(str(zoom), pairs))
        print(row("all", [pair for pairs in times.values() for pair in pairs]))
        served.close()

    def sample(self, tiles: dict[int, int]) -> list[Place]:
        """Choose distinct tiles, around points."""
        chosen: dict[Place, None] = {}
        for zoom, count in tiles.items():
            wanted = len(chosen) + max(1, round(count * (self.scale if zoom else 1)))
            side, last = 2 * _HALF_WORLD / 2**zoom, 2**zoom - 1
            for x, y in self.rng.sample(self.points, len(self.points)):
                if len(chosen) == wanted:
                    break
                chosen[zoom, min(int((x + _HALF_WORLD) / side), last), min(int((_HALF_WORLD - y) / side), last)] = None
        return list(chosen)


PARTS: dict[str, Callable[[Benchmark], None]] = {
    part.__name__: part
    for part in (
        Benchmark.floor,
        Benchmark.new,
        Benchmark.small,
        Benchmark.parallel,
        Benchmark.cached,
        Benchmark.changed,
        Benchmark.aggregated,
        Benchmark.pictures,
    )
}


def timed(get: Callable[[Place], bytes], place: Place) -> float:
    """Return the time in milliseconds that a tile takes, which must not be empty."""
    started = time.perf_counter()
    content = get(place)
    took_ms = (time.perf_counter() - started) * 1000
    assert content
    return took_ms


def per_request(used: ProcessorTime, requests: int) -> str:
    """Describe the processor time of each process for a request, in milliseconds."""
    each = used / requests
    return f"client {1000 * each.client:.2f}  server {1000 * each.server:.2f}  PostgreSQL {1000 * each.postgres:.2f}"


def quantile(times: Iterable[float], share: float) -> float:
    """Return the time that a share of the times does not exceed."""
    ordered = sorted(times)
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


def compare(served: Served, bare: Bare, places: Sequence[Place]) -> Times:
    """Fetch each tile both ways; give the times in milliseconds by zoom."""
    times: Times = {}
    for at, place in enumerate(places):
        first, second = (served, bare) if at % 2 else (bare, served)
        once, again = timed(first.get, place), timed(second.get, place)
        times.setdefault(place[0], []).append((once, again) if at % 2 else (again, once))
    return times


def heading(title: str) -> str:
    """Write the heading of a table of rows."""
    columns = f"{'p50 ms':>9} {'bare':>9} {'ratio':>6}  {'p95 ms':>9} {'bare':>9} {'ratio':>6}  {'more, ms':>8}"
    return f"\n{title}\n{'zoom':>12} {'tiles':>6}  {columns}"


def row(name: str, pairs: Sequence[tuple[float, float]]) -> str:
    """Write a row of the table."""
    ours, theirs = zip(*pairs, strict=True)
    cells = [f"{name:>12} {len(pairs):>6}"]
    for share in (0.5, 0.95):
        mine, bare = quantile(ours, share), quantile(theirs, share)
        cells.append(f"{mine:>9.2f} {bare:>9.2f} {mine / bare:>6.2f}")
    difference = statistics.median(mine - bare for mine, bare in pairs)
    return "  ".join([*cells, f"{difference:>8.2f}"])


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--scale", type=float, default=1, help="of the numbers of tiles")
    parser.add_argument("--parts", default=",".join(PARTS), help="comma-separated; default: all")
    options = parser.parse_args()
    with server() as (credentials, dsn):
        client = cfl.Client(credentials)
        client.sql.send(_POINTS.format(rows=options.rows))
        client.sql.send("VACUUM ANALYZE crowd")
        benchmark = Benchmark(credentials, dsn, options.scale)
        for place in benchmark.sample({_SMALL_ZOOM: 20}):  # all processes have to have loaded PostGIS
            benchmark.bare.get(place)
        print(f"{options.rows:,} points, {os.cpu_count()} cores")
        for benchmark.run in range(1, options.repeat + 1):
            print(f"\nrun {benchmark.run}")
            for name in options.parts.split(","):
                PARTS[name](benchmark)
        benchmark.bare.close()


if __name__ == "__main__":
    main()
