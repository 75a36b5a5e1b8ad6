"""Compose the publishing transaction: one block that turns a staging table into a table, or moves its rows into one.

The block checks the staged rows, then renames the staging table: to the new table, or, after moving its rows, to a
receipt. The new name of the table with that oid proves that the transaction was committed. Run a second time, the block
finds no such staging table and changes nothing.

Messages of errors that a block raises itself begin with a code of ``publishing.BLOCK_ERRORS``, since the message is the
only field of an error that both the SQL API and the Batch API return.
"""

from __future__ import annotations

import hashlib
from collections.abc import Container, Sequence
from dataclasses import dataclass

from cartoframes_lite._codec.names import literal, qualify, quote
from cartoframes_lite.write.cartodbfy_sql import make_carto_table, rename_key_and_sequence, set_sequence
from cartoframes_lite.write.casts import cast, changed
from cartoframes_lite.write.column_changes_sql import change_columns
from cartoframes_lite.write.columns import CARTODB_ID, Column
from cartoframes_lite.write.existing_table import ExistingTable, signature
from cartoframes_lite.write.indexes_sql import restore_indexes, save_indexes
from cartoframes_lite.write.staging_sql import RECEIPT, shape_of, state_of
from cartoframes_lite.write.statements import do_block

_DECLARE = (
    "n bigint; before bigint; item text; found text; check_ text[]; shape text; rel regclass; queue text;"
    " indexes jsonb; saved jsonb;"
)
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


def publish_new(
    schema: str,
    staged: Staged,
    table: str,
    columns: Sequence[Column],
    *,
    cartodbfy: bool,
    parts: Parts | None = None,
    assign_ids: bool = False,
) -> str:
    """Compose the transaction that turns a staging table into the new table.

    Parameters
    ----------
    schema : str
    staged : Staged
    table : str
    columns : sequence of Column
        Columns of the staging table.
    cartodbfy : bool
        Make it a CARTO table.
    parts : Parts, optional
        Staging tables of partitions, whose rows are moved into this one first.
    assign_ids : bool
        Number the rows of all partitions consecutively; the ids of each partition begin at 1.
    """
    staging, target = qualify(schema, staged.name), qualify(schema, table)
    names = {column.name for column in columns}
    steps = [lock_staging(staging, staged)]
    if parts is None:
        steps.append(_require_shape(f"{staged.oid:d}", staged))
    else:
        values = [
            f"{quote(column.name)} + $1" if assign_ids and column.name == CARTODB_ID else quote(column.name)
            for column in columns
        ]
        steps.append(_move_parts(schema, staged, parts, staging, columns, values, names))
    steps += [
        f"SELECT count(*) INTO n FROM {staging};",
        _require_rows(staged, parts),
        "" if parts is not None else _check_values(literal(staging), columns, names),
        f"ALTER TABLE {staging} RENAME TO {quote(table)};",
        f"COMMENT ON TABLE {target} IS NULL;",
    ]
    changes = [
        f"ALTER COLUMN {quote(column.name)} TYPE {column.final_type} USING {cast(column)}"
        for column in columns
        if column.final_type != column.staged_type
    ]
    if changes:
        steps.append(f"ALTER TABLE {target} {', '.join(changes)};")
    if cartodbfy:
        steps += [rename_key_and_sequence(schema, staged.name, table), set_sequence(schema, table)]
        steps.append(make_carto_table(schema, table, has_carto_columns=True))
    block = do_block("\n".join(step for step in steps if step) + f"\n{TAKEN}", declare=_DECLARE)
    return transaction(block, schema, staged)


def publish_into(
    schema: str,
    staged: Staged,
    table: str,
    columns: Sequence[Column],
    existing: ExistingTable,
    *,
    replace: bool,
    drop: Sequence[str] = (),
    add: Sequence[Column] = (),
    cartodbfy: bool = False,
    add_carto_columns: bool = False,
    parts: Parts | None = None,
) -> str:
    """Compose the transaction that appends the rows of a staging table to a table, or replaces its rows.

    Rows are deleted with DELETE, since TRUNCATE would hide them from readers with an older snapshot. The lock admits
    readers; for a replace, it excludes other writers.

    Parameters
    ----------
    schema : str
    staged : Staged
    table : str
    columns : sequence of Column
        Columns of the staging table.
    existing : ExistingTable
        Description of the table when the write was planned; if the table has changed, the transaction fails.
    replace : bool
        Delete the existing rows.
    drop : sequence of str
        Columns to drop.
    add : sequence of Column
        Columns to add.
    cartodbfy : bool
        Make it a CARTO table again.
    add_carto_columns : bool
        Add the missing columns of a CARTO table, so that ``CDB_CartodbfyTable`` need not rewrite the table.
    parts : Parts, optional
        Staging tables of partitions, whose rows are written instead.
    """
    staging, target = qualify(schema, staged.name), qualify(schema, table)
    new = {column.name for column in add}
    steps = [
        lock_staging(staging, staged),
        f"LOCK TABLE {target} IN {'SHARE ROW EXCLUSIVE' if replace else 'ROW EXCLUSIVE'} MODE;",
        f"rel := to_regclass({literal(target)});",
        f"IF rel::oid <> {existing.oid:d} OR {signature('rel')} <> '{existing.signature}' THEN"
        f" RAISE EXCEPTION 'CFL02 the table % was changed by another process', {literal(table)}; END IF;",
    ]
    if parts is None:
        steps += [_require_shape(f"{staged.oid:d}", staged), _check_values(literal(staging), columns, new)]
    if not replace:
        joined = [column for column in columns if _joins_geometries(column, existing, new)]
        steps += [_SERIALIZE_SRID_CHECKS, *(_check_srid(target, column) for column in joined)] if joined else []
    if replace:
        steps.append(f"DELETE FROM ONLY {target};")
        if existing.triggers:
            steps.append(
                f"IF EXISTS (SELECT FROM ONLY {target}) THEN"
                " RAISE EXCEPTION 'CFL05 triggers of the table prevent deleting its rows'; END IF;"
            )
    changes = change_columns(target, existing, drop, add, add_carto_columns=add_carto_columns)
    steps += [save_indexes(), *changes] if changes else []
    if existing.triggers:
        steps.append(f"SELECT {_NET_INSERTS} INTO before;")
    values = [cast(column) for column in columns]
    if parts is not None:
        steps.append(_move_parts(schema, staged, parts, target, columns, values, new))
    else:
        names = ", ".join(quote(column.name) for column in columns)
        steps.append(f"INSERT INTO {target} ({names}) SELECT {', '.join(values)} FROM {staging};")
        steps.append("GET DIAGNOSTICS n = ROW_COUNT;")
    steps.append(_require_rows(staged, parts))
    if existing.triggers:
        steps.append(
            f"SET CONSTRAINTS ALL IMMEDIATE;\nSELECT {_NET_INSERTS} - before INTO n;\n"
            f"IF current_setting('track_counts')::bool AND n <> {staged.rows:d} THEN"
            " RAISE EXCEPTION 'CFL05 triggers of the table changed the number of rows'; END IF;"
        )
    if any(column.name == CARTODB_ID for column in columns):
        steps.append(set_sequence(schema, table))
    if cartodbfy:
        steps.append(make_carto_table(schema, table, has_carto_columns=add_carto_columns))
    if changes:
        steps.append(restore_indexes(target))
    # Last, since it takes ACCESS EXCLUSIVE: after it, this transaction waits for no lock, so it cannot deadlock.
    steps.append(f"TRUNCATE TABLE ONLY {staging};\nALTER TABLE {staging} RENAME TO {quote(staged.name + RECEIPT)};")
    steps.append(  # an event trigger may drop the table
        f"IF to_regclass({literal(target)}) IS NULL THEN RAISE EXCEPTION 'CFL05 it was dropped while it was written';"
        " END IF;"
    )
    block = do_block("\n".join(step for step in steps if step) + f"\n{BUSY}", declare=_DECLARE)
    return transaction(block, schema, staged)


def transaction(block: str, schema: str, staged: Staged) -> str:
    """Compose the request for a publishing block, whose result confirms that the block was committed.

    READ COMMITTED, since after waiting for a lock, the next statement must see what the other transaction committed.
    """
    return f"SET TRANSACTION ISOLATION LEVEL READ COMMITTED;\n{block};\n{state_of(schema, staged.name, staged.oid)}"


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


def _require_shape(relation: str, staged: Staged) -> str:
    """Compose the check that the definition of a staging table, an oid, has not changed since it was created."""
    if not staged.shape:
        return ""
    return (
        f"IF {shape_of(relation)} IS DISTINCT FROM {literal(staged.shape)} THEN"
        " RAISE EXCEPTION 'CFL05 another process changed the staging table'; END IF;"
    )


def _require_rows(staged: Staged, parts: Parts | None) -> str:
    """Compose the check that the number of rows, in n, is that sent; a repeated request would double them.

    For partitions, ``found`` has the oid and the number of rows of each staging table.
    """
    total = (
        f"IF n <> {staged.rows:d} THEN RAISE EXCEPTION"
        f" 'CFL04 % rows arrived, but {staged.rows:d} were sent; a proxy may repeat requests', n; END IF;"
    )
    if parts is None:
        return total
    return (
        f"{total}\nIF md5(found) <> '{parts.checksum}' THEN RAISE EXCEPTION"
        " 'CFL04 the rows of the partitions are not those sent; a proxy may repeat requests'; END IF;"
    )


def _check_values(relation: str, columns: Sequence[Column], new: Container[str]) -> str:
    """Compose the check for values that their type in the table would round, truncate or pad.

    ``relation`` is an SQL expression for the name of the staging table; ``new`` are the columns whose type this write
    chooses. The error has the column, the row and the value.
    """
    checks = [
        (column, condition)
        for column in columns
        if (condition := changed(column, chosen=column.name in new)) is not None
    ]
    if not checks:
        return ""
    rows = ", ".join(
        f"ARRAY[{', '.join(literal(text) for text in (column.name, column.final_type, condition))}]"
        for column, condition in checks
    )
    find = (
        "SELECT format('column %%L, row %%s: the value %%L does not fit the type %%s', %L, at, left(value, 200), %L)"
        " FROM (SELECT row_number() OVER (ORDER BY ctid) - 1 AS at, %I::text AS value, %s AS bad FROM %s) s"
        " WHERE bad LIMIT 1"
    )
    count = literal("SELECT count(*) FROM (SELECT FROM %s WHERE %s LIMIT 1) s")
    return (
        f"FOREACH check_ SLICE 1 IN ARRAY ARRAY[{rows}] LOOP\n"
        f"EXECUTE format({count}, {relation}, check_[3]) INTO n;\n"
        "IF n > 0 THEN\n"
        f"EXECUTE format({literal(find)}, check_[1], check_[2], check_[1], check_[3], {relation}) INTO shape;\n"
        "RAISE EXCEPTION 'CFL06 %', shape;\n"
        "END IF;\n"
        "END LOOP;"
    )


def _joins_geometries(column: Column, existing: ExistingTable, new: Container[str]) -> bool:
    """Check whether geometries are appended to an existing column that declares no SRID."""
    old = existing.columns.get(column.name)
    return column.is_geometry and old is not None and old.srid <= 0 and column.name not in new


# Two concurrent appends to an empty column, in different CRS, must not both pass the check: an advisory lock serializes
# them, without blocking other writers of the table.
_SERIALIZE_SRID_CHECKS = "PERFORM pg_advisory_xact_lock(hashtext('cartoframes_lite'), hashtext(rel::text));"


def _check_srid(target: str, column: Column) -> str:
    """Compose the check that geometries are in the CRS of those in the column, which can be read in one CRS only."""
    name = quote(column.name)
    return (
        f"SELECT ST_SRID({name}::geometry) INTO n FROM {target} WHERE {name} IS NOT NULL LIMIT 1;\n"
        f"IF n <> {column.srid:d} THEN RAISE EXCEPTION 'CFL06 column %: the table has geometries in EPSG:%,"
        f" the frame in EPSG:{column.srid:d}; reproject them with to_crs', {literal(column.name)}, n; END IF;"
    )


# Rows that this transaction and its triggers inserted minus those deleted; for a partitioned table, in its partitions.
_NET_INSERTS = (
    "(SELECT sum(pg_stat_get_xact_tuples_inserted(part) - pg_stat_get_xact_tuples_deleted(part))"
    " FROM (SELECT rel::oid AS part UNION SELECT relid::oid FROM pg_partition_tree(rel)) parts)"
)


def _move_parts(
    schema: str,
    staged: Staged,
    parts: Parts,
    target: str,
    columns: Sequence[Column],
    values: Sequence[str],
    new: Container[str],
) -> str:
    """Compose the steps that move the rows of all partitions into a table, and count them in n.

    A loop, since the SQL of a batch job is limited to 16 KB. ``$1`` in ``values`` is the number of rows in preceding
    partitions. The parent, which has no rows, is the first item, so that its definition is checked, too.
    """
    names = ", ".join(quote(column.name) for column in columns)
    insert = f"INSERT INTO {target} ({names}) SELECT {', '.join(values)} FROM "
    short = (suffix.removeprefix("_") for suffix in parts.suffixes)
    return (
        "before := 0; found := '';\n"
        f"FOREACH item IN ARRAY string_to_array({literal(','.join(('', *short)))}, ',') LOOP\n"
        f"item := format('%I.%I', {literal(schema)}, rtrim({literal(staged.name + '_')} || item, '_'));\n"
        f"{_require_shape('item::regclass', staged)}\n"
        f"CONTINUE WHEN item::regclass::oid = {staged.oid:d};\n"
        f"{_check_values('item', columns, new)}\n"
        f"EXECUTE {literal(insert)} || item USING before;\n"
        "GET DIAGNOSTICS n = ROW_COUNT; before := before + n;\n"
        "found := concat(found, to_regclass(item)::oid, ' ', n, ',');\n"
        "EXECUTE 'DROP TABLE ' || item;\n"
        "END LOOP;\nn := before;"
    )
