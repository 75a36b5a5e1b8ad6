"""Compose the parts that all publishing transactions share: lock the staging table, report conflicts, confirm."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from cartoframes_lite._codec.names import literal
from cartoframes_lite.write.staging_sql import state_of

# Lock timeout: this, or a third of the statement timeout if that is less; then the transaction is retried. A long wait
# for a lock must not exceed the statement timeout.
_QUEUE_MS = 4000
BUSY = (
    "EXCEPTION WHEN deadlock_detected OR lock_not_available OR serialization_failure THEN"
    " RAISE EXCEPTION 'CFL01 %', SQLERRM;"
    # CARTO's triggers add a row per table; two transactions that are the first to change a table conflict there.
    " WHEN unique_violation THEN GET STACKED DIAGNOSTICS item = TABLE_NAME;"
    " IF item = 'cdb_tablemetadata' THEN RAISE EXCEPTION 'CFL01 %', SQLERRM; END IF; RAISE;"
)
# For a new table: the name is in use since the write was planned, possibly by a concurrent transaction.
TAKEN = BUSY.replace("WHEN unique_violation", "WHEN unique_violation OR duplicate_table").replace(
    " RAISE;", " IF item IN ('', 'pg_class', 'pg_type') THEN RAISE EXCEPTION 'CFL02 %', SQLERRM; END IF; RAISE;"
)


@dataclass(frozen=True, slots=True)
class Staged:
    """A staging table that has been filled.

    Attributes
    ----------
    name : str
    oid : int
        Distinguishes it from a table of the same name, created by a repeated request.
    rows : int
        Number of rows sent.
    shape : str
        Checksum of its definition when it was created, see ``staging_sql.shape_of``; empty to skip the check.
    """

    name: str
    oid: int
    rows: int
    shape: str = ""


@dataclass(frozen=True, slots=True)
class Parts:
    """Staging tables of the partitions of a write, in order; the name of the parent is the prefix of their names.

    Attributes
    ----------
    suffixes : tuple of str
        Names without the prefix.
    contents : tuple of (int, int)
        Oid of each table, and number of rows sent to it; rows are checked per table, not only in total.
    """

    suffixes: tuple[str, ...]
    contents: tuple[tuple[int, int], ...]

    @property
    def checksum(self) -> str:
        """MD5 of the contents, since the SQL of a batch job is limited to 16 KB."""
        return hashlib.md5("".join(f"{oid} {rows}," for oid, rows in self.contents).encode()).hexdigest()


def transaction(block: str, schema: str, staged: Staged, *results: str) -> str:
    """Compose the request for a publishing block, whose result confirms that the block was committed.

    READ COMMITTED, since after waiting for a lock, the next statement must see what the other transaction committed.
    ``results`` are further columns of the result, such as ``size_of``.
    """
    result = ", ".join((state_of(schema, staged.name, staged.oid), *results))
    return f"SET TRANSACTION ISOLATION LEVEL READ COMMITTED;\n{block};\n{result}"


def size_of(relation: str) -> str:
    """Compose the column ``size_bytes`` of a result: the size of a table without indexes; NULL if it has partitions.

    Only for a table that the transaction has locked, since otherwise it could wait for a lock.
    """
    return f"nullif(pg_table_size(to_regclass({literal(relation)})), 0)::text AS size_bytes"


def lock_staging(relation: str, staged: Staged) -> str:
    """Compose the steps that lock the staging table and check that it is the one that was filled.

    The quota triggers of other writers read the size of every table, for which they need ACCESS SHARE: EXCLUSIVE admits
    that, while with ACCESS EXCLUSIVE, writers would wait for each other.
    """
    return (
        f"SELECT least({_QUEUE_MS}, coalesce(nullif(setting::int, 0) / 3 + 1, {_QUEUE_MS}))::text INTO queue"
        " FROM pg_settings WHERE name = 'statement_timeout';\n"
        "PERFORM set_config('lock_timeout', queue, true), set_config('quote_all_identifiers', 'off', true),"
        " set_config('extra_float_digits', '1', true), set_config('datestyle', 'ISO, YMD', true);\n"
        # The table may be dropped while waiting for the lock.
        f"BEGIN LOCK TABLE {relation} IN EXCLUSIVE MODE; EXCEPTION WHEN undefined_table THEN NULL; END;\n"
        f"IF to_regclass({literal(relation)})::oid IS DISTINCT FROM {staged.oid:d} THEN"
        " RAISE EXCEPTION 'CFL03 the staging table is gone'; END IF;"
    )
