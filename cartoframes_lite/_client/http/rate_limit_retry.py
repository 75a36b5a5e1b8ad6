"""Patience with a rate limit that other processes use up, too."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from typing import TypeVar

from cartoframes_lite.errors import RateLimited

LONGEST_WAIT_S = 12 * 3600.0  # of hundreds of workers the last may wait for hours at one COPY a minute
_PAUSE_S = 1.0

T = TypeVar("T")


def retry_while_rate_limited(call: Callable[[], T]) -> T:
    """Call until the rate limit lets it through.

    The transport gives up after some minutes, for it does not know of the workers in other processes that get through
    in the meantime. A request that is turned away has done nothing.
    """
    began = time.monotonic()
    while True:
        try:
            return call()
        except RateLimited as refusal:
            pause_s = (refusal.retry_after_s or _PAUSE_S) * (1 + random.random() / 4)
            if time.monotonic() - began + pause_s > LONGEST_WAIT_S:
                raise
            time.sleep(pause_s)
