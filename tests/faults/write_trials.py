"""Writes under faults, one after the other, and a check of each result."""

from __future__ import annotations

import time
from collections import Counter

import pandas as pd
import pytest

import cartoframes_lite as cfl
from tests.counters import COUNTERS
from tests.fault_proxy import Exchange, Fault, FaultProxy
from tests.faults.written_tables import FIRST, MODES, Database, Mode, Rows

TABLE = "t"
LET_GO_S = 20.0  # a server that does not notice that an upload broke off keeps its table for some seconds


class Trial:
    """One write after the other under faults, each with a version of its own; what follows is looked at each time.

    Attributes
    ----------
    turned : bool
        Whether it is the turn of the other columns.
    """

    def __init__(self, mode: Mode, database: Database, through: cfl.Credentials, direct: cfl.Credentials) -> None:
        self._mode, self._database, self._through, self._direct = mode, database, through, direct
        self._version, self.turned = 0, False
        self._old: Rows | None = None
        database.drop()
        if mode.if_exists != "fail":
            self._write(direct)
            self._accept(mode.rows(0))
        self._seen = database.rows()
        assert self._seen == self._old

    def _write(self, credentials: cfl.Credentials) -> None:
        frames = self._mode.frames(self._version, turned=self.turned)
        source = frames[0] if self._mode.pieces == 1 else iter(frames)
        cfl.to_carto(source, TABLE, credentials, if_exists=self._mode.if_exists, key=self._mode.key, progress=False)

    def _accept(self, new: Rows) -> None:
        """Let what was written be what the next write meets."""
        if self._mode.if_exists == "upsert":
            self._database.forget_first()
            new = Counter({row: count for row, count in new.items() if dict(row)["number"] >= FIRST})
        self._old = new
        self.turned = self._mode.other_columns and not self.turned

    def run(self) -> cfl.CartoError | None:
        """Write the next version through the proxy, which knows what is to happen; return how the call ended."""
        assert self._database.rows() == self._seen  # nothing has come after the last look
        self._version += 1
        try:
            self._write(self._through)
        except cfl.CartoError as error:  # anything else is no typed error, and fails the test
            return error
        return None

    def judge(self, error: cfl.CartoError | None) -> None:
        """Compare the table with what the end of the call says; then make it the old one of the next write."""
        self._database.settle()
        is_open = isinstance(error, cfl.PublishUnknown)
        if is_open:  # a publish may still come, until the next write
            self.sweep()
        new = self._mode.rows(self._version, turned=self.turned)
        if self._mode.if_exists == "append":
            new = (self._old or Counter()) + new
        found = self._database.rows()
        allowed: list[Rows | None] = [new] if error is None else [self._old, new] if is_open else [self._old]
        self._count(found, allowed, error)
        self.sweep()
        if found == new and self._mode.if_exists == "append":
            self._database.forget(self._version)
        elif found == new and self._mode.if_exists != "fail":
            self._accept(new)
        elif found == new:
            self._database.drop()
        self._seen = self._database.rows()
        assert self._seen == self._old

    def _count(self, found: Rows | None, allowed: list[Rows | None], error: Exception | None) -> None:
        COUNTERS.faults += 1
        COUNTERS.survived += error is None
        if found not in allowed:
            promised = allowed[0] or Counter()
            there = found or Counter()
            lost, doubled = (promised - there).total(), (there - promised).total()
            COUNTERS.rows_lost += lost
            COUNTERS.rows_doubled += doubled
            raise AssertionError(f"{lost} rows are missing, {doubled} are too many after {error!r}")

    def sweep(self) -> None:
        """Prove that the next write, of this process and to any table, removes what has been left behind."""
        if self._database.leftovers():
            drop_stale_staging(self._database, self._direct)


def drop_stale_staging(database: Database, credentials: cfl.Credentials) -> None:
    """Prove that the next write removes what is left, or the first one after the server has let go of an upload."""
    deadline = time.monotonic() + LET_GO_S
    while True:
        cfl.to_carto(pd.DataFrame({"a": [1]}), "another", credentials, if_exists="replace", progress=False)
        if not database.leftovers() or time.monotonic() > deadline:
            break
        time.sleep(0.2)
    left = database.leftovers()
    COUNTERS.leftovers += len(left)
    assert left == []


def few_modes_unless_long(*names: str) -> pytest.MarkDecorator:
    """Run a test with these modes, and in the long profile with all of them."""
    modes = [pytest.param(mode, id=str(mode), marks=() if str(mode) in names else pytest.mark.slow) for mode in MODES]
    return pytest.mark.parametrize("trial", modes, indirect=True)


# Each kind of write with and without geometry, in one piece and in several; and each of these with each other.
pairs_of_modes_unless_long = few_modes_unless_long(
    "new-plain-1",
    "new-geometry-3",
    "replace-plain-3",
    "replace-geometry-1",
    "replace-other-columns-plain-1",
    "replace-other-columns-geometry-3",
    "append-plain-3",
    "append-geometry-1",
    "upsert-plain-3",
    "upsert-geometry-1",
    "delete_rows-plain-1",
    "delete_rows-geometry-3",
)


def record(proxy: FaultProxy, trial: Trial) -> dict[bool, list[Exchange]]:
    """Write without a fault, to see what passes; with other columns, there and back."""
    recorded: dict[bool, list[Exchange]] = {}
    for turned in (trial.turned, not trial.turned):
        proxy.play()
        assert trial.run() is None
        recorded[turned] = proxy.exchanges
        trial.judge(None)
    return recorded


def write_with_faults(proxy: FaultProxy, trial: Trial, *faults: Fault) -> cfl.CartoError | None:
    """Write with faults, and look at what has become of the table."""
    proxy.play(*faults)
    error = trial.run()
    assert faults[0].fired, faults
    proxy.wait_for_late()
    proxy.heal()
    trial.judge(error)
    return error
