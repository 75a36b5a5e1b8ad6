"""Run any SQL statement: ``execute``."""

from __future__ import annotations

from cartoframes_lite._client import Client
from cartoframes_lite._client.http.json_fields import integer, parsed
from cartoframes_lite._client.sql import PATH
from cartoframes_lite._codec.placeholders import Params, fill
from cartoframes_lite.credentials import Credentials
from cartoframes_lite.read.options import check_sql, check_timeout

_BATCH_TIMEOUT_S = 12 * 3600.0  # the limit of the Batch API for one job


def execute(
    sql: str,
    params: Params | None = None,
    credentials: Credentials | None = None,
    *,
    batch: bool = False,
    timeout_s: float | None = None,
) -> int | None:
    """Run any SQL: a statement, or several in one transaction.

    Parameters
    ----------
    sql : str
        Rows that it returns are discarded: use ``read_carto`` to read them.
    params : mapping or sequence, optional
        Values of the placeholders: a mapping for ``%(name)s``, a sequence for ``%s``, as in ``read_carto``. With
        ``params``, a percent sign is written ``%%``; without, it has no special meaning.
    credentials : Credentials, optional
        Default: those of ``set_default_credentials``, else of the environment, else of the file.
    batch : bool, default False
        Run it as a batch job, whose time limit is longer than that of other statements, and wait for its end. Requires
        the master key; at most 16 KB.
    timeout_s : float, optional
        Maximum time to wait for the end, in seconds. None: one hour; with ``batch``, 12 hours. The statement is never
        sent again when the time is up, and may still be running.

    Returns
    -------
    int or None
        Number of rows that the last statement inserted, updated, deleted or returned; 0 for one that has no rows, such
        as CREATE TABLE. None for a batch job, whose response has no number.

    Raises
    ------
    SQLError
        If PostgreSQL rejects it.
    QueryTimeout
        If it runs longer than the account allows: use ``batch=True``.
    ResponseTimeout
        If ``timeout_s`` is up; also a QueryTimeout and a ConnectionFailed. The statement may still be running.
    PermissionDenied
        If the API key lacks a permission.
    JobError, JobTimeout
        If a batch job fails, or is not done in time. The job then continues on the server.
    ConnectionFailed
        If there is no response. Unless its ``nothing_done`` is True, the statement may have been executed.

    Examples
    --------
    >>> import cartoframes_lite as cfl
    >>> cfl.execute("UPDATE stations SET year = %(year)s WHERE name = %(name)s", {"name": "Harbour", "year": 2022})
    1
    """
    if not isinstance(sql, str) or not sql.strip():
        raise TypeError(f"sql must be a statement, not {sql!r}")
    check_sql("sql", sql)
    check_timeout(timeout_s)
    (statement,) = fill([sql], params)
    client = Client(credentials)
    if not batch:
        response = client.sql.send(statement, timeout_s=timeout_s)
        return parsed(lambda found: integer(found.get("total_rows")), response, PATH)
    job = client.batch.create(statement)
    client.batch.wait(job["job_id"], timeout_s=_BATCH_TIMEOUT_S if timeout_s is None else timeout_s)
    return None
