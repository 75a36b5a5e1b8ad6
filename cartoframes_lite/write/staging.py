"""Staging tables: rows go into one first, and one transaction then publishes all of them."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import islice
from typing import Literal

import pyarrow as pa

from cartoframes_lite._client import Client
from cartoframes_lite._client.http.json_fields import parsed
from cartoframes_lite._client.http.progress import Progress
from cartoframes_lite._codec.copybinary import encode
from cartoframes_lite._codec.names import qualify
from cartoframes_lite.errors import CartoError, ConnectionFailed, PublishUnknown, QueryTimeout, ServerError
from cartoframes_lite.write.lease import keep_lease
from cartoframes_lite.write.payload import Payload, PayloadColumn
from cartoframes_lite.write.publishing_sql import Staged
from cartoframes_lite.write.staging_names import begin_write, end_write, part_name
from cartoframes_lite.write.staging_sql import create_staging
from cartoframes_lite.write.statements import copy_in
from cartoframes_lite.write.target import Destination, drop_staging_tables, inspect_target

# The API takes 2 GB in one COPY, counted as sent; encoded bytes are never fewer than those.
CHUNK_BYTES = 1_900_000_000
_ATTEMPTS = 3
_PAUSE_S = 1.0

Compression = Literal["auto", "gzip"] | None


@dataclass(frozen=True, slots=True)
class Upload:
    """The rows of one write, as often as they are asked for.

    Attributes
    ----------
    columns : tuple of PayloadColumn
        The columns of the staging table, in the order of the stream.
    payloads : callable
        Gives the payloads from the beginning. May raise if they are gone.
    keyed : bool
        Give the staging table the key of a CARTO table.
    """

    columns: tuple[PayloadColumn, ...]
    schema: pa.Schema
    payloads: Callable[[], Iterator[Payload]]
    with_primary_key: bool


@contextmanager
def stage(
    destination: Destination, upload: Upload, *, compression: Compression, progress: bool | None
) -> Iterator[Staged]:
    """Fill a staging table, and keep it until the context is left; after an error it is dropped."""
    staged = _fill_one(destination, upload, begin_write, compression=compression, progress=progress)
    with _cleaned_up(destination, staged.name), keep_lease(destination.client, destination.schema, staged.name):
        yield staged


@contextmanager
def _cleaned_up(destination: Destination, staging: str) -> Iterator[None]:
    """Drop a staging table that is not published, unless it is the only thing that tells whether it was."""
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
def staged_parts(
    destination: Destination, columns: tuple[PayloadColumn, ...], *, with_primary_key: bool
) -> Iterator[Staged]:
    """Stand for a write whose parts are staged elsewhere, and drop in the end what is left of them.

    Gives a staging table without rows. It is there until the write is published or given up: then it goes first, so
    that a part that comes later can tell that it is too late.
    """
    name = begin_write()
    try:
        whole = _create(destination, name, columns, with_primary_key=with_primary_key)
        with keep_lease(destination.client, destination.schema, name):
            yield whole
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
    """Stage a part of the rows in a table of its own, which is another one at each try.

    So what is still on its way from a worker that was given up reaches a table that nobody asks for.

    Raises
    ------
    CartoError
        If the whole was published or given up in the meantime.
    """
    staged = _fill_one(
        destination, upload, lambda: part_name(parent_staging, number), compression=compression, progress=False
    )
    if not destination.client.sql.has_table(destination.schema, parent_staging):
        drop_staging_tables(destination, [staged.name])
        raise CartoError(f"partition {number} arrived after the write to {destination.table!r} had ended")
    return staged


def _fill_one(
    destination: Destination,
    upload: Upload,
    new_name: Callable[[], str],
    *,
    compression: Compression,
    progress: bool | None,
) -> Staged:
    """Fill a staging table; a try that breaks off is followed by one with a table of its own."""
    for attempt in range(1, _ATTEMPTS + 1):
        staging = new_name()
        with Progress("writing", progress) as bar:
            pieces = _Chunks(upload, bar)
            try:
                return _fill(destination, upload, pieces, staging, compression)
            except BaseException as error:
                drop_staging_tables(destination, [staging])
                end_write(staging)
                broke = isinstance(error, ConnectionFailed | ServerError) and not pieces.source_failed
                if not broke or attempt == _ATTEMPTS:
                    raise
        time.sleep(_PAUSE_S * attempt)
    raise AssertionError("unreachable")


def _create(
    destination: Destination, staging: str, columns: tuple[PayloadColumn, ...], *, with_primary_key: bool
) -> Staged:
    """Make a staging table without rows."""
    request = create_staging(destination.schema, staging, columns, with_primary_key=with_primary_key)
    row = destination.client.sql.row(request, "oid", "shape", "name")
    if row["name"] != staging:
        raise ConnectionFailed("the answer is that to another request")
    return Staged(staging, parsed(int, row["oid"], "the staging table"), 0, str(row["shape"]))


def _fill(destination: Destination, upload: Upload, pieces: _Chunks, staging: str, compression: Compression) -> Staged:
    place = qualify(destination.schema, staging)
    created = _create(destination, staging, upload.columns, with_primary_key=upload.with_primary_key)
    sent = 0
    with keep_lease(destination.client, destination.schema, staging):
        while pieces.begin():
            stored = destination.client.copy.copy_from(copy_in(place), pieces.body, compress=compression)
            if stored != pieces.rows:
                raise CartoError(
                    f"the server stored {stored} of {pieces.rows} rows; the table {destination.table!r} was not changed"
                )
            sent += stored
            if pieces.repeated:
                _require_rows(destination.client, place, sent)
    return Staged(staging, created.oid, sent, created.shape)


def _require_rows(client: Client, relation: str, rows: int) -> None:
    """Prove that a request which was said to be turned away, and was sent again, has stored its rows once."""
    with suppress(QueryTimeout):  # too many to count here; publishing counts them, too
        row = client.sql.row(f"SELECT count(*)::text AS n FROM {relation}", "n")
        if row["n"] != str(rows):
            raise ConnectionFailed(f"a request stored its rows though it was answered otherwise: {row['n']} of {rows}")


class _Chunks:
    """Cut the rows into request bodies that the COPY API takes.

    A body is a factory: a request that the server turned away, for too many came at once, is sent again from the
    beginning of its piece.

    Attributes
    ----------
    rows : int
        Rows of the piece, as far as it has been sent.
    repeated : bool
        Whether the piece has been sent more than once.
    source_failed : bool
        Whether it was the source of the rows that raised: then another try would not have them all.
    """

    def __init__(self, upload: Upload, bar: Progress) -> None:
        self._upload, self._bar = upload, bar
        self._batches: Iterator[pa.RecordBatch] = iter(())
        self._next: pa.RecordBatch | None = None
        self._begun = False
        self._before = self._taken = 0  # batches of the pieces before, and of this one
        self.rows = 0
        self.repeated = self.source_failed = False

    def begin(self) -> bool:
        """Get ready for the next body; False if no rows are left (an empty COPY would be an error)."""
        self._before += self._taken
        if self._before == 0:
            self._restart()
        self._begun, self._taken, self.rows, self.repeated = False, 0, 0, False
        return self._next is not None

    def body(self) -> Iterator[bytes]:
        """Encode the rows of this piece."""
        if self._begun:
            self.repeated = True
            self._restart()
        self._begun, self._taken, self.rows = True, 0, 0
        return self._bar.count_bytes(encode(self._take(), self._upload.schema))

    def _restart(self) -> None:
        batches = (batch for payload in self._upload.payloads() for batch in payload.batches() if batch.num_rows)
        self._batches = islice(batches, self._before, None)
        self._advance()

    def _advance(self) -> None:
        try:
            self._next = next(self._batches, None)
        except BaseException:
            self.source_failed = True
            raise

    def _take(self) -> Iterator[pa.RecordBatch]:
        size = 0
        while self._next is not None and size < CHUNK_BYTES:
            batch = self._next
            # A field of a row has a length of 4 bytes on top of what Arrow holds.
            size += batch.nbytes + 4 * batch.num_rows * batch.num_columns
            self.rows += batch.num_rows
            self._taken += 1
            self._bar.count_rows(batch.num_rows)
            yield batch
            self._advance()
