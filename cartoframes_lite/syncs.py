"""Sync: a table that the server fills again and again."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from cartoframes_lite._client import Client
from cartoframes_lite._client.http.json_fields import field_values
from cartoframes_lite._client.syncs import SHORTEST_S, Synchronization
from cartoframes_lite._codec.html import html_table
from cartoframes_lite.credentials import Credentials
from cartoframes_lite.errors import JobError


@dataclass(frozen=True, slots=True)
class Sync(Synchronization):
    """A synchronization, as the server described it.

    Made by ``Dataset.sync`` and ``list_syncs``. It does not change; ``refresh`` gives a new one.

    Attributes
    ----------
    id : str
    name : str or None
        The table; None until the first import has made it.
    state : str
        "created", "queued", "syncing", "success" or "failure".
    interval_s : int
        Seconds from one run to the next.
    url : str or None
        None for a connector.
    ran_at, run_at : datetime or None
        When it ran last (at first: when it was created), and when it will run next. With time zone.
    retried_times : int
        How often it has failed since it last succeeded.
    error : ImportFailed or None
        Why the last run failed; the table has the data of the last good one.
    """

    credentials: Credentials = field(kw_only=True, repr=False, compare=False)

    @classmethod
    def of_synchronization(cls, found: Synchronization, credentials: Credentials) -> Sync:
        """Add the account to what the server said."""
        return cls(**field_values(found), credentials=credentials)

    def refresh(self) -> Sync:
        """Ask the server again.

        Raises
        ------
        NotFound
            If it was stopped.
        """
        return self.of_synchronization(Client(self.credentials).syncs.read(self.id), self.credentials)

    def update(self, *, interval_s: int) -> Sync:
        """Change the interval.

        Parameters
        ----------
        interval_s : int
            At least 900 seconds.

        Returns
        -------
        Sync
            As it is now.

        Raises
        ------
        ValueError
            If the interval is too short.
        """
        changed = Client(self.credentials).syncs.update(self.id, interval_s=interval_s)
        return self.of_synchronization(changed, self.credentials)

    def force(self) -> Sync:
        """Let it run now; it does so on the server, ``refresh`` tells when it is done.

        Returns
        -------
        Sync
            As it is now.

        Raises
        ------
        JobError
            If the server refuses, as it does while it runs and for 900 seconds after a run; the message says when
            it will be allowed.
        """
        if not Client(self.credentials).syncs.force(self.id):
            raise JobError(f"{self.name or self.id} cannot be synchronized now: {self.refresh()._refusal()}")
        return self.refresh()

    def stop(self) -> None:
        """End the synchronization; the table stays as it is."""
        Client(self.credentials).syncs.delete(self.id)

    def _refusal(self) -> str:
        """Say why it cannot be forced, and when that will be over."""
        if self.state in ("created", "queued", "syncing"):
            return f"it is {self.state}, wait for that run"
        if self.ran_at is None:
            return "the server does not say why"
        allowed = self.ran_at + timedelta(seconds=SHORTEST_S)
        left = (allowed - datetime.now(UTC)).total_seconds()
        when = f"from {allowed:%Y-%m-%d %H:%M:%S %Z} on, in {left:.0f} s" if left > 0 else "in a moment"
        return f"it ran less than {SHORTEST_S // 60} minutes ago; it will be allowed {when}"

    def _repr_html_(self) -> str:
        rows = {
            "state": self.state,
            "every": timedelta(seconds=self.interval_s),
            "from": self.url or "a connector",
            "ran": self.ran_at,
            "runs next": self.run_at,
            "error": self.error,
        }
        return html_table(f"Synchronization of {self.name or self.id}", rows)
