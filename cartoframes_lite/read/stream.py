"""Stream the rows of a source as Arrow record batches, verified."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

import pyarrow as pa

from cartoframes_lite import user_warnings
from cartoframes_lite._client import Client
from cartoframes_lite._client.http.json_fields import parsed
from cartoframes_lite._client.http.prefetch import prefetched
from cartoframes_lite._client.http.progress import Progress
from cartoframes_lite._client.sql import MAX_QUERY_BYTES
from cartoframes_lite._codec.copy_rows import SYNC_BYTES, BrokenStream
from cartoframes_lite._codec.copybinary import Decoder, decode
from cartoframes_lite._codec.frame import arrow_schema
from cartoframes_lite._codec.pgtypes import SourceColumn
from cartoframes_lite.errors import (
    CartoError,
    ConnectionFailed,
    ConversionWarning,
    decode_error,
    error_from_response,
)
from cartoframes_lite.read.batch import staged
from cartoframes_lite.read.filters import SpatialFilter
from cartoframes_lite.read.options import SourceOptions
from cartoframes_lite.read.repeated_names import explained_repeated_names
from cartoframes_lite.read.source import LayoutCheck, Source, SourceLayout, copy_out, find_source, query_layout, select

Check = Callable[[list[SourceColumn]], None]


class IncompleteRead(ConnectionFailed):
    """The rows are incomplete, or the columns changed while they were read."""


@dataclass(frozen=True, slots=True)
class Read:
    """A read of a source, which can be repeated.

    Attributes
    ----------
    client : Client
    origin : Source
        Without the spatial filter.
    rows : Source
        With it.
    layout : SourceLayout
        Of ``origin``.
    columns : list of SourceColumn
        The selected ones.
    limit, timeout_s, progress
        As in ``SourceOptions``.
    """

    client: Client
    origin: Source
    rows: Source
    layout: SourceLayout
    columns: list[SourceColumn]
    limit: int | None
    timeout_s: float | None
    progress: bool | None

    def batches(self) -> Iterator[pa.RecordBatch]:
        """Download and decode; ends without error only if the stream is complete and the columns are unchanged."""
        sync, other_sync = os.urandom(SYNC_BYTES), os.urandom(SYNC_BYTES)
        query, has_check = self._query(sync, other_sync)
        decoder = Decoder(arrow_schema(self.columns), sync, other_sync)
        try:
            with (
                explained_repeated_names(self.client, self.origin),
                self.client.copy.copy_to(query, timeout_s=self.timeout_s) as arriving,
                prefetched(arriving, arriving.stop) as blocks,
                Progress("reading", self.progress, total=self._estimate_rows) as bar,
            ):
                for batch in decode(bar.count_bytes(blocks), decoder):
                    bar.count_rows(batch.num_rows)
                    yield batch
        except BrokenStream as error:
            raise _stream_error(error) from error
        is_proved = has_check and decoder.first_sync == sync
        if not is_proved and self.is_outdated():
            raise IncompleteRead("the columns of the source changed during the read; nothing is returned, read again")
        if decoder.infinite:
            user_warnings.warn(
                f"columns {sorted(decoder.infinite)} have infinite dates, or dates that pandas cannot hold: "
                "they are read as missing values",
                ConversionWarning,
            )

    def _query(self, sync: bytes, other_sync: bytes) -> tuple[str, bool]:
        """Compose the COPY; return also whether it checks the layout, so that ``sync`` proves that it is unchanged."""
        layout = self.layout.layout
        if layout is not None:
            check = LayoutCheck(self.origin, layout, other_sync)
            query = copy_out(self.rows.sql, self.columns, sync, self.limit, check=check)
            if len(query.encode()) <= MAX_QUERY_BYTES:
                return query, True
        return copy_out(self.rows.sql, self.columns, sync, self.limit), False

    def _estimate_rows(self) -> int | None:
        """Query the planner's estimate of the rows of a table; None for a query, whose estimate may be far off."""
        if self.rows.table is None:
            return None
        try:
            row = self.client.sql.row(f"EXPLAIN (FORMAT JSON) SELECT 1 FROM {self.rows.sql}", "QUERY PLAN")
            rows = parsed(lambda plan: int(plan[0]["Plan"]["Plan Rows"]), row["QUERY PLAN"], "the query plan")
        except CartoError:  # the read itself may still succeed
            return None
        return rows if self.limit is None else min(rows, self.limit)

    def is_outdated(self) -> bool:
        """Query whether the columns or the tables have changed since the layout was queried.

        A column type may change between that query and the COPY. Also, a COPY that waited for the lock of an ALTER
        TABLE reads the old rows with the new columns, as NULL, even if the types are the same. The COPY itself proves
        that this did not happen, except if it returns no rows, or if functions of the query lock other tables.
        """
        return query_layout(self.client, self.origin) != self.layout


def plan_read(client: Client, origin: Source, options: SourceOptions, spatial: SpatialFilter | None, name: str) -> Read:
    """Query the columns of a source and select some of them; ``name`` is the source in messages."""
    origin, layout = find_source(client, origin)
    columns = select(layout.columns, options["columns"], name)
    rows = origin if spatial is None else origin.where(spatial.condition(layout.columns))
    timeout_s = None if options["batch"] else options["timeout_s"]
    return Read(client, origin, rows, layout, columns, options["limit"], timeout_s, options["progress"])


@contextmanager
def stored(read: Read, options: SourceOptions) -> Iterator[Read]:
    """Run the query of a read as a batch job, and yield the read of its result, which is dropped at the end."""
    with (
        explained_repeated_names(read.client, read.origin),
        staged(read.client, read.rows, read.columns, read.limit, options) as table,
    ):
        layout = query_layout(read.client, table)
        yield replace(read, origin=table, rows=table, layout=layout, limit=None)


def rechunk(batches: Iterable[pa.RecordBatch], rows: int) -> Iterator[list[pa.RecordBatch]]:
    """Regroup batches to ``rows`` rows; yields at least one group, so that an empty result has its columns."""
    group: list[pa.RecordBatch] = []
    missing, has_yielded = rows, False
    for batch in batches:
        while batch.num_rows >= missing:
            yield [*group, batch.slice(0, missing)]
            batch, group, missing, has_yielded = batch.slice(missing), [], rows, True
        if batch.num_rows:
            group.append(batch)
            missing -= batch.num_rows
    if group or not has_yielded:
        yield group


def _stream_error(error: BrokenStream) -> Exception:
    """Return the error that the server appended to the data (status 200), or the one for an incomplete stream."""
    at = error.rest.rfind(b'{"error":')
    if at >= 0 and decode_error(error.rest[at:]) is not None:
        return error_from_response("POST", "sql/copyto", 200, {}, error.rest[at:])
    return IncompleteRead(f"the response is incomplete ({error}); nothing is returned, read again")
