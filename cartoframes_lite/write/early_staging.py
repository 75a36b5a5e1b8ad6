"""Inspect the target of a write and create its staging table, in one request.

The columns of the staging table follow from the plan of the write, which is made from the description of the target.
They can usually be told from the frame alone, so the table is created before: the request has a definition for each
case, and the server creates the one for the case that it finds. The plan decides whether the table is used.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

from cartoframes_lite._client import Client
from cartoframes_lite._client.http.json_fields import parsed
from cartoframes_lite._client.http.retry import call_with_retries, idempotent_delay_s
from cartoframes_lite.errors import APIError, CartoError, ConnectionFailed, ServerError
from cartoframes_lite.write.existing_table import inspect_table
from cartoframes_lite.write.staged_sql import Staged
from cartoframes_lite.write.staging_names import PREFIX, begin_write, end_write
from cartoframes_lite.write.staging_sql import create_early, drop_staging
from cartoframes_lite.write.target import Target, drop_staging_tables, read_target

_DROP_TIMEOUT_S = 5.0  # after an error or an interrupt, which may be due to a server that does not respond


class _OtherResponse(ConnectionFailed):
    """The response is a table, but not the result of this request."""


@dataclass(slots=True)
class EarlyStaging:
    """The empty staging table that was created when the target was inspected.

    Attributes
    ----------
    definition : str
        See ``statements.column_definitions``.
    staged : Staged or None
        None if no table was created, or if it is in use or dropped.
    """

    definition: str = ""
    staged: Staged | None = None

    def take(self, definition: str) -> Staged | None:
        """Return the table if it has this definition, for a caller that drops it and ends the write; else None."""
        if definition != self.definition:
            return None
        staged, self.staged = self.staged, None
        return staged

    def on_dropped(self) -> None:
        """Record that the table has been dropped."""
        if self.staged is not None:
            end_write(self.staged.name, leaves_nothing=True)
            self.staged = None


@contextmanager
def inspect_and_stage(
    client: Client, table: str, *, new: str | None, existing: str | None
) -> Iterator[tuple[Target, EarlyStaging]]:
    """Inspect the target as ``inspect_target`` does, and create a staging table; drop it unless it has been taken.

    Parameters
    ----------
    client : Client
    table : str
    new, existing : str or None
        Definitions of the staging table if the target does not exist, and if it exists. None: create none then.
    """
    definitions = {begin_write(): definition for definition in (new, existing) if definition is not None}
    names = iter(definitions)
    request = inspect_table(
        table, PREFIX, create_early(*(None if item is None else (next(names), item) for item in (new, existing)))
    )
    early = EarlyStaging()
    try:
        target, staged = _send_or_drop(client, table, request, definitions)
        if staged is not None:
            early.definition, early.staged = definitions[staged.name], staged
        for name in definitions:
            if staged is None or name != staged.name:
                end_write(name, leaves_nothing=True)
        yield target, early
    finally:
        if early.staged is not None:
            drop_staging_tables(target.destination, [early.staged.name])
        for name in definitions:  # also of a table that was taken, or lost by an interrupt: the next write drops it
            end_write(name)


def _send_or_drop(
    client: Client, table: str, request: str, definitions: Mapping[str, str]
) -> tuple[Target, Staged | None]:
    """Send the request; drop what it may have created if it fails."""
    try:
        return _send(client, table, request, definitions)
    except BaseException as error:
        if definitions and not _has_no_effect(error):
            with suppress(CartoError, OSError):
                client.sql.send(drop_staging(None, definitions), idempotent=True, timeout_s=_DROP_TIMEOUT_S)
        raise


def _send(client: Client, table: str, request: str, definitions: Mapping[str, str]) -> tuple[Target, Staged | None]:
    """Send the request; a response that belongs to another one, as proxies may return, is not accepted."""

    def read(rows: Any) -> tuple[Target, Staged | None]:
        (row,) = rows
        target, found = read_target(client, table, row["answer"]), row["answer"]["staging"]
        if found is None:
            return target, None
        if found["name"] not in definitions:
            raise ConnectionFailed("the response belongs to another request")
        return target, Staged(found["name"], int(found["oid"]), 0, str(found["shape"]))

    def ask() -> tuple[Target, Staged | None]:
        rows = client.sql.rows(request)
        try:
            return parsed(read, rows, f"the table {table!r}")
        except ConnectionFailed as error:
            raise _OtherResponse(str(error)) from error

    def delay_s(error: CartoError, attempt: int, waited_s: float) -> float | None:
        # Any other failure has been repeated as often as the retry rule allows.
        return idempotent_delay_s(error, attempt, waited_s) if isinstance(error, _OtherResponse) else None

    return call_with_retries(ask, delay_s)


def _has_no_effect(error: BaseException) -> bool:
    """Check whether a failed request has certainly created no table."""
    if isinstance(error, ConnectionFailed):
        return error.nothing_done
    return isinstance(error, APIError) and not isinstance(error, ServerError)
