"""The rate limit of one kind of request, as far as answers tell of it: a mirror of the server's leaky bucket.

The server lets some requests through at once and then one at each interval. It tells how many in
``Carto-Rate-Limit-Limit``, and the interval only through whole seconds. So the interval is kept between the bounds
that the latest answer gives; in between it grows with each refusal and shrinks a little with each pass. Without
these headers the refusals alone teach it. A server that neither refuses nor sends them is not slowed down.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Self

_NEVER = -math.inf
_FIRST_INTERVAL_S = 1 / 32
_MOST_DIGITS = 9  # longer numbers are not meant
_GROWTH, _SHRINKING = 1.25, 0.998


@dataclass(frozen=True, slots=True)
class RateLimitHeaders:
    """What the headers of an answer tell.

    Attributes
    ----------
    size : int
        How many requests the server lets through at once.
    used : int
        How many of them are used up, rounded up.
    reset_s : int
        When none of them is used any more, in seconds, rounded down.
    """

    size: int
    used: int
    reset_s: int

    @classmethod
    def of(cls, headers: Mapping[str, str]) -> Self | None:
        """Read the headers; None if they are not there, or garbage."""
        found = {name.lower(): value for name, value in headers.items()}
        texts = [found.get(f"carto-rate-limit-{name}", "") for name in ("limit", "remaining", "reset")]
        if not all(text.isascii() and text.isdigit() and len(text) <= _MOST_DIGITS for text in texts):
            return None
        size, remaining, reset_s = map(int, texts)
        return cls(size, size - remaining, reset_s) if 0 <= remaining <= size and size > 0 else None


@dataclass(frozen=True, slots=True)
class LeakyBucket:
    """When the next request may be sent. Times are those of any clock that only grows, in seconds.

    Attributes
    ----------
    size : int
        How many requests may be sent at once.
    interval_s : float
        Between requests in the long run; 0 as long as no limit is known.
    full_at : float
        When all of ``size`` may be sent again.
    closed_until : float
        Before this time nothing is sent: the server said so.
    longest_wait_s : float
        The longest that a refusal asked for. The next place is never further away than one interval.
    grown_at : float
        When the interval has last grown.
    """

    size: int = 1
    interval_s: float = 0.0
    full_at: float = _NEVER
    closed_until: float = _NEVER
    longest_wait_s: float = 0.0
    grown_at: float = _NEVER

    @property
    def free_at(self) -> float:
        """When the next request may be sent."""
        return max(self.closed_until, self.full_at - self.interval_s * (self.size - 1))

    def taken(self, now: float) -> LeakyBucket:
        """Count a request that is sent now."""
        return replace(self, full_at=max(self.full_at, now) + self.interval_s)

    def on_success(self, headers: RateLimitHeaders | None, *, sent_at: float) -> LeakyBucket:
        """Learn from an answer to a request that was let through, maybe long ago."""
        if headers is None:
            return replace(self, interval_s=self.interval_s * _SHRINKING)
        return self._bounded(headers, self.interval_s * _SHRINKING, sent_at)

    def on_rejected(
        self, headers: RateLimitHeaders | None, *, sent_at: float, now: float, wait_s: float
    ) -> LeakyBucket:
        """Learn from a refusal: nothing is sent for ``wait_s``."""
        learned = replace(self, longest_wait_s=max(self.longest_wait_s, wait_s))
        if sent_at > self.grown_at:  # else it was on its way already when the interval grew
            grown_s = max(_FIRST_INTERVAL_S, self.interval_s * _GROWTH)
            learned = replace(learned, interval_s=min(grown_s, learned.longest_wait_s), grown_at=now)
        if headers is not None:
            learned = learned._bounded(headers, learned.interval_s, sent_at)
        closed_until = max(self.closed_until, now + wait_s)
        return replace(
            learned, closed_until=closed_until, full_at=closed_until + learned.interval_s * (learned.size - 1)
        )

    def _bounded(self, headers: RateLimitHeaders, interval_s: float, sent_at: float) -> LeakyBucket:
        """Take over the size, and keep an interval between its bounds: what is used up resets at this interval."""
        if headers.used:
            interval_s = min(max(interval_s, headers.reset_s / headers.used), (headers.reset_s + 1) / headers.used)
        # The server counted after the request was sent, so the bucket is not full before this.
        full_at = max(self.full_at, sent_at + headers.reset_s)
        return replace(self, size=headers.size, interval_s=interval_s, full_at=full_at)
