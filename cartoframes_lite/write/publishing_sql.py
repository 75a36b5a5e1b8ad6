"""Compose the publishing transaction: one block that turns a staging table into a table, or moves its rows into one.

The block checks the staged rows, then renames the staging table: to the new table, or, after moving its rows, to a
receipt. The new name of the table with that oid proves that the transaction was committed. Run a second time, the block
finds no such staging table and changes nothing.

Messages of errors that a block raises itself begin with a code of ``publishing.BLOCK_ERRORS``, since the message is the
only field of an error that both the SQL API and the Batch API return.
"""

from __future__ import annotations

from collections.abc import Collection, Container, Sequence

from cartoframes_lite._codec.names import literal, qualify, quote
from cartoframes_lite.write.cartodbfy_sql import (
    SEQUENCE,
    SPATIAL_INDEXES,
    make_carto_table,
    rename_dependents,
    set_sequence,
)
from cartoframes_lite.write.casts import cast
from cartoframes_lite.write.column_changes_sql import change_columns
from cartoframes_lite.write.columns import CARTODB_ID, Column
from cartoframes_lite.write.existing_table import ExistingTable, signature
from cartoframes_lite.write.indexes_sql import restore_indexes, save_indexes
from cartoframes_lite.write.staged_checks_sql import (
    SERIALIZE_SRID_CHECKS,
    check_fit,
    check_srid,
    check_values,
    joins_geometries,
    require_rows,
    require_shape,
)
from cartoframes_lite.write.staged_sql import BUSY, TAKEN, Parts, Staged, lock_staging, size_of, transaction
from cartoframes_lite.write.staging_sql import RECEIPT
from cartoframes_lite.write.statements import do_block
from cartoframes_lite.write.upsert_sql import COUNT_ROWS, SAME_KEY_STAGED, SAME_KEY_STORED, require_unique_key, upsert

_DECLARE = (
    "n bigint; before bigint; item text; found text; check_ text[]; shape text; rel regclass; queue text;"
    " indexes jsonb; saved jsonb; misfits text; kind text;"
)


def publish_new(
    schema: str,
    staged: Staged,
    table: str,
    columns: Sequence[Column],
    *,
    cartodbfy: bool,
    parts: Parts | None = None,
    assign_ids: bool = False,
    key: Sequence[str] = (),
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
    key : sequence of str
        Columns that get a unique constraint.
    """
    staging, target = qualify(schema, staged.name), qualify(schema, table)
    names = {column.name for column in columns}
    steps = [lock_staging(staging, staged)]
    if parts is None:
        steps.append(require_shape(f"{staged.oid:d}", staged))
    else:
        steps.append(_move_parts_to_parent(schema, staged, parts, columns, assign_ids=assign_ids))
    steps += [
        f"SELECT count(*) INTO n FROM {staging};",
        require_rows(staged, parts),
        "" if parts is not None else check_values(literal(staging), columns, names),
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
        steps += [
            f"ALTER TABLE {target} ADD PRIMARY KEY ({quote(CARTODB_ID)});",
            rename_dependents(schema, staged.name, table, (SEQUENCE, *(SPATIAL_INDEXES if parts is None else ()))),
            set_sequence(schema, table),
        ]
        steps.append(make_carto_table(schema, table, has_carto_columns=True))
    if key:
        steps += [f"rel := to_regclass({literal(target)});", require_unique_key(target, key, SAME_KEY_STAGED)]
    block = do_block("\n".join(step for step in steps if step) + f"\n{TAKEN}", declare=_DECLARE)
    return transaction(block, schema, staged)


def merge_parts(
    schema: str, staged: Staged, columns: Sequence[Column], parts: Parts, *, assign_ids: bool = False
) -> str:
    """Compose the request that moves the rows of all partitions to the parent, and returns the name of the parent.

    It is idempotent: if the parent has rows, they have been moved. ``assign_ids`` is that of ``publish_new``, which
    publishes the parent afterwards.
    """
    staging = qualify(schema, staged.name)
    block = do_block(
        f"{lock_staging(staging, staged)}\n"
        f"IF NOT EXISTS (SELECT FROM {staging}) THEN\n"
        f"{_move_parts_to_parent(schema, staged, parts, columns, assign_ids=assign_ids)}\n"
        f"{require_rows(staged, parts)}\nEND IF;\n{BUSY}",
        declare=_DECLARE,
    )
    return (
        "SET TRANSACTION ISOLATION LEVEL READ COMMITTED;\n"  # another request that moves them may hold the lock
        f"{block};\nSELECT {literal(staged.name)} AS name"
    )


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
    unsure: Collection[str] = (),
    key: Sequence[str] = (),
    parts: Parts | None = None,
) -> str:
    """Compose the transaction that appends the rows of a staging table to a table, or replaces or updates its rows.

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
    unsure : collection of str
        Columns whose types are kept if they can store the staged values; if not, the transaction fails.
    key : sequence of str
        Columns that identify the rows to update instead of appending them; not for partitions.
    parts : Parts, optional
        Staging tables of partitions, whose rows are written instead.
    """
    staging, target = qualify(schema, staged.name), qualify(schema, table)
    new = {column.name for column in add}
    steps = [lock_staging(staging, staged), *_lock_target(target, table, existing, replace=replace)]
    if parts is None:
        steps += [require_shape(f"{staged.oid:d}", staged), _check_staged(literal(staging), columns, new, unsure)]
    if replace:
        steps += _delete_rows(target, existing)
    else:
        steps += _check_srids(target, columns, existing, new, staging if parts is None else None)
    changes = change_columns(target, existing, drop, add, add_carto_columns=add_carto_columns)
    steps += [save_indexes(), *changes] if changes else []
    if key:
        steps.append(require_unique_key(target, key, SAME_KEY_STORED))
    if existing.triggers:
        steps.append(f"SELECT {_NET_INSERTS} INTO before;")
    values = [cast(column) for column in columns]
    if parts is not None:
        steps.append(_move_parts(schema, staged, parts, target, columns, values, new, unsure))
    else:
        names = ", ".join(quote(column.name) for column in columns)
        insert = f"INSERT INTO {target} ({names}) SELECT {', '.join(values)} FROM {staging}"
        steps.append(upsert(insert, columns, key, staging) if key else f"{insert};\n{COUNT_ROWS}")
    steps += [require_rows(staged, parts), _check_triggers(staged, updates=bool(key)) if existing.triggers else ""]
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
    return transaction(block, schema, staged, size_of(target))


def _lock_target(target: str, table: str, existing: ExistingTable, *, replace: bool) -> list[str]:
    """Compose the steps that lock the table, and check that it is still as it was when the write was planned."""
    return [
        f"LOCK TABLE {target} IN {'SHARE ROW EXCLUSIVE' if replace else 'ROW EXCLUSIVE'} MODE;",
        f"rel := to_regclass({literal(target)});",
        f"IF rel::oid <> {existing.oid:d} OR {signature('rel')} <> '{existing.signature}' THEN"
        f" RAISE EXCEPTION 'CFL02 the table % was changed by another process', {literal(table)}; END IF;",
    ]


def _check_staged(relation: str, columns: Sequence[Column], new: Container[str], unsure: Collection[str]) -> str:
    """Compose the checks of staged values: those for columns that must fit, and those for columns that may."""
    sure = [column for column in columns if column.name not in unsure]
    return f"{check_fit(relation, columns, unsure)}\n{check_values(relation, sure, new)}".strip()


def _check_srids(
    target: str, columns: Sequence[Column], existing: ExistingTable, new: Container[str], staging: str | None
) -> Sequence[str]:
    """Compose the steps that check the CRS of geometries appended to columns that declare none."""
    joined = [column for column in columns if joins_geometries(column, existing, new)]
    return [SERIALIZE_SRID_CHECKS, *(check_srid(target, column, staging) for column in joined)] if joined else []


def _delete_rows(target: str, existing: ExistingTable) -> list[str]:
    """Compose the steps that delete all rows of the table."""
    delete = f"DELETE FROM ONLY {target};"
    if not existing.triggers:
        return [delete]
    return [
        delete,
        f"IF EXISTS (SELECT FROM ONLY {target}) THEN"
        " RAISE EXCEPTION 'CFL05 triggers of the table prevent deleting its rows'; END IF;",
    ]


def _check_triggers(staged: Staged, *, updates: bool) -> str:
    """Compose the check that triggers of the table have neither added nor removed rows.

    With ``updates``, the number of rows that were appended is not known.
    """
    expected = f"BETWEEN 0 AND {staged.rows:d}" if updates else f"BETWEEN {staged.rows:d} AND {staged.rows:d}"
    return (
        f"SET CONSTRAINTS ALL IMMEDIATE;\nSELECT {_NET_INSERTS} - before INTO n;\n"
        f"IF current_setting('track_counts')::bool AND n NOT {expected} THEN"
        " RAISE EXCEPTION 'CFL05 triggers of the table changed the number of rows'; END IF;"
    )


# Rows that this transaction and its triggers inserted minus those deleted; for a partitioned table, in its partitions.
_NET_INSERTS = (
    "(SELECT sum(pg_stat_get_xact_tuples_inserted(part) - pg_stat_get_xact_tuples_deleted(part))"
    " FROM (SELECT rel::oid AS part UNION SELECT relid::oid FROM pg_partition_tree(rel)) parts)"
)


def _move_parts_to_parent(
    schema: str, staged: Staged, parts: Parts, columns: Sequence[Column], *, assign_ids: bool
) -> str:
    """Compose the steps that move the rows of all partitions to the parent, which becomes a new table."""
    values = [
        f"{quote(column.name)} + $1" if assign_ids and column.name == CARTODB_ID else quote(column.name)
        for column in columns
    ]
    names = {column.name for column in columns}
    return _move_parts(schema, staged, parts, qualify(schema, staged.name), columns, values, names)


def _move_parts(
    schema: str,
    staged: Staged,
    parts: Parts,
    target: str,
    columns: Sequence[Column],
    values: Sequence[str],
    new: Container[str],
    unsure: Collection[str] = (),
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
        f"{require_shape('item::regclass', staged)}\n"
        f"CONTINUE WHEN item::regclass::oid = {staged.oid:d};\n"
        f"{_check_staged('item', columns, new, unsure)}\n"
        f"EXECUTE {literal(insert)} || item USING before;\n"
        "GET DIAGNOSTICS n = ROW_COUNT; before := before + n;\n"
        "found := concat(found, to_regclass(item)::oid, ' ', n, ',');\n"
        "EXECUTE 'DROP TABLE ' || item;\n"
        "END LOOP;\nn := before;"
    )
