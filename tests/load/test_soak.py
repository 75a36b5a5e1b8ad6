"""Mixed operations for a long time leak nothing: no table, session, socket, thread, file or memory."""

from __future__ import annotations

import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict

import geopandas as gpd
import numpy as np
import pandas as pd
import pytest
import requests

import cartoframes_lite as cfl
from tests.load.resource_usage import ResourceUsage, open_files, settled
from tests.load.server_process import ServerProcess, server_process

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="counts are those of /proc")

WORKERS = 4
ROWS = 2_000
ALLOWED = {
    # Rounding of the allocators.
    "memory_mb": 24,
    "server_memory_mb": 24,
    # The server keeps up to four idle sessions for each role.
    "sessions": 4,
    "server_files": 4,
    "server_sockets": 4,
    # Its pool of threads grows with how many requests come at the same moment.
    "server_threads": 4,
}
BROKEN = "SELECT 1 / (30000 - n) AS x FROM generate_series(1, 40000) n"  # fails after many rows have been sent
LONG = "SELECT n, repeat('x', 100) AS t FROM generate_series(1, 200000) n"


def frame_of(rows: int) -> gpd.GeoDataFrame:
    """Make rows of several types."""
    numbers = np.arange(rows)
    names = [f"place {number}" for number in numbers]
    points = gpd.points_from_xy(numbers % 360 - 180, numbers % 180 - 90)
    return gpd.GeoDataFrame({"n": numbers, "name": names, "half": numbers / 2}, geometry=points, crs=4326)


class Work:
    """What one thread does again and again, with a table of its own."""

    def __init__(self, account: cfl.Credentials, number: int, done: Counter[str]) -> None:
        self._account, self._table, self._done = account, f"soak_{number}", done
        self._frame, self._csv = frame_of(ROWS), f"a,b\n{number},2\n".encode() * 200

    def round(self) -> None:
        """Do everything once."""
        for step in (
            self.new,
            self.read,
            self.replace,
            self.append,
            self.leave_half_way,
            self.failing_queries,
            self.failing_writes,
            self.imports,
            self.map,
            self.delete,
        ):
            step()
            self._done[step.__name__] += 1

    def new(self) -> None:
        assert cfl.to_carto(self._frame, self._table, self._account, progress=False) == self._table

    def read(self) -> None:
        found = cfl.read_carto(self._table, self._account, progress=False)
        assert (len(found), found["n"].sum()) == (ROWS, self._frame["n"].sum())

    def replace(self) -> None:
        pieces = (piece for _, piece in self._frame.groupby(self._frame["n"] // 500))
        cfl.to_carto(pieces, self._table, self._account, if_exists="replace", progress=False)

    def append(self) -> None:
        cfl.to_carto(self._frame[:10], self._table, self._account, if_exists="append", progress=False)

    def leave_half_way(self) -> None:
        closed = cfl.read_carto(LONG, self._account, chunksize=1000, progress=False)
        assert len(next(closed)) == 1000
        closed.close()  # type: ignore[attr-defined]  # it is a generator
        forgotten = cfl.read_carto(LONG, self._account, chunksize=1000, progress=False)
        assert len(next(forgotten)) == 1000

    def failing_queries(self) -> None:
        for query in ("SELECT nope", "no_such_table", BROKEN):
            with pytest.raises((cfl.SQLError, cfl.TableNotFoundError)):
                cfl.read_carto(query, self._account, progress=False)

    def failing_writes(self) -> None:
        def breaking_off() -> Iterator[pd.DataFrame]:
            yield self._frame
            raise RuntimeError("the source has ended early")

        with pytest.raises(cfl.TableExistsError):
            cfl.to_carto(self._frame, self._table, self._account, progress=False)
        with pytest.raises(RuntimeError, match="ended early"):
            cfl.to_carto(breaking_off(), self._table, self._account, if_exists="replace", progress=False)
        wrong = pd.DataFrame({"n": ["not a number"]})
        with pytest.raises(cfl.CartoError):
            cfl.to_carto(wrong, self._table, self._account, if_exists="append", progress=False)

    def imports(self) -> None:
        found = cfl.Dataset.from_query(f"SELECT * FROM {self._table} LIMIT 100", self._account, progress=False)
        found.delete(force=True)

    def map(self) -> None:
        shown = cfl.AnonymousMap(cfl.Layer(self._table, color_by="n"), self._account)
        for format in ("png", "mvt"):
            response = requests.get(shown.tile_url(0, format).format(z=0, x=0, y=0), timeout=60)
            assert (response.status_code, response.content != b"") == (200, True)
        assert shown.static_image(64, 64, center=(0, 0), zoom=0)

    def delete(self) -> None:
        cfl.delete_table(self._table, self._account)


def work(server: ServerProcess, rounds_each: int, done: Counter[str]) -> tuple[list[BaseException], int]:
    """Let the threads do so many rounds each; give the errors, and the most files at a time."""
    errors: list[BaseException] = []

    def rounds(number: int) -> None:
        mine: Counter[str] = Counter()
        job = Work(server.credentials, number, mine)
        try:
            for _ in range(rounds_each):
                job.round()
        except BaseException as error:  # noqa: BLE001  # reported below; none of them is expected
            errors.append(error)
        done.update(mine)

    threads = [threading.Thread(target=rounds, args=(number,)) for number in range(WORKERS)]
    for thread in threads:
        thread.start()
    most_files = 0
    while any(thread.is_alive() for thread in threads):
        most_files = max(most_files, open_files())
        time.sleep(0.05)
    return errors, most_files


def report(done: Counter[str], before: ResourceUsage, after: ResourceUsage, most_files: int) -> str:
    """Say in figures what was done, and what is held before and after."""
    calls = ", ".join(f"{count} {name}" for name, count in done.items())
    held = [f"{name}: {was} before, {asdict(after)[name]} after" for name, was in asdict(before).items()]
    return "\n".join([f"{WORKERS} threads: {calls}", *held, f"most files at a time: {most_files}"])


@pytest.mark.parametrize(
    ("warm_up", "rounds_each"),
    [pytest.param(1, 2, id="short"), pytest.param(20, 200, id="long", marks=pytest.mark.slow)],
)
def test_mixed_work_leaks_no_resources(warm_up, rounds_each, capsys):
    with server_process() as server:
        errors, _ = work(server, warm_up, Counter())
        assert errors == []
        before = settled(server.pid, server.dsn, lambda _: False, 11)
        done: Counter[str] = Counter()
        errors, most_files = work(server, rounds_each, done)

        def grown(found: ResourceUsage) -> dict[str, str]:
            return found.exceeds(before, ALLOWED)

        after = settled(server.pid, server.dsn, lambda found: not grown(found), 20)
    with capsys.disabled():
        print(f"\n{report(done, before, after, most_files)}")
    assert errors == []
    assert grown(after) == {}
    # Calls close their connections themselves; a map holds some until the garbage collector comes.
    assert most_files <= before.files + 16 * WORKERS
    assert (after.staging_tables, after.tables) == (0, 0)
