"""Sync: a table that the server refreshes periodically from its source."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from cartoframes_lite._client import Client
from cartoframes_lite._client.http.json_fields import field_values
from cartoframes_lite._client.syncs import MIN_INTERVAL_S, Synchronization
from cartoframes_lite._codec.html import html_table
from cartoframes_lite.credentials import Credentials
from cartoframes_lite.errors import JobError


@dataclass(frozen=True, slots=True)
class Sync(Synchronization):
    """An immutable snapshot of a synchronization: a table that the server refreshes periodically.

    Returned by ``Dataset.sync`` and ``list_syncs``. ``refresh`` returns a new snapshot.

    Attributes
    ----------
    id : str
    name : str or None
        Name of the table; None until the first import has created it.
    state : str
        "created", "queued", "syncing", "success" or "failure".
    interval_s : int
        Time between two runs, in seconds.
    url : str or None
        URL of the source; None for a connector.
    ran_at, run_at : datetime or None
        Time of the last run (before the first run: of creation) and of the next run, with time zone.
    retried_times : int
        Number of failures since the last success.
    error : ImportFailed or None
        Error of the last run, if it failed. The table keeps the data of the last successful run.
    """

    credentials: Credentials = field(kw_only=True, repr=False, compare=False)

    @classmethod
    def from_synchronization(cls, record: Synchronization, credentials: Credentials) -> Sync:
        """Add credentials to the record of a synchronization."""
        return cls(**field_values(record), credentials=credentials)

    def refresh(self) -> Sync:
        """Request the current state; return it as a new object.

        Raises
        ------
        NotFound
            If the synchronization was stopped.
        """
        return self.from_synchronization(Client(self.credentials).syncs.read(self.id), self.credentials)

    def update(self, *, interval_s: int) -> Sync:
        """Change the interval.

        Parameters
        ----------
        interval_s : int
            In seconds, at least 900.

        Returns
        -------
        Sync
            The updated state.

        Raises
        ------
        ValueError
            If the interval is shorter than 900 seconds.
        """
        changed = Client(self.credentials).syncs.update(self.id, interval_s=interval_s)
        return self.from_synchronization(changed, self.credentials)

    def force(self) -> Sync:
        """Start a run now, without waiting for it; ``refresh`` returns its state.

        Returns
        -------
        Sync
            The state after the request.

        Raises
        ------
        JobError
            If the server rejects the request: during a run and for 900 seconds after one. The message contains the
            time from which a run is allowed.
        """
        if not Client(self.credentials).syncs.force(self.id):
            raise JobError(f"{self.name or self.id} cannot be synchronized now: {self.refresh()._rejection_reason()}")
        return self.refresh()

    def stop(self) -> None:
        """Delete the synchronization; the table and its rows are kept."""
        Client(self.credentials).syncs.delete(self.id)

    def _rejection_reason(self) -> str:
        """Describe why a run cannot be forced now, and when it can."""
        if self.state in ("created", "queued", "syncing"):
            return f"it is {self.state}, wait for that run"
        if self.ran_at is None:
            return "the response contains no reason"
        allowed_at = self.ran_at + timedelta(seconds=MIN_INTERVAL_S)
        remaining_s = (allowed_at - datetime.now(UTC)).total_seconds()
        when = f"from {allowed_at:%Y-%m-%d %H:%M:%S %Z} on, in {remaining_s:.0f} s" if remaining_s > 0 else "shortly"
        return f"it ran less than {MIN_INTERVAL_S // 60} minutes ago; it will be allowed {when}"

    def _repr_html_(self) -> str:
        rows = {
            "state": self.state,
            "every": timedelta(seconds=self.interval_s),
            "from": self.url or "a connector",
            "last run": self.ran_at,
            "next run": self.run_at,
            "error": self.error,
        }
        return html_table(f"Synchronization of {self.name or self.id}", rows)
