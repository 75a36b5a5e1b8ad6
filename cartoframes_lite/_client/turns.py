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

from cartoframes_lite._client import retry
from cartoframes_lite._client.buckets import Bucket, Told

_MAPS = "api/v1/map"
_LOOK_AGAIN_S = 1.0
_MAP_KINDS = ("named", "static", "search", "dataview", "attributes", "analysis")


@dataclass(frozen=True, slots=True)
class Wait:
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


class Line:
    """Those who wait for one limit."""

    def __init__(self) -> None:
        # Taken by itself: of a Condition, which is not in C, an interrupt can leave it locked.
        self.lock = threading.RLock()
        self.changed = threading.Condition(self.lock)
        self.bucket = Bucket()
        self.moved_at = 0.0
        self.waiting: dict[int, None] = {}  # numbers drawn at arrival
        self._numbers = itertools.count()

    def before(self, number: int) -> int:
        """Count those who go first."""
        return sum(waiting < number for waiting in self.waiting)

    def turn(self, clock: Callable[[], float], sleep: Callable[[float], None]) -> Turn:
        """Draw a number."""
        return Turn(self, next(self._numbers), clock, sleep)


class Turn:
    """One call in a line; it keeps its place when the server turns it away.

    Parameters
    ----------
    line : Line
    number : int
        Who has the lowest goes first.
    clock, sleep : callable
    """

    def __init__(self, line: Line, number: int, clock: Callable[[], float], sleep: Callable[[float], None]) -> None:
        self._line, self._number = line, number
        self._clock, self._sleep = clock, sleep
        self._began = self._sent_at = clock()
        self._was_refused = False

    @property
    def stalled_s(self) -> float:
        """How long nothing has got through while this call waited."""
        return self._clock() - max(self._began, self._line.moved_at)

    def come(self, tell: Callable[[Wait], None]) -> bool:
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
        line = self._line
        try:
            with line.lock:
                line.waiting[self._number] = None
            while isinstance(answer := self._look(), Wait):
                tell(answer)
                if answer.before:
                    self._wait_for_others(answer.before)
                else:
                    self._sleep(answer.seconds)
            return answer
        finally:
            # In one step that no interrupt comes before: else all calls to come would wait for this one.
            line.waiting.pop(self._number, None)
            with line.lock:
                line.changed.notify_all()

    def _look(self) -> bool | Wait:
        """Take the turn (True), give it up (False), or say how long to wait."""
        line = self._line
        with line.lock:
            now, before = self._clock(), line.before(self._number)
            wait_s = max(0.0, line.bucket.free_at - now)
            too_long = wait_s > 0 and wait_s + self.stalled_s > retry.TOTAL_S
            if too_long and self._was_refused:
                return False
            # Whoever has not been turned away yet lets the server say it: it may have changed its mind.
            if too_long or (before == 0 and wait_s == 0):
                line.bucket, self._sent_at = line.bucket.taken(now), now
                return True
            return Wait(wait_s + before * line.bucket.interval_s, before)

    def passed(self, told: Told | None) -> None:
        """Learn from an answer that is not about the limit."""
        line = self._line
        with line.lock:
            line.moved_at = self._clock()
            line.bucket = line.bucket.passed(told, sent_at=self._sent_at)

    def refused(self, told: Told | None, wait_s: float) -> None:
        """Learn that the server will take no request for ``wait_s``; ``come`` waits for it."""
        line = self._line
        self._was_refused = True
        with line.lock:
            line.bucket = line.bucket.refused(told, sent_at=self._sent_at, now=self._clock(), wait_s=wait_s)

    def excuse(self, retry_after_s: float | None) -> str:
        """Say why the call gives up, and how long it has waited."""
        wish = "does not say for how long" if retry_after_s is None else f"asks for {retry_after_s:,.0f} s more"
        return (
            f"this call has waited for {self._clock() - self._began:,.0f} s, and the server {wish}; "
            f"more than {retry.TOTAL_S:,.0f} s in which no request of this kind gets through are not waited"
        )

    def _wait_for_others(self, before: int) -> None:
        """Wait until the place in the line is another one."""
        line = self._line
        with line.lock:
            # An interrupt can keep one who leaves from telling it.
            line.changed.wait_for(lambda: line.before(self._number) != before, timeout=_LOOK_AGAIN_S)


_lines: dict[tuple[str, str], Line] = {}
if hasattr(os, "register_at_fork"):  # not on Windows, which has no fork
    # The threads that stand in line are not in the child, which would wait for them for ever.
    os.register_at_fork(after_in_child=_lines.clear)


def line(account: str, method: str, path: str) -> Line:
    """Find the line for a request.

    Parameters
    ----------
    account : str
        Base URL. The key is no part of it: the server counts for the account.
    method, path : str
    """
    place = (account, kind(method, path))
    found = _lines.get(place)
    return _lines.setdefault(place, Line()) if found is None else found


def kind(method: str, path: str) -> str:
    """Name the kind of endpoint that a request is counted with."""
    parts = path.split("/")
    if path.startswith(_MAPS):
        below = next((word for word in _MAP_KINDS if word in parts[3:]), "tile" if len(parts) > 3 else "")
        return f"{method} {_MAPS}/{below}"
    if path == "api/v2/sql":  # by GET and by POST
        return path
    # What follows is the id of something.
    return f"{method} {'/'.join(parts[: 4 if parts[1:3] == ['v2', 'sql'] else 3])}"
