"""The SQL that makes a table one of CARTO's: key, sequence, and CDB_CartodbfyTable with a proof of what it has done."""

from __future__ import annotations

from cartoframes_lite._codec.frame import THE_GEOM, WEB_MERCATOR
from cartoframes_lite._codec.names import literal, qualify, quote
from cartoframes_lite.write.payload import CARTODB_ID


def set_sequence(schema: str, table: str) -> str:
    """Compose the step that lets the sequence of the ids go on behind the largest; not every key may do so."""
    target = qualify(schema, table)
    sequence = f"pg_get_serial_sequence({literal(target)}, {literal(CARTODB_ID)})"
    return (
        f"IF has_sequence_privilege({sequence}, 'UPDATE') THEN"
        f" PERFORM setval({sequence}, greatest((SELECT max({quote(CARTODB_ID)}) FROM {target}), 1)); END IF;"
    )


def rename_belongings(schema: str, staging: str, table: str) -> str:
    """Name key and sequence after the table, unless something has the name, as after a rename."""
    return "\n".join(
        f"IF to_regclass({literal(qualify(schema, new))}) IS NULL THEN"
        f" ALTER {kind} {qualify(schema, old)} RENAME TO {quote(new)}; END IF;"
        for kind, old, new in (
            ("INDEX", f"{staging}_pkey", _belonging(table, "_pkey")),
            ("SEQUENCE", f"{staging}_{CARTODB_ID}_seq", _belonging(table, f"_{CARTODB_ID}_seq")),
        )
    )


def _belonging(table: str, suffix: str) -> str:
    return table[: 63 - len(suffix)] + suffix


def make_carto_table(schema: str, table: str, *, in_final_shape: bool, compare: str | None = None) -> str:
    """Compose the steps that make a CARTO table, and prove that the_geom holds the same geometries.

    CDB_CartodbfyTable looks for the geometry by SRID, not by name. A table in the final shape keeps its columns, which
    can be seen by their numbers; another one is written anew, and its geometries are compared.

    Parameters
    ----------
    schema, table : str
    in_final_shape : bool
    compare : str, optional
        The condition that there are geometries to compare; without it, a table that has no the_geom must get an empty
        one.
    """
    target = qualify(schema, table)
    place = f"to_regclass({literal(target)})"
    if in_final_shape:
        columns = ", ".join(literal(name) for name in (CARTODB_ID, THE_GEOM, WEB_MERCATOR))
        measure = (
            "SELECT string_agg(attrelid || ':' || attnum, ',' ORDER BY attname) FROM pg_attribute"
            f" WHERE attrelid = {place} AND attname IN ({columns}) INTO"
        )
        before, after = f"{measure} shape;", f"{measure} told;"
    else:
        measure = f"SELECT count(the_geom) || ':' || coalesce(sum(hashtext(the_geom::text)::bigint), 0) FROM {target}"
        has_geometry = (
            f"EXISTS (SELECT FROM pg_attribute WHERE attrelid = {place}"
            f" AND attname = {literal(THE_GEOM)} AND NOT attisdropped)"
        )
        execute = f"EXECUTE {literal(measure)} INTO"
        nothing = "'0:0'" if compare is None else "NULL"
        before = f"shape := {nothing}; IF {compare or has_geometry} THEN {execute} shape; END IF;"
        after = f"{execute} told;"
    return (
        f"{before}\nPERFORM CDB_CartodbfyTable({literal(schema)}, {place});\n{after}\n"
        "IF shape <> told THEN"
        " RAISE EXCEPTION 'CFL05 CDB_CartodbfyTable would take another column for the_geom'; END IF;\n"
        # CARTO follows a table from the first time on that this trigger of it fires.
        f"DELETE FROM {target} WHERE false;"
    )
