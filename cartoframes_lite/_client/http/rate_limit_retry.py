"""Retries for a rate limit that is shared with other processes."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from typing import TypeVar

from cartoframes_lite.errors import RateLimited

LONGEST_WAIT_S = 12 * 3600.0  # with hundreds of workers and one COPY a minute, the last worker waits for hours
_PAUSE_S = 1.0

T = TypeVar("T")


def retry_while_rate_limited(call: Callable[[], T]) -> T:
    """Call a function until it no longer raises RateLimited.

    The transport gives up after some minutes, because it does not see successful requests of workers in other
    processes. A rejected request has not been executed, so it is safe to repeat.
    """
    started_at = time.monotonic()
    while True:
        try:
            return call()
        except RateLimited as error:
            pause_s = (error.retry_after_s or _PAUSE_S) * (1 + random.random() / 4)
            if time.monotonic() - started_at + pause_s > LONGEST_WAIT_S:
                raise
            time.sleep(pause_s)
