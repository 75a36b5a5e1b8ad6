"""Run statements in one transaction, as a batch job if they exceed the time limit of the SQL API."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from cartoframes_lite._client.sql import SQL
from cartoframes_lite._client.sql_batch import Batch, fits_job
from cartoframes_lite._codec.names import literal
from cartoframes_lite.errors import CartoError, PermissionDenied, QueryTimeout, ResponseTimeout

_BATCH_TIMEOUT_S = 12 * 3600.0  # the limit of the Batch API for one job
_PREFIX = "cfl_job_"  # of functions with the statements of a job
_LEASE_H = 48  # longer than a job can wait and run
_FORMAT = "YYYY-MM-DD HH24:MI:SS"


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
    except ResponseTimeout:  # the statements may still be running
        raise
    except QueryTimeout as timeout:
        try:
            with _short_query(sql, statements) as query:
                job = batch.create(query)
                return batch.wait(job["job_id"], timeout_s=_BATCH_TIMEOUT_S)
        except (PermissionDenied, ValueError) as error:
            # ValueError: the statements are too long for the SQL API, so the master key would not help.
            advice = "the master key, with which it runs as a batch job, or " * isinstance(error, PermissionDenied)
            raise QueryTimeout(
                f"{what} takes longer than the account allows for one query; nothing was changed",
                status=timeout.status,
                method=timeout.method,
                url=timeout.url,
                detail=timeout.detail,
                hint=f"use {advice}smaller parts ({error})",
            ) from timeout


@contextmanager
def _short_query(sql: SQL, statements: str) -> Iterator[str]:
    """Return a query that is short enough for a batch job; statements that are too long become a function.

    The function is dropped by the transaction itself, or when the context exits. A job that is still queued then fails,
    and changes nothing.
    """
    if fits_job(statements):
        yield statements
        return
    name = f"{_PREFIX}{secrets.token_hex(8)}"
    sql.send(_create_function(name, statements))
    try:
        # EXECUTE runs the statements in this transaction, whose isolation level can only be set before the first query.
        yield f"SET TRANSACTION ISOLATION LEVEL READ COMMITTED;\nSELECT {name}()"
    finally:
        with suppress(CartoError, OSError):  # the next long job of another write drops it
            sql.send(f"DROP FUNCTION IF EXISTS {name}()", idempotent=True)


def _create_function(name: str, statements: str) -> str:
    """Compose the request that creates a function of statements, and drops those of processes that were killed."""
    body = f"BEGIN EXECUTE {literal(statements)}; DROP FUNCTION {name}(); END"
    until = f"to_char(clock_timestamp() AT TIME ZONE 'UTC' + interval '{_LEASE_H} hours', {literal(_FORMAT)})"
    drop_stale = (
        "FOR stale IN SELECT oid::regprocedure FROM pg_proc WHERE pronamespace = current_schema()::regnamespace"
        f" AND starts_with(proname::text, {literal(_PREFIX)}) AND pg_has_role(proowner, 'USAGE')"
        f" AND obj_description(oid, 'pg_proc') < to_char(clock_timestamp() AT TIME ZONE 'UTC', {literal(_FORMAT)})"
        " LOOP EXECUTE 'DROP FUNCTION IF EXISTS ' || stale; END LOOP;"
    )
    comment = f"EXECUTE 'COMMENT ON FUNCTION {name}() IS ' || quote_literal({until});"
    return (
        f"CREATE FUNCTION {name}() RETURNS void LANGUAGE plpgsql AS {literal(body)};\n"
        f"REVOKE ALL ON FUNCTION {name}() FROM PUBLIC;\n"
        f"DO {literal(f'DECLARE stale text; BEGIN {comment} {drop_stale} END')}"
    )
