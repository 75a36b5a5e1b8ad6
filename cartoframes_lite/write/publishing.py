"""Publish a staging table exactly once, whatever becomes of requests and answers.

Publishing gives the staging table another name, by which it is known, with its oid, that it happened. As long as the
answer is not known, the server is asked; a table that is still to be published is published again, which does nothing
if the first request has gone through in the meantime.
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
_QUESTIONS = 5  # what has become of a publish: over 15 s, for a database that is just starting again
_BUSY_S = 300.0  # how long a table may be in use by others
_LONGEST_PAUSE_S = 5.0

BUSY = "CFL01"
CHANGED = "CFL02"
_GONE = "CFL03"
# Errors that the publishing block raises itself, by the code in front of their message.
REFUSALS: dict[str, type[CartoError]] = {
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
    """Run the publishing transaction until it is known to have happened, or to be refused.

    Parameters
    ----------
    destination : Destination
    staged : Staged
    transaction : str
        The block.
    leaves_receipt : bool
        Whether it renames the staging table to a receipt, and not to the new table.
    may_replan : bool, default False
        Whether the staging table is kept for another try if the table is another one than the write was planned for.
        Whoever gives that up calls ``withdraw``.

    Raises
    ------
    PublishUnknown
        If the server does not say what has become of it.
    TableChangedError
        If the table is another one than the write was planned for.
    ConversionError
        If a value would not survive its type in the table.
    CartoError
        If it was refused. Nothing has been written then, and nothing will be.
    """
    lost = 0
    deadline, pause_s = time.monotonic() + _BUSY_S, _PAUSE_S / 4
    while True:
        try:
            what = f"publishing {destination.table!r}"
            answer = run(destination.client.sql, destination.client.batch, transaction, what=what)
            if not _is_proof(answer, staged):  # of a batch job, or not of the database at all
                raise ConnectionFailed("the answer does not say that the rows are published")
        except CartoError as error:
            code = refusal_code(error)
            if code == BUSY and time.monotonic() < deadline:
                # A deadlock, or a lock that was not to be had, proves that nothing was done.
                time.sleep(pause_s)
                pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)
                continue
            is_lost = isinstance(error, ConnectionFailed | ServerError)
            lost += is_lost
            if is_lost and lost < _ATTEMPTS:
                state = _ask(destination, staged)
                if state == "pending":
                    time.sleep(_PAUSE_S * lost)
                    continue
            elif code == CHANGED and may_replan:
                state = _ask(destination, staged) if lost else "pending"  # it can be planned again
            else:
                state = _settle(destination, staged)
            if state == "gone" and lost:
                raise _unknown(destination, staged) from error
            if state == "gone" and code == _GONE and leaves_receipt:
                # The request may have been repeated on the way, and the receipt of the first dropped by somebody else.
                raise PublishUnknown(
                    f"somebody else dropped the staging table with the rows for {destination.table!r}, before they were"
                    f" published or after that: look whether {destination.table!r} has them"
                ) from error
            if state != "published":
                raise _explained(destination, error, code) from error
        break
    if leaves_receipt:
        drop_staging_tables(destination, [staged.name + RECEIPT])


def withdraw(destination: Destination, staged: Staged) -> bool:
    """Give up rows that are not to be published, also by a request that is still on its way.

    Returns False if they were published in the meantime.
    """
    return _settle(destination, staged) != "published"


def _is_proof(answer: Any, staged: Staged) -> bool:
    return isinstance(answer, dict) and answer.get("rows") == [{"state": "published", "name": staged.name}]


def refusal_code(error: CartoError) -> str | None:
    """Find the code of a publishing block in an error of the SQL API, or of the Batch API."""
    if not isinstance(error, SQLError | JobError):
        return None
    message = _message(error)
    return message[:5] if message[:5] in REFUSALS else None


def _message(error: CartoError) -> str:
    """Give what the database said."""
    return str((error.job or {}).get("failed_reason", "")) if isinstance(error, JobError) else str(error)


def _explained(destination: Destination, error: CartoError, code: str | None) -> CartoError:
    """Give a refusal of the block the class and the words that users know; other errors stay as they are."""
    if code is None:
        return error
    reason = _message(error).removeprefix(code).strip().partition(" (HTTP ")[0]
    if code == _GONE:
        reason = "somebody else dropped or renamed the staging table with the rows"
    return REFUSALS[code](f"the table {destination.table!r} was not changed: {reason}")


def _settle(destination: Destination, staged: Staged) -> str:
    """Ask for the last time, and see to it that no request that is still on its way changes the answer."""
    state = _ask(destination, staged)
    if state != "pending":
        return state
    state = _ask(destination, staged, withdraw=True)
    return "withdrawn" if state == "gone" else state


def _ask(destination: Destination, staged: Staged, *, withdraw: bool = False) -> str:
    """Ask until there is an answer, for some time; asking twice does no harm."""
    question = publication_state(destination.schema, staged.name, staged.oid, withdraw=withdraw)
    for asked in range(1, _QUESTIONS + 1):
        try:
            row = destination.client.sql.row(question, "state", "name")
            if row["name"] != staged.name:
                raise ConnectionFailed("the answer is that to another request")
            return str(row["state"])
        except CartoError as error:
            if asked == _QUESTIONS:
                raise _unknown(destination, staged) from error
            time.sleep(_PAUSE_S * 2 ** (asked - 1))
    raise AssertionError("unreachable")


def _unknown(destination: Destination, staged: Staged) -> PublishUnknown:
    return PublishUnknown(
        f"the connection broke while {destination.table!r} was published, and the server does not say whether it was:"
        f" if there is a table {staged.name!r}, it was not, and the next write drops that; else look whether"
        f" {destination.table!r} has the rows"
    )
