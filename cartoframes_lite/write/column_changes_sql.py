"""The SQL that changes the columns of a table whose rows are gone already."""

from __future__ import annotations

from collections.abc import Sequence

from cartoframes_lite._codec.frame import THE_GEOM, WEB_MERCATOR
from cartoframes_lite._codec.names import literal, quote
from cartoframes_lite.write.existing_table import ExistingTable
from cartoframes_lite.write.payload import CARTODB_ID, PayloadColumn

# What locks readers out must not make them wait behind a reader that takes hours.
_EXCLUSIVE_MS = 2000
_MAX_ATTRIBUTES = 1600


def change_columns(
    target: str,
    existing: ExistingTable,
    drop: Sequence[str],
    add: Sequence[PayloadColumn],
    *,
    makes_carto_columns: bool = False,
) -> list[str]:
    """Change the columns of a table whose rows are gone already; with ``makes_carto_columns``, add CARTO's."""
    if not drop and not add and not makes_carto_columns:
        return []
    # A reader that takes hours must not make all that come after it wait behind this one.
    steps = [f"PERFORM set_config('lock_timeout', least({_EXCLUSIVE_MS}, queue::int)::text, true);"]
    comes = {column.name for column in add}
    if WEB_MERCATOR in drop and WEB_MERCATOR not in comes:  # it is no CARTO table any more
        steps.append(_DROP_CARTO_TRIGGERS)
    elif THE_GEOM in drop:  # made again by CDB_CartodbfyTable
        steps.append(f"DROP TRIGGER IF EXISTS update_the_geom_webmercator_trigger ON {target};")
    reused: list[tuple[str, PayloadColumn]] = []
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
    if makes_carto_columns:
        steps += _add_carto_columns(target)
    return [*steps, "PERFORM set_config('lock_timeout', queue, true);"]


_DROP_CARTO_TRIGGERS = (
    "FOR told IN SELECT format('DROP TRIGGER %I ON %s', tgname, place) FROM pg_trigger JOIN pg_proc f ON f.oid = tgfoid"
    " WHERE tgrelid = place AND NOT tgisinternal AND f.pronamespace = to_regnamespace('cartodb')::oid"
    " LOOP EXECUTE told; END LOOP;"
)


def _add_carto_columns(target: str) -> list[str]:
    """Add CARTO's columns that are missing: it would take another primary key, and the_geom of any geometry."""
    unique = "'UNIQUE' || substr(pg_get_constraintdef(oid), length('PRIMARY KEY') + 1)"
    return [
        "FOR told IN SELECT format('ALTER TABLE %s DROP CONSTRAINT %I, ADD CONSTRAINT %I %s', place, conname, conname,"
        f" {unique}) FROM pg_constraint WHERE conrelid = place AND contype = 'p' LOOP EXECUTE told; END LOOP;",
        f"ALTER TABLE {target} ADD COLUMN {quote(CARTODB_ID)} bigserial PRIMARY KEY,"
        f" ADD COLUMN IF NOT EXISTS {quote(THE_GEOM)} geometry(Geometry,4326),"
        f" ADD COLUMN IF NOT EXISTS {quote(WEB_MERCATOR)} geometry(Geometry,3857);",
    ]


def _reuse_columns(target: str, existing: ExistingTable, columns: Sequence[tuple[str, PayloadColumn]]) -> list[str]:
    """Make new columns of those that go: a table has 1,600 numbers for columns, and what is dropped keeps its own."""
    # One change of type rewrites the table, so that no reader sees old values under new names. Each takes PostgreSQL
    # some 0.1 s in a table of 1,000 columns: no more of them than there have to be.
    retyped = [new for old, new in columns if existing.columns[old].declared != new.final_type] or [columns[0][1]]
    names = f"ARRAY[{', '.join(literal(new.name) for _, new in columns)}]"
    # With the cast it is one value, and no list of rows.
    numbers = f"(SELECT array_agg(attnum) FROM pg_attribute WHERE attrelid = place AND attname = ANY ({names}))::int2[]"
    # Also what an expression or a condition uses.
    of_these = (
        "EXISTS (SELECT FROM pg_depend WHERE classid = 'pg_class'::regclass AND objid = {} AND refobjid = place::oid"
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
        "FOR told IN SELECT format('REVOKE ALL (%I) ON %s FROM %s', attname, place, CASE grantee WHEN 0 THEN 'PUBLIC'"
        " ELSE grantee::regrole::text END) FROM pg_attribute, aclexplode(attacl) WHERE attrelid = place"
        f" AND attname = ANY ({renamed}) LOOP EXECUTE told; END LOOP;",
        f"FOREACH told IN ARRAY {renamed} LOOP"
        " EXECUTE format('COMMENT ON COLUMN %s.%I IS NULL', place, told); END LOOP;",
        "FOR told IN SELECT 'ALTER TABLE ' || place || ' DROP CONSTRAINT ' || quote_ident(conname) FROM pg_constraint c"
        f" WHERE conrelid = place AND (conkey && {numbers} OR {of_these.format('c.conindid')})"
        " LOOP EXECUTE told; END LOOP;",
        "FOR told IN SELECT 'DROP INDEX ' || indexrelid::regclass FROM pg_index"
        f" WHERE indrelid = place AND {of_these.format('indexrelid')} LOOP EXECUTE told; END LOOP;",
        _make_plain("attgenerated", "true", "DROP EXPRESSION"),  # also of those that go later, and use one of these
        _make_plain("attidentity", f"attname = ANY ({names})", "DROP IDENTITY"),
        "FOR told IN SELECT format('ALTER TABLE %s ALTER COLUMN %I DROP DEFAULT, ALTER COLUMN %I DROP NOT NULL', place,"
        f" attname, attname) FROM pg_attribute WHERE attrelid = place AND attname = ANY ({names})"
        " AND (atthasdef OR attnotnull) LOOP EXECUTE told; END LOOP;",
        f"ALTER TABLE {target} {changes};",
    ]


def _make_plain(kind: str, condition: str, change: str) -> str:
    """Make plain columns of those that PostgreSQL computes."""
    return (  # as JSON, for old versions have no such column in the catalog
        f"FOR told IN SELECT format('ALTER TABLE %s ALTER COLUMN %I {change}', place, attname) FROM pg_attribute a"
        f" WHERE attrelid = place AND attnum > 0 AND NOT attisdropped AND to_jsonb(a) ->> '{kind}' <> ''"
        f" AND {condition} LOOP EXECUTE told; END LOOP;"
    )
