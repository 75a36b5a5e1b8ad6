"""Synchronizations: tables that the server refreshes periodically from a URL or another database."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from operator import index
from typing import Any

from cartoframes_lite._client.connectors import wrap_connector
from cartoframes_lite._client.http.json_fields import (
    drop_none,
    integer,
    parse_datetime,
    record,
    records,
    required,
    required_integer,
    text,
)
from cartoframes_lite._client.http.transport import Transport
from cartoframes_lite._client.import_codes import describe
from cartoframes_lite._client.imports import ImportOptions, note_if_started, option_parameters
from cartoframes_lite._client.listing import Listing
from cartoframes_lite._client.platform import Platform
from cartoframes_lite._codec.html import html_table, plain_text
from cartoframes_lite.credentials import Credentials
from cartoframes_lite.errors import ImportFailed, JobError

PATH = "api/v1/synchronizations"
MIN_INTERVAL_S = 900


@dataclass(frozen=True, slots=True)
class Sync:
    """An immutable snapshot of a synchronization: a table that the server refreshes periodically.

    Returned by ``Dataset.sync``, ``list_syncs`` and ``Client.syncs``. ``refresh`` returns a new snapshot.

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

    id: str
    name: str | None
    state: str
    interval_s: int
    url: str | None
    ran_at: datetime | None
    run_at: datetime | None
    retried_times: int
    error: ImportFailed | None
    credentials: Credentials = field(kw_only=True, repr=False, compare=False)

    @classmethod
    def from_response(cls, response: Mapping[str, Any], credentials: Credentials) -> Sync:
        """Parse a response of the API."""
        return cls(
            id=required(response, "id"),
            name=text(response, "name"),
            state=required(response, "state"),
            interval_s=required_integer(response, "interval"),
            url=text(response, "url"),
            ran_at=parse_datetime(response.get("ran_at")),
            run_at=parse_datetime(response.get("run_at")),
            retried_times=integer(response.get("retried_times")) or 0,
            error=_failure(response) if response["state"] == "failure" else None,
            credentials=credentials,
        )

    def refresh(self) -> Sync:
        """Request the current state; return it as a new object.

        Raises
        ------
        NotFound
            If the synchronization was stopped.
        """
        return self._service.read(self.id)

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
        return self._service.update(self.id, interval_s=interval_s)

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
        if not self._service.force(self.id):
            raise JobError(f"{self.name or self.id} cannot be synchronized now: {self.refresh()._rejection_reason()}")
        return self.refresh()

    def stop(self) -> None:
        """Delete the synchronization; the table and its rows are kept."""
        self._service.delete(self.id)

    @property
    def _service(self) -> Syncs:
        return Syncs(Transport(self.credentials))

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

    def _columns(self) -> dict[str, object]:
        """Return what a notebook shows, by label."""
        return {
            "state": self.state,
            "every": timedelta(seconds=self.interval_s),
            "from": self.url or "a connector",
            "last run": self.ran_at,
            "next run": self.run_at,
            "error": self.error,
        }

    def _repr_html_(self) -> str:
        return html_table(f"Synchronization of {self.name or self.id}", self._columns())


class Syncs:
    """``client.syncs``.

    Parameters
    ----------
    transport : Transport
    """

    def __init__(self, transport: Transport) -> None:
        self._platform = Platform(transport)

    def create(self, source: str | Mapping[str, Any], interval_s: int, options: ImportOptions) -> tuple[Sync, str]:
        """Create a synchronization; its first import starts immediately.

        Parameters
        ----------
        source : str or mapping
            A URL, or a connector as in ``Dataset.from_connector``.
        interval_s : int
            In seconds, at least 900.
        options : ImportOptions
            Must not contain privacy and collision_strategy, which the API does not support here.

        Returns
        -------
        tuple of (Sync, str)
            The synchronization, and the id of its first import.

        Raises
        ------
        ValueError
            If the interval is shorter than 900 seconds.
        """
        body = {
            **option_parameters(options),
            **({"url": source} if isinstance(source, str) else wrap_connector(source)),
            "interval": check_interval(interval_s),
        }
        with note_if_started("synchronization", "list_syncs"):
            return self._platform.json("POST", PATH, what="synchronizing", read=self._parse_new, json_body=body)

    def list(self) -> list[Sync]:
        """List all synchronizations of the account."""
        found = self._platform.json("GET", PATH, what="listing synchronizations", read=self._parse_all)
        return Listing(found, "synchronizations", lambda sync: {"table": sync.name, **sync._columns()})

    def read(self, sync_id: str) -> Sync:
        """Return the current state of a synchronization."""
        what = "reading a synchronization"
        return self._platform.json("GET", f"{PATH}/{sync_id}", what=what, read=self._parse)

    def update(self, sync_id: str, *, interval_s: int) -> Sync:
        """Change the interval.

        Raises
        ------
        ValueError
            If the interval is shorter than 900 seconds. The server itself does not check this.
        """
        body = drop_none(id=sync_id, interval=check_interval(interval_s))
        what = "changing a synchronization"
        self._platform.json("PUT", f"{PATH}/{sync_id}", what=what, read=record, json_body=body)
        return self.read(sync_id)

    def force(self, sync_id: str) -> bool:
        """Request a run now; return False if the server rejects it, as it does for 900 seconds after a run."""
        what = "forcing a synchronization"
        path = f"{PATH}/{sync_id}/sync_now"
        return self._platform.json("PUT", path, what=what, read=_is_enqueued, idempotent=False, json_body={})

    def delete(self, sync_id: str) -> None:
        """Stop a synchronization; its table is kept."""
        self._platform.delete(f"{PATH}/{sync_id}", what="stopping a synchronization")

    def _parse(self, response: Any) -> Sync:
        return Sync.from_response(response, self._platform.transport.credentials)

    def _parse_new(self, response: Any) -> tuple[Sync, str]:
        """Parse the response to a new synchronization; return it and the id of its first import."""
        return self._parse(response), required(response["data_import"], "item_queue_id")

    def _parse_all(self, response: Any) -> tuple[Sync, ...]:
        return tuple(map(self._parse, records(record(response)["synchronizations"])))


def _is_enqueued(response: Any) -> bool:
    return bool(record(response)["enqueued"])


def check_interval(interval_s: int) -> int:
    """Return the interval as int; raise ValueError if it is too short, TypeError if it is not an integer."""
    if isinstance(interval_s, bool) or not hasattr(interval_s, "__index__"):
        raise TypeError(f"the sync interval must be an integer number of seconds, not {interval_s!r}")
    interval_s = index(interval_s)
    if interval_s < MIN_INTERVAL_S:
        raise ValueError(f"the sync interval must be at least {MIN_INTERVAL_S} s (15 minutes), not {interval_s} s")
    return interval_s


def _failure(response: Mapping[str, Any]) -> ImportFailed:
    """Compose the exception for a failed synchronization."""
    code = integer(response.get("error_code"))
    title, what_about, source = describe(code)
    reason = text(response, "error_message") or title
    # The message about the first import contains the advice; that about a later run is the title alone.
    lines = [f"{plain_text(reason)} (code {code})", *([plain_text(what_about)] if what_about else [])]
    if what_about and what_about in reason:
        del lines[1:]
    source_name = text(response, "name") or text(response, "url") or f"synchronization {response['id']}"
    message = f"{source_name}: " + "\n".join(lines)
    return ImportFailed(message, code=code, title=title, what_about=what_about, source=source)
