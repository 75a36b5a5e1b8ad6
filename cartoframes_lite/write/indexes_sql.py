"""Compose SQL for indexes: of the geometries of a new table, and those that a change of columns drops.

PostgreSQL drops an index with any of its columns, including those used by its expressions or its condition.
"""

from __future__ import annotations

from cartoframes_lite._codec.names import literal, qualify, quote

_COLUMNS = (
    "SELECT jsonb_agg(attname) FROM pg_depend JOIN pg_attribute ON attrelid = refobjid AND attnum = refobjsubid"
    " WHERE classid = 'pg_class'::regclass AND objid = indexrelid AND refobjid = rel::oid AND refobjsubid > 0"
)


def spatial_index_suffix(column: str) -> str:
    """Return what PostgreSQL appends to the name of a table to name the index of a column."""
    return f"_{column}_idx"


def create_spatial_index(schema: str, table: str, column: str) -> str:
    """Compose the statement that creates the spatial index of a column, if there is no index of that name."""
    return (
        f"CREATE INDEX IF NOT EXISTS {quote(table + spatial_index_suffix(column))} ON {qualify(schema, table)}"
        f" USING gist ({quote(column)})"
    )


def save_indexes() -> str:
    """Compose the step that saves the definitions of the indexes of a table, except those of constraints."""
    return (
        "SELECT jsonb_agg(jsonb_build_object('oid', indexrelid, 'name', relname, 'sql', pg_get_indexdef(indexrelid),"
        f" 'columns', ({_COLUMNS}))) INTO indexes FROM pg_index JOIN pg_class ON pg_class.oid = indexrelid"
        " WHERE indrelid = rel AND NOT EXISTS (SELECT FROM pg_constraint WHERE conindid = indexrelid);"
    )


def restore_indexes(target: str) -> str:
    """Compose the step that recreates the saved indexes that were dropped, unless all of their columns were.

    It is an error if an index cannot be recreated because a column is missing or has another type: the index may
    enforce uniqueness, or speed up queries.
    """
    return (
        "SET CONSTRAINTS ALL IMMEDIATE;\n"  # CREATE INDEX fails while the table has pending trigger events
        f"rel := to_regclass({literal(target)});\n"  # CDB_CartodbfyTable may have recreated the table
        "FOR saved IN SELECT value FROM jsonb_array_elements(indexes) LOOP\n"
        "CONTINUE WHEN EXISTS (SELECT FROM pg_index JOIN pg_class c ON c.oid = indexrelid"
        " WHERE indrelid = rel AND relname = saved ->> 'name')"
        " OR NOT EXISTS (SELECT FROM pg_attribute WHERE attrelid = rel AND NOT attisdropped"
        " AND saved -> 'columns' ? attname::text);\n"
        "BEGIN EXECUTE saved ->> 'sql';\n"
        "EXCEPTION WHEN syntax_error_or_access_rule_violation OR data_exception OR integrity_constraint_violation THEN"
        " RAISE EXCEPTION 'CFL05 the index % (%) cannot be kept, since %: drop it first', saved ->> 'name',"
        " saved ->> 'sql', SQLERRM; END;\n"
        "END LOOP;"
    )
