"""Requests that arrive out of order: one is delayed until others have passed."""

from __future__ import annotations

import itertools
import time

import dask
import dask.dataframe as dd
import pandas as pd
import pytest

import cartoframes_lite as cfl
import cartoframes_lite.dask
from cartoframes_lite.write import lease
from tests.counters import COUNTERS
from tests.fault_proxy import Fault
from tests.faults.test_responses import WRONG
from tests.faults.write_trials import few_modes_unless_long, record, write_with_faults

# What the client receives for a delayed request: the response, a lost connection, or an error of a gateway.
CLIENT_OUTCOMES = {
    "again": Fault(0, action="send_again"),
    "lost": Fault(0, action="deliver_late"),
    "429": Fault(0, action="deliver_late", instead=WRONG["429"]),
    "504": Fault(0, action="deliver_late", instead=WRONG["504"]),
}


def delayed(outcome: str, request: int | bytes, before: int | bytes) -> Fault:
    fault = CLIENT_OUTCOMES[outcome]
    return Fault(request, action=fault.action, instead=fault.instead, before=before)


@few_modes_unless_long("new-plain-3", "replace-other-columns-geometry-3", "append-plain-3")
def test_a_request_that_arrives_after_later_ones(proxy, trial, is_long):
    """By one, by two ... by all that the client sends before it is done, and by what it says to them."""
    last = len(record(proxy, trial)[True])
    for number in range(last):
        for outcome, by in itertools.product(CLIENT_OUTCOMES, (1, 2, 3, last) if is_long else (2, last)):
            if is_long or (by == 2) == (outcome in ("lost", "429")):
                write_with_faults(proxy, trial, delayed(outcome, number, number + by))


@few_modes_unless_long("replace-other-columns-plain-3", "append-geometry-3")
def test_all_requests_are_repeated_in_reverse_order(proxy, trial):
    last = len(record(proxy, trial)[True])
    write_with_faults(proxy, trial, *[delayed("again", number, 1000) for number in reversed(range(last))])


RENEWAL = b"THEN+EXECUTE+E%27COMMENT"
PUBLISH = {"fail": b"RENAME+TO+%22t%22", "append": b"INSERT+INTO", "replace": b"INSERT+INTO"}
SWEEP = b"ACCESS+EXCLUSIVE+MODE"


@pytest.mark.parametrize("if_exists", PUBLISH)
@pytest.mark.parametrize("outcome", ["again", "lost"])
@pytest.mark.parametrize("before", ["publish", "end"])
def test_a_lease_renewal_that_arrives_late(before, outcome, if_exists, proxy, through, carto, database, monkeypatch):
    monkeypatch.setattr(lease, "RENEW_S", 0.02)
    if if_exists != "fail":
        cfl.to_carto(pd.DataFrame({"a": [1, 2]}), "t", carto.credentials)
    fault = delayed(outcome, RENEWAL, PUBLISH[if_exists] if before == "publish" else b"never")
    proxy.play(fault)

    def frames():
        yield pd.DataFrame({"a": [3]})
        give_up = time.monotonic() + 120
        while not fault.fired:
            assert time.monotonic() < give_up, "the lease was not renewed"
            time.sleep(0.01)
            yield pd.DataFrame({"a": [3]})

    monkeypatch.setattr("cartoframes_lite.write.staging.CHUNK_BYTES", 1)
    cfl.to_carto(frames(), "t", through, if_exists=if_exists, progress=False)
    rows = len(cfl.read_carto("t", carto.credentials))
    proxy.wait_for_late()
    proxy.heal()
    database.settle()
    COUNTERS.faults += 1
    found = cfl.read_carto("t", carto.credentials)
    assert set(found["a"]) == ({1, 2, 3} if if_exists == "append" else {3})
    assert len(found) == rows
    (row,) = database.connection.execute("SELECT obj_description('public.t'::regclass) AS comment").fetchall()
    assert row["comment"] is None
    cfl.to_carto(pd.DataFrame({"a": [1]}), "another", carto.credentials)
    assert database.leftovers() == []


@pytest.mark.parametrize("outcome", CLIENT_OUTCOMES)
def test_a_delayed_cleanup_drops_nothing_of_later_writes(outcome, proxy, through, carto, database):
    database.connection.execute("CREATE TABLE public.cfl_staging_00000000_00000000 (a int)")
    proxy.play(delayed(outcome, SWEEP, PUBLISH["fail"]))
    cfl.to_carto(pd.DataFrame({"a": [1, 2]}), "t", through, progress=False)
    proxy.wait_for_late()
    COUNTERS.faults += 1
    assert len(cfl.read_carto("t", carto.credentials)) == 2
    database.settle()
    database.drop_staging()


@pytest.mark.parametrize("if_exists", ["fail", "append", "replace"])
@pytest.mark.parametrize("outcome", ["again", "lost", "504"])
def test_delayed_requests_of_dask_partitions(outcome, if_exists, proxy, through, carto, database, is_long):
    """Uploads of a part, and what makes its table, behind those of other parts and behind the publish."""
    frame = pd.DataFrame({"n": range(40), "text": "x"})
    if if_exists != "fail":
        cfl.to_carto(frame, "t", carto.credentials, progress=False)
    old = 40 if if_exists == "append" else 0
    ddf = dd.from_pandas(frame, npartitions=4)
    marks = [b"CREATE+TABLE+IF", b"/copyfrom"]
    for request, before in itertools.product(marks, [*marks, PUBLISH[if_exists]] if is_long else [PUBLISH[if_exists]]):
        proxy.play(delayed(outcome, request, before if before != request else b"_3_"))
        error = None
        with dask.config.set(scheduler="threads", num_workers=2):
            try:
                cartoframes_lite.dask.to_carto(ddf, "t", through, if_exists=if_exists)
            except cfl.CartoError as raised:
                error = raised
        proxy.wait_for_late()
        proxy.heal()
        database.settle()
        COUNTERS.faults += 1
        COUNTERS.survived += error is None
        there = cfl.has_table("t", carto.credentials)
        found = sorted(cfl.read_carto("t", carto.credentials, progress=False)["n"]) if there else []
        before_it = sorted(list(range(40)) if if_exists != "fail" else [])
        expected = sorted([*(before_it if old else []), *range(40)]) if error is None else before_it
        COUNTERS.rows_lost += max(len(expected) - len(found), 0)
        COUNTERS.rows_doubled += max(len(found) - len(expected), 0)
        assert found == expected, error
        cfl.to_carto(frame, "another", carto.credentials, if_exists="replace", progress=False)
        assert database.leftovers() == []
        database.drop()
        if if_exists != "fail":
            cfl.to_carto(frame, "t", carto.credentials, progress=False)


def test_a_publish_repeated_after_a_cleanup(proxy, through, carto, database, monkeypatch):
    """The response is that to the second request, which finds neither staging table nor receipt of the first."""
    cfl.to_carto(pd.DataFrame({"a": [1]}), "t", carto.credentials)
    send = proxy.send_once_more

    def send_and_clean_up(request: bytes) -> None:
        send(request)
        database.drop_staging()

    monkeypatch.setattr(proxy, "send_once_more", send_and_clean_up)
    proxy.play(Fault(PUBLISH["append"], action="send_twice"))
    with pytest.raises(cfl.PublishUnknown, match="check whether 't' has the rows"):
        cfl.to_carto(pd.DataFrame({"a": [2]}), "t", through, if_exists="append")
    COUNTERS.faults += 2
    assert len(cfl.read_carto("t", carto.credentials)) == 2


def test_a_delayed_publish_after_the_table_was_restored(proxy, through, carto, database):
    """The caller has been told that the table does not fit; the request to drop the staging table was lost."""
    cfl.to_carto(pd.DataFrame({"a": [1]}), "t", carto.credentials)

    def alter(to: str) -> None:
        database.connection.execute(f"ALTER TABLE public.t ALTER a TYPE {to} USING NULL")

    proxy.play(
        Fault(PUBLISH["append"], action="send_again", before=b"never", then=lambda: alter("bytea")),
        *[Fault(SWEEP, "request", 0) for _ in range(20)],
    )
    with pytest.raises(cfl.ConversionError, match="bytea"):
        cfl.to_carto(pd.DataFrame({"a": [2]}), "t", through, if_exists="append")
    alter("bigint")
    proxy.wait_for_late()
    database.settle()
    COUNTERS.faults += 3
    assert len(cfl.read_carto("t", carto.credentials)) == 1
    database.drop_staging()
