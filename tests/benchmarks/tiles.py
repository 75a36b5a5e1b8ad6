"""Tiles of a million points: vector tiles, compared with the bare ST_AsMVT query over one connection, and pictures.

    python -m tests.benchmarks.tiles [--points 1000000] [--scale 1]

Each tile is fetched once over one HTTP connection that is kept, and queried once straight from PostgreSQL, in turn and
in changing order, with the same envelope, margin, columns and role. Take the ratios: both share the machine's noise.
"""

from __future__ import annotations

import argparse
import http.client
import json
import math
import random
import statistics
import time
import urllib.parse
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

import psycopg

import cartoframes_lite as cfl
from cartoframes_lite.credentials import Credentials
from tests.benchmarks.server_process import server

# How many tiles of a zoom there are in a sample: of low zooms there are few, and they take seconds.
TILES = {0: 1, 3: 12, 6: 100, 9: 100, 12: 100, 14: 100}
_SEED = 7
_PARALLEL = 4
_HALF_WORLD = 20037508.342789244
_BUFFER = 64  # of 4096: the margin of the server's tiles

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
          FROM generate_series(1, {points}) n) points
  JOIN towns USING (t);
SELECT cartodb.CDB_CartodbfyTable('crowd');
GRANT SELECT ON crowd TO publicuser;
"""
_TILE = """
SELECT ST_AsMVT(tile, 'layer0', 4096, 'the_geom_webmercator')
  FROM (SELECT ST_AsMVTGeom(the_geom_webmercator, ST_TileEnvelope({z}, {x}, {y}), 4096, {buffer}, true)
                   AS the_geom_webmercator, cartodb_id, number, name, people, height, kind, active
          FROM crowd
         WHERE the_geom_webmercator && ST_TileEnvelope({z}, {x}, {y}, margin => {margin})) tile
"""

Place = tuple[int, int, int]
Times = dict[int, list[tuple[float, float]]]


class Bare:
    """Runs the query alone, over a separate connection, with the role for requests without a key."""

    def __init__(self, dsn: str) -> None:
        self._connection = psycopg.connect(dsn, user="publicuser", autocommit=True, prepare_threshold=None)

    def get(self, place: Place) -> bytes:
        z, x, y = place
        query = _TILE.format(z=z, x=x, y=y, buffer=_BUFFER, margin=_BUFFER / 4096)
        row = self._connection.execute(query, binary=True).fetchone()
        assert row is not None
        return bytes(row[0])

    def points(self) -> list[tuple[float, float]]:
        """Return some of the points, EPSG:3857."""
        query = "SELECT ST_X(the_geom_webmercator), ST_Y(the_geom_webmercator) FROM crowd ORDER BY number LIMIT 20000"
        return self._connection.execute(query).fetchall()

    def close(self) -> None:
        self._connection.close()


class Served:
    """Requests tiles of a map of the embedded server, over one connection."""

    def __init__(
        self, credentials: Credentials, options: Mapping[str, object] | None = None, *, format: str = "mvt"
    ) -> None:
        self._format = format
        url = urllib.parse.urlsplit(str(credentials.base_url))
        self._http = http.client.HTTPConnection(url.hostname or "", url.port, timeout=120)
        layer = {"type": "mapnik", "options": options or {"sql": "SELECT * FROM crowd", "aggregation": False}}
        made = self._ask("POST", f"{url.path}/api/v1/map", json.dumps({"version": "1.8.0", "layers": [layer]}))
        self._path = f"{url.path}/api/v1/map/{json.loads(made)['layergroupid']}"

    def get(self, place: Place) -> bytes:
        return self._ask("GET", "{}/{}/{}/{}.{}".format(self._path, *place, self._format))

    def close(self) -> None:
        self._http.close()

    def _ask(self, method: str, path: str, body: str | None = None) -> bytes:
        self._http.request(method, path, body, {"Content-Type": "application/json"} if body else {})
        response = self._http.getresponse()
        content = response.read()
        assert response.status in (200, 204), content
        return content


def timed(get: Callable[[Place], bytes], place: Place) -> float:
    """Return the time in milliseconds that a tile takes, which must not be empty."""
    started = time.perf_counter()
    assert get(place)
    return (time.perf_counter() - started) * 1000


def sample(points: Sequence[tuple[float, float]], rng: random.Random, scale: float) -> list[Place]:
    """Choose distinct tiles, around points."""
    chosen: dict[Place, None] = {}
    for zoom, count in TILES.items():
        wanted = len(chosen) + max(1, round(count * (scale if zoom else 1)))
        for x, y in rng.sample(points, len(points)):
            if len(chosen) == wanted:
                break
            side = 2 * _HALF_WORLD / 2**zoom
            last = 2**zoom - 1
            chosen[zoom, min(int((x + _HALF_WORLD) / side), last), min(int((_HALF_WORLD - y) / side), last)] = None
    return list(chosen)


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


def row(name: str, pairs: Sequence[tuple[float, float]]) -> str:
    """Write a row of the table."""
    ours, theirs = zip(*pairs, strict=True)
    cells = [f"{name:>12} {len(pairs):>6}"]
    for share in (0.5, 0.95):
        mine, bare = quantile(ours, share), quantile(theirs, share)
        cells.append(f"{mine:>9.2f} {bare:>9.2f} {mine / bare:>6.2f}")
    difference = statistics.median(mine - bare for mine, bare in pairs)
    return "  ".join([*cells, f"{difference:>8.2f}"])


def report(title: str, times: Times) -> None:
    """Print the table of a comparison."""
    print(f"\n{title}\n{'zoom':>12} {'tiles':>6}  {'p50 ms':>9} {'bare':>9} {'ratio':>6}", end="  ")
    print(f"{'p95 ms':>9} {'bare':>9} {'ratio':>6}  {'more, ms':>8}")
    for zoom, pairs in sorted(times.items()):
        print(row(str(zoom), pairs))
    print(row("all", [pair for pairs in times.values() for pair in pairs]))


def report_cached(served: Served, places: Sequence[Place]) -> None:
    """Print how long tiles take that were made before."""
    times = []
    for place in places:
        served.get(place)
        times.append(timed(served.get, place))
    print(f"\nfrom the cache: p50 {quantile(times, 0.5):.2f} ms, p95 {quantile(times, 0.95):.2f} ms")


def report_parallel(make: Sequence[Callable[[], Served | Bare]], places: Sequence[Place]) -> None:
    """Print how many tiles a second several connections give."""
    rates = []
    for open_connection in make:
        connections = [open_connection() for _ in range(_PARALLEL)]
        with ThreadPoolExecutor(_PARALLEL) as pool:
            started = time.perf_counter()
            shares = [places[at::_PARALLEL] for at in range(_PARALLEL)]
            list(pool.map(lambda way, share: [way.get(place) for place in share], connections, shares))
            rates.append(len(places) / (time.perf_counter() - started))
        for connection in connections:
            connection.close()
    print(f"{_PARALLEL} connections: {rates[0]:.0f} tiles/s, bare {rates[1]:.0f}, ratio {rates[1] / rates[0]:.2f}")


def report_changed(client: cfl.Client, served: Served, place: Place) -> None:
    """Print how long a tile takes after a change of its table, which it has to show."""
    before, kept_ms = served.get(place), timed(served.get, place)
    client.sql.send("UPDATE crowd SET kind = 'changed' WHERE number <= 1000")
    changed_ms = timed(served.get, place)
    assert b"changed" in served.get(place)
    assert b"changed" not in before
    print(f"tile {place}: {kept_ms:.0f} ms from the cache, {changed_ms:.0f} ms after a change of the table")


def report_pictures(client: cfl.Client, credentials: Credentials, places: Sequence[Place]) -> None:
    """Print how long the tiles of displayed maps take: with aggregated points, and with colors by value."""
    for title, layer in (
        ("a grid of numbers of points, the default", cfl.Layer("crowd")),
        ("heatmap", cfl.Layer("crowd", aggregation="heatmap")),
        ("colors by value", cfl.Layer("crowd", color_by="height")),
    ):
        started = time.perf_counter()
        drawn = Served(credentials, layer.compile(client).config["options"], format="png")
        made_s = time.perf_counter() - started
        times = [timed(drawn.get, place) for place in places]
        drawn.close()
        slowest = max(zip(times, places, strict=True))
        print(
            f"PNG, {title}: made in {made_s:.1f} s; p50 {quantile(times, 0.5):.0f} ms,"
            f" p95 {quantile(times, 0.95):.0f} ms; slowest {slowest[0]:.0f} ms at zoom {slowest[1][0]}"
        )


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--points", type=int, default=1_000_000)
    parser.add_argument("--scale", type=float, default=1, help="of the numbers of tiles")
    options = parser.parse_args()
    with server() as (credentials, dsn):
        client = cfl.Client(credentials)
        client.sql.send(_POINTS.format(points=options.points))
        client.sql.send("VACUUM ANALYZE crowd")
        bare, served = Bare(dsn), Served(credentials)
        points = bare.points()
        rng = random.Random(_SEED)
        places = sample(points, rng, options.scale)
        for place in places[-20:]:  # both have to have loaded PostGIS
            bare.get(place)
        served.get((20, 0, 0))
        print(f"{options.points:,} points, {len(places)} tiles")
        report("all points", compare(served, bare, places))
        known = set(places)
        fresh = [place for place in sample(points, rng, options.scale) if place not in known and place[0] > 3]
        report_parallel([lambda: Served(credentials), lambda: Bare(dsn)], fresh)
        report_cached(served, places[-100:])
        report_changed(client, served, next(place for place in places if place[0] == 3))
        together = Served(credentials, {"sql": "SELECT * FROM crowd"})
        report("points taken together, as maps of vector tiles do by default", compare(together, bare, places))
        report_pictures(client, credentials, places)
        for connection in (served, together, bare):
            connection.close()


if __name__ == "__main__":
    main()
