"""Publish a staging table exactly once, even if requests or responses are lost or repeated.

The publishing transaction renames the staging table, so that the name of the table with its oid shows whether it was
committed. If a response is lost, a query for that name decides: a staging table that is still pending is published
again, which has no effect if the first request is committed meanwhile.
"""

from __future__ import annotations

import random
import time
from collections.abc import Mapping
from typing import Any, cast

from cartoframes_lite._client.http.retry import backoff_s, call_with_retries
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
from cartoframes_lite.write.staged_sql import Staged
from cartoframes_lite.write.staging_sql import publication_state
from cartoframes_lite.write.target import Destination, drop_receipt

_ATTEMPTS = 3
_STATE_QUERIES = 7  # with pauses of 16 to 32 s in all, enough for a database to restart
_BUSY_TIMEOUT_S = 300.0  # for locks and deadlocks
_MAX_BUSY_PAUSE_S = 5.0

BUSY = "CFL01"
CHANGED = "CFL02"
_GONE = "CFL03"
_MISFIT = "CFL07"


class ColumnMisfit(CartoError):
    """Columns of the table, which a replace would have kept, cannot store the staged values; ends no write.

    Attributes
    ----------
    positions : frozenset of int
        Positions of the columns in the plan.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.positions = frozenset(map(int, reason.strip(",").split(",")))


# Classes of the errors that publishing blocks raise themselves, by the code at the start of the message.
BLOCK_ERRORS: dict[str, type[CartoError]] = {
    BUSY: CartoError,
    CHANGED: TableChangedError,
    _GONE: CartoError,
    "CFL04": CartoError,
    "CFL05": CartoError,
    "CFL06": ConversionError,
    _MISFIT: ColumnMisfit,
}


def publish(
    destination: Destination,
    staged: Staged,
    transaction: str,
    *,
    leaves_receipt: bool,
    leaves_dead_rows: bool = False,
    may_replan: bool = False,
) -> Mapping[str, Any] | None:
    """Run the publishing transaction until it is known to be committed or to have failed.

    Parameters
    ----------
    destination : Destination
    staged : Staged
    transaction : str
        The SQL to run.
    leaves_receipt : bool
        Whether it renames the staging table to a receipt, which is dropped then, instead of to the new table.
    leaves_dead_rows : bool, default False
        Whether to start a vacuum of the table when the receipt is dropped.
    may_replan : bool, default False
        Whether to keep the staging table for a new plan when raising TableChangedError or ColumnMisfit. A caller that
        does not publish it then must call ``withdraw``.

    Returns
    -------
    mapping or None
        Result of the transaction, see ``staged_sql.transaction``. None if it is not known, since the response was lost,
        or it ran as a batch job.

    Raises
    ------
    PublishUnknown
        If the outcome of the transaction cannot be determined.
    TableChangedError
        If the table was changed since the write was planned.
    ColumnMisfit
        If columns that the plan is unsure about cannot store the staged values.
    ConversionError
        If its type in the table would change a value.
    CartoError
        If the transaction failed. No rows were written, nor will be by a request that is delayed.
    """
    retries = _Retries(destination, staged)
    result = None
    try:
        result = call_with_retries(lambda: _run(destination, staged, transaction), retries.delay_s)
    except PublishUnknown:
        raise
    except CartoError as error:
        state = retries.state
        if not state:
            may_stay = may_replan and block_error_code(error) in (CHANGED, _MISFIT)  # the caller may plan again
            query = _query_state if may_stay else _final_state
            state = query(destination, staged) if retries.lost or not may_stay else "pending"
        if state != "published":
            is_lost = retries.lost > 0
            raise _publish_error(
                destination, staged, error, state, is_lost=is_lost, leaves_receipt=leaves_receipt
            ) from error
    if leaves_receipt:
        drop_receipt(destination, staged.name, has_dead_rows=leaves_dead_rows, size_bytes=published_size(result))
    return result


def published_size(result: Mapping[str, Any] | None) -> int | None:
    """Return the size of the table from the result of a publishing transaction; None if it is not known."""
    size_bytes = None if result is None else result.get("size_bytes")
    return int(size_bytes) if isinstance(size_bytes, str) and size_bytes.isdecimal() else None


def _run(destination: Destination, staged: Staged, transaction: str) -> Mapping[str, Any]:
    """Run the publishing transaction once; raise unless the response confirms that it was committed."""
    sql, batch = destination.client.sql, destination.client.batch
    result = run(sql, batch, transaction, what=f"publishing {destination.table!r}")
    match result:
        case {"rows": [{"state": "published", "name": staged.name} as row]}:
            return cast(Mapping[str, Any], row)
    # A batch job has no result, and a proxy may return another one.
    raise ConnectionFailed("the response does not confirm that the rows were published")


class _Retries:
    """Decide whether the publishing transaction, which is not idempotent, may be sent again.

    Attributes
    ----------
    lost : int
        Number of attempts whose outcome the response did not show.
    state : str
        State of the staging table if it was queried after the last attempt, else "".
    """

    def __init__(self, destination: Destination, staged: Staged) -> None:
        self._destination, self._staged = destination, staged
        self._deadline = time.monotonic() + _BUSY_TIMEOUT_S
        self.lost, self.state = 0, ""

    def delay_s(self, error: CartoError, attempt: int, _: float) -> float | None:
        """Return the delay before the next attempt; None if the transaction must not be sent again."""
        self.state = ""
        if block_error_code(error) == BUSY:
            # After a deadlock or a lock timeout, the transaction is certain to have been rolled back.
            pause_s = min(_MAX_BUSY_PAUSE_S, backoff_s(attempt, random.random()))
            return pause_s if time.monotonic() < self._deadline else None
        if not isinstance(error, ConnectionFailed | ServerError):
            return None
        self.lost += 1
        if self.lost == _ATTEMPTS:
            return None
        self.state = _query_state(self._destination, self._staged)
        return backoff_s(self.lost, random.random()) if self.state == "pending" else None


def withdraw(destination: Destination, staged: Staged) -> bool:
    """Make sure that staged rows are not published, not even by a request that is delayed.

    Returns False if they have been published already.
    """
    return _final_state(destination, staged) != "published"


def block_error_code(error: CartoError) -> str | None:
    """Return the code that a publishing block put at the start of an SQL or Batch API error; None if there is none."""
    if not isinstance(error, SQLError | JobError):
        return None
    message = _message(error)
    return message[:5] if message[:5] in BLOCK_ERRORS else None


def _message(error: CartoError) -> str:
    """Return the message of PostgreSQL."""
    return str((error.job or {}).get("failed_reason", "")) if isinstance(error, JobError) else str(error)


def _publish_error(
    destination: Destination, staged: Staged, error: CartoError, state: str, *, is_lost: bool, leaves_receipt: bool
) -> CartoError:
    """Return the exception for a transaction after which the staging table is in a state other than published."""
    code = block_error_code(error)
    if state == "gone" and is_lost:
        return _publish_unknown(destination, staged)
    if state == "gone" and code == _GONE and leaves_receipt:
        # A proxy may have repeated the request, and another process dropped the receipt of the first one.
        return PublishUnknown(
            f"the staging table {staged.name!r} with the rows for table {destination.table!r} was dropped by"
            " another process, before or after the rows were published: check whether"
            f" {destination.table!r} has the rows before you write them again"
        )
    return as_user_error(destination, error, code)


def as_user_error(destination: Destination, error: CartoError, code: str | None) -> CartoError:
    """Convert an error raised by the publishing block to its class and message; return other errors unchanged."""
    if code is None:
        return error
    reason = _message(error).removeprefix(code).strip().partition(" (HTTP ")[0]
    if code == _MISFIT:
        return ColumnMisfit(reason)
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

    def ask() -> str:
        row = destination.client.sql.row(query, "state", "name")
        if row["name"] != staged.name:
            raise ConnectionFailed("the response belongs to another request")
        return str(row["state"])

    def delay_s(_: CartoError, attempt: int, __: float) -> float | None:
        return backoff_s(attempt, random.random()) if attempt < _STATE_QUERIES else None

    try:
        return call_with_retries(ask, delay_s)
    except CartoError as error:
        raise _publish_unknown(destination, staged) from error


def _publish_unknown(destination: Destination, staged: Staged) -> PublishUnknown:
    return PublishUnknown(
        f"the connection was lost while the rows for table {destination.table!r} were published, and their state could"
        f" not be determined: if there is a table {staged.name!r}, it was not published, and you can write again (the"
        f" next write drops that table); else check whether {destination.table!r} has the rows"
    )
