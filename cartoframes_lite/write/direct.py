"""Append with an API key that may not create tables: one COPY straight into the table, exactly once.

The rows get their ids from the sequence of the table before they are sent. A COPY that is repeated, by this client or
by a proxy, therefore violates the primary key and stores nothing, and a query for the ids shows whether the rows were
stored. What only the publishing transaction can check or convert is refused.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from os import SEEK_END
from tempfile import TemporaryFile
from typing import IO, NoReturn

import numpy as np
import pyarrow as pa

from cartoframes_lite._client import Client
from cartoframes_lite._client.http.json_fields import parsed
from cartoframes_lite._client.http.progress import Progress
from cartoframes_lite._client.http.retry import call_with_retries, idempotent_delay_s
from cartoframes_lite._codec.bad_value import BadValue, short_repr
from cartoframes_lite._codec.copybinary import encode
from cartoframes_lite._codec.exact_cast import exact_cast
from cartoframes_lite._codec.names import literal, quote
from cartoframes_lite._codec.pgtypes import bare, family, incoming, is_limited
from cartoframes_lite.errors import (
    CartoError,
    ConnectionFailed,
    ConversionError,
    PermissionDenied,
    PublishUnknown,
    ServerError,
)
from cartoframes_lite.write.columns import CARTODB_ID, Column, Columns, arrow_schema, find, names_of
from cartoframes_lite.write.existing_table import ANSWER, ExistingTable
from cartoframes_lite.write.options import Compression
from cartoframes_lite.write.payload import Payload, Values
from cartoframes_lite.write.statements import do_block
from cartoframes_lite.write.target import Destination

# Families whose types have the same binary format, if they have no length or precision.
_SAME_FORMAT = ("text", "boolean", "date", "time", "timestamp", "timestamptz", "bytea")
_BLOCK_BYTES = 1 << 18
_PRIVILEGES = ("insert", "select")


@dataclass(frozen=True, slots=True)
class DirectAppend:
    """Append to a table with one COPY.

    Attributes
    ----------
    destination : Destination
    columns : tuple of Column
        Columns as they are sent, the key first.
    sequence : str
        Name of the sequence of the key.
    """

    destination: Destination
    columns: Columns
    sequence: str

    def run(
        self,
        payloads: Callable[[], Iterator[Payload]],
        *,
        rows: int | None,
        may_be_slow: bool,
        compression: Compression,
        progress: bool | None,
    ) -> None:
        """Send all rows, and make sure that they are stored once.

        Parameters
        ----------
        payloads : callable
            Returns an iterator of the rows.
        rows : int or None
            Their number, if it is known.
        may_be_slow : bool
            Whether they may come more slowly than the network takes them: then they are kept in a temporary file until
            the request is opened.
        compression, progress
            As in ``to_carto``.

        Raises
        ------
        PublishUnknown
            If the connection is lost and it cannot be determined whether the rows were stored.
        """
        with TemporaryFile() as file:
            upload = _Upload(self.columns, payloads, _Ids(self.destination.client, self.sequence), file)
            if may_be_slow:
                upload.fill_file()
            if upload.rows or next(payloads(), None) is not None:  # an empty COPY would be an error
                self._send(upload, rows, compression, progress)

    def _send(self, upload: _Upload, rows: int | None, compression: Compression, progress: bool | None) -> None:
        """Send the COPY until it is known to be committed or to have failed."""
        ids = upload.ids
        names = ", ".join(quote(name) for name in names_of(self.columns))
        copy = f"COPY {self.destination.relation} ({names}) FROM STDIN WITH (FORMAT binary)"
        lost = False

        def send() -> None:
            nonlocal lost
            try:
                with upload.new_progress(rows, progress) as bar:
                    self.destination.client.copy.copy_from(copy, partial(upload.body, bar), compress=compression)
            except CartoError as error:
                lost = lost or (not upload.failed and isinstance(error, ConnectionFailed | ServerError))
                if not self._has_stored(ids, upload.rows, error, is_lost=lost):
                    raise

        def delay_s(error: CartoError, attempt: int, waited_s: float) -> float | None:
            may_retry = not upload.failed and not isinstance(error, PublishUnknown)
            return idempotent_delay_s(error, attempt, waited_s) if may_retry else None

        try:
            call_with_retries(send, delay_s)
        except CartoError as error:
            if lost and not isinstance(error, PublishUnknown):
                raise self._unknown(ids) from error
            raise

    def _has_stored(self, ids: _Ids, rows: int, error: CartoError, *, is_lost: bool) -> bool:
        """Query whether the rows of a COPY that seemed to fail are in the table."""
        if not ids.blocks:
            return False
        found = " OR ".join(f"{CARTODB_ID} BETWEEN {first:d} AND {first + count - 1:d}" for first, count in ids.blocks)
        try:
            row = self.destination.client.sql.row(
                f"SELECT count(*)::text AS n FROM {self.destination.relation} WHERE {found}", "n"
            )
        except CartoError as unanswered:
            if is_lost:
                raise self._unknown(ids) from unanswered
            raise error from None
        return parsed(int, row["n"], "the appended rows") == rows and rows > 0

    def _unknown(self, ids: _Ids) -> PublishUnknown:
        ranges = ", ".join(f"{first} to {first + count - 1}" for first, count in ids.blocks)
        return PublishUnknown(
            f"the connection was lost while rows were appended to table {self.destination.table!r}: check whether it"
            f" has rows with {CARTODB_ID} {ranges} before you write them again"
        )


def plan_direct(destination: Destination, existing: ExistingTable, columns: Columns) -> DirectAppend:
    """Plan an append without a staging table.

    Raises
    ------
    PermissionDenied
        If the key lacks a grant, or the append needs a staging table, and so the grant to create one.
    """
    row = destination.client.sql.row(_inspect_key(destination), "answer")
    privileges, sequence = parsed(
        lambda answer: (dict(answer["privileges"]), answer["sequence"]),
        row["answer"],
        f"the table {destination.table!r}",
    )
    missing = [name for name in _PRIVILEGES if not privileges[name]]
    if missing:
        _refuse(destination, "append to", f"{' and '.join(missing)} on the table", "")
    needs = partial(refuse_staging, destination, "append to")
    if not existing.is_carto or sequence is None or existing.kind != "r":
        needs("the table has no cartodb_id with a sequence, by which a repeated request would be noticed")
    if existing.triggers:
        needs("the table has triggers, which may change the number of rows")
    if find(columns, CARTODB_ID) is not None:
        needs(f"the frame has the column {CARTODB_ID!r}: drop it to get new ids")
    sent = []
    for column in columns:
        direct = _as_stored(column, existing)
        if direct is None:
            needs(f"column {column.name!r} has to be converted to {column.final_type} by the database")
        sent.append(direct)
    key = Column(CARTODB_ID, existing.columns[CARTODB_ID].declared, incoming(existing.columns[CARTODB_ID].pgtype).arrow)
    return DirectAppend(destination, (key, *sent), str(sequence))


def refuse_staging(destination: Destination, action: str, reason: str) -> NoReturn:
    """Raise the error for a write that needs a staging table, with a key that may not create tables."""
    _refuse(destination, action, f"create on the schema {destination.schema!r}", reason)


def _refuse(destination: Destination, action: str, grant: str, reason: str) -> NoReturn:
    needs = f" ({reason})" if reason else ""
    key = "the key default_public" if destination.client.credentials.is_public else "the API key"
    raise PermissionDenied(
        f"{key} cannot {action} table {destination.table!r}: it lacks the grant {grant}{needs}; use a key with"
        " this grant, or the master key",
        status=403,
        method="POST",
        url=destination.client.credentials.base_url or "",
    )


def _inspect_key(destination: Destination) -> str:
    """Compose the query for the grants of the API key, and for the sequence of the primary key."""
    relation = literal(destination.relation)
    privileges = ", ".join(f"'{name}', has_table_privilege(rel, '{name}')" for name in _PRIVILEGES)
    is_key = (
        "EXISTS (SELECT FROM pg_index JOIN pg_attribute ON attrelid = indrelid AND attnum = indkey[0]"
        f" WHERE indrelid = rel AND indisunique AND indimmediate AND indpred IS NULL AND indnkeyatts = 1"
        f" AND attname = '{CARTODB_ID}')"
    )
    sequence = f"CASE WHEN {is_key} THEN pg_get_serial_sequence({relation}, '{CARTODB_ID}') END"
    block = do_block(
        f"rel := {relation}::regclass;\n"
        f"PERFORM set_config({literal(ANSWER)}, jsonb_build_object('privileges', jsonb_build_object({privileges}),"
        f" 'sequence', {sequence})::text, true);",
        declare="rel regclass;",
    )
    return f"{block};\nSELECT current_setting({literal(ANSWER)})::json AS answer"


def _as_stored(column: Column, existing: ExistingTable) -> Column | None:
    """Return a column as the table stores it; None if only the database can convert it."""
    target = existing.columns[column.name]
    if column.is_geometry:
        return column if target.pgtype == "geometry" and target.srid == column.srid else None
    final, kind = column.final_type, family(column.final_type)
    if column.staged_as is not None or is_limited(final) or family(column.sql_type) != kind:
        return None
    if kind == "number" and bare(final) not in ("numeric", "decimal"):
        return replace(column, arrow=incoming(target.pgtype).arrow)
    return column if kind in _SAME_FORMAT else None


class _Ids:
    """Ids from a sequence, the same for each attempt."""

    def __init__(self, client: Client, sequence: str) -> None:
        self._client, self._sequence = client, sequence
        self.blocks: list[tuple[int, int]] = []  # first id and number of ids

    def of(self, start: int, rows: int) -> pa.ChunkedArray:
        """Return the ids of some rows."""
        while (missing := start + rows - sum(count for _, count in self.blocks)) > 0:
            self._reserve(max(missing, 2 * self.blocks[-1][1] if self.blocks else 0))
        pieces, at = [], 0
        for first, count in self.blocks:
            begin, end = max(start, at), min(start + rows, at + count)
            if begin < end:
                pieces.append(np.arange(first + begin - at, first + end - at))
            at += count
        return pa.chunked_array([pa.array(piece) for piece in pieces])

    def _reserve(self, count: int) -> None:
        """Take consecutive ids from the sequence; others may take ids in between, so that there are fewer."""
        row = self._client.sql.row(
            "SELECT min(id)::text AS first, count(*)::text AS n FROM (SELECT id, id - row_number() OVER (ORDER BY id)"
            f" - min(id) OVER () AS gap FROM (SELECT nextval({literal(self._sequence)}) AS id"
            f" FROM generate_series(1, {count:d})) taken) numbered WHERE gap = -1",
            "first",
            "n",
        )
        self.blocks.append((parsed(int, row["first"], "the sequence"), parsed(int, row["n"], "the sequence")))


class _Upload:
    """Body of the COPY, which can be generated again.

    Attributes
    ----------
    rows : int
        Number of rows of the longest attempt.
    failed : bool
        Whether the source of the rows raised.
    ids : _Ids
    """

    def __init__(self, columns: Columns, payloads: Callable[[], Iterator[Payload]], ids: _Ids, file: IO[bytes]) -> None:
        self._columns, self._payloads, self.ids, self._file = columns, payloads, ids, file
        self._has_file = False
        self.rows, self.failed = 0, False

    def fill_file(self) -> None:
        """Encode all rows into the temporary file."""
        self._file.writelines(encode(self._batches(), arrow_schema(self._columns)))
        self._has_file = True

    def new_progress(self, rows: int | None, show: bool | None) -> Progress:
        """Return the progress bar of an attempt: of bytes, if the rows are in the temporary file."""
        if self._has_file:
            return Progress("writing", show, unit="B", total=self._file.seek(0, SEEK_END))
        return Progress("writing", show, total=rows)

    def body(self, bar: Progress) -> Iterator[bytes]:
        """Encode all rows with their ids, or read them from the temporary file."""
        if not self._has_file:
            return bar.count_bytes(encode(self._counted(bar), arrow_schema(self._columns)))
        self._file.seek(0)
        return bar.count_bytes(iter(partial(self._file.read, _BLOCK_BYTES), b""))

    def _counted(self, bar: Progress) -> Iterator[pa.RecordBatch]:
        for batch in self._batches():
            bar.count_rows(batch.num_rows)
            yield batch

    def _batches(self) -> Iterator[pa.RecordBatch]:
        sent = 0
        try:
            for payload in self._payloads():
                if payload.rows:
                    yield self._with_ids(payload, sent).record_batch()
                    sent += payload.rows
                    self.rows = max(self.rows, sent)
        except GeneratorExit:
            raise
        except BaseException:
            self.failed = True
            raise

    def _with_ids(self, payload: Payload, sent: int) -> Payload:
        key, *columns = self._columns
        values: dict[str, Values] = {key.name: self.ids.of(sent, payload.rows).cast(key.arrow)}
        for column in columns:
            values[column.name] = _exact(payload.values[column.name], column, payload.first_row)
        return Payload(self._columns, values, payload.rows, payload.first_row)


def _exact(values: Values, column: Column, first_row: int) -> Values:
    """Cast values to the type that is sent, which must not change them."""
    if not isinstance(values, pa.ChunkedArray):
        return values
    try:
        return exact_cast(values, column.arrow)
    except BadValue as bad:
        raise ConversionError(
            f"column {column.name!r} does not fit its type {column.final_type} in the table: {bad.problem} in row"
            f" {first_row + bad.position} ({short_repr(bad.value)}); {bad.advice}"
        ) from bad
