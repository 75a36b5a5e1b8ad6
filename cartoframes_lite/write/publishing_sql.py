"""The SQL that publishes: one block, so one transaction, that makes staged rows a table or moves them into one.

A block checks what it is about to publish, and renames the staging table: to the name of the new table, or in the end
to that of a receipt. The new name of that very table, known by its oid, is the proof that the transaction happened; the
same request a second time finds no such staging table, and changes nothing.

Errors that a block raises itself begin with a code of ``_publishing.REFUSALS``, since no other field of an error passes
through both the SQL API and the Batch API.
"""

from __future__ import annotations

import hashlib
from collections.abc import Container, Sequence
from dataclasses import dataclass

from cartoframes_lite._codec.names import literal, qualify, quote
from cartoframes_lite.write.cartodbfy_sql import make_carto_table, rename_belongings, set_sequence
from cartoframes_lite.write.casts import cast, changed
from cartoframes_lite.write.column_changes_sql import change_columns
from cartoframes_lite.write.existing_table import ExistingTable, signature
from cartoframes_lite.write.indexes_sql import restore_indexes, save_indexes
from cartoframes_lite.write.payload import CARTODB_ID, PayloadColumn
from cartoframes_lite.write.staging_sql import RECEIPT, shape_of, state_of
from cartoframes_lite.write.statements import do_block

_DECLARE = (
    "n bigint; before bigint; told text; found text; check_ text[]; shape text; place regclass; queue text;"
    " indexes jsonb; lost jsonb;"
)
# Writers queue for at most this long, or a third of the statement timeout, and then again: waiting for others must not
# be taken for a statement that takes too long.
_QUEUE_MS = 4000
BUSY = (
    "EXCEPTION WHEN deadlock_detected OR lock_not_available OR serialization_failure THEN"
    " RAISE EXCEPTION 'CFL01 %', SQLERRM;"
    # Two transactions that are the first to touch a table meet in CARTO's own bookkeeping.
    " WHEN unique_violation THEN GET STACKED DIAGNOSTICS told = TABLE_NAME;"
    " IF told = 'cdb_tablemetadata' THEN RAISE EXCEPTION 'CFL01 %', SQLERRM; END IF; RAISE;"
)
# Of a new table: somebody else has taken its name since the write was planned, in this moment maybe.
TAKEN = BUSY.replace("WHEN unique_violation", "WHEN unique_violation OR duplicate_table").replace(
    " RAISE;", " IF told IN ('', 'pg_class', 'pg_type') THEN RAISE EXCEPTION 'CFL02 %', SQLERRM; END IF; RAISE;"
)


@dataclass(frozen=True, slots=True)
class Staged:
    """A staging table with all its rows.

    Attributes
    ----------
    name : str
    oid : int
        Tells it from one of the same name, made by a request that arrived twice.
    rows : int
        How many were sent.
    shape : str
        What it was like when it was made, as ``staging_sql.shape_of`` tells; empty if that does not matter.
    """

    name: str
    oid: int
    rows: int
    shape: str = ""


@dataclass(frozen=True, slots=True)
class Parts:
    """The staging tables of a write in parts, in order; their names begin with that of the whole.

    Attributes
    ----------
    suffixes : tuple of str
        The rest of the names.
    contents : tuple of (int, int)
        Of each table the oid and how many rows were sent: other parts must not make up for what one has lost.
    """

    suffixes: tuple[str, ...]
    contents: tuple[tuple[int, int], ...]

    @property
    def checksum(self) -> str:
        """One short text for the contents, for batch jobs have 16 KB."""
        return hashlib.md5("".join(f"{oid} {rows}," for oid, rows in self.contents).encode()).hexdigest()


def publish_new(
    schema: str,
    staged: Staged,
    table: str,
    columns: Sequence[PayloadColumn],
    *,
    cartodbfy: bool,
    parts: Parts | None = None,
    assign_ids: bool = False,
) -> str:
    """Compose the block that makes a staging table the new table.

    Parameters
    ----------
    schema : str
    staged : Staged
    table : str
    columns : sequence of PayloadColumn
        Those of the staging table.
    cartodbfy : bool
    parts : Parts, optional
        Staging tables whose rows come into this one before.
    numbered : bool
        The ids of each part begin at 1, and go on behind those of the part before.
    """
    place, target = qualify(schema, staged.name), qualify(schema, table)
    names = {column.name for column in columns}
    steps = [lock_staging(place, staged)]
    if parts is None:
        steps.append(_require_shape(f"{staged.oid:d}", staged))
    else:
        values = [
            f"{quote(column.name)} + $1" if assign_ids and column.name == CARTODB_ID else quote(column.name)
            for column in columns
        ]
        steps.append(_gather(schema, staged, parts, place, columns, values, names))
    steps += [
        f"SELECT count(*) INTO n FROM {place};",
        _require_rows(staged, parts),
        "" if parts is not None else _check_values(literal(place), columns, names),
        f"ALTER TABLE {place} RENAME TO {quote(table)};",
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
        steps += [rename_belongings(schema, staged.name, table), set_sequence(schema, table)]
        steps.append(make_carto_table(schema, table, in_final_shape=True))
    block = do_block("\n".join(step for step in steps if step) + f"\n{TAKEN}", declare=_DECLARE)
    return transaction(block, schema, staged)


def publish_into(
    schema: str,
    staged: Staged,
    table: str,
    columns: Sequence[PayloadColumn],
    existing: ExistingTable,
    *,
    replace: bool,
    drop: Sequence[str] = (),
    add: Sequence[PayloadColumn] = (),
    cartodbfy: bool = False,
    makes_carto_columns: bool = False,
    parts: Parts | None = None,
) -> str:
    """Compose the block that adds the rows of a staging table to a table, or replaces its rows by them.

    Rows are deleted, and the table is not truncated: a reader whose snapshot is older goes on seeing the old rows. The
    lock lets readers through and makes writers wait for each other.

    Parameters
    ----------
    schema : str
    staged : Staged
    table : str
    columns : sequence of PayloadColumn
        Those of the staging table.
    existing : ExistingTable
        The table as it was when the write was planned; if it is another one by now, nothing happens.
    replace : bool
    drop : sequence of str
    add : sequence of PayloadColumn
        Columns that go and come.
    cartodbfy : bool
        Make it a CARTO table again.
    makes_carto_columns : bool
        Add the columns of a CARTO table that are missing; it need not be written anew then.
    parts : Parts, optional
        Staging tables whose rows are written instead.
    """
    place, target = qualify(schema, staged.name), qualify(schema, table)
    new = {column.name for column in add}
    steps = [
        lock_staging(place, staged),
        f"LOCK TABLE {target} IN {'SHARE ROW EXCLUSIVE' if replace else 'ROW EXCLUSIVE'} MODE;",
        f"place := to_regclass({literal(target)});",
        f"IF place::oid <> {existing.oid:d} OR {signature('place')} <> '{existing.signature}' THEN"
        f" RAISE EXCEPTION 'CFL02 the table % was changed meanwhile', {literal(table)}; END IF;",
    ]
    if parts is None:
        steps += [_require_shape(f"{staged.oid:d}", staged), _check_values(literal(place), columns, new)]
    if not replace:
        joined = [column for column in columns if _joins_geometries(column, existing, new)]
        steps += [_ONE_BY_ONE, *(_check_srid(target, column) for column in joined)] if joined else []
    if replace:
        steps.append(f"DELETE FROM ONLY {target};")
        if existing.triggers:
            steps.append(
                f"IF EXISTS (SELECT FROM ONLY {target}) THEN"
                " RAISE EXCEPTION 'CFL05 triggers of the table keep rows from being replaced'; END IF;"
            )
    changes = change_columns(target, existing, drop, add, makes_carto_columns=makes_carto_columns)
    steps += [save_indexes(), *changes] if changes else []
    if existing.triggers:
        steps.append(f"SELECT {_NET_INSERTS} INTO before;")
    values = [cast(column) for column in columns]
    if parts is not None:
        steps.append(_gather(schema, staged, parts, target, columns, values, new))
    else:
        names = ", ".join(quote(column.name) for column in columns)
        steps.append(f"INSERT INTO {target} ({names}) SELECT {', '.join(values)} FROM {place};")
        steps.append("GET DIAGNOSTICS n = ROW_COUNT;")
    steps.append(_require_rows(staged, parts))
    if existing.triggers:
        steps.append(
            f"SET CONSTRAINTS ALL IMMEDIATE;\nSELECT {_NET_INSERTS} - before INTO n;\n"
            f"IF current_setting('track_counts')::bool AND n <> {staged.rows:d} THEN"
            " RAISE EXCEPTION 'CFL05 triggers of the table change the number of rows'; END IF;"
        )
    if any(column.name == CARTODB_ID for column in columns):
        steps.append(set_sequence(schema, table))
    if cartodbfy:
        steps.append(make_carto_table(schema, table, in_final_shape=makes_carto_columns))
    if changes:
        steps.append(restore_indexes(target))
    # In the end: others may be waiting for this lock, and this transaction waits for nobody any more.
    steps.append(f"TRUNCATE TABLE ONLY {place};\nALTER TABLE {place} RENAME TO {quote(staged.name + RECEIPT)};")
    steps.append(  # event triggers do what they like
        f"IF to_regclass({literal(target)}) IS NULL THEN RAISE EXCEPTION 'CFL05 it was dropped while it was written';"
        " END IF;"
    )
    block = do_block("\n".join(step for step in steps if step) + f"\n{BUSY}", declare=_DECLARE)
    return transaction(block, schema, staged)


def transaction(block: str, schema: str, staged: Staged) -> str:
    """Compose the request: the block, and the proof that it has been run, which no other answer has.

    Each statement of the block has to see what others have committed while it waited for their locks.
    """
    return f"SET TRANSACTION ISOLATION LEVEL READ COMMITTED;\n{block};\n{state_of(schema, staged.name, staged.oid)}"


def lock_staging(relation: str, staged: Staged) -> str:
    """Lock the staging table, and prove that it is the one that was filled.

    EXCLUSIVE lets through the sizing of all tables by the quota triggers of other writers, which would wait for
    ACCESS EXCLUSIVE, and this one for theirs.
    """
    return (
        f"SELECT least({_QUEUE_MS}, coalesce(nullif(setting::int, 0) / 3 + 1, {_QUEUE_MS}))::text INTO queue"
        " FROM pg_settings WHERE name = 'statement_timeout';\n"
        "PERFORM set_config('lock_timeout', queue, true), set_config('quote_all_identifiers', 'off', true),"
        " set_config('extra_float_digits', '1', true), set_config('datestyle', 'ISO, YMD', true);\n"
        # It can go while it is waited for.
        f"BEGIN LOCK TABLE {relation} IN EXCLUSIVE MODE; EXCEPTION WHEN undefined_table THEN NULL; END;\n"
        f"IF to_regclass({literal(relation)})::oid IS DISTINCT FROM {staged.oid:d} THEN"
        " RAISE EXCEPTION 'CFL03 it is gone'; END IF;"
    )


def _require_shape(relation: str, staged: Staged) -> str:
    """Refuse a staging table, an oid, that is not like the one that was made."""
    if not staged.shape:
        return ""
    return (
        f"IF {shape_of(relation)} IS DISTINCT FROM {literal(staged.shape)} THEN"
        " RAISE EXCEPTION 'CFL05 somebody else changed the staging table'; END IF;"
    )


def _require_rows(staged: Staged, parts: Parts | None) -> str:
    """Compare the number of rows, in n, with those that were sent: a request that arrived twice doubles them.

    Of parts, ``found`` has the oid and the number of rows of each.
    """
    total = (
        f"IF n <> {staged.rows:d} THEN RAISE EXCEPTION"
        f" 'CFL04 % rows arrived, and {staged.rows:d} were sent: something on the way repeats requests', n; END IF;"
    )
    if parts is None:
        return total
    return (
        f"{total}\nIF md5(found) <> '{parts.checksum}' THEN RAISE EXCEPTION"
        " 'CFL04 the partitions are not as they were sent: something on the way repeats requests'; END IF;"
    )


def _check_values(relation: str, columns: Sequence[PayloadColumn], new: Container[str]) -> str:
    """Refuse values that their type in the table would round, cut or pad, by column, row and value.

    ``relation`` is an expression whose value is the name of the staging table; ``new`` are the columns whose type is
    chosen now.
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


def _joins_geometries(column: PayloadColumn, existing: ExistingTable, new: Container[str]) -> bool:
    """Say whether geometries come to those of a column that declares no SRID."""
    old = existing.columns.get(column.name)
    return column.is_geometry and old is not None and old.srid <= 0 and column.name not in new


# Of two writers that find a column without rows, each with another CRS, one has to see what the other has written. The
# lock is no lock of the table: other writers do not wait for it.
_ONE_BY_ONE = "PERFORM pg_advisory_xact_lock(hashtext('cartoframes_lite'), hashtext(place::text));"


def _check_srid(target: str, column: PayloadColumn) -> str:
    """Refuse geometries in another CRS than those that the column has: nobody could read both."""
    name = quote(column.name)
    return (
        f"SELECT ST_SRID({name}::geometry) INTO n FROM {target} WHERE {name} IS NOT NULL LIMIT 1;\n"
        f"IF n <> {column.srid:d} THEN RAISE EXCEPTION 'CFL06 column %: the table has geometries in EPSG:%,"
        f" and the frame in EPSG:{column.srid:d}', {literal(column.name)}, n; END IF;"
    )


# What this transaction has inserted and not deleted, triggers included; a partitioned table has its rows in its parts.
_NET_INSERTS = (
    "(SELECT sum(pg_stat_get_xact_tuples_inserted(part) - pg_stat_get_xact_tuples_deleted(part))"
    " FROM (SELECT place::oid AS part UNION SELECT relid::oid FROM pg_partition_tree(place)) parts)"
)


def _gather(
    schema: str,
    staged: Staged,
    parts: Parts,
    target: str,
    columns: Sequence[PayloadColumn],
    values: Sequence[str],
    new: Container[str],
) -> str:
    """Move the rows of all parts into a table, and count them in n; short, for batch jobs have 16 KB.

    ``$1`` in the values is the number of rows before those of the part. The whole comes first, to be looked at.
    """
    names = ", ".join(quote(column.name) for column in columns)
    insert = f"INSERT INTO {target} ({names}) SELECT {', '.join(values)} FROM "
    short = (suffix.removeprefix("_") for suffix in parts.suffixes)
    return (
        "before := 0; found := '';\n"
        f"FOREACH told IN ARRAY string_to_array({literal(','.join(('', *short)))}, ',') LOOP\n"
        f"told := format('%I.%I', {literal(schema)}, rtrim({literal(staged.name + '_')} || told, '_'));\n"
        f"{_require_shape('told::regclass', staged)}\n"
        f"CONTINUE WHEN told::regclass::oid = {staged.oid:d};\n"
        f"{_check_values('told', columns, new)}\n"
        f"EXECUTE {literal(insert)} || told USING before;\n"
        "GET DIAGNOSTICS n = ROW_COUNT; before := before + n;\n"
        "found := concat(found, to_regclass(told)::oid, ' ', n, ',');\n"
        "EXECUTE 'DROP TABLE ' || told;\n"
        "END LOOP;\nn := before;"
    )
