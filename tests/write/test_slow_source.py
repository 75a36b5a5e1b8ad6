"""Sources that are slower than the network: no request stays open and silent."""

from __future__ import annotations

import _thread
import sqlite3
import time
from collections.abc import Iterator

import pandas as pd
import pyarrow as pa
import pytest

import cartoframes_lite as cfl
from cartoframes_lite.local import LocalCarto, Plan
from cartoframes_lite.write import slow_source
from cartoframes_lite.write.slow_source import SlowBatches
from cartoframes_lite.write.staging_names import PREFIX


@pytest.fixture(scope="module")
def throttling() -> Iterator[LocalCarto]:
    plan = Plan(upload_bytes=10, upload_window_s=0.8)
    with cfl.local.start(user="tester", api_key="key", plan=plan) as server:
        yield server


@pytest.fixture(autouse=True)
def short_waits(monkeypatch):
    monkeypatch.setattr(slow_source, "MAX_PAUSE_S", 0.2)
    monkeypatch.setattr(slow_source, "AHEAD_BYTES", 1)


def staged_rows(sql: cfl.Client) -> int:
    (name,) = (table for table in sql.sql.tables() if table.startswith(PREFIX))
    return int(sql.sql.row(f"SELECT count(*)::int AS n FROM {name}", "n")["n"])


@pytest.mark.parametrize("compression", [None, "gzip"])
def test_rows_are_stored_while_the_source_computes(throttling, compression):
    client = cfl.Client(throttling.credentials)
    stored = []

    def frames() -> Iterator[pd.DataFrame]:
        for number in range(4):
            yield pd.DataFrame({"n": [number] * 1000})
            deadline = time.monotonic() + 60
            # The first frame was read before the table was created, the second before the first request.
            while number > 1 and staged_rows(client) < 1000 * number and time.monotonic() < deadline:
                time.sleep(0.05)
            if number > 1:
                stored.append(staged_rows(client))

    cfl.to_carto(frames(), "t", throttling.credentials, if_exists="replace", compression=compression)
    back = cfl.read_carto("t", throttling.credentials, index_col="cartodb_id")
    assert back.index.nunique() == 4000
    assert back["n"].value_counts().to_dict() == {0: 1000, 1: 1000, 2: 1000, 3: 1000}
    assert min(stored) >= 2000


def test_a_trickle_is_collected_between_requests(throttling, monkeypatch):
    monkeypatch.setattr(slow_source, "AHEAD_BYTES", 2_000)

    def frames() -> Iterator[pd.DataFrame]:
        for number in range(40):
            time.sleep(0.1)
            yield pd.DataFrame({"n": range(10 * number, 10 * number + 10)})

    cfl.to_carto(frames(), "t", throttling.credentials, if_exists="replace")
    assert sorted(cfl.read_carto("t", throttling.credentials)["n"]) == list(range(400))


def test_compressed_blocks_are_not_held_back(throttling, monkeypatch):
    monkeypatch.setattr("cartoframes_lite._client.http.streams._MAX_HELD_S", 0.1)
    client = cfl.Client(throttling.credentials)
    client.sql.send("CREATE TABLE IF NOT EXISTS held (a text)")

    def blocks() -> Iterator[bytes]:
        for _ in range(8):
            yield b"value\n" * 100
            time.sleep(0.3)

    assert client.copy.copy_from("COPY held FROM STDIN WITH (FORMAT csv)", blocks(), compress="gzip") == 800


def test_a_source_is_used_in_its_own_thread(credentials):
    with sqlite3.connect(":memory:") as connection:
        pd.DataFrame({"n": range(5000)}).to_sql("source", connection)
        cfl.to_carto(pd.read_sql("SELECT n FROM source", connection, chunksize=500), "t", credentials)
    connection.close()
    assert sorted(cfl.read_carto("t", credentials)["n"]) == list(range(5000))


@pytest.mark.parametrize("kept_bytes", [0, 1 << 20])
def test_rejected_pieces_of_an_iterator_are_repeated(kept_bytes, monkeypatch):
    monkeypatch.setattr(slow_source, "_KEPT_BYTES", kept_bytes)
    monkeypatch.setattr("cartoframes_lite.write.staging.CHUNK_BYTES", 100)
    frames = (pd.DataFrame({"n": [number]}) for number in range(12))
    with cfl.local.start(rate_limit=(2, 1)) as limited:
        cfl.to_carto(frames, "t", limited.credentials)
        assert sorted(cfl.read_carto("t", limited.credentials)["n"]) == list(range(12))


def batches(count: int) -> Iterator[pa.RecordBatch]:
    return (pa.record_batch({"n": [number]}) for number in range(count))


def test_an_interrupt_ends_the_request():
    slow = SlowBatches(lambda: batches(10_000_000))
    slow.restart(0)
    assert slow.begin_request()
    ended = []

    def send() -> None:
        try:
            _thread.interrupt_main()
            while True:
                slow.next()
        except KeyboardInterrupt:
            ended.append(True)
            raise

    with pytest.raises(KeyboardInterrupt):
        slow.run(send)
    assert ended == [True]


def test_a_batch_that_comes_late_is_sent_next():
    def source() -> Iterator[pa.RecordBatch]:
        yield from batches(1)
        time.sleep(0.5)
        yield from batches(2)

    def sent() -> list[int]:
        numbers = []
        try:
            while (batch := slow.next()) is not None:
                numbers += batch["n"].to_pylist()
        except slow_source.SourceIsSlow:
            pass
        return numbers

    slow = SlowBatches(source)
    slow.restart(0)
    pieces = []
    while slow.begin_request():
        pieces.append(slow.run(sent))
    assert pieces == [[0], [0, 1]]
