"""Compose SQL that drops, adds and reuses columns of a table whose rows have been deleted."""

from __future__ import annotations

from collections.abc import Sequence

from cartoframes_lite._codec.frame import THE_GEOM, WEB_MERCATOR
from cartoframes_lite._codec.names import literal, quote
from cartoframes_lite.write.columns import CARTODB_ID, Column
from cartoframes_lite.write.existing_table import ExistingTable

# Lock timeout for ACCESS EXCLUSIVE: while it waits for a long query, all later readers wait, too.
_EXCLUSIVE_MS = 2000
_MAX_ATTRIBUTES = 1600  # of a table in PostgreSQL, including dropped columns


def change_columns(
    target: str,
    existing: ExistingTable,
    drop: Sequence[str],
    add: Sequence[Column],
    *,
    add_carto_columns: bool = False,
) -> list[str]:
    """Compose the steps that drop and add columns of an empty table, and CARTO's columns if asked to."""
    if not drop and not add and not add_carto_columns:
        return []
    steps = [f"PERFORM set_config('lock_timeout', least({_EXCLUSIVE_MS}, queue::int)::text, true);"]
    added = {column.name for column in add}
    if WEB_MERCATOR in drop and WEB_MERCATOR not in added:  # the table is no longer a CARTO table
        steps.append(_DROP_CARTO_TRIGGERS)
    elif THE_GEOM in drop:  # recreated by CDB_CartodbfyTable
        steps.append(f"DROP TRIGGER IF EXISTS update_the_geom_webmercator_trigger ON {target};")
    reused: list[tuple[str, Column]] = []
    if existing.attributes + len(add) > _MAX_ATTRIBUTES:
        by_name = [(column.name, column) for column in add if column.name in drop]
        rest = [column for column in add if column.name not in drop]
        free = [name for name in drop if name not in {name for name, _ in by_name}]
        reused = [*by_name, *zip(free, rest, strict=False)]
        steps += _reuse_columns(target, existing, reused)
    changes = [f"DROP COLUMN {quote(name)}" for name in drop if name not in {old for old, _ in reused}]
    new_columns = [column for column in add if column.name not in {new.name for _, new in reused}]
    changes += [f"ADD COLUMN {quote(column.name)} {column.final_type}" for column in new_columns]
    if changes:
        steps.append(f"ALTER TABLE {target} {', '.join(changes)};")
    if add_carto_columns:
        steps += _add_carto_columns(target)
    return [*steps, "PERFORM set_config('lock_timeout', queue, true);"]


_DROP_CARTO_TRIGGERS = (
    "FOR item IN SELECT format('DROP TRIGGER %I ON %s', tgname, rel) FROM pg_trigger JOIN pg_proc f ON f.oid = tgfoid"
    " WHERE tgrelid = rel AND NOT tgisinternal AND f.pronamespace = to_regnamespace('cartodb')::oid"
    " LOOP EXECUTE item; END LOOP;"
)


def _add_carto_columns(target: str) -> list[str]:
    """Add the missing columns of a CARTO table, else CDB_CartodbfyTable could use other columns for them."""
    unique = "'UNIQUE' || substr(pg_get_constraintdef(oid), length('PRIMARY KEY') + 1)"
    return [
        "FOR item IN SELECT format('ALTER TABLE %s DROP CONSTRAINT %I, ADD CONSTRAINT %I %s', rel, conname, conname,"
        f" {unique}) FROM pg_constraint WHERE conrelid = rel AND contype = 'p' LOOP EXECUTE item; END LOOP;",
        f"ALTER TABLE {target} ADD COLUMN {quote(CARTODB_ID)} bigserial PRIMARY KEY,"
        f" ADD COLUMN IF NOT EXISTS {quote(THE_GEOM)} geometry(Geometry,4326),"
        f" ADD COLUMN IF NOT EXISTS {quote(WEB_MERCATOR)} geometry(Geometry,3857);",
    ]


def _reuse_columns(target: str, existing: ExistingTable, columns: Sequence[tuple[str, Column]]) -> list[str]:
    """Turn columns to drop into new ones: a table has 1,600 attribute numbers, and dropped columns keep theirs."""
    # At least one type is changed, which rewrites the table: else readers could see old values under new names. Each
    # change takes about 0.1 s in a table of 1,000 columns, so columns of the same type are not changed.
    retyped = [new for old, new in columns if existing.columns[old].declared != new.final_type] or [columns[0][1]]
    names = f"ARRAY[{', '.join(literal(new.name) for _, new in columns)}]"
    # With the cast, ANY takes it as an array and not as a subquery.
    numbers = f"(SELECT array_agg(attnum) FROM pg_attribute WHERE attrelid = rel AND attname = ANY ({names}))::int2[]"
    # pg_depend also has the columns used by expressions and conditions.
    of_these = (
        "EXISTS (SELECT FROM pg_depend WHERE classid = 'pg_class'::regclass AND objid = {} AND refobjid = rel::oid"
        f" AND refobjsubid = ANY ({numbers}))"
    )
    renamed = f"ARRAY[{', '.join(literal(new.name) for old, new in columns if old != new.name)}]::text[]"
    changes = ", ".join(
        f"ALTER COLUMN {quote(new.name)} TYPE {new.final_type} USING NULL::{new.final_type}" for new in retyped
    )
    return [
        *(
            f"ALTER TABLE {target} RENAME COLUMN {quote(old)} TO {quote(new.name)};"
            for old, new in columns
            if old != new.name
        ),
        "FOR item IN SELECT format('REVOKE ALL (%I) ON %s FROM %s', attname, rel, CASE grantee WHEN 0 THEN 'PUBLIC'"
        " ELSE grantee::regrole::text END) FROM pg_attribute, aclexplode(attacl) WHERE attrelid = rel"
        f" AND attname = ANY ({renamed}) LOOP EXECUTE item; END LOOP;",
        f"FOREACH item IN ARRAY {renamed} LOOP EXECUTE format('COMMENT ON COLUMN %s.%I IS NULL', rel, item); END LOOP;",
        "FOR item IN SELECT 'ALTER TABLE ' || rel || ' DROP CONSTRAINT ' || quote_ident(conname) FROM pg_constraint c"
        f" WHERE conrelid = rel AND (conkey && {numbers} OR {of_these.format('c.conindid')})"
        " LOOP EXECUTE item; END LOOP;",
        "FOR item IN SELECT 'DROP INDEX ' || indexrelid::regclass FROM pg_index"
        f" WHERE indrelid = rel AND {of_these.format('indexrelid')} LOOP EXECUTE item; END LOOP;",
        _make_plain("attgenerated", "true", "DROP EXPRESSION"),  # also columns dropped later, which may depend on these
        _make_plain("attidentity", f"attname = ANY ({names})", "DROP IDENTITY"),
        "FOR item IN SELECT format('ALTER TABLE %s ALTER COLUMN %I DROP DEFAULT, ALTER COLUMN %I DROP NOT NULL', rel,"
        f" attname, attname) FROM pg_attribute WHERE attrelid = rel AND attname = ANY ({names})"
        " AND (atthasdef OR attnotnull) LOOP EXECUTE item; END LOOP;",
        f"ALTER TABLE {target} {changes};",
    ]


def _make_plain(kind: str, condition: str, change: str) -> str:
    """Compose the step that turns generated or identity columns into plain ones."""
    return (  # as JSON, since older versions of PostgreSQL have no such column in the catalog
        f"FOR item IN SELECT format('ALTER TABLE %s ALTER COLUMN %I {change}', rel, attname) FROM pg_attribute a"
        f" WHERE attrelid = rel AND attnum > 0 AND NOT attisdropped AND to_jsonb(a) ->> '{kind}' <> ''"
        f" AND {condition} LOOP EXECUTE item; END LOOP;"
    )
