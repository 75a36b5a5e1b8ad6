"""Reads over a network that breaks: the whole frame or an error, never a part of it."""

from __future__ import annotations

from typing import Any, get_args

import geopandas as gpd
import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, Phase, given, note, settings
from hypothesis import strategies as st

import cartoframes_lite as cfl
from tests.counters import COUNTERS
from tests.fault_proxy import PAGE, Fault, FaultProxy, Side, gateway_response, request_steps

ROWS = 3000
CHUNK_ROWS = 700
_UNSURE_BYTES = 8  # of an answer, whose length depends on how long the server took
WAYS: dict[str, dict[str, Any]] = {
    "whole": {},
    "chunks": {"chunksize": CHUNK_ROWS},
    "query": {"limit": ROWS},
    "arrow": {},
    "filters": {"where": "n >= %(least)s", "params": {"least": 0}, "bbox": (-180, -90, 180, 90)},
}


@pytest.fixture
def frame(credentials) -> pd.DataFrame:
    """Write what is then read."""
    numbers = np.arange(ROWS)
    columns = {"n": numbers, "t": [f"row {n} {'é' * (n % 50)}" for n in numbers], "f": numbers / 7}
    frame = gpd.GeoDataFrame(columns, geometry=gpd.points_from_xy(numbers % 180, numbers % 90), crs=4326)
    cfl.to_carto(frame, "t", credentials, progress=False)
    return cfl.read_carto("t", credentials).sort_values("n", ignore_index=True)


class Reading:
    """Reads through the proxy, and the verdict on each."""

    def __init__(self, proxy: FaultProxy, credentials: cfl.Credentials, whole: pd.DataFrame, way: str) -> None:
        self._proxy, self._credentials, self._whole = proxy, credentials, whole
        self._source = "SELECT * FROM t" if way == "query" else "t"
        self._arguments, self._reads_arrow = WAYS[way], way == "arrow"
        proxy.play()
        assert self.suffer() is None
        self.recorded = proxy.exchanges

    def suffer(self, *faults: Fault) -> cfl.CartoError | None:
        """Read with faults; what comes without an error has to be everything."""
        if faults:
            self._proxy.play(*faults)
        try:
            back = self._read()
        except cfl.CartoError as error:  # anything else is no typed error, and fails the test
            self._note(faults)
            return error
        self._note(faults)
        COUNTERS.survived += bool(faults)
        same = back.sort_values("n", ignore_index=True).equals(self._whole)
        COUNTERS.short_reads += not same
        assert same, f"{len(back)} rows of {ROWS}"
        return None

    def _read(self) -> pd.DataFrame:
        if self._reads_arrow:
            return gpd.GeoDataFrame.from_arrow(
                cfl.read_arrow(self._source, self._credentials, progress=False).read_all()
            )
        back = cfl.read_carto(self._source, self._credentials, progress=False, **self._arguments)
        return back if isinstance(back, pd.DataFrame) else pd.concat(list(back), ignore_index=True)

    @staticmethod
    def _note(faults: tuple[Fault, ...]) -> None:
        COUNTERS.faults += len(faults)
        assert all(fault.fired for fault in faults)


@pytest.fixture(params=WAYS)
def reading(request, proxy, through, frame) -> Reading:
    return Reading(proxy, through, frame, request.param)


@pytest.mark.parametrize("for_good", [False, True], ids=["once", "for-good"])
def test_a_read_cut_at_every_step(for_good, reading):
    assert len(reading.recorded) == 3
    for exchange in reading.recorded:
        for at in request_steps(exchange):
            reading.suffer(Fault(exchange.number, "request", at, for_good=for_good))
        for at in (0, 100, exchange.sizes["response"] // 2, exchange.sizes["response"] - _UNSURE_BYTES):
            reading.suffer(Fault(exchange.number, "response", at, for_good=for_good))


def test_a_read_cut_at_any_byte(reading, is_long):
    @settings(
        max_examples=600 if is_long else 15,
        deadline=None,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(st.sampled_from([0, 1, 1, 1, 2]), st.sampled_from(get_args(Side)), st.floats(0, 1), st.booleans())
    def cut(number: int, side: Side, part: float, abrupt: bool) -> None:
        passed = reading.recorded[number].sizes[side]
        at = round(part * (passed if side == "request" else passed - _UNSURE_BYTES))
        note(f"behind {at} of {passed} bytes")
        reading.suffer(Fault(number, side, at, abrupt=abrupt))

    cut()


@pytest.mark.parametrize("status", ["429 Too Many Requests", "502 Bad Gateway", "503 Service Unavailable", "200 OK"])
def test_reads_with_a_response_of_a_gateway(status, reading):
    limit = b'{"error":["over the limits"],"context":"limit","detail":"rate-limit"}'
    more = ["Retry-After: 0"] if status.startswith("429") else []
    for exchange in reading.recorded:
        for instead in (
            gateway_response(status, PAGE, *more),
            gateway_response(status, b""),
            gateway_response(status, limit, *more),
        ):
            reading.suffer(Fault(exchange.number, "request", exchange.head_bytes, "replace", instead=instead))


def test_reads_over_a_slow_network(reading):
    for exchange in reading.recorded:
        for side in get_args(Side):
            assert reading.suffer(Fault(exchange.number, side, 50, "delay", pause_s=0.05)) is None
            assert reading.suffer(Fault(exchange.number, side, 0, "trickle", pause_s=0.002)) is None
