"""Run statements in one transaction, as a batch job if they exceed the time limit of the SQL API."""

from __future__ import annotations

from typing import Any

from cartoframes_lite._client.sql import SQL
from cartoframes_lite._client.sql_batch import Batch
from cartoframes_lite.errors import PermissionDenied, QueryTimeout

_BATCH_TIMEOUT_S = 12 * 3600.0  # the limit of the Batch API for one job


def run(sql: SQL, batch: Batch, statements: str, *, what: str) -> Any:
    """Run statements through the SQL API; if they exceed its time limit, run them as a batch job.

    Parameters
    ----------
    sql, batch
        Services of a client.
    statements : str
        One or more statements; if one fails, none has an effect.
    what : str
        Name of the operation in the message of QueryTimeout.

    Raises
    ------
    QueryTimeout
        If the time limit is exceeded and the Batch API cannot be used.
    """
    try:
        return sql.send(statements)
    except QueryTimeout as timeout:
        try:
            job = batch.create(statements)
        except (PermissionDenied, ValueError) as error:
            # ValueError: the statements are too long for a batch job, so the master key would not help.
            advice = "the master key, with which it runs as a batch job, or " * isinstance(error, PermissionDenied)
            raise QueryTimeout(
                f"{what} takes longer than the account allows for one query; nothing was changed",
                status=timeout.status,
                method=timeout.method,
                url=timeout.url,
                detail=timeout.detail,
                hint=f"use {advice}smaller parts ({error})",
            ) from timeout
        return batch.wait(job["job_id"], timeout_s=_BATCH_TIMEOUT_S)
