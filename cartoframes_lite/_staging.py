"""Stage, COPY, publish: how rows get into a table all at once and exactly once.

Rows go into a staging table first. One transaction then makes it the new table, or moves its rows into the
target, and the staging table is gone when that transaction has happened. So a lost answer can be cleared up:
while the staging table is there, nothing has been published.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import islice
from typing import Literal

import pyarrow as pa

from cartoframes_lite._client import Client
from cartoframes_lite._client.progress import Progress
from cartoframes_lite._client.transaction import run
from cartoframes_lite._codec.copybinary import encode
from cartoframes_lite._codec.names import literal, qualify
from cartoframes_lite._codec.payload import Payload, PayloadColumn
from cartoframes_lite._codec.statements import copy_in, create_staging, is_gone, withdraw
from cartoframes_lite._staging_names import PREFIX, at_work, is_abandoned, part_name, staging_name
from cartoframes_lite.errors import (
    CartoError,
    ConnectionFailed,
    PermissionDenied,
    PublishUnknown,
    QueryTimeout,
    ServerError,
    SQLError,
)

# The API takes 2 GB in one COPY, counted as sent; encoded bytes are never fewer than those.
PIECE_BYTES = 1_900_000_000
_ATTEMPTS = 3
_PAUSE_S = 1.0
_QUESTIONS = 5  # whether a table was published: over 15 s, for a database that is just starting again

Compression = Literal["auto", "gzip"] | None


@dataclass(frozen=True, slots=True)
class Account:
    """Where tables are written, as the server said at the beginning of the write."""

    client: Client
    schema: str
    table: str
    exists: bool
    leftovers: tuple[str, ...]


def look_up(client: Client, table: str) -> Account:
    """Ask, in one request, for the schema of the account, the target, and the staging tables that are there."""
    name = literal(qualify(None, table))
    (row,) = client.sql.rows(
        "SELECT current_schema() AS schema,"
        f" to_regclass(quote_ident(current_schema()) || '.' || {name}) IS NOT NULL AS exists,"
        " (SELECT array_agg(name::text) FROM CDB_UserTables() AS tables(name)"
        f" WHERE name::text LIKE {literal(PREFIX.replace('_', '$_') + '%')} ESCAPE '$') AS leftovers"
    )
    return Account(client, row["schema"], table, row["exists"], tuple(row["leftovers"] or ()))


def sweep(account: Account) -> None:
    """Drop the staging tables that killed processes, or a broken network, left behind."""
    now_s = time.time()
    for name in account.leftovers:
        if is_abandoned(name, now_s):
            try:
                _drop(account.client, account.schema, name)
            except (PermissionDenied, SQLError, QueryTimeout):
                continue  # another key's table, or one that rows still go into: a later write drops it


def _drop(client: Client, schema: str, staging: str) -> None:
    client.sql.send(f"DROP TABLE IF EXISTS {qualify(schema, staging)}", idempotent=True)


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
    keyed: bool


def stage_and_publish(
    account: Account,
    upload: Upload,
    publish: Callable[[str], str],
    *,
    compression: Compression,
    progress: bool | None,
) -> None:
    """Send the rows into a staging table and publish it in one transaction.

    Parameters
    ----------
    account : Account
    upload : Upload
    publish : callable
        Composes the publishing transaction, given the name of the staging table.
    compression : {"auto", "gzip"} or None
    progress : bool or None

    Raises
    ------
    CartoError
        In every case but a lost answer that cannot be cleared up, the target is as it was.
    """
    staging = stage(account, upload, _own_name, compression=compression, progress=progress)
    try:
        _publish(account, staging, publish(staging))
    except PublishUnknown:
        raise
    except BaseException:
        _clean_up(account, staging)
        raise
    finally:
        at_work.discard(staging)


def _own_name() -> str:
    name = staging_name(time.time())
    at_work.add(name)
    return name


@contextmanager
def parts(account: Account, columns: tuple[PayloadColumn, ...], *, keyed: bool) -> Iterator[str]:
    """Stand for a write whose parts are staged elsewhere, and drop in the end what is left of them.

    Gives the name of a staging table without rows. It is there until the write is published or given up: then it goes
    first, so that a part that comes later can tell that it is too late.
    """
    whole = _own_name()
    try:
        account.client.sql.send(create_staging(qualify(account.schema, whole), columns, keyed=keyed), idempotent=True)
        yield whole
    except PublishUnknown:
        at_work.discard(whole)
        raise
    except BaseException:
        _clean_up_parts(account, whole)
        raise
    else:
        _clean_up_parts(account, whole)


def _clean_up_parts(account: Account, whole: str) -> None:
    _clean_up(account, whole)
    try:
        leftovers = look_up(account.client, account.table).leftovers
    except (CartoError, OSError):
        return
    for name in leftovers:
        if name.startswith(whole):
            _clean_up(account, name)


def stage_part(account: Account, upload: Upload, whole: str, number: int, *, compression: Compression) -> str:
    """Stage a part of the rows in a table of its own, which is another one at each try.

    So what is still on its way from a worker that was given up reaches a table that nobody asks for.

    Raises
    ------
    CartoError
        If the whole was published or given up in the meantime.
    """
    staging = stage(account, upload, lambda: part_name(whole, number), compression=compression, progress=False)
    if not account.client.sql.has_table(account.schema, whole):
        _clean_up(account, staging)
        raise CartoError(f"the write to {account.table!r} is over, and its part {number} comes too late")
    return staging


def publish_parts(account: Account, whole: str, transaction: str) -> None:
    """Run the transaction that publishes all parts."""
    _publish(account, whole, transaction)


def stage(
    account: Account,
    upload: Upload,
    new_name: Callable[[], str],
    *,
    compression: Compression,
    progress: bool | None,
) -> str:
    """Fill a staging table; a try that breaks off is followed by one with a table of its own."""
    for attempt in range(1, _ATTEMPTS + 1):
        staging = new_name()
        with Progress("writing", progress) as bar:
            pieces = _Pieces(upload, bar)
            try:
                _fill(account, upload, pieces, staging, compression)
            except (ConnectionFailed, ServerError):
                _clean_up(account, staging)
                if attempt == _ATTEMPTS or pieces.source_failed:
                    raise
                time.sleep(_PAUSE_S * attempt)
            except BaseException:
                _clean_up(account, staging)
                raise
            else:
                return staging
    raise AssertionError("unreachable")


def _fill(account: Account, upload: Upload, pieces: _Pieces, staging: str, compression: Compression) -> None:
    place = qualify(account.schema, staging)
    account.client.sql.send(create_staging(place, upload.columns, keyed=upload.keyed), idempotent=True)
    sent = 0
    while pieces.begin():
        stored = account.client.copy.copy_from(copy_in(place), pieces.body, compress=compression)
        if stored != pieces.rows:
            raise CartoError(
                f"the server stored {stored} of {pieces.rows} rows; the table {account.table!r} was not changed"
            )
        sent += stored
        if pieces.repeated:
            _require_rows(account.client, place, sent)


def _require_rows(client: Client, place: str, rows: int) -> None:
    """Prove that a request which was said to be turned away, and was sent again, has stored its rows once."""
    with suppress(QueryTimeout):  # too many to count; then its word is trusted
        (row,) = client.sql.rows(f"SELECT count(*)::text AS n FROM {place}")
        if int(row["n"]) != rows:
            raise ConnectionFailed(f"a request stored its rows though it was answered otherwise: {row['n']} of {rows}")


class _Pieces:
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
        while self._next is not None and size < PIECE_BYTES:
            batch = self._next
            # A field of a row has a length of 4 bytes on top of what Arrow holds.
            size += batch.nbytes + 4 * batch.num_rows * batch.num_columns
            self.rows += batch.num_rows
            self._taken += 1
            self._bar.count_rows(batch.num_rows)
            yield batch
            self._advance()


def _publish(account: Account, staging: str, transaction: str) -> None:
    """Run the transaction until it is known to have happened, or to be refused.

    After any error the server is asked, for even a refusal can be that of a second try whose first went through,
    and an answer that was cut off can look like a refusal.
    """
    for attempt in range(1, _ATTEMPTS + 1):
        try:
            run(account.client.sql, account.client.batch, transaction, what=f"publishing {account.table!r}")
        except CartoError as error:
            if attempt == _ATTEMPTS or not isinstance(error, ConnectionFailed | ServerError):
                if _is_published_in_spite(account, staging):
                    return
                raise
            if _is_published(account, staging):
                return
            time.sleep(_PAUSE_S * attempt)
        else:
            return


def _is_published(account: Account, staging: str) -> bool:
    """Ask whether the staging table is gone, and wait first for a publish that is still at work on it."""
    return _ask(account, is_gone(account.schema, staging), staging)


def _is_published_in_spite(account: Account, staging: str) -> bool:
    """Ask for the last time, and see to it that no publish that is still on its way changes the answer."""
    withdrawn = staging_name(time.time())
    if _ask(account, withdraw(account.schema, staging, withdrawn), staging, withdrawn):
        return True
    _clean_up(account, withdrawn)
    return False


def _ask(account: Account, question: str, *names: str) -> bool:
    """Ask until there is an answer, for some time; asking twice does no harm."""
    for asked in range(1, _QUESTIONS + 1):
        try:
            (row,) = account.client.sql.rows(question)
            return bool(row["gone"])
        except CartoError as error:
            if asked == _QUESTIONS:
                raise PublishUnknown(
                    f"the connection broke while {account.table!r} was published, and the server does not say whether"
                    f" it was: if there is no table {' or '.join(map(repr, names))}, it was; else nothing was changed,"
                    " and the next write drops it"
                ) from error
            time.sleep(_PAUSE_S * 2 ** (asked - 1))
    raise AssertionError("unreachable")


def _clean_up(account: Account, staging: str) -> None:
    """Drop a staging table if the server can be reached; else the next write does it."""
    at_work.discard(staging)
    try:
        _drop(account.client, account.schema, staging)
    except (CartoError, OSError):
        return
