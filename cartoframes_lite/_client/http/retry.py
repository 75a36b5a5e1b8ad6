"""Retries: the rule as a pure function, and the loop that applies it.

Requests, uploads to a staging table and queries for the state of a transaction are all repeated by `call_with_retries`.
Each caller states whether a second execution would do harm; `delay_s` decides from that and from the failure:

- Rate limit (429): the request has not been executed. Any method is sent again, not before ``Retry-After``. How long it
  waits in all, and in which order requests are sent, is decided by the queue of the rate limit (`rate_limit`).
- Statement timeout, which is also a 429: never. The same query would time out again.
- No connection: the request has not been sent. Any method is sent again, but only once.
- The server closed a reused connection before the request was sent, or could not connect to its database: nothing was
  executed. Any method, four attempts; the first retry on a closed connection has no delay.
- 502, 503, 504, and connections lost after the request was sent: it may have been executed. Only what is idempotent,
  four attempts. If the lost connection was reused, it was most likely idle: the first retry has no delay.
- Read timeout: only what is idempotent, once; an SQL statement never, since it may still be running.
- An SQL statement that failed after more than 30 s, as proxies that time out make it fail: as if not idempotent.
- Any other response, also 500: never.

Delays double from 0.5 s to 30 s, minus a random part of up to one half, so that many clients do not retry at the same
time. A call gives up before its delays exceed five minutes in all.
"""

from __future__ import annotations

import math
import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, TypeVar

from cartoframes_lite.errors import APIError, CartoError, ConnectionFailed, QueryTimeout, RateLimited

Failure = Literal["not_connected", "not_sent", "no_database", "dropped", "lost", "read_timeout"]
Delay = Callable[[CartoError, int, float], float | None]

T = TypeVar("T")

_MAX_ATTEMPTS = {
    "unavailable": 4,
    "lost": 4,
    "dropped": 4,
    "not_sent": 4,
    "no_database": 4,
    "not_connected": 2,
    "read_timeout": 2,
}
NOTHING_DONE = ("not_connected", "not_sent", "no_database")
_NO_DELAY = ("not_sent", "dropped")
_FIRST_DELAY_S, _MAX_DELAY_S = 0.5, 30.0
RETRY_AFTER_JITTER_S = 0.2
TOTAL_S = 300.0


@dataclass(frozen=True, slots=True)
class Outcome:
    """Result of a failed attempt.

    Attributes
    ----------
    status : int or None
        HTTP status, if there was a response.
    failure : {"not_connected", "not_sent", "no_database", "dropped", "lost", "read_timeout"} or None
        Kind of failure, if there was no response.
    statement_timeout : bool
        Whether a 429 is a statement timeout instead of a rate limit.
    retry_after_s : float or None
        Value of Retry-After in seconds.
    """

    status: int | None = None
    failure: Failure | None = None
    statement_timeout: bool = False
    retry_after_s: float | None = None

    @classmethod
    def of(cls, error: CartoError) -> Outcome:
        """Return the outcome that an error stands for; one that is never retried for errors of the client."""
        if isinstance(error, APIError):
            is_timeout = isinstance(error, QueryTimeout)
            return cls(status=error.status, statement_timeout=is_timeout, retry_after_s=error.retry_after_s)
        if isinstance(error, ConnectionFailed):
            return cls(failure="no_database" if error.nothing_done else "lost")
        return cls()


def delay_s(outcome: Outcome, *, idempotent: bool, attempt: int, waited_s: float, jitter: float) -> float | None:
    """Return the delay before the next attempt in seconds; None to give up.

    Parameters
    ----------
    outcome : Outcome
    idempotent : bool
        Whether executing the request twice has the same effect as executing it once.
    attempt : int
        Number of attempts so far, at least 1.
    waited_s : float
        Sum of the delays so far, without those for rate limits.
    jitter : float
        Random number from 0 to 1.
    """
    reason = _reason(outcome, idempotent)
    if reason is None or attempt >= _MAX_ATTEMPTS.get(reason, math.inf):
        return None
    if reason in _NO_DELAY and attempt == 1:
        return 0.0
    if outcome.retry_after_s is None:
        wait = backoff_s(attempt, jitter)
    else:
        wait = max(_FIRST_DELAY_S, outcome.retry_after_s) + RETRY_AFTER_JITTER_S * jitter
    return wait if reason == "rate_limit" or waited_s + wait <= TOTAL_S else None


def backoff_s(attempt: int, jitter: float) -> float:
    """Return the delay after an attempt, counted from 1, if the server asks for none."""
    # The exponent is limited: powers of many attempts exceed the range of float.
    return min(_MAX_DELAY_S, _FIRST_DELAY_S * 2.0 ** min(attempt - 1, 30)) * (0.5 + 0.5 * jitter)


def idempotent_delay_s(error: CartoError, attempt: int, waited_s: float) -> float | None:
    """Apply the rule to an operation of several requests that may be repeated as a whole."""
    if isinstance(error, RateLimited):  # its request has waited long enough
        return None
    return delay_s(Outcome.of(error), idempotent=True, attempt=attempt, waited_s=waited_s, jitter=random.random())


def call_with_retries(call: Callable[[], T], delay: Delay, *, sleep: Callable[[float], None] = time.sleep) -> T:
    """Call a function until it succeeds or its error is final.

    Parameters
    ----------
    call : callable
        One attempt.
    delay : callable
        Returns the delay in seconds before the next attempt, or None to raise the error, from the error, the number of
        attempts so far and the sum of the delays so far. For example ``idempotent_delay_s``.
    sleep : callable
        Replaced in tests.
    """
    attempt, waited_s = 0, 0.0
    while True:
        attempt += 1
        try:
            return call()
        except CartoError as error:
            wait_s = delay(error, attempt, waited_s)
            if wait_s is None:
                raise
        if wait_s > 0:
            sleep(wait_s)
            waited_s += wait_s


def _reason(outcome: Outcome, idempotent: bool) -> str | None:
    """Return the key in ``_MAX_ATTEMPTS`` (or "rate_limit") of the rule that applies; None: no retry."""
    if outcome.status == 429:
        return None if outcome.statement_timeout else "rate_limit"
    if outcome.failure in NOTHING_DONE:
        return outcome.failure
    if not idempotent:
        return None
    if outcome.status in (502, 503, 504):
        return "unavailable"
    return outcome.failure
