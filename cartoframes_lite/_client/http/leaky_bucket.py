"""Client-side estimate of the server's leaky bucket for one kind of endpoint.

The server allows a burst of requests (``Carto-Rate-Limit-Limit``) and then one request per interval. Its headers
contain the interval only in whole seconds, so the estimate is kept between the bounds given by the latest response; in
between it grows with each rejected request and shrinks slightly with each successful one. Without the headers, only
rejections change it. If the server sends neither, no request is delayed.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Self

_NEVER = -math.inf
_FIRST_INTERVAL_S = 1 / 32
_MAX_DIGITS = 9  # longer numbers are treated as invalid
_GROWTH_FACTOR, _SHRINK_FACTOR = 1.25, 0.998


@dataclass(frozen=True, slots=True)
class RateLimitHeaders:
    """The ``Carto-Rate-Limit-*`` headers of a response.

    Attributes
    ----------
    size : int
        Capacity: requests allowed in a burst.
    used : int
        Requests counted against the capacity, rounded up.
    reset_s : int
        Seconds until none is counted anymore, rounded down.
    """

    size: int
    used: int
    reset_s: int

    @classmethod
    def of(cls, headers: Mapping[str, str]) -> Self | None:
        """Parse the headers; None if they are missing or invalid."""
        lowered = {name.lower(): value for name, value in headers.items()}
        texts = [lowered.get(f"carto-rate-limit-{name}", "") for name in ("limit", "remaining", "reset")]
        if not all(text.isascii() and text.isdigit() and len(text) <= _MAX_DIGITS for text in texts):
            return None
        size, remaining, reset_s = map(int, texts)
        return cls(size, size - remaining, reset_s) if 0 <= remaining <= size and size > 0 else None


@dataclass(frozen=True, slots=True)
class LeakyBucket:
    """Estimated state of a rate limit. Times are in seconds of a monotonic clock.

    Attributes
    ----------
    size : int
        Requests allowed in a burst.
    interval_s : float
        Time between requests in the long run; 0 while no limit is known.
    full_at : float
        Time from which a burst of ``size`` is allowed again.
    closed_until : float
        Time until which no request is sent, from Retry-After.
    longest_wait_s : float
        Longest wait that a rejected request was given; upper bound of the interval.
    last_growth_at : float
        Time when the interval last grew.
    """

    size: int = 1
    interval_s: float = 0.0
    full_at: float = _NEVER
    closed_until: float = _NEVER
    longest_wait_s: float = 0.0
    last_growth_at: float = _NEVER

    @property
    def free_at(self) -> float:
        """Time from which the next request may be sent."""
        return max(self.closed_until, self.full_at - self.interval_s * (self.size - 1))

    def on_sent(self, now: float) -> LeakyBucket:
        """Return the state after a request was sent."""
        return replace(self, full_at=max(self.full_at, now) + self.interval_s)

    def on_success(self, headers: RateLimitHeaders | None, *, sent_at: float) -> LeakyBucket:
        """Return the state after a response other than 429."""
        if headers is None:
            return replace(self, interval_s=self.interval_s * _SHRINK_FACTOR)
        return self._clamped(headers, self.interval_s * _SHRINK_FACTOR, sent_at)

    def on_rejected(
        self, headers: RateLimitHeaders | None, *, sent_at: float, now: float, wait_s: float
    ) -> LeakyBucket:
        """Return the state after a 429: nothing is sent for ``wait_s``."""
        updated = replace(self, longest_wait_s=max(self.longest_wait_s, wait_s))
        if sent_at > self.last_growth_at:  # otherwise the request was sent before the interval last grew
            grown_s = max(_FIRST_INTERVAL_S, self.interval_s * _GROWTH_FACTOR)
            updated = replace(updated, interval_s=min(grown_s, updated.longest_wait_s), last_growth_at=now)
        if headers is not None:
            updated = updated._clamped(headers, updated.interval_s, sent_at)
        closed_until = max(self.closed_until, now + wait_s)
        return replace(
            updated, closed_until=closed_until, full_at=closed_until + updated.interval_s * (updated.size - 1)
        )

    def postponed(self, seconds: float) -> LeakyBucket:
        """Return the state in which the next request waits longer by some seconds."""
        return replace(self, closed_until=self.free_at + seconds)

    def _clamped(self, headers: RateLimitHeaders, interval_s: float, sent_at: float) -> LeakyBucket:
        """Take the size from the headers, and clamp the interval: ``used`` requests reset in ``reset_s``."""
        if headers.used:
            interval_s = min(max(interval_s, headers.reset_s / headers.used), (headers.reset_s + 1) / headers.used)
        # The server counted the request after it was sent, so this is a lower bound.
        full_at = max(self.full_at, sent_at + headers.reset_s)
        return replace(self, size=headers.size, interval_s=interval_s, full_at=full_at)
