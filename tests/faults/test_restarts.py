"""PostgreSQL is restarted under a running server: the server recovers, and its responses are correct."""

from __future__ import annotations

import os
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import cartoframes_lite as cfl
from cartoframes_lite.local import LocalCarto, start
from cartoframes_lite.local.postgres.binaries import find_binaries
from cartoframes_lite.write import staging
from tests.counters import COUNTERS
from tests.fault_proxy import Fault, FaultProxy
from tests.faults.written_tables import ROWS, Database, Mode

HELD_S = 1.5  # some more than a restart takes
MODES = [Mode("replace", True, False, 3), pytest.param(Mode("append", False, True, 3), marks=pytest.mark.slow)]
PLAIN = Mode("append", False, False, 1)


def pg_ctl(data: Path, *arguments: str) -> None:
    """Run pg_ctl on a data directory, as the user whom it belongs to."""
    owner = data.stat().st_uid if os.geteuid() == 0 else None
    command = [find_binaries() / "pg_ctl", "-D", data, "-w", *arguments]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, user=owner, cwd="/")


@pytest.fixture(scope="module")
def data() -> Iterator[Path]:
    """Return a data directory: what is committed survives a crash only in one that is to be kept."""
    with tempfile.TemporaryDirectory(prefix="cartoframes_lite-shaken-") as directory:
        Path(directory).chmod(0o755)  # for the user of PostgreSQL, if this one is root
        yield Path(directory) / "data"


@pytest.fixture(scope="module")
def shaken(data) -> Iterator[LocalCarto]:
    """Start a server whose PostgreSQL these tests may restart."""
    with start(user="shaken", data_dir=data) as carto:
        yield carto
        pg_ctl(data, "stop", "-m", "fast")  # the server knows only the one that it has started


@pytest.fixture(params=["immediate", "fast"])
def restart(request, shaken, data) -> Callable[[], None]:
    return lambda: pg_ctl(data, "restart", "-m", request.param)


@pytest.fixture
def proxy(shaken) -> Iterator[FaultProxy]:
    proxy = FaultProxy(shaken.base_url)
    yield proxy
    proxy.close()


@pytest.fixture
def through(shaken, proxy) -> cfl.Credentials:
    return cfl.Credentials(api_key=shaken.credentials.api_key, base_url=proxy.base_url)


def when_held(fault: Fault, action: Callable[[], None]) -> threading.Thread:
    """Do something, in a thread, as soon as a fault holds the traffic up."""

    def wait_and_do() -> None:
        while not fault.fired:
            time.sleep(0.002)
        action()

    thread = threading.Thread(target=wait_and_do, daemon=True)
    thread.start()
    return thread


@pytest.mark.parametrize("mode", MODES, ids=str)
@pytest.mark.parametrize(
    ("mark", "side", "at"),
    [(b"/copyfrom", "request", 700), (b"DROP+TABLE", "request", 0), (b"DROP+TABLE", "response", 0)],
    ids=["during a COPY", "before the publish", "before the response to the publish"],
)
def test_a_restart_during_a_write(mark, side, at, mode, restart, shaken, proxy, through, monkeypatch):
    monkeypatch.setattr(staging, "CHUNK_BYTES", 1)
    shaken.reset()
    for frame in mode.frames(0):
        cfl.to_carto(frame, "t", shaken.credentials, if_exists="append", progress=False)
    old, new = mode.rows(0), mode.rows(1, turned=mode.other_columns)
    if mode.if_exists == "append":
        new = old + new
    fault = Fault(mark, side, at, "delay", pause_s=HELD_S)
    proxy.play(fault)
    restarting = when_held(fault, restart)
    error = None
    try:
        frames = iter(mode.frames(1, turned=mode.other_columns))
        cfl.to_carto(frames, "t", through, if_exists=mode.if_exists, key=mode.key, progress=False)
    except cfl.CartoError as raised:
        error = raised
    restarting.join()
    assert_true(shaken, error, old, new)


def assert_true(shaken: LocalCarto, error: cfl.CartoError | None, old, new) -> None:
    """Compare the table with how the call ended; and the server works without help."""
    COUNTERS.faults += 1
    COUNTERS.survived += error is None
    cfl.to_carto(cfl.read_carto("SELECT 1 AS a", shaken.credentials), "another", shaken.credentials, progress=False)
    database = Database(shaken)
    try:
        found = database.rows()
        promised = new if error is None else old
        if not (found == promised or (isinstance(error, cfl.PublishUnknown) and found == new)):
            COUNTERS.rows_lost += (promised - found).total()
            COUNTERS.rows_doubled += (found - promised).total()
            raise AssertionError((error, found))
        COUNTERS.leftovers += len(database.leftovers())
        assert database.leftovers() == []
    finally:
        database.close()


def test_a_restart_while_the_database_publishes(restart, shaken):
    shaken.reset()
    mode = PLAIN
    cfl.to_carto(mode.frames(0)[0], "t", shaken.credentials, progress=False)
    database = Database(shaken)
    database.connection.execute("BEGIN; LOCK TABLE public.t IN SHARE MODE")  # until the restart
    waiting = "SELECT count(*) AS n FROM pg_locks WHERE relation = 'public.t'::regclass AND NOT granted"

    def restart_it() -> None:
        while database.connection.execute(waiting).fetchall()[0]["n"] == 0:
            time.sleep(0.002)
        restart()

    restarting = threading.Thread(target=restart_it, daemon=True)
    restarting.start()
    error = None
    try:
        cfl.to_carto(mode.frames(1)[0], "t", shaken.credentials, if_exists="append", progress=False)
    except cfl.CartoError as raised:
        error = raised
    restarting.join()
    database.close()
    assert_true(shaken, error, mode.rows(0), mode.rows(0) + mode.rows(1))


def test_a_restart_during_a_read(restart, shaken, proxy, through):
    query = "SELECT n, repeat('x', 100) AS t FROM generate_series(1, 400000) n"  # more than is under way at once
    fault = Fault(b"/copyto", "response", 1 << 20, "delay", pause_s=HELD_S)
    proxy.play(fault)
    restarting = when_held(fault, restart)
    COUNTERS.faults += 1
    try:
        back = cfl.read_carto(query, through, progress=False)
    except cfl.CartoError:
        pass
    else:
        COUNTERS.survived += 1
        COUNTERS.short_reads += len(back) != 400_000
        assert len(back) == 400_000
    restarting.join()
    assert len(cfl.read_carto("SELECT 1 AS a", shaken.credentials)) == 1


def test_the_server_recovers_after_a_database_restart(restart, shaken):
    shaken.reset()
    cfl.to_carto(PLAIN.frames(0)[0], "t", shaken.credentials, progress=False)
    key = cfl.Client(shaken.credentials).api_keys
    before = key.list()
    restart()
    COUNTERS.faults += 1
    COUNTERS.survived += 1
    assert len(cfl.read_carto("t", shaken.credentials)) == ROWS
    assert key.list() == before
    assert [dataset.name for dataset in cfl.list_datasets(shaken.credentials)] == ["t"]
    restart()
    shaken.reset()
