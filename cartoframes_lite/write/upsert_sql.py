"""Compose SQL that updates rows by their key: the unique constraint, and INSERT ... ON CONFLICT."""

from __future__ import annotations

from collections.abc import Sequence

from cartoframes_lite._codec.names import literal, quote
from cartoframes_lite.write.casts import cast
from cartoframes_lite.write.columns import Column, find

COUNT_ROWS = "GET DIAGNOSTICS n = ROW_COUNT;"
# What a unique constraint found: rows of the write, or rows that the table had before.
SAME_KEY_STAGED = "CFL06 several rows have the same key: %; leave out all but one"
SAME_KEY_STORED = "CFL05 several of its rows have the same key: %; delete all but one of them, or use another key"


def require_unique_key(target: str, key: Sequence[str], same_key: str) -> str:
    """Compose the step that adds a unique constraint on the key to the table ``rel``, unless it has one.

    A unique index is sufficient if ``ON CONFLICT`` can use it: on these columns only, for all rows, and not deferrable.
    """
    names = f"ARRAY[{', '.join(map(literal, key))}]::text[]"
    columns = ", ".join(map(quote, key))
    of_index = (
        "SELECT array_agg(attname::text) FROM pg_attribute WHERE attrelid = rel"
        " AND attnum = ANY ((indkey::int2[])[0:indnkeyatts - 1])"
    )
    return (
        "IF NOT EXISTS (SELECT FROM pg_index WHERE indrelid = rel AND indisunique AND indimmediate AND indisvalid"
        f" AND indpred IS NULL AND indexprs IS NULL AND indnkeyatts = {len(key)} AND ({of_index}) @> {names}) THEN\n"
        f"BEGIN ALTER TABLE {target} ADD UNIQUE ({columns});\n"
        "EXCEPTION WHEN unique_violation THEN GET STACKED DIAGNOSTICS found = PG_EXCEPTION_DETAIL;\n"
        f"RAISE EXCEPTION {literal(same_key)}, regexp_replace(found, '^Key (.*) is duplicated.$', '\\1');\n"
        "WHEN insufficient_privilege THEN RAISE EXCEPTION 'CFL05 it has no unique constraint on the key, and this API"
        f" key may not add one; run ALTER TABLE ... ADD UNIQUE (%) with a key of the owner', {literal(columns)};\n"
        "WHEN undefined_object OR feature_not_supported THEN"
        " RAISE EXCEPTION 'CFL06 it cannot have a unique constraint on the key: %', SQLERRM; END;\n"
        "END IF;"
    )


def upsert(insert: str, columns: Sequence[Column], key: Sequence[str], staging: str) -> str:
    """Compose the step that appends rows, or updates the rows with the same key, and counts them in n.

    Parameters
    ----------
    insert : str
        The statement that appends the rows.
    columns : sequence of Column
        Columns of the rows.
    key : sequence of str
    staging : str
        Quoted name of the staging table.
    """
    # A row without other columns is updated as well, so that it is counted.
    updated = [column.name for column in columns if column.name not in key] or [key[0]]
    changes = ", ".join(f"{quote(name)} = EXCLUDED.{quote(name)}" for name in updated)
    casts = [cast(column) for name in key if (column := find(columns, name)) is not None]
    show = ", ".join(f"{name} AS {quote(label)}" for name, label in zip(casts, key, strict=True))
    find_repeated = f"SELECT to_json(r) FROM (SELECT {show} FROM {staging}) r GROUP BY r HAVING count(*) > 1 LIMIT 1"
    return (
        f"BEGIN {insert} ON CONFLICT ({', '.join(map(quote, key))}) DO UPDATE SET {changes};\n"
        f"{COUNT_ROWS}\n"
        f"EXCEPTION WHEN cardinality_violation THEN EXECUTE {literal(find_repeated)} INTO found;\n"
        f"RAISE EXCEPTION {literal(SAME_KEY_STAGED)}, found;\n"
        "WHEN object_not_in_prerequisite_state THEN"
        " RAISE EXCEPTION 'CFL05 %; drop the deferrable constraint', SQLERRM; END;"
    )
