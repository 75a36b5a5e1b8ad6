"""Long queries: as batch jobs, and with a timeout that never runs them twice."""

from __future__ import annotations

import pickle
import socket
import time

import geopandas as gpd
import pandas as pd
import pytest

import cartoframes_lite as cfl
import cartoframes_lite.local
from cartoframes_lite._client.http.idle_connections import close_idle
from cartoframes_lite._client.http.request import STATEMENT_TIMEOUT_S

SLOW = "SELECT n FROM (SELECT nextval('runs') AS n, pg_sleep(%s)) AS _slow"


@pytest.fixture
def runs(credentials):
    """Count how often a query that uses the sequence has run."""
    sql = cfl.Client(credentials).sql
    sql.send("CREATE SEQUENCE runs")
    return lambda: sql.row("SELECT last_value - (NOT is_called)::int AS n FROM runs", "n")["n"]


@pytest.mark.parametrize("chunksize", [None, 10])
def test_a_query_that_is_too_slow_runs_once(chunksize, runs, credentials):
    begun = time.monotonic()
    with pytest.raises(cfl.ResponseTimeout, match=r"no response within 0\.5 s.*not sent again.*timeout_s") as caught:
        list(cfl.read_carto(SLOW, credentials, params=[30], timeout_s=0.5, chunksize=chunksize) or [])
    assert time.monotonic() - begun < 20
    assert runs() == 1
    assert isinstance(caught.value, cfl.QueryTimeout | cfl.ConnectionFailed)
    assert isinstance(caught.value, TimeoutError)
    restored = pickle.loads(pickle.dumps(caught.value))
    assert (restored.timeout_s, restored.status, str(restored)) == (0.5, 0, str(caught.value))


def test_all_ways_to_read_share_the_timeout(runs, credentials):
    cfl.execute("CREATE VIEW slow AS SELECT nextval('runs') AS n, pg_sleep(30)::text AS s", credentials=credentials)
    for read in (
        lambda: cfl.read_arrow("slow", credentials, timeout_s=0.5).read_all(),
        lambda: cfl.Dataset("slow", credentials).read(timeout_s=0.5),
        lambda: next(cfl.Dataset("slow", credentials).read(timeout_s=0.5, chunksize=1)),
    ):
        with pytest.raises(cfl.QueryTimeout, match=r"no response within 0\.5 s"):
            read()
    assert runs() == 3


def test_a_slow_query_of_the_sql_api_runs_once(runs, credentials):
    with pytest.raises(cfl.ConnectionFailed, match="not sent again"):
        cfl.Client(credentials).sql.send("SELECT nextval('runs'), pg_sleep(30)", idempotent=True, timeout_s=0.5)
    assert runs() == 1


def test_rows_that_stop_arriving_are_not_read_again(runs, credentials):
    query = (
        "SELECT n, CASE WHEN n = 3000 THEN pg_sleep(30)::text ELSE repeat('x', 1000) END AS filler"
        " FROM (SELECT nextval('runs') AS run OFFSET 0) AS _run, generate_series(1, 4000) AS n"
    )
    with pytest.raises(cfl.ResponseTimeout, match=r"no more of it arrived within 1 s.*timeout_s"):
        cfl.read_carto(query, credentials, timeout_s=1)
    assert runs() == 1


def test_a_query_faster_than_its_timeout(runs, credentials):
    assert len(cfl.read_carto(SLOW, credentials, params=[0.3], timeout_s=20)) == 1
    assert runs() == 1


def test_statements_wait_longer_than_other_requests(credentials, monkeypatch):
    """A COPY that needs more than the 300 s of other requests for its first row is not cut."""
    seen = []
    settimeout = socket.socket.settimeout

    def record(self, value):
        seen.append(value)
        settimeout(self, value)

    monkeypatch.setattr(socket.socket, "settimeout", record)
    cfl.read_carto("SELECT 1 AS a", credentials)
    assert STATEMENT_TIMEOUT_S in seen
    assert 300.0 not in seen


def test_long_queries_keep_their_connection_alive(credentials, monkeypatch):
    options = []
    connect = socket.create_connection

    class Recorder(socket.socket):
        def setsockopt(self, *arguments):
            options.append(arguments)
            super().setsockopt(*arguments)

    monkeypatch.setattr(socket, "socket", Recorder)
    assert callable(connect)
    close_idle()  # so that a connection is opened
    cfl.read_carto("SELECT 1 AS a", credentials)
    assert (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1) in options


@pytest.fixture(scope="module")
def strict_server():
    with cartoframes_lite.local.start(user="strict", statement_timeout_s=1) as server:
        yield server


def test_a_batch_job_has_no_statement_timeout(strict_server):
    account = strict_server.credentials
    frame = gpd.GeoDataFrame({"n": [3, 1, 2]}, geometry=gpd.points_from_xy([0, 1, 2], [0, 1, 2]), crs=4326)
    cfl.to_carto(frame, "places", account, if_exists="replace")
    query = "SELECT p.*, pg_sleep(0.7)::text AS slept FROM places p WHERE n > %(n)s ORDER BY n DESC"
    with pytest.raises(cfl.QueryTimeout):
        cfl.Client(account).sql.send("SELECT pg_sleep(2)")
    read = cfl.read_carto(query, account, params={"n": 0}, columns=["n", "the_geom"], batch=True)
    assert isinstance(read, gpd.GeoDataFrame)
    assert (list(read["n"]), read.crs.to_epsg()) == ([3, 2, 1], 4326)
    assert "SELECT p.*" in read.attrs["carto"]["query"]
    assert cfl.Client(account).sql.tables() == ["places"]


def test_batch_composes_with_filters_and_chunks(credentials):
    frame = gpd.GeoDataFrame({"n": range(9)}, geometry=gpd.points_from_xy(range(9), range(9)), crs=4326)
    table = cfl.to_carto(frame, "places", credentials)
    chunks = cfl.read_carto(
        table, credentials, where="n > %s", params=[2], bbox=(0, 0, 6, 6), limit=3, chunksize=2, batch=True
    )
    sizes = [len(chunk) for chunk in chunks]
    assert sizes == [2, 1]
    given_up = cfl.read_carto(table, credentials, chunksize=2, batch=True)
    next(given_up)
    given_up.close()
    whole = cfl.Dataset(table, credentials).read(batch=True, index_col="n")
    pd.testing.assert_frame_equal(whole.sort_index(), cfl.read_carto(table, credentials, index_col="n").sort_index())
    assert whole.attrs["carto"]["table"] == table
    assert cfl.Client(credentials).sql.tables() == [table]


def test_failed_and_slow_jobs_leave_nothing(credentials):
    with pytest.raises(cfl.JobError, match="division by zero"):
        cfl.read_carto("SELECT 1 / (n - 5) AS x FROM generate_series(1, 9) AS n", credentials, batch=True)
    with pytest.raises(cfl.JobTimeout, match=r"0\.5 s, and its batch job .* was cancelled"):
        cfl.read_carto("SELECT 1 AS a, pg_sleep(30)::text AS b", credentials, batch=True, timeout_s=0.5)
    sql = cfl.Client(credentials).sql
    assert sql.tables() == []
    deadline = time.monotonic() + 30
    while sql.row("SELECT count(*)::int AS n FROM pg_stat_activity WHERE query LIKE '%pg_sleep(30)%b%'", "n")["n"] > 1:
        assert time.monotonic() < deadline


def test_a_batch_job_creates_tables_of_slow_queries(strict_server):
    account = strict_server.credentials
    query = "SELECT n, pg_sleep(0.7)::text AS slept FROM generate_series(1, 2) AS n"
    assert cfl.create_table_from_query(query, "slow", account) == "slow"
    assert sorted(cfl.read_carto("slow", account)["n"]) == [1, 2]
    assert cfl.delete_table("slow", account)
