"""Time limit of all statements of a query string together."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from cartoframes_lite.local.postgres.connection import Connection
from cartoframes_lite.local.postgres.errors import SQLError

CANCEL_GRACE_S = 1.0  # a statement that is still running so long after its cancellation is terminated
_QUERY_CANCELED = "57014"  # SQLSTATE


class TimeLimit:
    """Context manager that cancels the statements that still run after a time.

    Parameters
    ----------
    connection : Connection
    seconds : float or None
        None: no limit.
    on_overrun : callable
        Called when the statements keep running after they were canceled, because they catch the error.

    Attributes
    ----------
    is_exceeded : bool
    """

    def __init__(self, connection: Connection, seconds: float | None, on_overrun: Callable[[], object]) -> None:
        self._connection, self._seconds, self._on_overrun = connection, seconds, on_overrun
        self._timer: asyncio.TimerHandle | None = None
        self.is_exceeded = False

    def __enter__(self) -> None:
        if self._seconds is not None:
            self._timer = asyncio.get_running_loop().call_later(self._seconds, self._cancel)

    def __exit__(self, *_: object) -> None:
        if self._timer is not None:
            self._timer.cancel()

    def error(self) -> SQLError:
        """Return the error of statements that exceeded the limit; the same as PostgreSQL's."""
        return SQLError("canceling statement due to statement timeout", sqlstate=_QUERY_CANCELED)

    def _cancel(self) -> None:
        """Cancel the running statements."""
        self.is_exceeded = True
        if self._connection.is_active:
            self._connection.cancel()
            self._timer = asyncio.get_running_loop().call_later(CANCEL_GRACE_S, self._report_overrun)

    def _report_overrun(self) -> None:
        if self._connection.is_active:
            self._on_overrun()
