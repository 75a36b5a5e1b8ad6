from __future__ import annotations

from typing import Literal

import pytest

from cartoframes_lite import errors
from cartoframes_lite._client.http.retry import TOTAL_S, Outcome, call_with_retries, delay_s, idempotent_delay_s

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
def test_retry_table(outcome: Outcome, read: bool, write: bool) -> None:
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


def test_retry_after_is_observed_in_full() -> None:
    wait = delay_s(Outcome(status=429, retry_after_s=17), idempotent=False, attempt=1, waited_s=0, jitter=0)
    assert wait == 17


@pytest.mark.parametrize(
    "outcome", [Outcome(status=503), Outcome(failure="lost"), Outcome(failure="not_connected")], ids=str
)
def test_attempts_are_limited(outcome: Outcome) -> None:
    waits = [delay_s(outcome, idempotent=True, attempt=n, waited_s=0, jitter=0.5) for n in range(1, 10)]
    assert waits[0] is not None
    assert waits[4:] == [None] * 5


@pytest.mark.parametrize("outcome", [Outcome(status=503), Outcome(status=503, retry_after_s=1)], ids=str)
def test_delays_are_limited_in_all(outcome: Outcome) -> None:
    assert delay_s(outcome, idempotent=True, attempt=1, waited_s=TOTAL_S - 0.1, jitter=1) is None


def test_the_queue_limits_the_waits_for_a_rate_limit() -> None:
    outcome = Outcome(status=429, retry_after_s=TOTAL_S + 1)
    assert delay_s(outcome, idempotent=False, attempt=2000, waited_s=TOTAL_S, jitter=0) == TOTAL_S + 1
    assert delay_s(Outcome(status=429), idempotent=False, attempt=2000, waited_s=TOTAL_S, jitter=1) == 30


@pytest.mark.parametrize("failure", ["dropped", "not_sent"])
def test_a_closed_idle_connection_is_retried_without_delay(failure: Literal["dropped", "not_sent"]) -> None:
    waits = [delay_s(Outcome(failure=failure), idempotent=True, attempt=n, waited_s=0, jitter=1) for n in range(1, 5)]
    assert waits == [0.0, 1.0, 2.0, None]


def api_error(kind: type[errors.APIError], status: int) -> errors.APIError:
    return kind("no", status=status, method="POST", url="https://host/x")


def nothing_done() -> errors.ConnectionFailed:
    error = errors.ConnectionFailed("no database")
    error.nothing_done = True
    return error


@pytest.mark.parametrize(
    ("error", "attempts"),
    [
        (errors.ConnectionFailed("lost"), 4),
        (nothing_done(), 4),
        (api_error(errors.ServerError, 503), 4),
        (api_error(errors.ServerError, 500), 1),
        (api_error(errors.SQLError, 400), 1),
        (api_error(errors.QueryTimeout, 429), 1),
        (api_error(errors.RateLimited, 429), 1),  # the request itself has waited
        (errors.CartoError("of the client"), 1),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else "",
)
def test_an_idempotent_operation_is_repeated_as_a_whole(error: errors.CartoError, attempts: int) -> None:
    calls: list[None] = []
    slept: list[float] = []

    def call() -> None:
        calls.append(None)
        raise error

    with pytest.raises(type(error)) as caught:
        call_with_retries(call, idempotent_delay_s, sleep=slept.append)
    assert caught.value is error
    assert (len(calls), len(slept)) == (attempts, attempts - 1)


def test_the_loop_passes_attempts_and_delays_and_returns_the_result() -> None:
    failures = [errors.CartoError("a"), errors.CartoError("b")]
    asked: list[tuple[str, int, float]] = []
    slept: list[float] = []

    def call() -> str:
        if failures:
            raise failures.pop(0)
        return "done"

    def delay(error: errors.CartoError, attempt: int, waited_s: float) -> float:
        asked.append((str(error), attempt, waited_s))
        return 2.5

    assert call_with_retries(call, delay, sleep=slept.append) == "done"
    assert asked == [("a", 1, 0.0), ("b", 2, 2.5)]
    assert slept == [2.5, 2.5]


def test_other_exceptions_end_the_loop() -> None:
    def call() -> None:
        raise ValueError("mine")

    with pytest.raises(ValueError, match="mine"):
        call_with_retries(call, lambda *_: 1.0)
