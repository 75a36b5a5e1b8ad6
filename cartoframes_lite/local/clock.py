"""Clock of the server, which tests can move forward."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta


def iso_time(time: datetime) -> str:
    """Return a time in UTC as in CARTO's JSON: ISO 8601 with milliseconds and the suffix ``Z``."""
    return time.astimezone(UTC).isoformat(timespec="milliseconds").removesuffix("+00:00") + "Z"


class Clock:
    """System time plus an offset.

    Attributes
    ----------
    on_advance : list of callable
        Called after each `advance`, to wake threads that wait for a point in time.
    """

    def __init__(self) -> None:
        self._offset = timedelta()
        self.on_advance: list[Callable[[], None]] = []

    def now(self) -> datetime:
        """Return the current time in UTC."""
        return datetime.now(UTC) + self._offset

    def advance(self, seconds: float) -> None:
        """Move the clock forward; raise ValueError if seconds is negative."""
        if seconds < 0:
            raise ValueError(f"seconds must not be negative, not {seconds:g}: the clock only moves forward")
        self._offset += timedelta(seconds=seconds)
        for wake in self.on_advance:
            wake()

    def reset(self) -> None:
        """Set the clock back to the system time."""
        self._offset = timedelta()
