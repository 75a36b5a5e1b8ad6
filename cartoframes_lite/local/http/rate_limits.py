"""Rate limits: a leaky bucket for each kind of endpoint, counted and told as CARTO does."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

RateLimit = tuple[float, int]


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether a request may pass, and the headers that say so.

    Attributes
    ----------
    allowed : bool
    headers : dict
        ``Carto-Rate-Limit-*``, and ``Retry-After`` if the request is refused. Empty without a limit.
    """

    allowed: bool
    headers: dict[str, str]


class RateLimits:
    """Counts requests.

    A bucket holds ``burst + 1`` requests and is refilled with ``per_second`` of them each second. The
    times in headers are whole seconds: ``Reset`` until the bucket is full again, rounded down, and
    ``Retry-After`` one more than the rounded down wait.

    Parameters
    ----------
    rate_limit : tuple of (float, int), optional
        Requests per second and burst. None means unlimited.
    by_kind : mapping of str to tuple of (float, int), optional
        The same for kinds of endpoints that have a limit of their own.
    clock : callable
        Seconds that only grow.
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

    def take(self, kind: str) -> Verdict:
        """Count a request of a kind of endpoint: ``query``, ``copyfrom``, ``copyto``, ``job_create`` ..."""
        limit = self._by_kind.get(kind, self._rate_limit)
        if limit is None:
            return Verdict(True, {})
        per_second, burst = limit
        interval = 1 / per_second
        now = self._clock()
        full_at = max(self._full_at.get(kind, now), now)
        allowed = full_at - now <= interval * burst + 1e-9  # 1e-9: times are sums of floats
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
        return Verdict(allowed, headers)

    def forget(self) -> None:
        """Fill all buckets."""
        self._full_at.clear()
