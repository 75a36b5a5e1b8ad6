"""FIFO queue per account and kind of endpoint; a request waits until the rate limit allows it.

CARTO limits the rate of requests per account and kind of endpoint, so all threads of this process share one queue for
each. Requests do not wait until a limit is known. Then the first request in the queue waits until the limit allows it,
and the others wait for the first, so that no request starves.

Other processes, such as the workers of a Dask cluster, have queues of their own for the same limit. A rejected request
may be sent again up to a second after the limit allows it, because Retry-After is in whole seconds, while a process
whose requests are accepted knows the time exactly: it would always come first, and the others never. Therefore a
process that uses a limit fully waits ``_YIELD_S`` longer than it has to after each turn, and the others come first.
Turns last ten seconds, and after a rejection, which others may have caused, for one request at first.

A request gives up if no request of its kind in this process succeeds for ``retry.TOTAL_S`` seconds, or if the response
asks for a longer wait than that. Within ``share_with_processes``, where the requests of other processes may come first
for hours, it gives up after ``SHARED_TOTAL_S``.
"""

from __future__ import annotations

import itertools
import math
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass

from cartoframes_lite._client.http import retry
from cartoframes_lite._client.http.leaky_bucket import LeakyBucket, RateLimitHeaders

_MAPS = "api/v1/map"
_POLL_S = 1.0
_MAX_TURN_S, _LONG_INTERVAL_S = 10.0, 0.75
_YIELD_S = 1.0 + retry.RETRY_AFTER_JITTER_S  # Retry-After is rounded up by at most one second
SHARED_TOTAL_S = 12 * 3600.0  # with hundreds of workers and one COPY a minute, the last one waits for hours
_MAP_ENDPOINTS = ("named", "static", "search", "dataview", "attributes", "analysis")

_is_shared: ContextVar[bool] = ContextVar("is_shared", default=False)


@contextmanager
def share_with_processes() -> Iterator[None]:
    """Let requests of this context wait for rate limits that other processes use up, for hours if necessary."""
    token = _is_shared.set(True)
    try:
        yield
    finally:
        _is_shared.reset(token)


@dataclass(frozen=True, slots=True)
class ExpectedWait:
    """Estimated wait of a request.

    Attributes
    ----------
    seconds : float
    ahead : int
        Number of requests of this process that are ahead in the queue.
    """

    seconds: float
    ahead: int

    def __str__(self) -> str:
        queue = f", {self.ahead} {'request' if self.ahead == 1 else 'requests'} ahead" if self.ahead else ""
        return f"about {math.ceil(self.seconds):,} s{queue}"


class RateLimitQueue:
    """Queue of the requests of this process that wait for one rate limit."""

    def __init__(self) -> None:
        # A lock of its own: an interrupt inside Condition, which is Python code, could leave the lock acquired.
        self.lock = threading.RLock()
        self.changed = threading.Condition(self.lock)
        self.bucket = LeakyBucket()
        self.last_success_at = 0.0
        self.turn_began_at, self.turn_s = -math.inf, _MAX_TURN_S
        self.waiting: dict[int, None] = {}  # sequence numbers, in order of arrival
        self._numbers = itertools.count()

    def ahead(self, number: int) -> int:
        """Return the number of requests ahead of a request."""
        return sum(waiting < number for waiting in self.waiting)

    def end_turn(self, now: float) -> None:
        """Let other processes come first if this one has used the limit fully for a turn."""
        if self.bucket.free_at <= now:
            self.turn_began_at = now
        elif now - self.turn_began_at >= self.turn_s:
            self.bucket, self.turn_began_at = self.bucket.postponed(_YIELD_S), now
            self.turn_s = min(_MAX_TURN_S, 2 * self.turn_s + 1)

    def join(self, clock: Callable[[], float], sleep: Callable[[float], None]) -> QueuedRequest:
        """Assign the next sequence number to a new request."""
        return QueuedRequest(self, next(self._numbers), clock, sleep)


class QueuedRequest:
    """A request in a queue; it keeps its sequence number when it is retried after a 429.

    Parameters
    ----------
    queue : RateLimitQueue
    number : int
        Sequence number; the lowest goes first.
    clock, sleep : callable
    """

    def __init__(
        self, queue: RateLimitQueue, number: int, clock: Callable[[], float], sleep: Callable[[float], None]
    ) -> None:
        self._queue, self._number = queue, number
        self._clock, self._sleep = clock, sleep
        self._joined_at = self._sent_at = clock()
        self._total_s = SHARED_TOTAL_S if _is_shared.get() else retry.TOTAL_S
        self._was_rejected = False

    @property
    def stalled_s(self) -> float:
        """Seconds since the last successful request in this queue, or since this request joined."""
        return self._clock() - max(self._joined_at, self._queue.last_success_at)

    def acquire(self, on_wait: Callable[[ExpectedWait], None]) -> bool:
        """Wait until the request may be sent.

        Parameters
        ----------
        on_wait : callable
            Called before each wait.

        Returns
        -------
        bool
            False if the request has been rejected before and the next wait would be too long.
        """
        queue = self._queue
        try:
            with queue.lock:
                queue.waiting[self._number] = None
            while isinstance(decision := self._try_acquire(), ExpectedWait):
                on_wait(decision)
                if decision.ahead:
                    self._wait_for_position_change(decision.ahead)
                else:
                    self._sleep(decision.seconds)
            return decision
        finally:
            # First and in one atomic step: if an interrupt prevented it, all later requests would wait for this one.
            queue.waiting.pop(self._number, None)
            with queue.lock:
                queue.changed.notify_all()

    def _try_acquire(self) -> bool | ExpectedWait:
        """Return True if the request may be sent now, False if it must give up, or the expected wait."""
        queue = self._queue
        with queue.lock:
            now, ahead = self._clock(), queue.ahead(self._number)
            wait_s = max(0.0, queue.bucket.free_at - now)
            too_long = wait_s > 0 and wait_s + self.stalled_s > self._total_s
            if too_long and self._was_rejected:
                return False
            # A request that has not been rejected yet is sent in any case: the limit may have changed.
            if too_long or (ahead == 0 and wait_s == 0):
                queue.bucket, self._sent_at = queue.bucket.on_sent(now), now
                return True
            return ExpectedWait(wait_s + ahead * queue.bucket.interval_s, ahead)

    def on_success(self, headers: RateLimitHeaders | None) -> None:
        """Update the limit after a response other than a rejection."""
        queue = self._queue
        with queue.lock:
            now = queue.last_success_at = self._clock()
            queue.bucket = queue.bucket.on_success(headers, sent_at=self._sent_at)
            queue.end_turn(now)

    def on_rejected(self, headers: RateLimitHeaders | None, wait_s: float) -> None:
        """Update the limit after a 429; ``acquire`` then waits for ``wait_s`` seconds."""
        queue = self._queue
        self._was_rejected = True
        with queue.lock:
            now = queue.turn_began_at = self._clock()
            queue.bucket = queue.bucket.on_rejected(headers, sent_at=self._sent_at, now=now, wait_s=wait_s)
            # If intervals are short, a turn of one request would leave most of the limit unused.
            queue.turn_s = 0.0 if queue.bucket.interval_s >= _LONG_INTERVAL_S else _MAX_TURN_S

    def describe_wait(self, retry_after_s: float | None) -> str:
        """Describe how long the request has waited and why it gives up."""
        waited_s = self._clock() - self._joined_at
        after = "has no Retry-After" if retry_after_s is None else f"asks to retry after {retry_after_s:,.0f} s"
        return (
            f"the request waited for {waited_s:,.0f} s and the response {after}; "
            f"retries stop after {self._total_s:,.0f} s without a successful request of this kind"
        )

    def _wait_for_position_change(self, ahead: int) -> None:
        """Wait until the position in the queue changes."""
        queue = self._queue
        with queue.lock:
            # With a timeout: an interrupt can prevent notify_all.
            queue.changed.wait_for(lambda: queue.ahead(self._number) != ahead, timeout=_POLL_S)


_queues: dict[tuple[str, str], RateLimitQueue] = {}
if hasattr(os, "register_at_fork"):  # not on Windows, which has no fork
    # The waiting threads do not exist in the child, which would wait for them forever.
    os.register_at_fork(after_in_child=_queues.clear)


def queue_for(account: str, method: str, path: str) -> RateLimitQueue:
    """Return the queue for a request.

    Parameters
    ----------
    account : str
        Base URL. Limits are per account, not per API key.
    method, path : str
    """
    key = (account, endpoint_kind(method, path))
    queue = _queues.get(key)
    return _queues.setdefault(key, RateLimitQueue()) if queue is None else queue


def endpoint_kind(method: str, path: str) -> str:
    """Return the kind of endpoint whose rate limit applies to a request."""
    parts = path.split("/")
    if path.startswith(_MAPS):
        below = next((word for word in _MAP_ENDPOINTS if word in parts[3:]), "tile" if len(parts) > 3 else "")
        return f"{method} {_MAPS}/{below}"
    if path == "api/v2/sql":  # GET and POST share one limit
        return path
    # The remaining parts are ids.
    return f"{method} {'/'.join(parts[: 4 if parts[1:3] == ['v2', 'sql'] else 3])}"
