"""The SQL of staging tables: make, keep, ask what has become of one, drop."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from cartoframes_lite._codec.names import literal, qualify, quote
from cartoframes_lite.write.payload import PayloadColumn
from cartoframes_lite.write.statements import column_definitions, do_block

_LEASE_H = 24
_MARK = "cartoframes_lite: rows on their way into a table, kept until "
_TELLING = len("cartoframes_lite: rows")  # of the mark: batch jobs are short
_FORMAT = "YYYY-MM-DD HH24:MI:SS"
_DROP_WAIT_MS = 500
RECEIPT = "_published"  # behind the name of a staging table whose rows are in another table
_WITHDRAWN = "_withdrawn"
_SHAPE = "cartoframes_lite.shape"  # a setting of the transaction carries the answer out of the block


def lease_has_run_out(table: str) -> str:
    """Compose the condition that the lease of a staging table, an oid, has run out.

    The lease stands in the comment, by the clock of the database: those of the writers may be wrong.
    """
    comment = f"obj_description({table}, 'pg_class')"
    until = f"substring({comment} from {literal(f'^{_MARK}([0-9: -]{{19}}) UTC$')})"
    return (
        f"coalesce(to_timestamp({until}, {literal(_FORMAT)})::timestamp < clock_timestamp() AT TIME ZONE 'UTC', true)"
    )


def create_staging(schema: str, staging: str, columns: Sequence[PayloadColumn], *, with_primary_key: bool) -> str:
    """Compose the request that makes a staging table with a lease, and gives its oid, its shape and its name.

    Twice is the same as once.
    """
    place = qualify(schema, staging)
    create = f"CREATE TABLE IF NOT EXISTS {place} ({column_definitions(columns, with_primary_key=with_primary_key)})"
    shape = f"PERFORM set_config({literal(_SHAPE)}, {shape_of(f'to_regclass({literal(place)})')}, true);"
    return (
        f"{create};\n{do_block(f'{set_lease(schema, staging)}{chr(10)}{shape}')};\n"
        f"SELECT to_regclass({literal(place)})::oid::text AS oid, current_setting({literal(_SHAPE)}) AS shape,"
        f" {literal(staging)} AS name"
    )


def shape_of(table: str) -> str:
    """Compose the expression, for a block, of what a table, a regclass, is like: another one means it was changed."""
    columns = (
        "(SELECT string_agg(concat(attname, ' ', atttypid, ' ', atttypmod), ',' ORDER BY attnum) FROM pg_attribute"
        " WHERE attrelid = c.oid AND attnum > 0 AND NOT attisdropped)"
    )
    flags = "relpersistence, relhasrules, relhastriggers, relrowsecurity"
    return f"(SELECT md5(concat({flags}, {columns})) FROM pg_class c WHERE oid = {table})"


def set_lease(schema: str, table: str) -> str:
    """Compose the statement, for a block, that gives a staging table a lease from now on."""
    until = f"to_char((clock_timestamp() AT TIME ZONE 'UTC') + interval '{_LEASE_H} hours', {literal(_FORMAT)})"
    comment = f"COMMENT ON TABLE {qualify(schema, table)} IS "
    return f"EXECUTE {literal(comment)} || quote_literal({literal(_MARK)} || {until} || ' UTC');"


def renew_lease(schema: str, table: str) -> str:
    """Compose the request that renews the lease of a staging table, if it is still there."""
    place = literal(qualify(schema, table))
    return do_block(f"IF to_regclass({place}) IS NOT NULL THEN {set_lease(schema, table)} END IF;")


def drop_staging(schema: str, names: Iterable[str], *, only_expired: bool = False) -> str:
    """Compose the request that drops staging tables, all but those that somebody uses at this moment.

    Each is tried for half a second: an upload that broke off can hold the lock on its table for hours. With
    ``only_expired``, a table whose lease has been renewed in the meantime stays.
    """
    places = ", ".join(literal(qualify(schema, name)) for name in names)
    condition = lease_has_run_out("to_regclass(place)") if only_expired else "true"
    body = (
        f"PERFORM set_config('lock_timeout', '{_DROP_WAIT_MS}', true);\n"
        f"FOREACH place IN ARRAY ARRAY[{places}]::text[] LOOP BEGIN\n"
        "IF to_regclass(place) IS NOT NULL THEN\n"
        "EXECUTE 'LOCK TABLE ' || place || ' IN ACCESS EXCLUSIVE MODE';\n"
        f"IF {condition} THEN EXECUTE 'DROP TABLE IF EXISTS ' || place; END IF;\n"
        "END IF;\n"
        # It is in use, belongs to somebody else, or has gone: a later write drops it.
        "EXCEPTION WHEN lock_not_available OR deadlock_detected OR insufficient_privilege OR undefined_table"
        " OR dependent_objects_still_exist THEN NULL; END; END LOOP;"
    )
    return do_block(body, declare="place text;")


def publication_state(schema: str, staging: str, oid: int, *, withdraw: bool = False) -> str:
    """Compose the question what has become of a staging table; it waits for a transaction that is publishing it.

    ``published`` means that the table with this oid has another name, and its lease has ended or the name is that of a
    receipt. ``pending`` is still to be published; ``moved`` has another name or schema, which somebody else has given
    it, so that nothing publishes it; ``gone`` is nowhere. With ``withdraw`` a pending table is dropped, or renamed if
    other objects depend on it, so that no request that is still on its way publishes it; the same request a second time
    gets the same answer.
    """
    place = literal(qualify(schema, staging))
    steps = ""
    if withdraw:
        steps = (
            f"IF to_regclass({place})::oid = {oid:d} THEN BEGIN DROP TABLE {qualify(schema, staging)};"
            " EXCEPTION WHEN dependent_objects_still_exist THEN"
            f" ALTER TABLE {qualify(schema, staging)} RENAME TO {quote(staging + _WITHDRAWN)}; END; END IF;"
        )
    body = (
        # ROW SHARE: it waits for a publish, and not for the sizing of all tables by the quota triggers.
        f"BEGIN LOCK TABLE {qualify(schema, staging)} IN ROW SHARE MODE; {steps}"
        " EXCEPTION WHEN undefined_table THEN NULL; END;"
    )
    return f"{do_block(body)};\n{state_of(schema, staging, oid)}"


def state_of(schema: str, staging: str, oid: int) -> str:
    """Compose the query for what has become of a staging table, which does not wait.

    The answer names the table, for something on the way can mix up answers.
    """
    # A regclass whose table is gone is written as its number.
    return (
        f"SELECT CASE WHEN to_regclass({literal(qualify(schema, staging))})::oid = {oid:d} THEN 'pending'"
        f" WHEN {oid:d}::regclass::text = '{oid:d}' THEN 'gone'"
        f" WHEN to_regclass({literal(qualify(schema, staging + RECEIPT))})::oid IS DISTINCT FROM {oid:d}"
        f" AND starts_with(obj_description({oid:d}, 'pg_class'), {literal(_MARK[:_TELLING])}) THEN 'moved'"
        f" ELSE 'published' END AS state, {literal(staging)} AS name"
    )
