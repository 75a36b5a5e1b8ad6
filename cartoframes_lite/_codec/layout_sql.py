"""SQL for a fingerprint of tables, which changes if they are recreated or altered; it is only compared.

A COPY that waits for a lock uses a snapshot from before the lock. After the wait it reads old rows with the new columns
or files: NULL in new columns, and no rows from a table that was recreated, rewritten or truncated.
"""

from __future__ import annotations

from cartoframes_lite._codec.names import literal

LAYOUT = " layout of the tables "  # not a plausible column name
_MIN_VERSION = 140_000  # before PostgreSQL 14, pg_describe_object raises for a missing column
_MAX_COLUMNS = 1_600


def columns_with_layout(source: str, *, is_query: bool) -> str:
    """Compose a query for the columns of a table or query, whose single row contains only the fingerprint.

    Parameters
    ----------
    source : str
        SQL that follows FROM: a quoted table name, or a query in parentheses with an alias.
    is_query : bool
    """
    tables = f"VALUES ({literal(source)}::regclass)"
    if is_query:
        tables = (
            f"SELECT name::regclass FROM unnest(CDB_QueryTablesText({literal(f'SELECT * FROM {source}')})) AS _of(name)"
        )
    alias = "_query" if is_query else source
    return f'SELECT {alias}.*, _layout.* FROM ({_layout(tables)}) AS _layout("{LAYOUT}") LEFT JOIN {source} ON false'


def _layout(tables: str) -> str:
    """Compose a query for oid, filenode and highest column number of each table; column numbers are not reused."""
    return (
        "SELECT string_agg(concat_ws('/', _tables.oid, pg_relation_filenode(_tables.oid),"
        f" CASE WHEN current_setting('server_version_num')::int >= {_MIN_VERSION} THEN ({_HIGHEST_NUMBER}) END),"
        f" ' ' ORDER BY _tables.oid) FROM (SELECT found::oid FROM ({tables}) AS _found(found)) AS _tables(oid)"
    )


# Bisection with pg_describe_object, which also works for roles that cannot read the catalog.
_HIGHEST_NUMBER = (
    f"WITH RECURSIVE _numbers(low, high) AS (SELECT 0, {_MAX_COLUMNS + 1} UNION ALL"
    " SELECT CASE WHEN is_one THEN middle ELSE low END, CASE WHEN is_one THEN high ELSE middle END FROM"
    " (SELECT low, high, (low + high) / 2 AS middle,"
    " pg_describe_object('pg_class'::regclass, _tables.oid, (low + high) / 2) IS NOT NULL AS is_one"
    " FROM _numbers WHERE high - low > 1) AS _halves) SELECT max(low) FROM _numbers"
)
