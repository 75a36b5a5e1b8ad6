"""Spatial indexes of large new tables, built at the same time before the rows are published."""

from __future__ import annotations

import dataclasses
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import geopandas as gpd
import numpy as np
import psycopg
import pytest
import requests
from psycopg import sql

import cartoframes_lite as cfl
from cartoframes_lite.write import spatial_indexes
from cartoframes_lite.write.plan import plan_new
from cartoframes_lite.write.prepare import prepare
from tests.fault_proxy import Fault, FaultProxy, gateway_response

POINTS = gpd.GeoDataFrame({"a": range(50)}, geometry=gpd.points_from_xy(np.arange(50.0), np.arange(50.0)), crs=4326)
STATEMENTS = (b"USING+gist+%28%22the_geom%22", b"USING+gist+%28%22the_geom_webmercator%22")
FAULTS = {
    "not sent": {},
    "no response": {"side": "response"},
    "sent twice": {"action": "send_twice"},
    "504": {"side": "response", "action": "replace", "instead": gateway_response("504 Gateway Timeout")},
}


@pytest.fixture
def proxy(carto) -> Iterator[FaultProxy]:
    proxy = FaultProxy(carto.base_url)
    yield proxy
    proxy.close()


@pytest.fixture
def through(proxy, credentials, monkeypatch) -> cfl.Credentials:
    monkeypatch.setattr(spatial_indexes, "MIN_ROWS", 50)
    return cfl.Credentials(api_key=credentials.api_key, base_url=proxy.base_url)


def indexes(dsn: str) -> dict[str, str]:
    """Return the columns of the indexes of the table t by name, and check that its rows are complete."""
    with psycopg.connect(dsn) as connection:
        assert connection.execute("SELECT count(*), count(DISTINCT cartodb_id) FROM t").fetchone() == (50, 50)
        found = connection.execute("SELECT indexname, indexdef FROM pg_indexes WHERE tablename = 't'").fetchall()
    return {name: definition.partition(" USING ")[2] for name, definition in found}


def staging_tables(dsn: str) -> list[str]:
    with psycopg.connect(dsn) as connection:
        found = connection.execute("SELECT relname FROM pg_class WHERE relname LIKE 'cfl_staging%' AND relkind = 'r'")
        return [name for (name,) in found]


EXPECTED = {
    "t_pkey": "btree (cartodb_id)",
    "t_the_geom_idx": "gist (the_geom)",
    "t_the_geom_webmercator_idx": "gist (the_geom_webmercator)",
}


@contextmanager
def while_both_wait(proxy: FaultProxy, dsn: str, action: Callable[[], None]) -> Iterator[None]:
    """Block the statements with a lock of the staging table, until both wait for it and the action has been called."""
    locked = threading.Event()
    with psycopg.connect(dsn) as connection:

        def lock() -> None:
            (name,) = staging_tables(dsn)
            connection.execute(sql.SQL("LOCK TABLE {} IN ROW EXCLUSIVE MODE").format(sql.Identifier(name)))
            locked.set()

        def release() -> None:
            assert locked.wait(30)
            waiting = "SELECT count(*) FROM pg_locks WHERE NOT granted AND mode = 'ShareLock'"
            deadline = time.monotonic() + 30
            while time.monotonic() < deadline and connection.execute(waiting).fetchone() != (2,):
                time.sleep(0.01)
            if time.monotonic() < deadline:
                action()
            connection.rollback()

        proxy.play(*(Fault(statement, action="delay", then=lock) for statement in STATEMENTS))
        thread = threading.Thread(target=release)
        thread.start()
        yield
        thread.join()


def test_both_indexes_are_built_at_once(proxy, through, carto):
    waited = threading.Event()
    with while_both_wait(proxy, carto.dsn, waited.set):
        cfl.to_carto(POINTS, "t", through)
    assert waited.is_set()
    assert indexes(carto.dsn) == EXPECTED


class RecordingSession(requests.Session):
    """Session that records by which threads the indexes are built."""

    def __init__(self) -> None:
        super().__init__()
        self.threads: list[int] = []

    def request(self, *args, **options):
        if "USING gist" in str(options.get("data")) and "CREATE INDEX" in str(options.get("data")):
            self.threads.append(threading.get_ident())
        return super().request(*args, **options)


def test_a_session_of_the_user_is_used_by_one_thread(credentials, carto, monkeypatch):
    monkeypatch.setattr(spatial_indexes, "MIN_ROWS", 50)
    with RecordingSession() as session:
        cfl.to_carto(POINTS, "t", dataclasses.replace(credentials, session=session))
    assert len(session.threads) >= 2
    assert set(session.threads) == {threading.get_ident()}
    assert indexes(carto.dsn) == EXPECTED


@pytest.mark.parametrize("rows", [49, 50])
def test_only_many_rows_cost_additional_requests(rows, proxy, through):
    faults = [Fault(statement, action="delay") for statement in STATEMENTS]
    proxy.play(*faults)
    cfl.to_carto(POINTS[:rows], "t", through)
    assert [fault.fired for fault in faults] == [rows == 50] * 2


@pytest.mark.parametrize("statement", STATEMENTS, ids=["first", "second"])
@pytest.mark.parametrize("options", FAULTS.values(), ids=FAULTS)
def test_publishing_builds_indexes_that_are_missing(options, statement, proxy, through, carto):
    fault = Fault(statement, **options)
    proxy.play(fault)
    cfl.to_carto(POINTS, "t", through)
    assert fault.fired
    assert indexes(carto.dsn) == EXPECTED


def test_index_names_in_use_are_not_taken(through, carto):
    with psycopg.connect(carto.dsn) as connection:
        connection.execute("CREATE TABLE t_the_geom_idx (); CREATE TABLE t_the_geom_idx1 (); CREATE TABLE t_pkey ()")
        connection.execute("CREATE SEQUENCE t_cartodb_id_seq")
    cfl.to_carto(POINTS, "t", through)
    numbered = {"t_pkey": "t_pkey1", "t_the_geom_idx": "t_the_geom_idx2"}
    assert indexes(carto.dsn) == {numbered.get(name, name): columns for name, columns in EXPECTED.items()}
    with psycopg.connect(carto.dsn) as connection:
        found = connection.execute("SELECT pg_get_serial_sequence('t', 'cartodb_id')").fetchone()
    assert found == ("public.t_cartodb_id_seq1",)


def test_copies_of_renamed_tables_number_indexes(through, carto):
    cfl.to_carto(POINTS, "t", through)
    with psycopg.connect(carto.dsn) as connection:
        connection.execute("ALTER TABLE t RENAME TO old")  # its indexes keep their names
    cfl.copy_table("old", "t", through)
    assert indexes(carto.dsn) == {f"{name}1": columns for name, columns in EXPECTED.items()}


def test_duplicate_ids_are_refused_when_published(through, carto):
    frames = [POINTS.assign(cartodb_id=range(1, 51)), POINTS.assign(cartodb_id=range(50, 100))]
    with pytest.raises(cfl.SQLError, match=r"cartodb_id\)=\(50\)"):
        cfl.to_carto(iter(frames), "t", through)
    assert staging_tables(carto.dsn) == []
    assert "t" not in cfl.list_tables(through)


def test_rewritten_rows_get_no_early_indexes():
    columns = prepare(POINTS).columns
    assert plan_new("t", columns, cartodbfy=True).spatial_indexes == ("the_geom", "the_geom_webmercator")
    assert plan_new("t", columns, cartodbfy=False).spatial_indexes == ()
    retyped = prepare(POINTS, dtype={"a": "numeric(10,2)"}).columns
    assert plan_new("t", retyped, cartodbfy=True).spatial_indexes == ()


def test_an_interrupt_leaves_no_staging_table(proxy, through, carto):
    main, stopped = threading.get_ident(), threading.Event()

    def interrupt() -> None:
        signal.pthread_kill(main, signal.SIGINT)
        assert stopped.wait(30)

    with while_both_wait(proxy, carto.dsn, interrupt):
        with pytest.raises(KeyboardInterrupt):
            cfl.to_carto(POINTS, "t", through)
        stopped.set()
    deadline = time.monotonic() + 20
    while staging_tables(carto.dsn):
        assert time.monotonic() < deadline
        time.sleep(0.05)
