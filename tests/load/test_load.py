"""Many threads exceed the rate limits of one account: all requests succeed, in time, and exactly once."""

from __future__ import annotations

import logging
import threading
import time
from bisect import bisect
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from multiprocessing import get_context

import dask
import dask.dataframe as dd
import geopandas as gpd
import pandas as pd
import psycopg
import pytest

import cartoframes_lite as cfl
import cartoframes_lite.dask
from tests.load.recorded_exchanges import Exchange, RecordingProxy, recorded
from tests.load.server_process import server_process

ROWS = 50
QUERIES_OF_A_WRITE = 6  # at most: look up, sweep, columns, staging table, publish
THREADS = 50


@dataclass(frozen=True)
class Load:
    """What 50 threads do, and how fast they may.

    Attributes
    ----------
    queries, copies : tuple of (float, int)
        Per second, and burst.
    writers, readers : int
        Threads that call to_carto and read_carto; the others send queries.
    seconds : float
        Nothing is begun after this time.
    """

    queries: tuple[float, int]
    copies: tuple[float, int]
    writers: int
    readers: int
    seconds: float

    @property
    def most_others(self) -> float:
        """How many requests are served at most during a call if all threads are served in turn.

        Each of its queries has one of each other thread before it; while it waits for its COPY, queries go on. A
        quarter more, for the client does not know the limits exactly.
        """
        copies = max(self.writers, self.readers)
        return 1.25 * (QUERIES_OF_A_WRITE * THREADS + copies + copies / self.copies[0] * self.queries[0])


LOADS = [
    pytest.param(Load((15, 15), (1, 0), 5, 5, 5), id="plan, faster"),
    pytest.param(Load((10, 1), (0.5, 0), 2, 2, 1), id="tight"),
    pytest.param(Load((15, 15), (3 / 60, 2), 20, 20, 300), id="plan", marks=pytest.mark.slow),
    pytest.param(Load((2, 0), (1 / 60, 0), 4, 4, 300), id="tight, long", marks=pytest.mark.slow),
]


@dataclass
class Done:
    """What came of the calls."""

    took_s: Counter[str] = field(default_factory=Counter)
    longest_s: Counter[str] = field(default_factory=Counter)
    times: list[tuple[float, float]] = field(default_factory=list)
    calls: Counter[str] = field(default_factory=Counter)
    errors: list[BaseException] = field(default_factory=list)


def run(load: Load, credentials: cfl.Credentials) -> Done:
    """Let the threads work."""
    done, lock, client = Done(), threading.Lock(), cfl.Client(credentials, progress=False)
    finish = time.monotonic() + load.seconds

    def write(name: str, n: int) -> None:
        frame = gpd.GeoDataFrame(
            {"n": range(n * ROWS, (n + 1) * ROWS)}, geometry=gpd.points_from_xy([0] * ROWS, [1] * ROWS), crs=4326
        )
        cfl.to_carto(frame, name, credentials, if_exists="append", progress=False)

    def read(name: str, n: int) -> None:
        frame = cfl.read_carto(
            f"SELECT i FROM generate_series(1, {ROWS}) i /* {name} {n} */", credentials, progress=False
        )
        assert len(frame) == ROWS

    def query(name: str, n: int) -> None:
        assert client.sql.rows(f"SELECT {n} AS n /* {name} */") == [{"n": n}]

    def work(what: str, call: Callable[[str, int], None], number: int) -> None:
        n = 0
        while n == 0 or time.monotonic() < finish:
            began = time.monotonic()
            try:
                call(f"{what}_{number}", n)
            except BaseException as error:  # noqa: BLE001  # counted, and none of them is expected
                done.errors.append(error)
                return
            took = time.monotonic() - began
            n += 1
            with lock:
                done.calls[what] += 1
                done.took_s[what] += took
                done.longest_s[what] = max(done.longest_s[what], took)
                done.times.append((began, began + took))

    roles = [("write", write)] * load.writers + [("read", read)] * load.readers
    roles += [("query", query)] * (THREADS - len(roles))
    threads = [threading.Thread(target=work, args=(*role, number)) for number, role in enumerate(roles)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return done


def sent_too_early(exchanges: list[Exchange]) -> list[Exchange]:
    """Find what was sent again before the time that the server had named."""
    not_before: dict[tuple[str, str], float] = {}
    early = []
    for exchange in sorted(exchanges, key=lambda exchange: exchange.requested_at):
        request = (exchange.target, exchange.body)
        if exchange.requested_at < not_before.get(request, 0):
            early.append(exchange)
        if exchange.retry_after_s is not None:
            not_before[request] = exchange.responded_at + exchange.retry_after_s
    return early


def served_during(times: list[tuple[float, float]], exchanges: list[Exchange]) -> int:
    """Return the largest number of accepted requests during one call."""
    served = sorted(exchange.responded_at for exchange in exchanges if exchange.status == 200)
    return max(bisect(served, ended) - bisect(served, began) for began, ended in times)


def report(load: Load, done: Done, recorder: RecordingProxy) -> str:
    """Say in figures what happened."""
    lines = []
    for what, calls in sorted(done.calls.items()):
        lines.append(
            f"{what}: {calls} calls, mean {done.took_s[what] / calls:.1f} s, longest {done.longest_s[what]:.1f} s"
        )
    for endpoint in sorted({exchange.endpoint for exchange in recorder.exchanges}):
        here = [exchange.status for exchange in recorder.exchanges if exchange.endpoint == endpoint]
        lines.append(f"{endpoint}: {len(here)} requests, {here.count(429)} of them refused")
    lines.append(f"errors {len(done.errors)}, sent before Retry-After {len(sent_too_early(recorder.exchanges))}")
    return "\n".join([f"{THREADS} threads, {load.seconds:g} s and what had begun by then", *lines])


@pytest.mark.parametrize("load", LOADS)
def test_fifty_threads_share_a_limited_account(load, caplog, capsys):
    caplog.set_level(logging.INFO, "cartoframes_lite")
    limits = {"query": load.queries, "copyfrom": load.copies, "copyto": load.copies}
    with server_process(rate_limits=limits) as server, recorded(server.credentials) as recorder:
        done = run(load, recorder.credentials)
        with psycopg.connect(server.dsn) as database:
            tables = [name for (name,) in database.execute("SELECT cdb_usertables FROM CDB_UserTables()").fetchall()]
            rows = {}
            for name in tables:
                place = psycopg.sql.Identifier(name)
                found = database.execute(psycopg.sql.SQL("SELECT count(*), count(DISTINCT n) FROM {}").format(place))
                rows[name] = found.fetchone()
    with capsys.disabled():
        print(f"\n{report(load, done, recorder)}")
    assert done.errors == []
    assert sent_too_early(recorder.exchanges) == []
    # Each row once: a request that was turned away has done nothing.
    assert sorted(rows) == sorted(f"write_{number}" for number in range(load.writers))
    assert all(stored == different for stored, different in rows.values())
    assert sum(stored for stored, _ in rows.values()) == ROWS * done.calls["write"]
    assert served_during(done.times, recorder.exchanges) < load.most_others
    assert any("waits for a rate limit: about" in message for message in caplog.messages)
    refused = sum(exchange.status == 429 for exchange in recorder.exchanges)
    assert 0 < refused < len(recorder.exchanges) / 2


PARTS, WORKERS = 6, 3


def part_of(number: int) -> pd.DataFrame:
    return pd.DataFrame({"n": range(number * ROWS, (number + 1) * ROWS)})


def test_worker_processes_of_dask_share_a_limit():
    limits = {"copyfrom": (1, 1), "copyto": (1, 1)}
    with (
        server_process(rate_limits=limits) as server,
        recorded(server.credentials) as recorder,
        ProcessPoolExecutor(WORKERS, get_context("spawn")) as pool,
        dask.config.set(scheduler="processes", pool=pool),
    ):
        frames = dd.from_map(part_of, range(PARTS), meta=part_of(0).iloc[:0])
        cfl.dask.to_carto(frames, "t", recorder.credentials)
        found = cfl.dask.read_carto("t", recorder.credentials, npartitions=PARTS).n.compute()
    assert found.tolist() == list(range(PARTS * ROWS))
    assert sent_too_early(recorder.exchanges) == []
    for endpoint, least in (("copyfrom", PARTS), ("copyto", PARTS)):
        statuses = [exchange.status for exchange in recorder.exchanges if exchange.endpoint.endswith(endpoint)]
        assert statuses.count(200) >= least
        assert set(statuses) <= {200, 429}  # a busy machine may send fewer than the limit allows


def test_a_statement_timeout_is_not_sent_again():
    with (
        server_process(statement_timeout_s=0.3, rate_limits={"query": (1, 20)}) as server,
        recorded(server.credentials) as recorder,
    ):
        client = cfl.Client(recorder.credentials)
        for send in (client.sql.send, client.sql.rows):  # a write, and what might be sent twice
            with pytest.raises(cfl.QueryTimeout):
                send("SELECT pg_sleep(20)")
    assert [(exchange.status, exchange.retry_after_s) for exchange in recorder.exchanges] == [(429, None)] * 2
