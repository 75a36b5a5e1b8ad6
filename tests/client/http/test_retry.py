from __future__ import annotations

from typing import Literal

import pytest

from cartoframes_lite._client.http.retry import TOTAL_S, Outcome, delay_s

TIMED_OUT = Outcome(status=429, statement_timeout=True, retry_after_s=1)


@pytest.mark.parametrize(
    ("outcome", "read", "write"),
    [
        (Outcome(status=200), False, False),
        (Outcome(status=400), False, False),
        (Outcome(status=401), False, False),
        (Outcome(status=403), False, False),
        (Outcome(status=404), False, False),
        (Outcome(status=500), False, False),
        (Outcome(status=429), True, True),
        (TIMED_OUT, False, False),
        (Outcome(status=502), True, False),
        (Outcome(status=503), True, False),
        (Outcome(status=504), True, False),
        (Outcome(failure="lost"), True, False),
        (Outcome(failure="read_timeout"), True, False),
        (Outcome(failure="dropped"), True, False),
        (Outcome(failure="not_connected"), True, True),
        (Outcome(failure="not_sent"), True, True),
        (Outcome(failure="no_database"), True, True),
        (Outcome(status=206), False, False),
    ],
    ids=str,
)
def test_what_is_sent_again(outcome: Outcome, read: bool, write: bool) -> None:
    for idempotent, expected in ((True, read), (False, write)):
        wait = delay_s(outcome, idempotent=idempotent, attempt=1, waited_s=0, jitter=0.5)
        assert (wait is not None) is expected


def test_waits_grow_to_a_cap() -> None:
    outcome = Outcome(status=429)
    waits = [delay_s(outcome, idempotent=True, attempt=n, waited_s=0, jitter=1) for n in range(1, 12)]
    assert waits[:3] == [0.5, 1.0, 2.0]
    assert waits[-1] == 30.0


def test_jitter_halves_at_most() -> None:
    assert delay_s(Outcome(status=429), idempotent=True, attempt=2, waited_s=0, jitter=0) == 0.5


def test_retry_after_is_waited_for_in_full() -> None:
    wait = delay_s(Outcome(status=429, retry_after_s=17), idempotent=False, attempt=1, waited_s=0, jitter=0)
    assert wait == 17


@pytest.mark.parametrize(
    "outcome",
    [Outcome(status=429), Outcome(status=503), Outcome(failure="lost"), Outcome(failure="not_connected")],
    ids=str,
)
def test_it_ends(outcome: Outcome) -> None:
    waited = 0.0
    for attempt in range(1, 1000):
        wait = delay_s(outcome, idempotent=True, attempt=attempt, waited_s=waited, jitter=0.5)
        if wait is None:
            break
        waited += wait
    assert wait is None
    assert waited <= TOTAL_S


def test_a_wait_beyond_the_total_is_not_begun() -> None:
    outcome = Outcome(status=429, retry_after_s=TOTAL_S + 1)
    assert delay_s(outcome, idempotent=True, attempt=1, waited_s=0, jitter=0) is None


@pytest.mark.parametrize("failure", ["dropped", "not_sent"])
def test_an_idle_connection_that_was_closed_is_no_reason_to_wait(failure: Literal["dropped", "not_sent"]) -> None:
    waits = [delay_s(Outcome(failure=failure), idempotent=True, attempt=n, waited_s=0, jitter=1) for n in range(1, 5)]
    assert waits == [0.0, 1.0, 2.0, None]
