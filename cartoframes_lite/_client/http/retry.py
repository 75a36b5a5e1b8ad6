"""When to send a request again, as a pure rule.

- A rate limit (429) turns every request away before it does anything: any method is sent again, after
  ``Retry-After``, until nothing of its kind has got through for five minutes. A statement timeout is a 429, too, but
  the same query would time out again: never.
- 502, 503, 504 and a lost connection leave open what the server has done: only what may be done twice.
- A connection that was never made has done nothing: any method, but briefly. The same if the server has closed a
  connection that was used before and nothing of the request was sent (at once), or if it has no connection to its
  database.
- A connection that was used before and broke before the answer began: what may be done twice, at once for the first
  time; most likely the server has closed it because it was idle.
- A timeout while waiting for an answer: only what may be done twice, and once; a write, never.

Waits grow exponentially up to a cap, with jitter, so that many clients do not come back all at once.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

Failure = Literal["not_connected", "not_sent", "no_database", "dropped", "lost", "read_timeout"]

_ATTEMPTS = {
    "unavailable": 4,
    "lost": 4,
    "dropped": 4,
    "not_sent": 4,
    "no_database": 4,
    "not_connected": 2,
    "read_timeout": 2,
}
NOTHING_DONE = ("not_connected", "not_sent", "no_database")
_AT_ONCE = ("not_sent", "dropped")
_FIRST_S, _LONGEST_S = 0.5, 30.0
TOTAL_S = 300.0  # a plan that allows one COPY a minute may have other users, who take some of them


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a request ended that was not answered as hoped.

    Attributes
    ----------
    status : int or None
        HTTP status, if there was an answer.
    failure : {"not_connected", "not_sent", "no_database", "dropped", "lost", "read_timeout"} or None
        What happened instead.
    statement_timeout : bool
        Whether a 429 means that the query took too long.
    retry_after_s : float or None
        What the server asks to wait.
    """

    status: int | None = None
    failure: Failure | None = None
    statement_timeout: bool = False
    retry_after_s: float | None = None


def delay_s(outcome: Outcome, *, idempotent: bool, attempt: int, waited_s: float, jitter: float) -> float | None:
    """Say how long to wait before the request is sent again; None to give up.

    Parameters
    ----------
    outcome : Outcome
    idempotent : bool
        Whether doing it twice is the same as doing it once.
    attempt : int
        How often it has been sent, from 1 on.
    waited_s : float
        How long has been waited so far; for a rate limit, since any request of this kind got through.
    jitter : float
        A random number from 0 to 1.
    """
    reason = _reason(outcome, idempotent)
    if reason is None or attempt >= _ATTEMPTS.get(reason, math.inf):
        return None
    if reason in _AT_ONCE and attempt == 1:
        return 0.0
    if outcome.retry_after_s is not None:
        wait = max(_FIRST_S, outcome.retry_after_s) + 0.2 * jitter
    else:
        wait = min(_LONGEST_S, _FIRST_S * 2 ** (attempt - 1)) * (0.5 + 0.5 * jitter)
    return wait if waited_s + wait <= TOTAL_S else None


def _reason(outcome: Outcome, idempotent: bool) -> str | None:
    """Name the rule that applies; None if none does."""
    if outcome.status == 429:
        return None if outcome.statement_timeout else "rate_limit"
    if outcome.failure in NOTHING_DONE:
        return outcome.failure
    if not idempotent:
        return None
    if outcome.status in (502, 503, 504):
        return "unavailable"
    return outcome.failure
