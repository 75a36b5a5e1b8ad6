"""Run a query as a batch job into a table that is read instead of the query."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress

from cartoframes_lite._client import Client
from cartoframes_lite._client.http.progress import Waiting
from cartoframes_lite._codec.names import quote
from cartoframes_lite._codec.pgtypes import SourceColumn
from cartoframes_lite.errors import CartoError, JobTimeout
from cartoframes_lite.read.options import SourceOptions
from cartoframes_lite.read.source import Source, table_source
from cartoframes_lite.write.staging_names import begin_write, end_write
from cartoframes_lite.write.tables_sql import stage_query
from cartoframes_lite.write.target import Destination, drop_staging_tables, require_schema

_TIMEOUT_S = 12 * 3600.0  # the limit of the Batch API for one job


@contextmanager
def staged(
    client: Client, rows: Source, columns: Sequence[SourceColumn], limit: int | None, options: SourceOptions
) -> Iterator[Source]:
    """Yield a table with the rows of a source, made by a batch job; drop it at the end.

    It is a staging table: if this process is killed, a later write drops it.

    Raises
    ------
    PermissionDenied
        If the key is not the master key.
    JobError
        If the query failed.
    JobTimeout
        If it took longer than ``timeout_s``; the job is cancelled.
    """
    schema = require_schema(client.sql.schema())
    query = f"SELECT {', '.join(quote(column.name) for column in columns)} FROM {rows.sql}"
    if limit is not None:
        query += f" LIMIT {limit:d}"
    name = begin_write()
    try:
        _run(client, stage_query(schema, name, query, make_carto=False), options)
        yield table_source(schema, name)
    finally:
        drop_staging_tables(Destination(client, schema, name), [name])
        end_write(name)


def _run(client: Client, statements: str, options: SourceOptions) -> None:
    job_id = str(client.batch.create(statements)["job_id"])
    timeout_s = _TIMEOUT_S if options["timeout_s"] is None else float(options["timeout_s"])
    try:
        with Waiting("running the query", options["progress"]):
            client.batch.wait(job_id, timeout_s=timeout_s)
    except JobTimeout as error:
        _cancel(client, job_id)
        raise JobTimeout(
            f"the query is not done after {timeout_s:g} s, and its batch job {job_id} was cancelled: pass a larger"
            " timeout_s"
        ) from error
    except KeyboardInterrupt:
        _cancel(client, job_id)
        raise


def _cancel(client: Client, job_id: str) -> None:
    with suppress(CartoError):  # it has ended meanwhile
        client.batch.cancel(job_id)
