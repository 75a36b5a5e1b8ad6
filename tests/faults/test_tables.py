"""Tables that are deleted, renamed and copied over a network that loses responses and repeats requests."""

from __future__ import annotations

import pandas as pd
import pytest

import cartoframes_lite as cfl
from tests.counters import COUNTERS
from tests.fault_proxy import Fault, gateway_response, request_steps
from tests.faults.write_trials import drop_stale_staging

FRAME = pd.DataFrame({"a": [1, 2, 3]})
NO_ROWS = b'{"rows":[],"time":0.001,"fields":{},"total_rows":0}'
CHANGE = b"ACCESS+EXCLUSIVE"  # of the requests that delete and rename
LOST = {
    "cut": [Fault(CHANGE, "response", 0)],
    "for good": [Fault(CHANGE, "response", 0, for_good=True)],
    "504": [Fault(CHANGE, "response", 0, "replace", instead=gateway_response("504 Gateway Timeout"))],
    "no rows": [Fault(CHANGE, "request", 0, "replace", instead=gateway_response("200 OK", NO_ROWS))],
    "not sent": [Fault(CHANGE, "request", 0)],
    "twice": [Fault(CHANGE, "request", action="send_twice")],
}


@pytest.fixture(params=LOST)
def faults(request):
    return [Fault(fault.request, fault.side, fault.at, fault.action, fault.for_good, instead=fault.instead)
            for fault in LOST[request.param]]  # fmt: skip


def test_a_late_delete_spares_a_newer_table(proxy, through, carto):
    cfl.to_carto(FRAME, "t", carto.credentials)
    proxy.play(Fault(b"DROP+TABLE", "request", action="send_again", pause_s=0.3))
    assert cfl.delete_table("t", through)
    cfl.to_carto(FRAME, "t", carto.credentials)
    proxy.wait_for_late()
    COUNTERS.faults += 1
    assert len(cfl.read_carto("t", carto.credentials)) == 3


def test_a_delete_is_done_or_an_error(proxy, through, carto, faults):
    cfl.to_carto(FRAME, "t", carto.credentials)
    proxy.play(*faults)
    try:
        assert cfl.delete_table("t", through)
    except cfl.ConnectionFailed:
        pass
    else:
        assert not cfl.has_table("t", carto.credentials)
    COUNTERS.faults += 1


@pytest.mark.parametrize("if_exists", ["fail", "replace"])
def test_a_rename_is_done_once_or_reported_unknown(if_exists, proxy, through, carto, faults, database):
    cfl.to_carto(FRAME, "t", carto.credentials)
    if if_exists == "replace":
        cfl.to_carto(FRAME.assign(b=1), "u", carto.credentials)
    proxy.play(*faults)
    try:
        cfl.rename_table("t", "u", through, if_exists=if_exists)
    except cfl.PublishUnknown:
        assert proxy.is_down or faults[0].action == "replace"
    else:
        assert list(cfl.read_carto("u", carto.credentials, columns=["a"])["a"]) == [1, 2, 3]
        assert not cfl.has_table("t", carto.credentials)
    COUNTERS.faults += 1


@pytest.mark.parametrize("for_good", [False, True])
def test_rows_are_deleted_once_and_counted(for_good, proxy, through, carto, database):
    cfl.to_carto(FRAME, "t", carto.credentials)
    proxy.play()
    assert cfl.Dataset("t", through).delete_rows("a = 1") == 1
    for number, exchange in enumerate(proxy.exchanges):
        for step in (*request_steps(exchange), None):
            cfl.to_carto(FRAME, "t", carto.credentials, if_exists="delete_rows")
            side, at = ("response", 0) if step is None else ("request", step)
            proxy.play(Fault(number, side, at, for_good=for_good))
            error = None
            try:
                assert cfl.Dataset("t", through).delete_rows("a < 3") == 2
            except cfl.CartoError as raised:
                error = raised
            database.settle()
            proxy.heal()
            rows = list(cfl.read_carto("t", carto.credentials)["a"])
            allowed = (
                [[3]] if error is None else [[1, 2, 3], [3]] if isinstance(error, cfl.PublishUnknown) else [[1, 2, 3]]
            )
            COUNTERS.faults += 1
            COUNTERS.survived += error is None
            assert rows in allowed, (number, side, at, error)
    drop_stale_staging(database, carto.credentials)


@pytest.mark.parametrize("action", ["send_twice", "send_again"])
def test_a_repeated_delete_of_rows_is_counted_once(action, proxy, through, carto):
    cfl.to_carto(FRAME, "t", carto.credentials)
    proxy.play(Fault(b"DELETE+FROM", "request", action=action, pause_s=0.1))
    assert cfl.Dataset("t", through).delete_rows("a < 3") == 2
    cfl.Dataset("t", carto.credentials).append(FRAME[:1])
    proxy.wait_for_late()
    assert sorted(cfl.read_carto("t", carto.credentials)["a"]) == [1, 3]


@pytest.mark.parametrize("mark", [b"CREATE+TABLE", b"RENAME+TO"])
@pytest.mark.parametrize("action", ["cut", "send_twice", "send_again"])
def test_a_copy_is_there_once_or_not_at_all(mark, action, proxy, through, carto, database):
    cfl.to_carto(FRAME, "t", carto.credentials)
    side = "response" if action == "cut" else "request"
    proxy.play(Fault(mark, side, 0, action, pause_s=0.1))
    try:
        cfl.copy_table("t", "u", through)
    except cfl.CartoError:
        assert not cfl.has_table("u", carto.credentials)
    else:
        assert len(cfl.read_carto("u", carto.credentials)) == 3
    proxy.wait_for_late()
    proxy.heal()
    database.settle()
    cfl.to_carto(FRAME, "another", carto.credentials)
    assert database.leftovers() == []
    COUNTERS.faults += 1


@pytest.mark.parametrize("outcome", ["again", "lost", "504"])
def test_a_rename_that_arrives_after_it_was_undone(outcome, proxy, through, carto):
    """It is the same table, under the same name, and all the same not to be renamed once more."""
    cfl.to_carto(FRAME, "t", carto.credentials)
    late = Fault(b"RENAME+TO", action="send_again" if outcome == "again" else "deliver_late", before=b"never")
    late.instead = gateway_response("504 Gateway Timeout") if outcome == "504" else b""
    proxy.play(late)
    assert cfl.rename_table("t", "u", through) == "u"
    assert cfl.rename_table("u", "t", through) == "t"
    proxy.wait_for_late()
    COUNTERS.faults += 1
    assert cfl.list_tables(carto.credentials) == ["t"]


@pytest.mark.parametrize("outcome", ["again", "lost", "504"])
def test_a_late_delete_spares_a_table_of_the_same_name(outcome, proxy, through, carto):
    cfl.to_carto(FRAME, "t", carto.credentials)
    late = Fault(b"DROP+TABLE", action="send_again" if outcome == "again" else "deliver_late", before=b"never")
    late.instead = gateway_response("504 Gateway Timeout") if outcome == "504" else b""
    proxy.play(late)
    assert cfl.delete_table("t", through)
    cfl.copy_table(cfl.to_carto(FRAME, "u", carto.credentials), "t", through)
    proxy.wait_for_late()
    COUNTERS.faults += 1
    assert len(cfl.read_carto("t", carto.credentials)) == 3


@pytest.mark.parametrize("if_exists", ["fail", "replace"])
@pytest.mark.parametrize("outcome", ["again", "lost", "504"])
def test_a_copy_whose_requests_arrive_late(outcome, if_exists, proxy, through, carto, database, is_long):
    cfl.to_carto(FRAME, "t", carto.credentials)
    requests = {b"CREATE+TABLE": [b"regclass", b"RENAME+TO", b"never"], b"RENAME+TO": [b"LOCK+TABLE", b"never"]}
    for request, overtakers in requests.items():
        for before in overtakers if is_long else overtakers[-1:]:
            if if_exists == "replace":
                cfl.to_carto(FRAME.assign(a=0), "u", carto.credentials)
            late = Fault(request, action="send_again" if outcome == "again" else "deliver_late", before=before)
            late.instead = gateway_response("504 Gateway Timeout") if outcome == "504" else b""
            proxy.play(late)
            try:
                cfl.copy_table("t", "u", through, if_exists=if_exists)
            except cfl.CartoError:
                assert cfl.has_table("u", carto.credentials) == (if_exists == "replace")
                expected = [0, 0, 0]
            else:
                expected = [1, 2, 3]
            proxy.wait_for_late()
            proxy.heal()
            database.settle()
            COUNTERS.faults += 1
            if cfl.has_table("u", carto.credentials):
                assert list(cfl.read_carto("u", carto.credentials)["a"]) == expected
                cfl.delete_table("u", carto.credentials)
            cfl.to_carto(FRAME, "another", carto.credentials, if_exists="replace")
            assert database.leftovers() == []
