"""Writes and reads by a cluster of processes, one of which is killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import dask
import dask.dataframe as dd
import pandas as pd
import pytest
from distributed import Client, LocalCluster

import cartoframes_lite as cfl
import cartoframes_lite.dask
from cartoframes_lite.write import spatial_indexes
from tests.counters import COUNTERS
from tests.fault_proxy import Fault

HELD_S = 1.5  # a process is killed in this time
ROWS, PARTS = 6000, 6


def frame_of(number: int, version: int) -> pd.DataFrame:
    first = number * ROWS // PARTS
    return pd.DataFrame({"n": range(first, first + ROWS // PARTS), "version": version, "text": "x" * 50})


def frames(version: int, parts: int = PARTS) -> dd.DataFrame:
    return dd.from_map(frame_of, range(parts), version=version, meta=frame_of(0, version).iloc[:0])


@pytest.fixture(scope="module")
def cluster() -> Iterator[LocalCluster]:
    # A killed worker gives back its place at once.
    quick = {
        "distributed.scheduler.locks.lease-timeout": "1s",
        "distributed.scheduler.locks.lease-validation-interval": "100ms",
    }
    with (
        dask.config.set(quick),
        LocalCluster(n_workers=2, threads_per_worker=1, host="127.0.0.1", dashboard_address="127.0.0.1:0") as cluster,
    ):
        yield cluster


@pytest.fixture
def client(cluster) -> Iterator[Client]:
    with Client(cluster) as client:
        client.wait_for_workers(2)
        yield client


def until(condition) -> None:
    while not condition():
        time.sleep(0.005)


def worker_with(client: Client, mark: str) -> str | None:
    """Name the worker that runs a task of this name."""
    found = [address for address, keys in client.processing().items() if any(mark in str(key) for key in keys)]
    return found[0] if found else None


def count(frame: pd.DataFrame) -> list[int]:
    assert frame.cartodb_id.is_unique
    return sorted(frame.n.tolist())


# They differ in how the rows are published, which is after the kill.
@pytest.mark.parametrize("if_exists", [pytest.param("fail", marks=pytest.mark.slow), "append", "replace"])
def test_a_worker_that_is_killed_while_it_sends_rows(if_exists, client, proxy, through, database, carto):
    if if_exists != "fail":
        cfl.to_carto(frame_of(0, 0), "t", carto.credentials, progress=False)
    pids = client.run(os.getpid)
    fault = Fault(b"/copyfrom", "request", 20_000, "delay", pause_s=HELD_S)
    proxy.play(fault)
    failed: list[BaseException] = []

    def write() -> None:
        try:
            cfl.dask.to_carto(frames(1), "t", through, if_exists=if_exists, uploads_at_once=1)
        except BaseException as error:  # noqa: BLE001  # shown by the test
            failed.append(error)

    writer = threading.Thread(target=write)
    writer.start()
    until(lambda: fault.fired or failed)
    (part,) = [name for name in database.leftovers() if name.count("_") == 5]
    number = part.split("_")[-2]
    address = worker_with(client, f"to_carto-{part.rpartition('_')[0].rpartition('_')[0]}-{number}")
    os.kill(pids[address], signal.SIGKILL)
    writer.join()
    assert not failed, failed
    COUNTERS.faults += 1
    found = cfl.read_carto("t", carto.credentials, progress=False)
    old = frame_of(0, 0).n.tolist() if if_exists == "append" else []
    assert count(found) == sorted([*old, *range(ROWS)])
    database.settle()
    assert database.leftovers() == []


CLIENT = """
import sys
import cartoframes_lite as cfl, cartoframes_lite.dask
from distributed import Client
from tests.faults.test_dask import frames
if __name__ == "__main__":
    address, base_url = sys.argv[1:]
    credentials = cfl.Credentials(api_key=sys.stdin.readline().strip(), base_url=base_url)
    with Client(address):
        cfl.dask.to_carto(frames(1), "t", credentials, if_exists="replace")
"""


def test_a_client_that_is_killed(client, cluster, proxy, through, database, carto):
    cfl.to_carto(frame_of(0, 0), "t", carto.credentials, progress=False)
    fault = Fault(b"/copyfrom", "request", 20_000, "delay", pause_s=HELD_S)
    proxy.play(fault)
    command = [sys.executable, "-c", CLIENT, cluster.scheduler_address, proxy.base_url]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, text=True, cwd=Path(__file__).parents[2])
    assert process.stdin is not None
    process.stdin.write(f"{carto.credentials.api_key}\n")
    process.stdin.close()
    until(lambda: fault.fired or process.poll() is not None)
    process.kill()
    assert process.wait() == -9
    until(lambda: not any(client.processing().values()))
    database.settle()
    COUNTERS.faults += 1
    found = cfl.read_carto("t", carto.credentials, progress=False)
    assert count(found) == frame_of(0, 0).n.tolist()
    assert database.leftovers() != []
    cfl.to_carto(frame_of(0, 0), "another", carto.credentials, progress=False)
    COUNTERS.leftovers += len(database.leftovers())
    assert database.leftovers() == []


def test_a_table_is_read_although_a_worker_is_killed(client, proxy, through, carto):
    cfl.to_carto(pd.concat(frame_of(number, 1) for number in range(PARTS)), "t", carto.credentials, progress=False)
    ddf = cfl.dask.read_carto("t", through, npartitions=PARTS)
    pids = client.run(os.getpid)
    fault = Fault(b"/copyto", "response", 10_000, "delay", pause_s=HELD_S)
    proxy.play(fault)
    future = client.compute(ddf)
    until(lambda: fault.fired)
    os.kill(pids[worker_with(client, "")], signal.SIGKILL)
    assert sorted(future.result().n) == list(range(ROWS))


MERGE = b"IF+NOT+EXISTS+%28SELECT+FROM"
PUBLISH = b"RENAME+TO+%22t%22"


@pytest.mark.parametrize(
    "fault",
    [
        pytest.param(lambda: Fault(MERGE, "response"), id="lost response"),
        pytest.param(lambda: Fault(MERGE, "request", 500), id="lost request"),
        pytest.param(lambda: Fault(MERGE, action="send_twice"), id="sent twice"),
        pytest.param(lambda: Fault(MERGE, action="send_again", before=PUBLISH), id="again before publishing"),
        pytest.param(lambda: Fault(MERGE, action="send_again", pause_s=0.5), id="again later"),
        pytest.param(lambda: Fault(MERGE, action="deliver_late", before=PUBLISH), id="late, before publishing"),
        pytest.param(lambda: Fault(MERGE, action="deliver_late", before=b"never"), id="late, after publishing"),
    ],
)
def test_partitions_are_merged_exactly_once(fault, proxy, through, database, carto, monkeypatch):
    monkeypatch.setattr(spatial_indexes, "MIN_ROWS", 1)
    played = fault()
    proxy.play(played)
    with dask.config.set(scheduler="threads"):
        cfl.dask.to_carto(frames(1), "t", through)
    proxy.wait_for_late()
    assert played.fired
    COUNTERS.faults += 1
    found = cfl.read_carto("t", carto.credentials, progress=False)
    assert count(found) == list(range(ROWS))
    assert sorted(found.cartodb_id) == list(range(1, ROWS + 1))
    database.settle()
    assert database.leftovers() == []


def note_and_frame_of(number: int, folder: str) -> pd.DataFrame:
    with tempfile.NamedTemporaryFile(dir=folder, prefix=f"{number}-", delete=False):
        return frame_of(number, 1).iloc[: None if number else 0]


def test_a_cluster_computes_every_partition_once(client, carto, tmp_path):
    ddf = dd.from_map(note_and_frame_of, range(3), folder=str(tmp_path), meta=frame_of(0, 1).iloc[:0])
    cfl.dask.to_carto(ddf, "t", carto.credentials)
    assert sorted(path.name[0] for path in tmp_path.iterdir()) == ["0", "1", "2"]
    assert count(cfl.read_carto("t", carto.credentials, progress=False)) == list(
        range(ROWS // PARTS, 3 * ROWS // PARTS)
    )


def fails(frame: pd.DataFrame) -> pd.DataFrame:
    if frame.n.max() > ROWS * 0.8:
        raise ZeroDivisionError("a partition that cannot be computed")
    return frame


def test_no_key_in_names_and_logs(client, cluster, carto, database):
    ddf = frames(1)
    cfl.dask.to_carto(ddf, "t", carto.credentials)
    read = cfl.dask.read_carto("t", carto.credentials, npartitions=3)
    kept = client.persist(read)
    shown = [client.run_on_scheduler(tasks_of), client.get_task_stream(), client.story(), kept.compute().attrs]
    with pytest.raises(ZeroDivisionError) as caught:
        cfl.dask.to_carto(ddf.map_partitions(fails, meta=ddf._meta), "u", carto.credentials)
    with pytest.raises(ZeroDivisionError):
        read.map_partitions(fails, meta=read._meta).compute()
    late = cfl.dask.read_carto("t", carto.credentials, npartitions=2)
    cfl.to_carto(frame_of(0, 1), "t", carto.credentials, if_exists="append", progress=False)
    with pytest.raises(cfl.TableChangedError) as changed:
        late.compute()
    until(lambda: not any(client.processing().values()))
    shown += [str(error.getrepr(showlocals=True)) for error in (caught, changed)]
    logs = str({**cluster.get_logs(), **client.get_worker_logs()}) + str(client.get_scheduler_logs())
    text = logs + "".join(map(str, shown)) + client.run_on_scheduler(tasks_of)
    assert "Compute Failed" in logs
    assert "read_carto-" in text
    assert str(carto.credentials.api_key) not in text
    cfl.to_carto(frame_of(0, 1), "another", carto.credentials, progress=False)
    assert database.leftovers() == []


def tasks_of(dask_scheduler) -> str:
    return "".join(f"{task.key} {task.run_spec!r} {task.group!r}" for task in dask_scheduler.tasks.values())


def test_more_workers_than_the_rate_limit_lets_through(client):
    with cartoframes_lite.local.start(rate_limit=(6, 1)) as server:
        cfl.dask.to_carto(frames(1), "t", server.credentials)
        assert sorted(cfl.dask.read_carto("t", server.credentials, npartitions=4).n.compute()) == list(range(ROWS))
