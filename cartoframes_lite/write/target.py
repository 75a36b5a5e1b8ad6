"""The table that a write goes to, as the server describes it, and the staging tables that are there beside it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from cartoframes_lite._client import Client
from cartoframes_lite._client.http.json_fields import parsed
from cartoframes_lite._codec.names import qualify
from cartoframes_lite.errors import CartoError, ConversionError
from cartoframes_lite.write.existing_table import ExistingTable, inspect_table
from cartoframes_lite.write.staging_names import PREFIX, is_abandoned, write_of
from cartoframes_lite.write.staging_sql import drop_staging

_AT_ONCE = 50  # staging tables that one transaction drops: it holds the locks of all of them
_KINDS = {"v": "a view", "m": "a materialized view", "f": "a foreign table", "p": "a partitioned table"}


@dataclass(frozen=True, slots=True)
class Destination:
    """Where rows go: a table of the schema of an account."""

    client: Client
    schema: str
    table: str

    @property
    def relation(self) -> str:
        """The quoted name."""
        return qualify(self.schema, self.table)


@dataclass(frozen=True, slots=True)
class Target:
    """What the server says at the beginning of a write.

    Attributes
    ----------
    destination : Destination
    existing : ExistingTable or None
        None if there is no such table.
    leftovers : tuple of (str, bool)
        The staging tables, and whether their lease has run out.
    """

    destination: Destination
    existing: ExistingTable | None
    leftovers: tuple[tuple[str, bool], ...]


def inspect_target(client: Client, table: str) -> Target:
    """Ask, in one request, for the schema of the account, the table, and the staging tables that are there."""

    def read(answer: Any) -> Target:
        existing = None if answer["oid"] is None else ExistingTable.of(answer)
        leftovers = tuple((str(name), bool(has_run_out)) for name, has_run_out in answer["leftovers"] or ())
        return Target(Destination(client, str(answer["schema"]), table), existing, leftovers)

    row = client.sql.row(inspect_table(table, PREFIX), "answer")
    target = parsed(read, row["answer"], f"the table {table!r}")
    require_schema(row["answer"]["schema"])
    return target


def require_schema(schema: str | None) -> str:
    """Return the schema of the account; refuse one that is not there, or goes with the session.

    Raises
    ------
    CartoError
    """
    if schema is None or schema.startswith("pg_"):
        raise CartoError(
            f"the search_path of the key's database role leads to {'no schema' if schema is None else repr(schema)},"
            " where no table can be made: ALTER ROLE ... RESET search_path, or use another key"
        )
    return schema


def require_writable(table: str, existing: ExistingTable, *, replace: bool) -> None:
    """Refuse a table whose rows would not be what was written, or whose replacement harms others.

    Raises
    ------
    ConversionError
        If it is a view or something else that is no table; or if it has rules; or, for a replace, if its rows cannot
        all be deleted, or the rows of other tables would go with them.
    """
    verb = "replaced" if replace else "appended to"
    if existing.kind != "r" and not (existing.kind == "p" and not replace):
        kind = _KINDS.get(existing.kind, "no table")
        raise ConversionError(f"{table!r} is {kind}, which cannot be {verb}: write to a table of another name")
    if existing.rules:
        raise ConversionError(f"{table!r} has the rules {list(existing.rules)}, which change what is written")
    if not replace:
        return
    if existing.row_security:
        raise ConversionError(f"{table!r} has row security, which hides rows from this key: use its owner's")
    if existing.children:
        raise ConversionError(
            f"the tables {list(existing.children)} inherit from {table!r}, and their rows would still be read with it"
        )
    if existing.dependents:
        raise ConversionError(
            f"rows of {list(existing.dependents)} would be deleted or changed with those of {table!r}"
            " (foreign keys with ON DELETE CASCADE, SET NULL or SET DEFAULT): change these keys first, or append"
        )


def drop_stale_staging(target: Target) -> None:
    """Drop the staging tables that no write uses any more; whatever goes wrong, the next write tries again."""
    leases = dict(target.leftovers)
    given_up, expired = [], []
    for name in leases:
        # A part lives as long as its write: that one renews the lease.
        has_run_out = leases.get(write_of(name), leases[name])
        if is_abandoned(name, lease_has_run_out=False):
            given_up.append(name)
        elif is_abandoned(name, lease_has_run_out=has_run_out):
            expired.append(name)
    drop_staging_tables(target.destination, given_up)
    drop_staging_tables(target.destination, expired, only_expired=True)


def drop_staging_tables(destination: Destination, names: list[str], *, only_expired: bool = False) -> None:
    """Drop staging tables if the server can be reached, and nobody uses them; else a later write does it."""
    for start in range(0, len(names), _AT_ONCE):
        some = names[start : start + _AT_ONCE]
        request = drop_staging(destination.schema, some, only_expired=only_expired)
        try:
            destination.client.sql.send(request, idempotent=True)
        except (CartoError, OSError):
            return
