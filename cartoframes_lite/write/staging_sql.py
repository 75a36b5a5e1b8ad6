"""Compose SQL for staging tables: create, renew the lease, query the state, drop."""

from __future__ import annotations

from collections.abc import Iterable

from cartoframes_lite._codec.names import literal, qualify, quote
from cartoframes_lite.write.statements import do_block

_LEASE_H = 24
_MARK = "cartoframes_lite: rows on their way into a table, kept until "
_MARK_PREFIX = _MARK[: len("cartoframes_lite: rows")]  # short, since the SQL of a batch job is limited to 16 KB
_FORMAT = "YYYY-MM-DD HH24:MI:SS"
_DROP_WAIT_MS = 500
RECEIPT = "_published"  # suffix of a staging table whose rows have been moved to another table
_WITHDRAWN = "_withdrawn"
_SHAPE = "cartoframes_lite.shape"  # a setting of the transaction, to return a value from the block


def lease_has_expired(table: str) -> str:
    """Compose the condition that the lease of a staging table, an oid, has expired.

    The end of the lease is in the comment of the table, by the clock of the database, since clients' may be wrong.
    """
    comment = f"obj_description({table}, 'pg_class')"
    until = f"substring({comment} from {literal(f'^{_MARK}([0-9: -]{{19}}) UTC$')})"
    return (
        f"coalesce(to_timestamp({until}, {literal(_FORMAT)})::timestamp < clock_timestamp() AT TIME ZONE 'UTC', true)"
    )


def create_staging(schema: str, staging: str, definition: str) -> str:
    """Compose the request that creates a staging table with a lease, and returns its oid, its shape and its name.

    It is idempotent. ``definition`` is from ``statements.column_definitions``.
    """
    relation = qualify(schema, staging)
    create = f"CREATE TABLE IF NOT EXISTS {relation} ({definition})"
    shape = f"PERFORM set_config({literal(_SHAPE)}, {shape_of(f'to_regclass({literal(relation)})')}, true);"
    return (
        f"{create};\n{do_block(f'{set_lease(schema, staging)}{chr(10)}{shape}')};\n"
        f"SELECT to_regclass({literal(relation)})::oid::text AS oid, current_setting({literal(_SHAPE)}) AS shape,"
        f" {literal(staging)} AS name"
    )


def create_early(new: tuple[str, str] | None, existing: tuple[str, str] | None) -> str:
    """Compose the steps that create a staging table in the block of ``existing_table.inspect_table``.

    They have no effect if that fails: the error is raised when the table is created with a request of its own. They
    are idempotent.

    Parameters
    ----------
    new : tuple of (str, str), optional
        Name and definition of the staging table if the table ``rel`` does not exist. None: create none then.
    existing : tuple of (str, str), optional
        If the table exists. The name must differ, so that a repeated request, which may find another case, does not
        take a table with the other definition.
    """
    create = "\n".join(
        f"IF {condition} THEN\n"
        f"EXECUTE {literal(f'CREATE TABLE IF NOT EXISTS {quote(table[0])} ({table[1]})')};\n"
        f"{set_lease(None, table[0])}\nitem := {literal(table[0])};\nEND IF;"
        for condition, table in (
            ("rel IS NULL", new),
            ("EXISTS (SELECT FROM pg_class WHERE oid = rel AND relkind IN ('r', 'p'))", existing),
        )
        if table is not None
    )
    if not create:
        return ""
    return (
        "BEGIN\n"
        "IF has_schema_privilege(current_schema(), 'CREATE') AND NOT starts_with(current_schema()::text, 'pg_') THEN\n"
        f"{create}\nEND IF;\n"
        "IF item IS NOT NULL THEN staging := jsonb_build_object('name', item, 'oid', to_regclass(item)::oid::text,"
        f" 'shape', {shape_of('to_regclass(item)')}); END IF;\n"
        "EXCEPTION WHEN OTHERS THEN staging := NULL; END;"
    )


def shape_of(table: str) -> str:
    """Compose the expression, for a block, for a checksum of the definition of a table, a regclass."""
    columns = (
        "(SELECT string_agg(concat(attname, ' ', atttypid, ' ', atttypmod), ',' ORDER BY attnum) FROM pg_attribute"
        " WHERE attrelid = c.oid AND attnum > 0 AND NOT attisdropped)"
    )
    flags = "relpersistence, relhasrules, relhastriggers, relrowsecurity"
    return f"(SELECT md5(concat({flags}, {columns})) FROM pg_class c WHERE oid = {table})"


def set_lease(schema: str | None, table: str) -> str:
    """Compose the statement, for a block, that starts or renews the lease of a staging table."""
    until = f"to_char((clock_timestamp() AT TIME ZONE 'UTC') + interval '{_LEASE_H} hours', {literal(_FORMAT)})"
    comment = f"COMMENT ON TABLE {qualify(schema, table)} IS "
    return f"EXECUTE {literal(comment)} || quote_literal({literal(_MARK)} || {until} || ' UTC');"


def renew_lease(schema: str, table: str) -> str:
    """Compose the request that renews the lease of a staging table, if the table exists."""
    relation = literal(qualify(schema, table))
    return do_block(f"IF to_regclass({relation}) IS NOT NULL THEN {set_lease(schema, table)} END IF;")


def drop_staging(schema: str | None, names: Iterable[str], *, only_expired: bool = False) -> str:
    """Compose the request that drops staging tables, except those in use.

    ``schema`` is None for the schema in which tables are created.

    The lock timeout is half a second per table: a broken upload can keep the lock on its table for hours. With
    ``only_expired``, a table whose lease has been renewed in the meantime is kept.
    """
    relations = ", ".join(literal(qualify(schema, name)) for name in names)
    condition = lease_has_expired("to_regclass(rel)") if only_expired else "true"
    body = (
        f"PERFORM set_config('lock_timeout', '{_DROP_WAIT_MS}', true);\n"
        f"FOREACH rel IN ARRAY ARRAY[{relations}]::text[] LOOP BEGIN\n"
        "IF to_regclass(rel) IS NOT NULL THEN\n"
        "EXECUTE 'LOCK TABLE ' || rel || ' IN ACCESS EXCLUSIVE MODE';\n"
        f"IF {condition} THEN EXECUTE 'DROP TABLE IF EXISTS ' || rel; END IF;\n"
        "END IF;\n"
        # The table is in use, has another owner or is gone: a later write drops it.
        "EXCEPTION WHEN lock_not_available OR deadlock_detected OR insufficient_privilege OR undefined_table"
        " OR dependent_objects_still_exist THEN NULL; END; END LOOP;"
    )
    return do_block(body, declare="rel text;")


def publication_state(schema: str, staging: str, oid: int, *, withdraw: bool = False) -> str:
    """Compose the query for the state of a staging table, which waits for a transaction that is publishing it.

    - ``published``: the table with this oid has been renamed, and has no lease or the name of a receipt.
    - ``pending``: it has not been published.
    - ``moved``: another process gave it another name or schema, so that it cannot be published.
    - ``gone``: it does not exist.

    With ``withdraw``, a pending table is dropped, or renamed if other objects depend on it, so that no delayed request
    can publish it; the query is idempotent.
    """
    relation = literal(qualify(schema, staging))
    steps = ""
    if withdraw:
        steps = (
            f"IF to_regclass({relation})::oid = {oid:d} THEN BEGIN DROP TABLE {qualify(schema, staging)};"
            " EXCEPTION WHEN dependent_objects_still_exist THEN"
            f" ALTER TABLE {qualify(schema, staging)} RENAME TO {quote(staging + _WITHDRAWN)}; END; END IF;"
        )
    body = (
        # ROW SHARE waits for a publishing transaction, but not for quota triggers, which read the size of each table.
        f"BEGIN LOCK TABLE {qualify(schema, staging)} IN ROW SHARE MODE; {steps}"
        " EXCEPTION WHEN undefined_table THEN NULL; END;"
    )
    return f"{do_block(body)};\n{state_of(schema, staging, oid)}"


def state_of(schema: str, staging: str, oid: int) -> str:
    """Compose the query for the state of a staging table, without waiting.

    The result has the name of the table, to detect responses that belong to another request.
    """
    # The text of a regclass whose table does not exist is the oid.
    return (
        f"SELECT CASE WHEN to_regclass({literal(qualify(schema, staging))})::oid = {oid:d} THEN 'pending'"
        f" WHEN {oid:d}::regclass::text = '{oid:d}' THEN 'gone'"
        f" WHEN to_regclass({literal(qualify(schema, staging + RECEIPT))})::oid IS DISTINCT FROM {oid:d}"
        f" AND starts_with(obj_description({oid:d}, 'pg_class'), {literal(_MARK_PREFIX)}) THEN 'moved'"
        f" ELSE 'published' END AS state, {literal(staging)} AS name"
    )
