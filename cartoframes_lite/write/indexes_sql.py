"""The SQL that makes indexes again that went with a column which was made anew.

PostgreSQL drops an index with any of its columns, also one that an expression or a condition uses.
"""

from __future__ import annotations

from cartoframes_lite._codec.names import literal

_COLUMNS = (
    "SELECT jsonb_agg(attname) FROM pg_depend JOIN pg_attribute ON attrelid = refobjid AND attnum = refobjsubid"
    " WHERE classid = 'pg_class'::regclass AND objid = indexrelid AND refobjid = place::oid AND refobjsubid > 0"
)


def save_indexes() -> str:
    """Compose the step that notes down the indexes of a table, which are not those of constraints."""
    return (
        "SELECT jsonb_agg(jsonb_build_object('oid', indexrelid, 'name', relname, 'sql', pg_get_indexdef(indexrelid),"
        f" 'columns', ({_COLUMNS}))) INTO indexes FROM pg_index JOIN pg_class ON pg_class.oid = indexrelid"
        " WHERE indrelid = place AND NOT EXISTS (SELECT FROM pg_constraint WHERE conindid = indexrelid);"
    )


def restore_indexes(target: str) -> str:
    """Compose the step that makes those again that have gone, unless all of their columns have.

    One that cannot be made, for a column is missing or has another type, is an error: it may be what keeps values
    unique, or queries fast.
    """
    return (
        "SET CONSTRAINTS ALL IMMEDIATE;\n"  # a table with checks to come takes no index
        f"place := to_regclass({literal(target)});\n"  # CARTO may have made it anew
        "FOR lost IN SELECT value FROM jsonb_array_elements(indexes) LOOP\n"
        "CONTINUE WHEN EXISTS (SELECT FROM pg_index JOIN pg_class c ON c.oid = indexrelid"
        " WHERE indrelid = place AND relname = lost ->> 'name')"
        " OR NOT EXISTS (SELECT FROM pg_attribute WHERE attrelid = place AND NOT attisdropped"
        " AND lost -> 'columns' ? attname::text);\n"
        "BEGIN EXECUTE lost ->> 'sql';\n"
        "EXCEPTION WHEN syntax_error_or_access_rule_violation OR data_exception OR integrity_constraint_violation THEN"
        " RAISE EXCEPTION 'CFL05 the index % (%) cannot be kept, since %: drop it first', lost ->> 'name',"
        " lost ->> 'sql', SQLERRM; END;\n"
        "END LOOP;"
    )
