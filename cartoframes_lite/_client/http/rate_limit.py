"""Take turns at a rate limit: calls that wait for the same limit go one after the other, first come first served.

CARTO counts the requests of an account, for each kind of endpoint. So all threads of this process stand in one
line for each account and kind. As long as no limit is known, nobody waits. Where one is, the first in line waits
until the server will take a request, and the others for the first: no call starves while others overtake it, and
nobody asks again before the server said.

A call waits as long as the line moves: calls before it get through, and so will it. If nothing gets through for
``retry.TOTAL_S``, or the server asks for a longer wait than that, it gives up.
"""

from __future__ import annotations

import itertools
import math
import os
import threading
from collections.abc import Callable
from dataclasses import dataclass

from cartoframes_lite._client.http import retry
from cartoframes_lite._client.http.leaky_bucket import LeakyBucket, RateLimitHeaders

_MAPS = "api/v1/map"
_LOOK_AGAIN_S = 1.0
_MAP_KINDS = ("named", "static", "search", "dataview", "attributes", "analysis")


@dataclass(frozen=True, slots=True)
class ExpectedWait:
    """How long a call will have to wait, as far as can be said.

    Attributes
    ----------
    seconds : float
    before : int
        Calls of this process that go first.
    """

    seconds: float
    before: int

    def __str__(self) -> str:
        others = f", {self.before} {'call goes' if self.before == 1 else 'calls go'} first" if self.before else ""
        return f"about {math.ceil(self.seconds):,} s{others}"


class RateLimitQueue:
    """Those who wait for one limit."""

    def __init__(self) -> None:
        # Taken by itself: of a Condition, which is not in C, an interrupt can leave it locked.
        self.lock = threading.RLock()
        self.changed = threading.Condition(self.lock)
        self.bucket = LeakyBucket()
        self.moved_at = 0.0
        self.waiting: dict[int, None] = {}  # numbers drawn at arrival
        self._numbers = itertools.count()

    def before(self, number: int) -> int:
        """Count those who go first."""
        return sum(waiting < number for waiting in self.waiting)

    def join(self, clock: Callable[[], float], sleep: Callable[[float], None]) -> QueuedRequest:
        """Draw a number."""
        return QueuedRequest(self, next(self._numbers), clock, sleep)


class QueuedRequest:
    """One call in a line; it keeps its place when the server turns it away.

    Parameters
    ----------
    line : RateLimitQueue
    number : int
        Who has the lowest goes first.
    clock, sleep : callable
    """

    def __init__(
        self, queue: RateLimitQueue, number: int, clock: Callable[[], float], sleep: Callable[[float], None]
    ) -> None:
        self._queue, self._number = queue, number
        self._clock, self._sleep = clock, sleep
        self._began = self._sent_at = clock()
        self._was_refused = False

    @property
    def stalled_s(self) -> float:
        """How long nothing has got through while this call waited."""
        return self._clock() - max(self._began, self._queue.moved_at)

    def acquire(self, tell: Callable[[ExpectedWait], None]) -> bool:
        """Wait until the request may be sent.

        Parameters
        ----------
        tell : callable
            Is told of each wait before it begins.

        Returns
        -------
        bool
            False if the server has turned this call away already, and would do so for too long.
        """
        queue = self._queue
        try:
            with queue.lock:
                queue.waiting[self._number] = None
            while isinstance(answer := self._look(), ExpectedWait):
                tell(answer)
                if answer.before:
                    self._wait_for_others(answer.before)
                else:
                    self._sleep(answer.seconds)
            return answer
        finally:
            # In one step that no interrupt comes before: else all calls to come would wait for this one.
            queue.waiting.pop(self._number, None)
            with queue.lock:
                queue.changed.notify_all()

    def _look(self) -> bool | ExpectedWait:
        """Take the turn (True), give it up (False), or say how long to wait."""
        queue = self._queue
        with queue.lock:
            now, before = self._clock(), queue.before(self._number)
            wait_s = max(0.0, queue.bucket.free_at - now)
            too_long = wait_s > 0 and wait_s + self.stalled_s > retry.TOTAL_S
            if too_long and self._was_refused:
                return False
            # Whoever has not been turned away yet lets the server say it: it may have changed its mind.
            if too_long or (before == 0 and wait_s == 0):
                queue.bucket, self._sent_at = queue.bucket.taken(now), now
                return True
            return ExpectedWait(wait_s + before * queue.bucket.interval_s, before)

    def on_success(self, headers: RateLimitHeaders | None) -> None:
        """Learn from an answer that is not about the limit."""
        queue = self._queue
        with queue.lock:
            queue.moved_at = self._clock()
            queue.bucket = queue.bucket.on_success(headers, sent_at=self._sent_at)

    def on_rejected(self, headers: RateLimitHeaders | None, wait_s: float) -> None:
        """Learn that the server will take no request for ``wait_s``; ``acquire`` waits for it."""
        queue = self._queue
        self._was_refused = True
        with queue.lock:
            queue.bucket = queue.bucket.on_rejected(headers, sent_at=self._sent_at, now=self._clock(), wait_s=wait_s)

    def describe_wait(self, retry_after_s: float | None) -> str:
        """Say why the call gives up, and how long it has waited."""
        wish = "does not say for how long" if retry_after_s is None else f"asks for {retry_after_s:,.0f} s more"
        return (
            f"this call has waited for {self._clock() - self._began:,.0f} s, and the server {wish}; "
            f"more than {retry.TOTAL_S:,.0f} s in which no request of this kind gets through are not waited"
        )

    def _wait_for_others(self, before: int) -> None:
        """Wait until the place in the line is another one."""
        queue = self._queue
        with queue.lock:
            # An interrupt can keep one who leaves from telling it.
            queue.changed.wait_for(lambda: queue.before(self._number) != before, timeout=_LOOK_AGAIN_S)


_queues: dict[tuple[str, str], RateLimitQueue] = {}
if hasattr(os, "register_at_fork"):  # not on Windows, which has no fork
    # The threads that stand in line are not in the child, which would wait for them for ever.
    os.register_at_fork(after_in_child=_queues.clear)


def queue_for(account: str, method: str, path: str) -> RateLimitQueue:
    """Find the line for a request.

    Parameters
    ----------
    account : str
        Base URL. The key is no part of it: the server counts for the account.
    method, path : str
    """
    place = (account, endpoint_kind(method, path))
    found = _queues.get(place)
    return _queues.setdefault(place, RateLimitQueue()) if found is None else found


def endpoint_kind(method: str, path: str) -> str:
    """Name the kind of endpoint that a request is counted with."""
    parts = path.split("/")
    if path.startswith(_MAPS):
        below = next((word for word in _MAP_KINDS if word in parts[3:]), "tile" if len(parts) > 3 else "")
        return f"{method} {_MAPS}/{below}"
    if path == "api/v2/sql":  # by GET and by POST
        return path
    # What follows is the id of something.
    return f"{method} {'/'.join(parts[: 4 if parts[1:3] == ['v2', 'sql'] else 3])}"
