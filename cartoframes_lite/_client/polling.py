"""Wait for something that happens on the server."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import TypeVar

from cartoframes_lite.errors import JobTimeout

T = TypeVar("T")

_FIRST_S, _LONGEST_S, _GROWTH = 0.1, 5.0, 1.5


def poll(
    poll: Callable[[], T],
    *,
    done: Callable[[T], bool],
    timeout_s: float | None,
    what: str,
    sleep: Callable[[float], None] = time.sleep,
    clock: Callable[[], float] = time.monotonic,
) -> T:
    """Poll until it is done, at growing intervals from 0.1 to 5 seconds.

    Parameters
    ----------
    poll : callable
        Asks the server.
    done : callable
        Says of an response whether it is the last.
    timeout_s : float or None
        Longest time to wait, in seconds; None: for ever.
    what : str
        What the message calls it.
    sleep, clock : callable
        Replaced in tests.

    Raises
    ------
    JobTimeout
        If it is not done in time; it goes on on the server.
    """
    deadline, pause = clock() + (math.inf if timeout_s is None else timeout_s), _FIRST_S
    while True:
        state = poll()
        if done(state):
            return state
        left = deadline - clock()
        if left <= 0:
            raise JobTimeout(f"{what} is not done after {timeout_s:g} s; it goes on on the server")
        sleep(min(pause, left))
        pause = min(_LONGEST_S, pause * _GROWTH)
