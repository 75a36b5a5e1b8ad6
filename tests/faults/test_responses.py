"""Writes with wrong, late, slow and missing responses, as gateways send them."""

from __future__ import annotations

import pytest

import cartoframes_lite as cfl
from cartoframes_lite.write import publishing
from tests.fault_proxy import Fault, gateway_response
from tests.faults.write_trials import few_modes_unless_long, record, write_with_faults

LIMIT = b'{"error":["You are over the limits"],"context":"limit","detail":"rate-limit"}'
PUBLISHED = b'{"rows":[{"state":"published","name":"cfl_staging_00000000_00000000"}],"time":0.001,"total_rows":1}'
WRONG = {
    "429": gateway_response("429 Too Many Requests", LIMIT, "Retry-After: 0"),
    "502": gateway_response("502 Bad Gateway"),
    "503": gateway_response("503 Service Unavailable"),
    "504": gateway_response("504 Gateway Timeout"),
    "page-200": gateway_response("200 OK"),
    "page-503": gateway_response("503 Service Unavailable", b"<html><body>Back soon</body></html>"),
    "empty-200": gateway_response("200 OK", b""),
    "other-json": gateway_response("200 OK", b'{"hello":"world"}'),
    "list": gateway_response("200 OK", b"[]"),
    "another-write": gateway_response("200 OK", PUBLISHED),
    "no-rows": gateway_response("200 OK", b'{"rows":[],"time":0.001,"fields":{},"total_rows":0}'),
}


@few_modes_unless_long("replace-other-columns-geometry-3", "append-plain-3")
def test_writes_with_a_response_of_a_gateway(proxy, trial, is_long, request):
    """Both ways: the server never gets the request, and the server has done what it was asked for.

    In the short profile a request meets two of these responses in one mode and the other two in the other mode.
    """
    recorded = record(proxy, trial)
    first = "append" in request.node.name
    for number in range(len(recorded[True])):
        short = ("429", "504", "page-200", "no-rows")[(number + first) % 2 :: 2]
        for name in WRONG if is_long else short:
            instead = WRONG[name]
            head = recorded[trial.turned][number].head_bytes
            write_with_faults(proxy, trial, Fault(number, "request", head, "replace", instead=instead))
            write_with_faults(proxy, trial, Fault(number, "response", 0, "replace", instead=instead))


@few_modes_unless_long("replace-other-columns-geometry-3", "append-plain-3")
def test_writes_over_a_slow_network(proxy, trial):
    recorded = record(proxy, trial)
    for number in range(len(recorded[True])):
        half = recorded[trial.turned][number].sizes["request"] // 2
        assert write_with_faults(proxy, trial, Fault(number, "request", half, "delay", pause_s=0.05)) is None
        assert write_with_faults(proxy, trial, Fault(number, "response", 30, "delay", pause_s=0.05)) is None
        assert write_with_faults(proxy, trial, Fault(number, "request", 0, "trickle", pause_s=0.005)) is None
        assert write_with_faults(proxy, trial, Fault(number, "response", 0, "trickle", pause_s=0.005)) is None


@few_modes_unless_long("replace-other-columns-geometry-3", "append-plain-3")
def test_a_request_that_arrives_after_the_client_gave_up(proxy, trial, is_long):
    recorded = record(proxy, trial)
    for number in range(len(recorded[True])):
        for pause_s in (0.0, 0.01, 0.1) if is_long else (0.0,):
            write_with_faults(proxy, trial, Fault(number, action="deliver_late", pause_s=pause_s))


@few_modes_unless_long("new-geometry-1", "replace-other-columns-plain-3", "append-plain-1")
def test_a_request_that_a_proxy_repeats(proxy, trial, is_long):
    """Gateways send a POST again: at once, and when the write has gone on or is over."""
    recorded = record(proxy, trial)
    for number in range(len(recorded[True])):
        write_with_faults(proxy, trial, Fault(number, "request", action="send_twice"))
        for pause_s in (0.0, 0.02, 0.3) if is_long else (0.0,):
            write_with_faults(proxy, trial, Fault(number, "request", action="send_again", pause_s=pause_s))


@few_modes_unless_long("new-plain-1", "replace-other-columns-geometry-3", "append-plain-3")
def test_every_request_is_repeated(proxy, trial):
    recorded = record(proxy, trial)
    for pause_s in (0.0, 0.05):
        faults = [
            Fault(number, "request", action="send_again", pause_s=pause_s) for number in range(len(recorded[True]))
        ]
        write_with_faults(proxy, trial, *faults)
    write_with_faults(
        proxy, trial, *[Fault(number, "request", action="send_twice") for number in range(len(recorded[True]))]
    )


@few_modes_unless_long("new-geometry-1", "replace-other-columns-plain-3", "append-plain-1")
def test_staging_tables_dropped_by_another_client(proxy, trial, database):
    """By hand, or by a clean-up of their own, at every step: nothing is reported as written that was not."""
    recorded = record(proxy, trial)
    for number in range(len(recorded[True])):
        drop = Fault(number, "response", 0, "delay", pause_s=0.0, then=database.drop_staging)
        write_with_faults(proxy, trial, drop)


def test_nothing_is_published_after_the_last_state_query(proxy, through, carto, database):
    """The publish is lost three times, and each of these requests comes when the caller has had its error."""
    cfl.to_carto(cfl.read_carto("SELECT 1 AS a", carto.credentials), "t", carto.credentials)
    before = database.rows()
    proxy.play(*[Fault(b"INSERT+INTO", action="deliver_late", pause_s=0.5) for _ in range(publishing._ATTEMPTS)])
    frame = cfl.read_carto("SELECT 2 AS a", carto.credentials)
    with pytest.raises(cfl.ConnectionFailed, match="connection was lost") as caught:
        cfl.to_carto(frame, "t", through, if_exists="append")
    assert not isinstance(caught.value, cfl.PublishUnknown)
    proxy.wait_for_late()
    database.settle()
    assert database.rows() == before
    assert database.leftovers() == []
