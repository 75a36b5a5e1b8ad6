"""Reads over a network that breaks, and of tables that change: the whole frame or an error, never a part of it."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any, get_args

import geopandas as gpd
import numpy as np
import pandas as pd
import psycopg
import pytest
from hypothesis import HealthCheck, Phase, given, note, settings
from hypothesis import strategies as st

import cartoframes_lite as cfl
from tests.counters import COUNTERS
from tests.fault_proxy import PAGE, Fault, FaultProxy, Side, gateway_response, request_steps

ROWS = 3000
CHUNK_ROWS = 700
_UNSURE_BYTES = 8  # of an answer, whose length depends on how long the server took
WAYS: dict[str, dict[str, Any]] = {
    "whole": {},
    "chunks": {"chunksize": CHUNK_ROWS},
    "query": {"limit": ROWS},
    "arrow": {},
    "filters": {"where": "n >= %(least)s", "params": {"least": 0}, "bbox": (-180, -90, 180, 90)},
}


@pytest.fixture
def frame(credentials) -> pd.DataFrame:
    """Write what is then read."""
    numbers = np.arange(ROWS)
    columns = {"n": numbers, "t": [f"row {n} {'é' * (n % 50)}" for n in numbers], "f": numbers / 7}
    frame = gpd.GeoDataFrame(columns, geometry=gpd.points_from_xy(numbers % 180, numbers % 90), crs=4326)
    cfl.to_carto(frame, "t", credentials, progress=False)
    return cfl.read_carto("t", credentials).sort_values("n", ignore_index=True)


class Reading:
    """Reads through the proxy, and the verdict on each."""

    def __init__(self, proxy: FaultProxy, credentials: cfl.Credentials, whole: pd.DataFrame, way: str) -> None:
        self._proxy, self._credentials, self._whole = proxy, credentials, whole
        self._source = "SELECT * FROM t" if way == "query" else "t"
        self._arguments, self._reads_arrow = WAYS[way], way == "arrow"
        proxy.play()
        assert self.suffer() is None
        self.recorded = proxy.exchanges

    def suffer(self, *faults: Fault) -> cfl.CartoError | None:
        """Read with faults; what comes without an error has to be everything."""
        if faults:
            self._proxy.play(*faults)
        try:
            back = self._read()
        except cfl.CartoError as error:  # anything else is no typed error, and fails the test
            self._note(faults)
            return error
        self._note(faults)
        COUNTERS.survived += bool(faults)
        same = back.sort_values("n", ignore_index=True).equals(self._whole)
        COUNTERS.short_reads += not same
        assert same, f"{len(back)} rows of {ROWS}"
        return None

    def _read(self) -> pd.DataFrame:
        if self._reads_arrow:
            return gpd.GeoDataFrame.from_arrow(
                cfl.read_arrow(self._source, self._credentials, progress=False).read_all()
            )
        back = cfl.read_carto(self._source, self._credentials, progress=False, **self._arguments)
        return back if isinstance(back, pd.DataFrame) else pd.concat(list(back), ignore_index=True)

    @staticmethod
    def _note(faults: tuple[Fault, ...]) -> None:
        COUNTERS.faults += len(faults)
        assert all(fault.fired for fault in faults)


@pytest.fixture(params=WAYS)
def reading(request, proxy, through, frame) -> Reading:
    return Reading(proxy, through, frame, request.param)


@pytest.mark.parametrize("for_good", [False, True], ids=["once", "for-good"])
def test_a_read_cut_at_every_step(for_good, reading):
    assert len(reading.recorded) == 2
    for exchange in reading.recorded:
        for at in request_steps(exchange):
            reading.suffer(Fault(exchange.number, "request", at, for_good=for_good))
        for at in (0, 100, exchange.sizes["response"] // 2, exchange.sizes["response"] - _UNSURE_BYTES):
            reading.suffer(Fault(exchange.number, "response", at, for_good=for_good))


def test_a_read_cut_at_any_byte(reading, is_long):
    @settings(
        max_examples=600 if is_long else 15,
        deadline=None,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(st.sampled_from([0, 1, 1, 1]), st.sampled_from(get_args(Side)), st.floats(0, 1), st.booleans())
    def cut(number: int, side: Side, part: float, abrupt: bool) -> None:
        passed = reading.recorded[number].sizes[side]
        at = round(part * (passed if side == "request" else passed - _UNSURE_BYTES))
        note(f"behind {at} of {passed} bytes")
        reading.suffer(Fault(number, side, at, abrupt=abrupt))

    cut()


@pytest.mark.parametrize("status", ["429 Too Many Requests", "502 Bad Gateway", "503 Service Unavailable", "200 OK"])
def test_reads_with_a_response_of_a_gateway(status, reading):
    limit = b'{"error":["over the limits"],"context":"limit","detail":"rate-limit"}'
    more = ["Retry-After: 0"] if status.startswith("429") else []
    for exchange in reading.recorded:
        for instead in (
            gateway_response(status, PAGE, *more),
            gateway_response(status, b""),
            gateway_response(status, limit, *more),
        ):
            reading.suffer(Fault(exchange.number, "request", exchange.head_bytes, "replace", instead=instead))


def test_reads_over_a_slow_network(reading):
    for exchange in reading.recorded:
        for side in get_args(Side):
            assert reading.suffer(Fault(exchange.number, side, 50, "delay", pause_s=0.05)) is None
            assert reading.suffer(Fault(exchange.number, side, 0, "trickle", pause_s=0.002)) is None


NEW_ROWS = "INSERT INTO public.t (a) VALUES (4), (5), (6)"
CHANGES = {
    "other type": ["DELETE FROM public.t", "ALTER TABLE public.t DROP COLUMN a, ADD COLUMN a float8"],
    "same type": ["DELETE FROM public.t", "ALTER TABLE public.t DROP COLUMN a, ADD COLUMN a bigint"],
    "another table": ["DROP TABLE public.t CASCADE", "CREATE TABLE public.t (a bigint)"],
    "table renamed": [
        "ALTER TABLE public.t RENAME TO old",
        "CREATE TABLE public.new (a bigint)",
        "ALTER TABLE public.new RENAME TO t",
    ],
    "truncated": ["TRUNCATE public.t"],
    "rewritten": [
        "DELETE FROM public.t",
        "ALTER TABLE public.t ALTER a TYPE text",
        "ALTER TABLE public.t ALTER a TYPE bigint USING a::bigint",
    ],
}
SOURCES = ["t", "SELECT a FROM t", "SELECT a FROM t WHERE a > 0 ORDER BY a", "SELECT * FROM t FOR SHARE"]
"""Statements that replace the rows 1 and 2 of a source by 4, 5 and 6, after what creates it."""
DEFINITIONS: dict[str, tuple[list[str], str, list[str]]] = {
    "view of another table": (
        ["CREATE TABLE t AS SELECT unnest(ARRAY[1, 2]) AS a", "CREATE VIEW v AS SELECT a FROM t"],
        "v",
        [
            "CREATE TABLE public.new AS SELECT unnest(ARRAY[4, 5, 6]) AS a",
            "CREATE OR REPLACE VIEW public.v AS SELECT a FROM public.new",
        ],
    ),
    "query of a view of two tables": (
        ["CREATE TABLE t AS SELECT unnest(ARRAY[1, 2]) AS a", "CREATE VIEW v AS SELECT a FROM t"],
        "SELECT a FROM v",
        [
            "UPDATE public.t SET a = 4",
            "DELETE FROM public.t WHERE ctid <> (SELECT max(ctid) FROM public.t)",
            "CREATE TABLE public.new AS SELECT unnest(ARRAY[5, 6]) AS a",
            "CREATE OR REPLACE VIEW public.v AS SELECT a FROM public.t UNION ALL SELECT a FROM public.new",
        ],
    ),
    "view with another condition": (
        [
            "CREATE TABLE t AS SELECT unnest(ARRAY[1, 2, 14, 15, 16]) AS a",
            "CREATE VIEW v AS SELECT a FROM t WHERE a < 9",
        ],
        "v",
        ["DROP VIEW public.v", "CREATE VIEW public.v AS SELECT a - 10 AS a FROM public.t WHERE a > 9"],
    ),
    "materialized view": (
        ["CREATE TABLE t AS SELECT unnest(ARRAY[1, 2]) AS a", "CREATE MATERIALIZED VIEW v AS SELECT a FROM t"],
        "v",
        [
            "DELETE FROM public.t",
            "INSERT INTO public.t VALUES (4), (5), (6)",
            "REFRESH MATERIALIZED VIEW public.v",
        ],
    ),
    "partition": (
        [
            "CREATE TABLE v (a int) PARTITION BY LIST (a)",
            "CREATE TABLE p PARTITION OF v FOR VALUES IN (1, 2, 4)",
            "INSERT INTO v VALUES (1), (2)",
        ],
        "v",
        [
            "DELETE FROM public.v",
            "CREATE TABLE public.q PARTITION OF public.v FOR VALUES IN (5, 6)",
            "INSERT INTO public.v VALUES (4), (5), (6)",
        ],
    ),
    "columns that exchange their names": (
        ["CREATE TABLE t AS SELECT unnest(ARRAY[1, 2]) AS a, 0 AS b"],
        "SELECT a FROM t",
        [
            "DELETE FROM public.t",
            "INSERT INTO public.t (b, a) VALUES (4, 0), (5, 0), (6, 0)",
            "ALTER TABLE public.t RENAME a TO old",
            "ALTER TABLE public.t RENAME b TO a",
            "ALTER TABLE public.t RENAME old TO b",
        ],
    ),
    "truncated partition": (
        [
            "CREATE TABLE v (a int) PARTITION BY LIST (a)",
            "CREATE TABLE p PARTITION OF v FOR VALUES IN (1, 2, 4, 5, 6)",
            "INSERT INTO v VALUES (1), (2)",
        ],
        "SELECT a FROM v",
        ["TRUNCATE public.p", "INSERT INTO public.v VALUES (4), (5), (6)"],
    ),
}
UNLOCKED: dict[str, tuple[list[str], str, list[str]]] = {
    "child": (
        ["CREATE TABLE t (a int)", "INSERT INTO t VALUES (4)"],
        "t",
        ["CREATE TABLE public.child () INHERITS (public.t)", "INSERT INTO public.child VALUES (5), (6)"],
    ),
    "attached partition": (
        [
            "CREATE TABLE v (a int) PARTITION BY LIST (a)",
            "CREATE TABLE p PARTITION OF v FOR VALUES IN (4)",
            "INSERT INTO v VALUES (4)",
        ],
        "SELECT a FROM v",
        [
            "CREATE TABLE public.q AS SELECT unnest(ARRAY[5, 6]) AS a",
            "ALTER TABLE public.v ATTACH PARTITION public.q FOR VALUES IN (5, 6)",
        ],
    ),
}
OTHER_TYPES: dict[str, tuple[str, str, list[str]]] = {
    "view": (
        "CREATE VIEW v AS SELECT unnest(ARRAY[1, 2]::bigint[]) AS a",
        "SELECT a FROM v",
        ["DROP VIEW public.v", "CREATE VIEW public.v AS SELECT unnest(ARRAY[4.5, 5.5]::float8[]) AS a"],
    ),
    "function": (
        "CREATE FUNCTION f() RETURNS SETOF bigint LANGUAGE sql AS 'VALUES (1::bigint), (2)'",
        "SELECT f() AS a",
        [
            "DROP FUNCTION public.f()",
            "CREATE FUNCTION public.f() RETURNS SETOF float8 LANGUAGE sql AS 'VALUES (4.5::float8), (5.5)'",
        ],
    ),
    "table that is not rewritten": (
        "CREATE TABLE t AS SELECT unnest(ARRAY['a', 'b']) AS a",
        "t",
        ["UPDATE public.t SET a = 4.5 + (a = 'b')::int", "ALTER TABLE public.t ALTER a TYPE varchar"],
    ),
}


@pytest.fixture
def read_during(through, proxy, database, carto):
    """Return a function that reads a source, and changes it after its columns are known.

    With ``waits``, the COPY begins before the change is committed, and waits for a lock.
    """

    def read(source: str, changes: list[str], *, waits: bool) -> pd.DataFrame:
        fault = Fault(b"/copyto", "request", 0, "delay", pause_s=0.3)
        proxy.play(fault)
        with ThreadPoolExecutor(1) as pool, psycopg.connect(carto.dsn) as other:
            reading = pool.submit(cfl.read_carto, source, through, progress=False)
            while not fault.fired:
                time.sleep(0.001)
            for statement in changes:
                other.execute(statement)
            while waits and not database.connection.execute("SELECT FROM pg_locks WHERE NOT granted").fetchall():
                time.sleep(0.001)
            other.commit()
            COUNTERS.faults += 1
            COUNTERS.survived += 1
            return reading.result()

    return read


@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize("changes", CHANGES.values(), ids=CHANGES)
def test_a_reader_that_waited_for_a_change_reads_again(changes, source, credentials, read_during):
    """Its snapshot is older than the columns that it finds: the old rows without a value, or no rows."""
    cfl.to_carto(pd.DataFrame({"a": [1, 2]}), "t", credentials, cartodbfy=False)
    assert sorted(read_during(source, [*changes, NEW_ROWS], waits=True)["a"]) == [4, 5, 6]


@pytest.mark.parametrize(("setup", "source", "changes"), DEFINITIONS.values(), ids=DEFINITIONS)
@pytest.mark.parametrize("waits", [True, False], ids=["waited", "did-not-wait"])
def test_a_definition_that_changes_before_the_rows(waits, setup, source, changes, credentials, read_during):
    cfl.execute(";".join(setup), credentials=credentials)
    assert sorted(read_during(source, changes, waits=waits)["a"]) == [4, 5, 6]


@pytest.mark.parametrize(("setup", "source", "changes"), UNLOCKED.values(), ids=UNLOCKED)
def test_a_change_without_a_lock_before_the_rows(setup, source, changes, credentials, read_during):
    cfl.execute(";".join(setup), credentials=credentials)
    assert sorted(read_during(source, changes, waits=False)["a"]) == [4, 5, 6]


@pytest.mark.parametrize(("setup", "source", "changes"), OTHER_TYPES.values(), ids=OTHER_TYPES)
def test_a_type_that_changes_before_the_rows(setup, source, changes, credentials, read_during):
    cfl.execute(setup, credentials=credentials)
    assert sorted(read_during(source, changes, waits=False)["a"].astype(float)) == [4.5, 5.5]
