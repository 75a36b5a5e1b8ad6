"""Create and fill staging tables, from which one transaction publishes all rows."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from functools import partial

import pyarrow as pa

from cartoframes_lite._client import Client
from cartoframes_lite._client.http.json_fields import parsed
from cartoframes_lite._client.http.progress import Progress
from cartoframes_lite._client.http.retry import call_with_retries, idempotent_delay_s
from cartoframes_lite._codec.copybinary import encode
from cartoframes_lite._codec.names import qualify
from cartoframes_lite.errors import CartoError, ConnectionFailed, PublishUnknown, QueryTimeout
from cartoframes_lite.write.columns import Columns, arrow_schema
from cartoframes_lite.write.early_staging import EarlyStaging
from cartoframes_lite.write.lease import keep_lease
from cartoframes_lite.write.options import Compression
from cartoframes_lite.write.payload import Payload
from cartoframes_lite.write.slow_source import Batches, SlowBatches, SourceIsSlow
from cartoframes_lite.write.staged_sql import Staged
from cartoframes_lite.write.staging_names import begin_write, end_write, part_name
from cartoframes_lite.write.staging_sql import create_staging, drop_staging
from cartoframes_lite.write.statements import column_definitions, copy_in
from cartoframes_lite.write.target import Destination, drop_staging_tables, inspect_target

# The SQL API limits one COPY to 2 GB as sent, compressed or not; this limit counts bytes before compression.
CHUNK_BYTES = 1_900_000_000


@dataclass(frozen=True, slots=True)
class Upload:
    """The rows of one write, and the columns of its staging table.

    Attributes
    ----------
    columns : tuple of Column
        Columns of the staging table, in the order of the COPY stream.
    payloads : callable
        Returns an iterator of the payloads, with these columns, for each attempt; may raise if they are consumed.
    with_sequence : bool
        Create the staging table with the sequence of the key of a CARTO table.
    may_be_slow : bool
        Whether the payloads may come more slowly than the network takes them.
    rows : int or None
        Number of rows, if it is known.
    """

    columns: Columns
    payloads: Callable[[], Iterator[Payload]]
    with_sequence: bool
    may_be_slow: bool = False
    rows: int | None = None

    @property
    def definition(self) -> str:
        """Definition of the staging table."""
        return column_definitions(self.columns, with_sequence=self.with_sequence)


@contextmanager
def stage(
    destination: Destination,
    upload: Upload,
    early: EarlyStaging,
    *,
    compression: Compression,
    progress: bool | None,
) -> Iterator[Staged]:
    """Fill a staging table and keep its lease until the context exits; drop it after an error."""
    staged = _fill_with_retries(destination, upload, begin_write, early, compression=compression, progress=progress)
    with _drop_on_error(destination, staged.name), keep_lease(destination.client, destination.schema, staged.name):
        yield staged


@contextmanager
def _drop_on_error(destination: Destination, staging: str) -> Iterator[None]:
    """Drop a staging table after an error, unless it is needed to find out whether it was published."""
    try:
        yield
    except PublishUnknown:
        end_write(staging)
        raise
    except BaseException:
        drop_staging_tables(destination, [staging])
        end_write(staging)
        raise
    end_write(staging, leaves_nothing=True)


@contextmanager
def staged_parts(destination: Destination, columns: Columns, *, with_sequence: bool) -> Iterator[Staged]:
    """Create the parent staging table of a write in partitions; drop all its staging tables when the context exits.

    The parent has no rows. It exists until the write is published or has failed, and is dropped first, so that a
    partition that arrives later can detect that the write has ended.
    """
    name = begin_write()
    try:
        parent = _create(destination, name, column_definitions(columns, with_sequence=with_sequence))
        with keep_lease(destination.client, destination.schema, name):
            yield parent
    except PublishUnknown:
        raise
    except BaseException:
        _drop_parts(destination, name)
        raise
    else:
        _drop_parts(destination, name)
    finally:
        end_write(name)


def _drop_parts(destination: Destination, parent_staging: str) -> None:
    drop_staging_tables(destination, [parent_staging])
    try:
        leftovers = inspect_target(destination.client, destination.table).leftovers
    except (CartoError, OSError):
        return
    drop_staging_tables(destination, [name for name, _ in leftovers if name.startswith(parent_staging)])


def stage_part(
    destination: Destination, upload: Upload, parent_staging: str, number: int, *, compression: Compression
) -> Staged:
    """Stage a partition in a table of its own, with a new name at each attempt.

    Delayed requests of a worker that was replaced thus go to a table that is not published.

    Raises
    ------
    CartoError
        If the write was published or has failed in the meantime.
    """
    new_name = partial(part_name, parent_staging, number)
    staged = _fill_with_retries(destination, upload, new_name, EarlyStaging(), compression=compression, progress=False)
    if not destination.client.sql.has_table(destination.schema, parent_staging):
        drop_staging_tables(destination, [staged.name])
        raise CartoError(f"partition {number} arrived after the write to table {destination.table!r} had ended")
    return staged


def _fill_with_retries(
    destination: Destination,
    upload: Upload,
    new_name: Callable[[], str],
    early: EarlyStaging,
    *,
    compression: Compression,
    progress: bool | None,
) -> Staged:
    """Fill the early staging table or another one; after a failure that another attempt may avoid, fill a new one."""
    source_failed = False

    def fill() -> Staged:
        nonlocal source_failed
        created = early.take(upload.definition)
        staging = new_name() if created is None else created.name
        with Progress("writing", progress, total=upload.rows) as bar:
            chunks = _Chunks(upload, bar)
            try:
                if created is None:
                    created = _create(destination, staging, upload.definition, early)
                return _fill(destination, created, chunks, compression)
            except BaseException:
                source_failed = chunks.source_failed
                drop_staging_tables(destination, [staging])
                end_write(staging)
                raise

    def delay_s(error: CartoError, attempt: int, waited_s: float) -> float | None:
        # Idempotent, because each attempt has a staging table of its own.
        return None if source_failed else idempotent_delay_s(error, attempt, waited_s)

    return call_with_retries(fill, delay_s)


def _create(destination: Destination, staging: str, definition: str, early: EarlyStaging | None = None) -> Staged:
    """Create an empty staging table, and drop the early one that does not have this definition."""
    request = create_staging(destination.schema, staging, definition)
    if early is not None and early.staged is not None:
        request = f"{drop_staging(destination.schema, [early.staged.name])};\n{request}"
    row = destination.client.sql.row(request, "oid", "shape", "name")
    if row["name"] != staging:
        raise ConnectionFailed("the response belongs to another request")
    if early is not None:
        early.on_dropped()
    return Staged(staging, parsed(int, row["oid"], "the staging table"), 0, str(row["shape"]))


def _fill(destination: Destination, created: Staged, chunks: _Chunks, compression: Compression) -> Staged:
    relation = qualify(destination.schema, created.name)
    sent = 0
    with keep_lease(destination.client, destination.schema, created.name):
        while chunks.start():
            stored = chunks.send(
                partial(destination.client.copy.copy_from, copy_in(relation), chunks.body, compress=compression)
            )
            if stored != chunks.rows:
                raise CartoError(
                    f"COPY stored {stored} of {chunks.rows} rows; the table {destination.table!r} was not changed"
                )
            sent += stored
            if chunks.repeated:
                _require_rows(destination.client, relation, sent)
    return replace(created, rows=sent)


def _require_rows(client: Client, relation: str, rows: int) -> None:
    """Check that a COPY which was rejected and sent again has stored its rows only once."""
    with suppress(QueryTimeout):  # publishing counts the rows as well
        row = client.sql.row(f"SELECT count(*)::text AS n FROM {relation}", "n")
        if row["n"] != str(rows):
            raise ConnectionFailed(
                f"the staging table has {row['n']} rows, not {rows}: a COPY that was reported as rejected had stored"
                " its rows"
            )


class _Chunks:
    """Split the rows into request bodies within the size limit of COPY.

    ``body`` can be called again for the same chunk, since a rate-limited request is sent again from its beginning.

    Attributes
    ----------
    rows : int
        Number of rows of the chunk that have been sent.
    repeated : bool
        Whether the chunk has been sent more than once.
    source_failed : bool
        Whether the source of the rows raised, so that a retry could not send all of them.
    """

    def __init__(self, upload: Upload, bar: Progress) -> None:
        self._upload, self._bar = upload, bar
        self._batches = (SlowBatches if upload.may_be_slow else Batches)(self._make_batches)
        self._started = False
        self._preceding = self._sent = 0  # batches in the preceding chunks, and in this chunk
        self.rows = 0
        self.repeated = self.source_failed = False

    def start(self) -> bool:
        """Start the next chunk; return False if no rows are left, since an empty COPY would be an error."""
        self._preceding += self._sent
        self._started, self._sent, self.rows, self.repeated = False, 0, 0, False
        with self._noting_failure():
            if self._preceding == 0:
                self._batches.restart(0)
            return self._batches.begin_request()

    def send(self, copy: Callable[[], int]) -> int:
        """Call a function that sends ``body``, and return its result."""
        return self._batches.run(copy)

    def body(self) -> Iterator[bytes]:
        """Encode the rows of the chunk."""
        if self._started:
            self.repeated = True
            self._batches.restart(self._preceding)
        self._started, self._sent, self.rows = True, 0, 0
        return self._bar.count_bytes(encode(self._next_batches(), arrow_schema(self._upload.columns)))

    def _make_batches(self) -> Iterator[pa.RecordBatch]:
        return (payload.record_batch() for payload in self._upload.payloads() if payload.rows)

    @contextmanager
    def _noting_failure(self) -> Iterator[None]:
        try:
            yield
        except BaseException:
            self.source_failed = True
            raise

    def _next_batches(self) -> Iterator[pa.RecordBatch]:
        size = 0
        while size < CHUNK_BYTES and (batch := self._next()) is not None:
            # In binary COPY, each field has a length prefix of 4 bytes.
            size += batch.nbytes + 4 * batch.num_rows * batch.num_columns
            self.rows += batch.num_rows
            self._sent += 1
            self._bar.count_rows(batch.num_rows)
            yield batch

    def _next(self) -> pa.RecordBatch | None:
        """Return the next batch of the chunk; None at its end, also if the source is too slow to wait for."""
        with self._noting_failure(), suppress(SourceIsSlow):
            return self._batches.next()
        return None
