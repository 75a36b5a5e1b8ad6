"""Publish a staging table exactly once, even if requests or responses are lost or repeated.

The publishing transaction renames the staging table, so that the name of the table with its oid shows whether it was
committed. If a response is lost, a query for that name decides: a staging table that is still pending is published
again, which has no effect if the first request is committed meanwhile.
"""

from __future__ import annotations

import time
from typing import Any

from cartoframes_lite._client.transaction import run
from cartoframes_lite.errors import (
    CartoError,
    ConnectionFailed,
    ConversionError,
    JobError,
    PublishUnknown,
    ServerError,
    SQLError,
    TableChangedError,
)
from cartoframes_lite.write.publishing_sql import Staged
from cartoframes_lite.write.staging_sql import RECEIPT, publication_state
from cartoframes_lite.write.target import Destination, drop_staging_tables

_ATTEMPTS = 3
_PAUSE_S = 1.0
_STATE_QUERIES = 5  # with pauses of 15 s in all, enough for a database to restart
_BUSY_TIMEOUT_S = 300.0  # for locks and deadlocks
_MAX_PAUSE_S = 5.0

BUSY = "CFL01"
CHANGED = "CFL02"
_GONE = "CFL03"
# Classes of the errors that publishing blocks raise themselves, by the code at the start of the message.
BLOCK_ERRORS: dict[str, type[CartoError]] = {
    BUSY: CartoError,
    CHANGED: TableChangedError,
    _GONE: CartoError,
    "CFL04": CartoError,
    "CFL05": CartoError,
    "CFL06": ConversionError,
}


def publish(
    destination: Destination, staged: Staged, transaction: str, *, leaves_receipt: bool, may_replan: bool = False
) -> None:
    """Run the publishing transaction until it is known to be committed or to have failed.

    Parameters
    ----------
    destination : Destination
    staged : Staged
    transaction : str
        The SQL to run.
    leaves_receipt : bool
        Whether it renames the staging table to a receipt, instead of to the new table.
    may_replan : bool, default False
        Whether to keep the staging table for a new plan when raising TableChangedError. A caller that does not publish
        it then must call ``withdraw``.

    Raises
    ------
    PublishUnknown
        If the outcome of the transaction cannot be determined.
    TableChangedError
        If the table was changed since the write was planned.
    ConversionError
        If its type in the table would change a value.
    CartoError
        If the transaction failed. No rows were written, nor will be by a request that is delayed.
    """
    lost = 0
    deadline, pause_s = time.monotonic() + _BUSY_TIMEOUT_S, _PAUSE_S / 4
    while True:
        try:
            what = f"publishing {destination.table!r}"
            result = run(destination.client.sql, destination.client.batch, transaction, what=what)
            if not _confirms_publish(result, staged):  # a batch job has no result, and a proxy may return another one
                raise ConnectionFailed("the response does not confirm that the rows were published")
        except CartoError as error:
            code = block_error_code(error)
            if code == BUSY and time.monotonic() < deadline:
                # After a deadlock or a lock timeout, the transaction is certain to have been rolled back.
                time.sleep(pause_s)
                pause_s = min(2 * pause_s, _MAX_PAUSE_S)
                continue
            is_lost = isinstance(error, ConnectionFailed | ServerError)
            lost += is_lost
            if is_lost and lost < _ATTEMPTS:
                state = _query_state(destination, staged)
                if state == "pending":
                    time.sleep(_PAUSE_S * lost)
                    continue
            elif code == CHANGED and may_replan:
                state = _query_state(destination, staged) if lost else "pending"  # the caller may plan again
            else:
                state = _final_state(destination, staged)
            if state == "gone" and lost:
                raise _publish_unknown(destination, staged) from error
            if state == "gone" and code == _GONE and leaves_receipt:
                # A proxy may have repeated the request, and another process dropped the receipt of the first one.
                raise PublishUnknown(
                    f"the staging table {staged.name!r} with the rows for table {destination.table!r} was dropped by"
                    " another process, before or after the rows were published: check whether"
                    f" {destination.table!r} has the rows before you write them again"
                ) from error
            if state != "published":
                raise _as_user_error(destination, error, code) from error
        break
    if leaves_receipt:
        drop_staging_tables(destination, [staged.name + RECEIPT])


def withdraw(destination: Destination, staged: Staged) -> bool:
    """Make sure that staged rows are not published, not even by a request that is delayed.

    Returns False if they have been published already.
    """
    return _final_state(destination, staged) != "published"


def _confirms_publish(result: Any, staged: Staged) -> bool:
    return isinstance(result, dict) and result.get("rows") == [{"state": "published", "name": staged.name}]


def block_error_code(error: CartoError) -> str | None:
    """Return the code that a publishing block put at the start of an SQL or Batch API error; None if there is none."""
    if not isinstance(error, SQLError | JobError):
        return None
    message = _message(error)
    return message[:5] if message[:5] in BLOCK_ERRORS else None


def _message(error: CartoError) -> str:
    """Return the message of PostgreSQL."""
    return str((error.job or {}).get("failed_reason", "")) if isinstance(error, JobError) else str(error)


def _as_user_error(destination: Destination, error: CartoError, code: str | None) -> CartoError:
    """Convert an error raised by the publishing block to its class and message; return other errors unchanged."""
    if code is None:
        return error
    reason = _message(error).removeprefix(code).strip().partition(" (HTTP ")[0]
    if code == _GONE:
        reason = "another process dropped or renamed its staging table; write the rows again"
    return BLOCK_ERRORS[code](f"the table {destination.table!r} was not changed: {reason}")


def _final_state(destination: Destination, staged: Staged) -> str:
    """Return the final state of a staging table, after withdrawing it if it is pending."""
    state = _query_state(destination, staged)
    if state != "pending":
        return state
    state = _query_state(destination, staged, withdraw=True)
    return "withdrawn" if state == "gone" else state


def _query_state(destination: Destination, staged: Staged, *, withdraw: bool = False) -> str:
    """Query the state of a staging table, with retries."""
    query = publication_state(destination.schema, staged.name, staged.oid, withdraw=withdraw)
    for attempt in range(1, _STATE_QUERIES + 1):
        try:
            row = destination.client.sql.row(query, "state", "name")
            if row["name"] != staged.name:
                raise ConnectionFailed("the response belongs to another request")
            return str(row["state"])
        except CartoError as error:
            if attempt == _STATE_QUERIES:
                raise _publish_unknown(destination, staged) from error
            time.sleep(_PAUSE_S * 2 ** (attempt - 1))
    raise AssertionError("unreachable")


def _publish_unknown(destination: Destination, staged: Staged) -> PublishUnknown:
    return PublishUnknown(
        f"the connection was lost while the rows for table {destination.table!r} were published, and their state could"
        f" not be determined: if there is a table {staged.name!r}, it was not published, and you can write again (the"
        f" next write drops that table); else check whether {destination.table!r} has the rows"
    )
