"""Concurrent writers and readers of one table."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pandas as pd
import pytest

import cartoframes_lite as cfl
from tests.counters import COUNTERS
from tests.faults.written_tables import ROWS, Mode

SAME, OTHER = Mode("replace", False, True, 1), Mode("replace", True, True, 1)


def write(mode: Mode, version: int, turned: bool, if_exists: str, credentials: cfl.Credentials) -> bool:
    """Write; say whether it succeeded, or another writer was first."""
    (frame,) = mode.frames(version, turned=turned)
    try:
        cfl.to_carto(frame, "t", credentials, if_exists=if_exists, progress=False)
    except cfl.CartoError:
        return False
    return True


def shown(frame: pd.DataFrame) -> tuple[int, frozenset[str], frozenset[str]]:
    """Say what a reader saw: rows, versions, columns without a NULL."""
    full = frozenset(name for name in frame.columns if frame[name].notna().all())
    return len(frame), frozenset(map(str, frame["version"])), full


@pytest.mark.parametrize("mode", [SAME, OTHER], ids=["same-columns", "other-columns"])
def test_readers_never_see_an_empty_or_a_mixed_table(mode, credentials, is_long):
    assert write(mode, 0, False, "fail", credentials)
    expected = {}
    for turned in {False, mode.other_columns}:
        (frame,) = mode.frames(0, turned=turned)
        expected[str(frame["version"].dtype)] = frozenset(frame.columns) - {"geometry"} | {"cartodb_id", "the_geom"}
    over = threading.Event()

    def read() -> int:
        reads = 0
        while not over.is_set():
            back = cfl.read_carto("t", credentials, progress=False)
            rows, versions, full = shown(back)
            right = (rows, len(versions)) == (ROWS, 1) and full == expected[str(back["version"].dtype)]
            COUNTERS.short_reads += not right
            assert right, (rows, versions, full)
            reads += 1
        return reads

    count = 20 if is_long else 8
    with ThreadPoolExecutor(count) as pool:
        readers = [pool.submit(read) for _ in range(count)]
        try:
            for version in range(1, 100 if is_long else 7):
                COUNTERS.faults += 1
                COUNTERS.survived += 1
                assert write(mode, version, mode.other_columns and version % 2 == 1, "replace", credentials)
        finally:
            over.set()
        assert all(reader.result() > 0 for reader in readers)


@pytest.mark.parametrize("first", [SAME, OTHER], ids=["same-columns", "other-columns"])
@pytest.mark.parametrize("second", ["replace", "append"])
def test_writers_follow_each_other_or_are_told(second, first, credentials, database, is_long):
    for round_ in range(50 if is_long else 5):
        database.drop()
        assert write(first, 0, False, "fail", credentials)
        with ThreadPoolExecutor(2) as pool:
            one = pool.submit(write, first, 1, first.other_columns, "replace", credentials)
            two = pool.submit(write, first, 2, first.other_columns, second, credentials)
            ends = one.result(), two.result()
        (replaced, added) = (first.rows(version, turned=first.other_columns) for version in (1, 2))
        base = first.rows(0)
        if second == "replace":
            allowed = {(True, True): [replaced, added], (True, False): [replaced], (False, True): [added]}
        else:
            allowed = {
                (True, True): [replaced, replaced + added],
                (True, False): [replaced],
                (False, True): [base + added],
            }
        found = database.rows()
        COUNTERS.faults += 1
        COUNTERS.survived += all(ends)
        if found not in allowed.get(ends, [base]):
            nearest = allowed[ends][0]
            COUNTERS.rows_lost += (nearest - (found or nearest)).total()
            COUNTERS.rows_doubled += ((found or nearest) - nearest).total()
            raise AssertionError((round_, ends, found))
        assert database.leftovers() == []


@pytest.mark.parametrize("tables", [1, 8], ids=["one-table", "eight-tables"])
@pytest.mark.parametrize("mode", ["new", "append", "replace", "replace-other-columns"])
def test_many_writers_finish(mode, tables, credentials, database, is_long):
    """Beside the quota triggers, which look at all tables, nobody waits for another in a ring."""
    rounds = 12 if is_long else 2
    frames = [pd.DataFrame({"a": range(50)}), pd.DataFrame({"a": ["x"] * 50, "b": 1.5})]
    names = [f"t_{number % tables}" for number in range(8)]
    for name in set(names):
        cfl.to_carto(frames[0], name, credentials, progress=False)

    def write_some(number: int) -> None:
        for turn in range(rounds):
            frame = frames[(number + turn) % 2 if mode == "replace-other-columns" else 0]
            if mode == "new":
                cfl.to_carto(frame, f"new_{number}_{turn}", credentials, progress=False)
            else:
                cfl.to_carto(frame, names[number], credentials, if_exists=mode.partition("-")[0], progress=False)

    with ThreadPoolExecutor(8) as pool:
        for done in [pool.submit(write_some, number) for number in range(8)]:
            done.result()
    COUNTERS.faults += 8 * rounds
    COUNTERS.survived += 8 * rounds
    written = [f"new_{number}_{turn}" for number in range(8) for turn in range(rounds)] if mode == "new" else set(names)
    rows = sum(len(cfl.read_carto(name, credentials, progress=False)) for name in written)
    expected = {"new": 50 * 8 * rounds, "append": 50 * (tables + 8 * rounds)}.get(mode, 50 * tables)
    COUNTERS.rows_lost += max(expected - rows, 0)
    COUNTERS.rows_doubled += max(rows - expected, 0)
    assert rows == expected
    assert database.leftovers() == []
