"""Writers that are killed in each phase of a write."""

from __future__ import annotations

import subprocess
import sys
import time

import pytest

import cartoframes_lite as cfl
from tests.counters import COUNTERS
from tests.fault_proxy import Fault
from tests.faults.write_trials import drop_stale_staging
from tests.faults.written_tables import Mode

MODES = [
    Mode("replace", True, False, 3),
    pytest.param(Mode("append", False, True, 3), marks=pytest.mark.slow),
    pytest.param(Mode("replace", False, True, 3), marks=pytest.mark.slow),
    pytest.param(Mode("upsert", False, True, 3), marks=pytest.mark.slow),
    pytest.param(Mode("delete_rows", False, True, 3), marks=pytest.mark.slow),
    pytest.param(Mode("fail", False, True, 3), marks=pytest.mark.slow),
]
HELD_S = 1.0  # the process is killed in this time
PHASES = {
    "before the first COPY": (b"/copyfrom", "request", 0),
    "during a COPY": (b"/copyfrom", "request", 700),
    "before the response to a COPY": (b"/copyfrom", "response", 0),
    "before the publish": (b"DROP+TABLE", "request", 0),
    "before the response to the publish": (b"DROP+TABLE", "response", 0),
}


def begin(mode: Mode, version: int, base_url: str, key: str) -> subprocess.Popen[str]:
    fields = [mode.if_exists, mode.other_columns, mode.geometry, mode.pieces, version, base_url]
    command = [sys.executable, "-m", "tests.faults.killed_writer", *map(str, fields)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, text=True)
    assert process.stdin is not None
    process.stdin.write(f"{key}\n")
    process.stdin.close()
    return process


@pytest.mark.parametrize("mode", MODES, ids=str)
@pytest.mark.parametrize("phase", PHASES)
def test_a_killed_writer_leaves_the_old_or_new_table(phase, mode, proxy, carto, database):
    old = None
    if mode.if_exists != "fail":
        for frame in mode.frames(0):
            cfl.to_carto(frame, "t", carto.credentials, if_exists="append", progress=False)
        old = mode.rows(0)
    mark, side, at = PHASES[phase]
    if mode.if_exists == "fail" and mark == b"DROP+TABLE":
        mark = b"RENAME+TO"
    fault = Fault(mark, side, at, "delay", pause_s=HELD_S)
    proxy.play(fault)
    process = begin(mode, 1, proxy.base_url, str(carto.credentials.api_key))
    while not fault.fired:
        assert process.poll() is None
        time.sleep(0.005)
    process.kill()
    assert process.wait() == -9
    proxy.close()  # what was held up has gone its way then
    database.settle()
    new = mode.rows(1, turned=mode.other_columns)
    judge(database.rows(), old, new + old if old and mode.if_exists == "append" else new)
    drop_stale_staging(database, carto.credentials)
    if "publish" not in phase:
        assert database.rows() == old


def judge(found, old, new) -> None:
    COUNTERS.faults += 1
    if found not in (old, new):
        COUNTERS.rows_lost += ((old or new) - (found or new)).total()
        COUNTERS.rows_doubled += ((found or new) - (old or new)).total()
        raise AssertionError(found)


@pytest.mark.parametrize("mode", MODES[:2], ids=str)
def test_a_writer_that_is_killed_while_the_database_publishes(mode, proxy, carto, database):
    for frame in mode.frames(0):
        cfl.to_carto(frame, "t", carto.credentials, if_exists="append", progress=False)
    old = mode.rows(0)
    process = None
    with database.connection.transaction():
        database.connection.execute("LOCK TABLE public.t IN SHARE MODE")  # the publish has to wait for it
        process = begin(mode, 1, proxy.base_url, str(carto.credentials.api_key))
        waiting = "SELECT count(*) AS n FROM pg_locks WHERE relation = 'public.t'::regclass AND NOT granted"
        while database.connection.execute(waiting).fetchall()[0]["n"] == 0:
            assert process.poll() is None
            time.sleep(0.005)
        process.kill()
        assert process.wait() == -9
    database.settle()
    new = mode.rows(1, turned=mode.other_columns)
    judge(database.rows(), old, new + old if mode.if_exists == "append" else new)
    drop_stale_staging(database, carto.credentials)
