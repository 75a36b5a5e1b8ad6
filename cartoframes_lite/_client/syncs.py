"""Synchronizations: tables that the server refreshes periodically from a URL or another database."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from operator import index
from typing import Any

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
from cartoframes_lite._client.import_codes import title
from cartoframes_lite._client.imports import ImportOptions, note_if_started, wrap_connector
from cartoframes_lite._client.platform import Platform
from cartoframes_lite.errors import ImportFailed

PATH = "api/v1/synchronizations"
MIN_INTERVAL_S = 900


@dataclass(frozen=True, slots=True)
class Synchronization:
    """A snapshot of a synchronization; ``cartoframes_lite.Sync`` documents the fields."""

    id: str
    name: str | None
    state: str
    interval_s: int
    url: str | None
    ran_at: datetime | None
    run_at: datetime | None
    retried_times: int
    error: ImportFailed | None

    @classmethod
    def from_response(cls, response: Mapping[str, Any]) -> Synchronization:
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
        )


class Syncs:
    """``client.syncs``.

    Parameters
    ----------
    transport : Transport
    """

    def __init__(self, transport: Transport) -> None:
        self._platform = Platform(transport)

    def create(
        self, source: str | Mapping[str, Any], interval_s: int, options: ImportOptions
    ) -> tuple[Synchronization, str]:
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
        tuple of (Synchronization, str)
            The synchronization, and the id of its first import.

        Raises
        ------
        ValueError
            If the interval is shorter than 900 seconds.
        """
        body = {
            **options.api_parameters(),
            **({"url": source} if isinstance(source, str) else wrap_connector(source)),
            "interval": check_interval(interval_s),
        }
        with note_if_started("synchronization", "list_syncs"):
            return self._platform.json("POST", PATH, what="synchronizing", read=_created, json_body=body)

    def list(self) -> list[Synchronization]:
        """List all synchronizations of the account."""
        return self._platform.json("GET", PATH, what="listing synchronizations", read=_list)

    def read(self, sync_id: str) -> Synchronization:
        """Return the current state of a synchronization."""
        what = "reading a synchronization"
        return self._platform.json("GET", f"{PATH}/{sync_id}", what=what, read=Synchronization.from_response)

    def update(self, sync_id: str, *, interval_s: int) -> Synchronization:
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


def _created(response: Any) -> tuple[Synchronization, str]:
    """Parse the response to a new synchronization; return it and the id of its first import."""
    return Synchronization.from_response(response), required(response["data_import"], "item_queue_id")


def _list(response: Any) -> list[Synchronization]:
    return [Synchronization.from_response(found) for found in records(record(response)["synchronizations"])]


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
    reason = text(response, "error_message") or title(code)
    source_name = text(response, "name") or text(response, "url") or f"synchronization {response['id']}"
    return ImportFailed(f"{source_name}: {reason} (code {code})", code=code, title=title(code))
