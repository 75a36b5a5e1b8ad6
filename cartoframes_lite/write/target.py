"""Inspect the target of a write: the schema, the existing table, and the staging tables of other writes."""

from __future__ import annotations

import threading
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from cartoframes_lite._client import Client
from cartoframes_lite._client.http.json_fields import parsed
from cartoframes_lite._codec.names import qualify
from cartoframes_lite.errors import CartoError, ConversionError, TableNotFoundError
from cartoframes_lite.write.existing_table import ExistingTable, inspect_table
from cartoframes_lite.write.staging_names import PREFIX, is_abandoned, write_of
from cartoframes_lite.write.staging_sql import RECEIPT, drop_staging

_MIN_VACUUM_BYTES = 256 << 10
_DROP_BATCH = 50  # staging tables dropped by one transaction, which holds a lock on each of them
_KINDS = {"v": "a view", "m": "a materialized view", "f": "a foreign table", "p": "a partitioned table"}


@dataclass(frozen=True, slots=True)
class Destination:
    """The table that rows are written to, in the schema of an account."""

    client: Client
    schema: str
    table: str

    @property
    def relation(self) -> str:
        """Quoted, schema-qualified name of the table."""
        return qualify(self.schema, self.table)


@dataclass(frozen=True, slots=True)
class Target:
    """State of the database at the beginning of a write.

    Attributes
    ----------
    destination : Destination
    existing : ExistingTable or None
        None if the table does not exist.
    leftovers : tuple of (str, bool)
        Name of each staging table in the schema, and whether its lease has expired.
    may_create : bool
        Whether the API key may create tables.
    """

    destination: Destination
    existing: ExistingTable | None
    leftovers: tuple[tuple[str, bool], ...]
    may_create: bool = True


def inspect_target(client: Client, table: str) -> Target:
    """Fetch the schema of the account, the description of a table and the staging tables, in one request."""
    row = client.sql.row(inspect_table(table, PREFIX), "answer")
    return read_target(client, table, row["answer"])


def read_target(client: Client, table: str, answer: Any) -> Target:
    """Read the result of ``inspect_table``."""

    def read(answer: Any) -> Target:
        existing = None if answer["oid"] is None else ExistingTable.of(answer)
        leftovers = tuple((str(name), bool(has_expired)) for name, has_expired in answer["leftovers"] or ())
        destination = Destination(client, str(answer["schema"]), table)
        return Target(destination, existing, leftovers, answer["may_create"] is not False)

    target = parsed(read, answer, f"the table {table!r}")
    require_schema(answer["schema"])
    return target


def require_schema(schema: str | None) -> str:
    """Return the schema of the account; raise if it is missing or temporary.

    Raises
    ------
    CartoError
        If the ``search_path`` of the database role contains no schema for permanent tables.
    """
    if schema is None or schema.startswith("pg_"):
        raise CartoError(
            f"cannot create tables: the search_path of the API key's database role selects"
            f" {'no schema' if schema is None else f'the schema {schema!r}'}; run ALTER ROLE ... RESET search_path, or"
            " use another key"
        )
    return schema


def require_existing(target: Target) -> ExistingTable:
    """Return the description of the table; raise TableNotFoundError, with similar names, if it does not exist."""
    if target.existing is None:
        table = target.destination.table
        target.destination.client.sql.require_table(None, table)
        raise TableNotFoundError(f"there was no table {table!r}: another client has created it meanwhile")
    return target.existing


def require_writable(table: str, existing: ExistingTable, *, replace: bool) -> None:
    """Check that rows can be appended to a table or replaced, without side effects on the rows or on other tables.

    Raises
    ------
    ConversionError
        If it is not a table, or has rules; or, for a replace, if not all of its rows can be deleted, or deleting them
        would change rows of other tables.
    """
    verb = "replaced" if replace else "appended to"
    if existing.kind != "r" and not (existing.kind == "p" and not replace):
        kind = _KINDS.get(existing.kind, "not a table")
        raise ConversionError(f"{table!r} is {kind}, which cannot be {verb}: choose another table name")
    if existing.rules:
        raise ConversionError(
            f"table {table!r} has the rules {list(existing.rules)}, which can change the rows written: drop the rules,"
            " or write to another table"
        )
    if not replace:
        return
    if existing.row_security:
        raise ConversionError(
            f"table {table!r} has row-level security, which can hide rows from this API key: use a key of its owner"
        )
    if existing.children:
        raise ConversionError(
            f"table {table!r} cannot be replaced: the tables {list(existing.children)} inherit from it, and queries of"
            " it would still return their rows; end the inheritance with ALTER TABLE ... NO INHERIT, or append"
        )
    if existing.dependents:
        raise ConversionError(
            f"table {table!r} cannot be replaced: foreign keys with ON DELETE CASCADE, SET NULL or SET DEFAULT would"
            f" delete or change rows of {list(existing.dependents)}; change these foreign keys, or append"
        )


def drop_receipt(destination: Destination, staging: str, *, has_dead_rows: bool, size_bytes: int | None) -> None:
    """Drop the receipt of a publish, and start a vacuum of the table at the same time if it is worth a request.

    A small table is left to autovacuum, and to the write that makes it larger.

    Parameters
    ----------
    destination : Destination
    staging : str
        Name that the receipt had as a staging table.
    has_dead_rows : bool
        Whether rows of the table were updated or deleted.
    size_bytes : int or None
        Size of the table after the write; None if it is not known.
    """
    vacuum = None
    if has_dead_rows and (size_bytes is None or size_bytes >= _MIN_VACUUM_BYTES):
        vacuum = threading.Thread(
            target=_reclaim_space, args=(destination,), name="cartoframes_lite vacuum", daemon=True
        )
        vacuum.start()
    drop_staging_tables(destination, [staging + RECEIPT])
    if vacuum is not None:
        vacuum.join()


def _reclaim_space(destination: Destination) -> None:
    """Start a batch job that lets a table reuse the space of deleted rows; do nothing if the API key may not.

    Else each replace, upsert or deletion would add to the size of the table, which counts against the quota of the
    account. The job is not waited for. Not in the SQL API, whose time limit it may exceed.
    """
    with suppress(CartoError, OSError):
        destination.client.batch.create(f"VACUUM {destination.relation}")


def drop_stale_staging(target: Target) -> None:
    """Drop the staging tables of writes that have ended; on errors, they are left to the next write."""
    leases = dict(target.leftovers)
    ended, expired = [], []
    for name in leases:
        # The staging table of a partition depends on the lease of its parent, which the write renews.
        has_expired = leases.get(write_of(name), leases[name])
        if is_abandoned(name, lease_has_expired=False):
            ended.append(name)
        elif is_abandoned(name, lease_has_expired=has_expired):
            expired.append(name)
    drop_staging_tables(target.destination, ended)
    drop_staging_tables(target.destination, expired, only_expired=True)


def drop_staging_tables(destination: Destination, names: list[str], *, only_expired: bool = False) -> None:
    """Drop staging tables that are not in use; on errors, they are left to a later write."""
    for start in range(0, len(names), _DROP_BATCH):
        batch = names[start : start + _DROP_BATCH]
        request = drop_staging(destination.schema, batch, only_expired=only_expired)
        try:
            destination.client.sql.send(request, idempotent=True)
        except (CartoError, OSError):
            return
