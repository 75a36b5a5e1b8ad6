"""Appends straight into a table: exactly once, although there is no transaction that proves it."""

from __future__ import annotations

from dataclasses import replace

import pandas as pd
import pytest

import cartoframes_lite as cfl
from cartoframes_lite.local import LocalCarto
from tests.fault_proxy import Fault, FaultProxy, gateway_response
from tests.faults.written_tables import Database
from tests.test_keys import ALL, FRAME, regular_key

COPY = b"copyfrom"
LATE = gateway_response("502 Bad Gateway")
ROWS = pd.DataFrame({"n": range(100, 200)})


@pytest.fixture
def key(carto: LocalCarto, proxy: FaultProxy) -> cfl.Credentials:
    cfl.to_carto(FRAME, "owned", carto.credentials)
    regular = regular_key(carto.credentials, ALL, create=False)
    return cfl.Credentials(api_key=regular.api_key, base_url=proxy.base_url)


@pytest.mark.parametrize(
    "faults",
    [
        [Fault(COPY, side="response")],
        [Fault(COPY, side="response", action="replace", instead=LATE)],
        [Fault(COPY, at=300)],
        [Fault(COPY, action="send_twice")],
        [Fault(COPY, action="send_again", pause_s=0.1)],
        [Fault(COPY, action="deliver_late", pause_s=0.3)],
        [Fault(COPY, action="deliver_late", pause_s=0.3, instead=LATE)],
    ],
    ids=["response-lost", "response-replaced", "request-cut", "twice", "again", "late", "late-after-502"],
)
def test_rows_are_appended_once(
    faults: list[Fault], key: cfl.Credentials, carto: LocalCarto, proxy: FaultProxy, quick: None
) -> None:
    played = [replace(fault) for fault in faults]
    proxy.play(*played)
    cfl.to_carto(ROWS, "owned", key, if_exists="append")
    proxy.wait_for_late()
    assert all(fault.fired for fault in played)
    assert sorted(cfl.read_carto("owned", carto.credentials)["n"])[2:] == list(range(100, 200))


def test_a_lost_network_names_the_ids(
    key: cfl.Credentials, carto: LocalCarto, proxy: FaultProxy, quick: None, database: Database
) -> None:
    proxy.play(Fault(COPY, side="response", for_good=True))
    with pytest.raises(cfl.PublishUnknown, match=r"rows with cartodb_id 3 to 102"):
        cfl.to_carto(ROWS, "owned", key, if_exists="append")
    proxy.heal()
    assert len(cfl.read_carto("owned", carto.credentials)) in (2, 102)
