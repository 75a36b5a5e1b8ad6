"""Rate limits: a leaky bucket for each kind of endpoint, with CARTO's headers."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

RateLimit = tuple[float, int]


@dataclass(frozen=True, slots=True)
class RateLimitDecision:
    """Whether a request is within the rate limit, and the headers of its response.

    Attributes
    ----------
    allowed : bool
    headers : dict
        ``Carto-Rate-Limit-*``, and ``Retry-After`` if the request is not allowed. Empty without a limit.
    """

    allowed: bool
    headers: dict[str, str]


class RateLimits:
    """Count requests against the rate limit of their kind of endpoint.

    A bucket holds ``burst + 1`` requests and is refilled with ``per_second`` requests each second. Times in
    headers are in whole seconds: ``Reset`` is the time until the bucket is full again, rounded down;
    ``Retry-After`` is the wait, rounded down, plus 1.

    Parameters
    ----------
    rate_limit : tuple of (float, int), optional
        Requests per second and burst. None means unlimited.
    by_kind : mapping of str to tuple of (float, int), optional
        Limits that replace ``rate_limit`` for kinds of endpoints.
    clock : callable
        Monotonic clock, in seconds.
    """

    def __init__(
        self,
        rate_limit: RateLimit | None,
        by_kind: Mapping[str, RateLimit] | None = None,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._rate_limit, self._by_kind = rate_limit, dict(by_kind or {})
        for limit in (rate_limit, *self._by_kind.values()):
            if limit is not None and not (limit[0] > 0 and limit[1] >= 0):
                raise ValueError(f"rate_limit must be (per second > 0, burst >= 0), not {limit!r}")
        self._clock = clock
        self._full_at: dict[str, float] = {}

    def take(self, kind: str) -> RateLimitDecision:
        """Count a request to a kind of endpoint: ``query``, ``copyfrom``, ``copyto``, ``job_create`` ..."""
        limit = self._by_kind.get(kind, self._rate_limit)
        if limit is None:
            return RateLimitDecision(True, {})
        per_second, burst = limit
        interval = 1 / per_second
        now = self._clock()
        full_at = max(self._full_at.get(kind, now), now)
        allowed = full_at - now <= interval * burst + 1e-9  # tolerance for sums of floats
        if allowed:
            full_at += interval
            self._full_at[kind] = full_at
        room = (interval * (burst + 1) - (full_at - now)) / interval
        headers = {
            "Carto-Rate-Limit-Limit": str(burst + 1),
            "Carto-Rate-Limit-Remaining": str(max(0, math.floor(room + 1e-9))),
            "Carto-Rate-Limit-Reset": str(math.floor(full_at - now + 1e-9)),
        }
        if not allowed:
            headers["Retry-After"] = str(math.floor(full_at - interval * burst - now) + 1)
        return RateLimitDecision(allowed, headers)

    def reset(self) -> None:
        """Refill all buckets."""
        self._full_at.clear()
