"""Writes over an unreliable network: faults at every request of a write, and at any byte."""

from __future__ import annotations

from collections import OrderedDict
from typing import get_args

from hypothesis import HealthCheck, Phase, given, note, settings
from hypothesis import strategies as st

from cartoframes_lite.write import expected_staging
from tests.fault_proxy import Fault, FaultProxy, Side, request_steps
from tests.faults.write_trials import (
    Trial,
    few_modes_unless_long,
    pairs_of_modes_unless_long,
    record,
    write_with_faults,
)

# Of a response, whose length depends on how long the server took: this much less than recorded is always there.
_UNSURE_BYTES = 8


@pairs_of_modes_unless_long
def test_a_write_cut_at_every_step(proxy, trial):
    cut_at_every_step(proxy, trial, for_good=False)


@few_modes_unless_long("new-plain-3", "replace-geometry-3", "replace-other-columns-plain-3", "append-geometry-3")
def test_a_network_lost_for_good_at_every_step(proxy, trial):
    cut_at_every_step(proxy, trial, for_good=True)


@few_modes_unless_long("replace-other-columns-plain-1", "append-plain-3")
def test_an_unexpected_staging_table_cut_at_every_step(proxy, trial, monkeypatch):
    """Each plan needs another staging table than the one that was created with the description of the target."""
    expected_columns = expected_staging._expected_columns
    monkeypatch.setattr(expected_staging, "_MAX_REMEMBERED", 0)
    monkeypatch.setattr(expected_staging, "_needed", OrderedDict())  # without what other tests have needed
    monkeypatch.setattr(
        expected_staging, "_expected_columns", lambda *columns, **options: expected_columns(*columns, **options)[::-1]
    )
    cut_at_every_step(proxy, trial, for_good=False)


def cut_at_every_step(proxy: FaultProxy, trial: Trial, *, for_good: bool) -> None:
    recorded = record(proxy, trial)
    assert len(recorded[True]) == len(recorded[False]) >= 3
    for number in range(len(recorded[True])):
        for step in range(4):
            at = request_steps(recorded[trial.turned][number])[step]
            write_with_faults(proxy, trial, Fault(number, "request", at, for_good=for_good))
        write_with_faults(proxy, trial, Fault(number, "response", 0, for_good=for_good))
        at = recorded[trial.turned][number].sizes["response"] // 2
        write_with_faults(proxy, trial, Fault(number, "response", at, for_good=for_good))


@pairs_of_modes_unless_long
def test_a_write_cut_at_any_byte(proxy, trial, is_long):
    recorded = record(proxy, trial)
    last = len(recorded[True]) - 1
    cuts = 0

    @settings(
        max_examples=600 if is_long else 15,
        deadline=None,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(st.integers(0, last), st.sampled_from(get_args(Side)), st.floats(0, 1), st.booleans(), st.booleans())
    def cut(number: int, side: Side, part: float, for_good: bool, abrupt: bool) -> None:
        nonlocal cuts
        passed = recorded[trial.turned][number].sizes[side]
        at = round(part * (passed if side == "request" else passed - _UNSURE_BYTES))
        note(f"behind {at} of {passed} bytes")
        write_with_faults(proxy, trial, Fault(number, side, at, for_good=for_good, abrupt=abrupt))
        cuts += 1

    cut()
    assert cuts >= (600 if is_long else 15)
