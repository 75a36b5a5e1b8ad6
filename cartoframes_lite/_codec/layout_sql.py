"""The SQL that tells whether tables were made anew, or got other columns: text that is only compared.

A COPY that waits for a lock has its snapshot from before it. What it finds then are the rows of before in the columns,
or the files, of after: NULL in columns that are new, and nothing in a table that was made anew, rewritten or truncated.
"""

from __future__ import annotations

from cartoframes_lite._codec.names import literal

LAYOUT = " layout of the tables "  # no column is called so
_SINCE = 140_000  # before PostgreSQL 14, what describes a column fails where there is none
_MOST_COLUMNS = 1_600


def columns_with_layout(source: str, *, is_query: bool) -> str:
    """Compose the question for the columns of a table or query, in a row that has its layout and nothing else.

    Parameters
    ----------
    source : str
        What stands behind FROM: a quoted table, or a query in parentheses with its alias.
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
    """Compose the oid, the file and the highest number of a column of each table; numbers are never used again."""
    return (
        "SELECT string_agg(concat_ws('/', _tables.oid, pg_relation_filenode(_tables.oid),"
        f" CASE WHEN current_setting('server_version_num')::int >= {_SINCE} THEN ({_HIGHEST_NUMBER}) END),"
        f" ' ' ORDER BY _tables.oid) FROM (SELECT found::oid FROM ({tables}) AS _found(found)) AS _tables(oid)"
    )


# Halved again and again, for who may not read pg_class may still ask for what has a number.
_HIGHEST_NUMBER = (
    f"WITH RECURSIVE _numbers(low, high) AS (SELECT 0, {_MOST_COLUMNS + 1} UNION ALL"
    " SELECT CASE WHEN is_one THEN middle ELSE low END, CASE WHEN is_one THEN high ELSE middle END FROM"
    " (SELECT low, high, (low + high) / 2 AS middle,"
    " pg_describe_object('pg_class'::regclass, _tables.oid, (low + high) / 2) IS NOT NULL AS is_one"
    " FROM _numbers WHERE high - low > 1) AS _halves) SELECT max(low) FROM _numbers"
)
