"""Retry rule of the transport, as a pure function.

- Rate limit (429): the request has not been executed. Any method is retried after ``Retry-After``, until no request of
  its kind has succeeded for five minutes. A statement timeout, which is also a 429, is never retried: the same query
  would time out again.
- 502, 503, 504 and lost connections: the request may have been executed. Only idempotent requests are retried.
- No connection: the request has not been sent. Any method is retried, but only once. Likewise, but four attempts, if
  the server closed a reused connection before the request was sent (first retry without delay), or if the server could
  not connect to its database.
- A reused connection lost before the response began, most likely closed because it was idle: idempotent requests are
  retried, the first time without delay.
- Read timeout: only idempotent requests are retried, once.

Delays grow exponentially up to a cap, with jitter, so that many clients do not retry at the same time.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

Failure = Literal["not_connected", "not_sent", "no_database", "dropped", "lost", "read_timeout"]

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
TOTAL_S = 300.0  # long, because other clients may use up a limit of one COPY a minute


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
        Sum of the delays so far; for a rate limit, time since a request of this kind succeeded.
    jitter : float
        Random number from 0 to 1.
    """
    reason = _reason(outcome, idempotent)
    if reason is None or attempt >= _MAX_ATTEMPTS.get(reason, math.inf):
        return None
    if reason in _NO_DELAY and attempt == 1:
        return 0.0
    if outcome.retry_after_s is not None:
        wait = max(_FIRST_DELAY_S, outcome.retry_after_s) + 0.2 * jitter
    else:
        wait = min(_MAX_DELAY_S, _FIRST_DELAY_S * 2 ** (attempt - 1)) * (0.5 + 0.5 * jitter)
    return wait if waited_s + wait <= TOTAL_S else None


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
