"""The server's time, which tests can move forward."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta


class Clock:
    """Time of the machine, plus what it has been advanced by.

    Attributes
    ----------
    on_advance : list of callable
        Called after each advance, for who waits for a point of time.
    """

    def __init__(self) -> None:
        self._ahead = timedelta()
        self.on_advance: list[Callable[[], None]] = []

    def now(self) -> datetime:
        """Return the time, in UTC."""
        return datetime.now(UTC) + self._ahead

    def advance(self, seconds: float) -> None:
        """Move the time forward; ValueError if it were backward."""
        if seconds < 0:
            raise ValueError(f"time cannot go back: seconds must not be negative, not {seconds:g}")
        self._ahead += timedelta(seconds=seconds)
        for wake in self.on_advance:
            wake()

    def reset(self) -> None:
        """Go back to the time of the machine."""
        self._ahead = timedelta()
