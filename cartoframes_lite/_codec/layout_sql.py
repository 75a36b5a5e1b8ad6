"""SQL for the layout of a source: its column types and a fingerprint of its tables and views; it is only compared.

A COPY that waits for a lock uses a snapshot from before the lock. After the wait it reads old rows with the new columns
or files: NULL in new columns, and no rows from a table that was recreated, rewritten or truncated. The functions used
here see the current catalog instead. When the COPY evaluates them, it has the locks of its tables and views: if their
layout is the one that was queried before, nothing changed in between, and nothing can change until its end.
"""

from __future__ import annotations

from cartoframes_lite._codec.names import literal

LAYOUT, TYPE_NAMES = " layout of the source ", " names of its types "  # not plausible as column names
_MIN_VERSION = 140_000  # before PostgreSQL 14, pg_describe_object raises for a missing column
_FIRST_USER_OID = 16_384


def columns_with_layout(source: str, *, is_query: bool) -> str:
    """Compose a query for the columns of a source, whose single row contains only the layout and names of types.

    Parameters
    ----------
    source : str
        SQL that follows FROM: a quoted table name, or a query in parentheses with the alias ``_query``.
    is_query : bool
    """
    alias = _alias(source, is_query=is_query)
    type_names = f'({_TYPE_NAMES.format(types=_types(alias))}) AS "{TYPE_NAMES}"'
    return f'SELECT {alias}.*, {_layout(alias)} AS "{LAYOUT}", {type_names} FROM {_lock_list_and(source)}'


def sync_by_layout(source: str, layout: str, sync: str, other_sync: str, *, is_query: bool) -> str:
    """Compose a subquery that returns the first of two values if the layout of a source is the given one.

    PostgreSQL evaluates it once, as an InitPlan, when the first row of the outer query is returned. All functions in it
    may be used in parallel plans.
    """
    condition = f"{_layout(_alias(source, is_query=is_query))} = {literal(layout)}"
    return f"(SELECT CASE WHEN {condition} THEN {sync} ELSE {other_sync} END FROM {_lock_list_and(source)})"


def _alias(source: str, *, is_query: bool) -> str:
    return "_query" if is_query else source


def _layout(alias: str) -> str:
    return f"concat_ws(' ', encode({_types(alias)}, 'hex'), _relations.list)"


def _types(alias: str) -> str:
    """Compose an expression for the types of the columns, as bytes: their number, then oid and NULL for each."""
    return f"record_send(ROW({alias}.*))"


# Of bytes and not of their hex digits: PostgreSQL counts the characters of a text from its beginning.
_TYPE_NAMES = (
    "SELECT json_object_agg(_type, _type::regtype) FROM (SELECT DISTINCT"
    " ('x' || encode(substring(_sent FROM 5 + 8 * _number FOR 4), 'hex'))::bit(32)::integer::oid"
    " FROM (SELECT {types} OFFSET 0) AS _row(_sent), generate_series(0, length(_sent) / 8 - 1) AS _numbers(_number))"
    f" AS _types(_type) WHERE _type >= {_FIRST_USER_OID}"
)

# Descriptions by number until there is none; dropped columns have one, too. Each role can read them.
_COLUMN_NAMES = (
    "WITH RECURSIVE _columns(number, name) AS (SELECT 0, '' UNION ALL"
    " SELECT number + 1, pg_describe_object('pg_class'::regclass, _locked.oid, number + 1)"
    " FROM _columns WHERE name IS NOT NULL) SELECT md5(array_agg(name ORDER BY number)::text) FROM _columns"
)

# The statement has locked the tables, views and partitions that its query names or is rewritten to, and their indexes.
# OFFSET 0 prevents that functions are called for the locks of other sessions.
_LOCK_LIST = (
    "SELECT string_agg(concat_ws('/', _locked.oid, pg_relation_filenode(_locked.oid),"
    f" CASE WHEN current_setting('server_version_num')::integer >= {_MIN_VERSION} THEN ({_COLUMN_NAMES}) END),"
    " ' ' ORDER BY _locked.oid) FROM (SELECT DISTINCT relation FROM pg_lock_status() AS _lock"
    " WHERE pid = pg_backend_pid() AND locktype = 'relation' AND mode <> 'SIReadLock' OFFSET 0) AS _locked(oid)"
    " WHERE pg_index_has_property(_locked.oid, 'clusterable') IS NULL"
)


def _lock_list_and(source: str) -> str:
    return f"({_LOCK_LIST}) AS _relations(list) LEFT JOIN {source} ON false"
