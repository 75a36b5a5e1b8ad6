"""Run statements as one transaction, however long they take."""

from __future__ import annotations

from typing import Any

from cartoframes_lite._client.sql import SQL
from cartoframes_lite._client.sql_batch import Batch
from cartoframes_lite.errors import PermissionDenied, QueryTimeout

_LONGEST_S = 12 * 3600.0  # what the Batch API itself allows


def run(sql: SQL, batch: Batch, statements: str, *, what: str) -> Any:
    """Run statements through the SQL API, and as a batch job if that would take longer than the account allows.

    Parameters
    ----------
    sql, batch
        The services of a client.
    statements : str
        One or several; nothing of them happens if one fails.
    what : str
        What the message calls it.

    Raises
    ------
    QueryTimeout
        If it takes too long and the key may not use the Batch API.
    """
    try:
        return sql.send(statements)
    except QueryTimeout as timeout:
        try:
            job = batch.create(statements)
        except (PermissionDenied, ValueError) as refusal:
            # The master key is no advice to whoever has it: then the statements are too long for a job.
            way = "the master key, with which it runs as a batch job, or " * isinstance(refusal, PermissionDenied)
            raise QueryTimeout(
                f"{what} takes longer than the account allows for one query; nothing was changed",
                status=timeout.status,
                method=timeout.method,
                url=timeout.url,
                detail=timeout.detail,
                hint=f"use {way}smaller parts ({refusal})",
            ) from timeout
        return batch.wait(job["job_id"], timeout_s=_LONGEST_S)
