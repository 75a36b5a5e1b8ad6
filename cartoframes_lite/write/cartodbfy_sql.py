"""Compose SQL that makes a table a CARTO table: key, sequence, indexes, and a checked CDB_CartodbfyTable."""

from __future__ import annotations

from collections.abc import Iterable

from cartoframes_lite._codec.frame import THE_GEOM, WEB_MERCATOR
from cartoframes_lite._codec.names import literal, qualify, quote
from cartoframes_lite.write.columns import CARTODB_ID
from cartoframes_lite.write.indexes_sql import spatial_index_suffix

# What PostgreSQL appends to the name of a table to name its key, sequence and indexes.
PRIMARY_KEY, SEQUENCE = "_pkey", f"_{CARTODB_ID}_seq"
SPATIAL_INDEXES = (spatial_index_suffix(THE_GEOM), spatial_index_suffix(WEB_MERCATOR))

_MAX_NUMBER = 999  # after a name of a key, sequence or index


def set_sequence(schema: str, table: str) -> str:
    """Compose the step that sets the sequence of cartodb_id to the largest id, if the API key may do so."""
    target = qualify(schema, table)
    sequence = f"pg_get_serial_sequence({literal(target)}, {literal(CARTODB_ID)})"
    return (
        f"IF has_sequence_privilege({sequence}, 'UPDATE') THEN"
        f" PERFORM setval({sequence}, greatest((SELECT max({quote(CARTODB_ID)}) FROM {target}), 1)); END IF;"
    )


def rename_dependents(schema: str, staging: str, table: str, suffixes: Iterable[str]) -> str:
    """Compose the steps that rename key, sequence or indexes, where they exist, after the table.

    As in PostgreSQL, a name that is in use is followed by a number. The block must declare ``item text``.
    """
    name = f"left({literal(table)}, 63 - length(suffix || number)) || suffix || number"
    numbers = f"SELECT coalesce(nullif(n, 0)::text, '') AS number FROM generate_series(0, {_MAX_NUMBER:d}) n"
    free = (
        f"SELECT name FROM (SELECT {name} AS name FROM ({numbers}) numbers) names"
        f" WHERE to_regclass(format('%I.%I', {literal(schema)}, name)) IS NULL LIMIT 1"
    )
    old = f"format('%I.%I', {literal(schema)}, {literal(staging)} || suffix)"
    return (  # ALTER TABLE renames sequences and indexes, too
        f"FOR item IN SELECT 'ALTER TABLE ' || {old} || ' RENAME TO ' || quote_ident(({free}))"
        f" FROM unnest({literal('{' + ','.join(suffixes) + '}')}::text[]) suffix WHERE to_regclass({old}) IS NOT NULL"
        " LOOP\nCONTINUE WHEN item IS NULL;\nEXECUTE item;\nEND LOOP;"
    )


def make_carto_table(schema: str, table: str, *, has_carto_columns: bool, compare: str | None = None) -> str:
    """Compose the steps that run ``CDB_CartodbfyTable`` and check that the_geom has the same geometries as before.

    ``CDB_CartodbfyTable`` finds the geometry column by SRID, not by name. A table that has all columns of a CARTO table
    keeps them, so that comparing attribute numbers is sufficient; any other table is rewritten, and a checksum of its
    geometries is compared.

    Parameters
    ----------
    schema, table : str
    has_carto_columns : bool
        Whether the table has all columns of a CARTO table.
    compare : str, optional
        Condition under which geometries are compared. Default: always; a table without the_geom must get an empty one.
    """
    target = qualify(schema, table)
    relation = f"to_regclass({literal(target)})"
    if has_carto_columns:
        columns = ", ".join(literal(name) for name in (CARTODB_ID, THE_GEOM, WEB_MERCATOR))
        measure = (
            "SELECT string_agg(attrelid || ':' || attnum, ',' ORDER BY attname) FROM pg_attribute"
            f" WHERE attrelid = {relation} AND attname IN ({columns}) INTO"
        )
        before, after = f"{measure} shape;", f"{measure} item;"
    else:
        measure = f"SELECT count(the_geom) || ':' || coalesce(sum(hashtext(the_geom::text)::bigint), 0) FROM {target}"
        has_geometry = (
            f"EXISTS (SELECT FROM pg_attribute WHERE attrelid = {relation}"
            f" AND attname = {literal(THE_GEOM)} AND NOT attisdropped)"
        )
        execute = f"EXECUTE {literal(measure)} INTO"
        nothing = "'0:0'" if compare is None else "NULL"
        before = f"shape := {nothing}; IF {compare or has_geometry} THEN {execute} shape; END IF;"
        after = f"{execute} item;"
    return (
        f"{before}\nPERFORM CDB_CartodbfyTable({literal(schema)}, {relation});\n{after}\n"
        "IF shape <> item THEN"
        " RAISE EXCEPTION 'CFL05 CDB_CartodbfyTable would use another column as the_geom'; END IF;\n"
        # Fires CARTO's trigger, which adds the table to CDB_TableMetadata when it first fires.
        f"DELETE FROM {target} WHERE false;"
    )
