"""Compose the checks of staged rows before they are published: definition, number, values and CRS."""

from __future__ import annotations

from collections.abc import Container, Sequence

from cartoframes_lite._codec.names import literal, quote
from cartoframes_lite.write.casts import cast, changed
from cartoframes_lite.write.columns import Column
from cartoframes_lite.write.existing_table import ExistingTable
from cartoframes_lite.write.staged_sql import Parts, Staged
from cartoframes_lite.write.staging_sql import shape_of


def require_shape(relation: str, staged: Staged) -> str:
    """Compose the check that the definition of a staging table, an oid, has not changed since it was created."""
    if not staged.shape:
        return ""
    return (
        f"IF {shape_of(relation)} IS DISTINCT FROM {literal(staged.shape)} THEN"
        " RAISE EXCEPTION 'CFL05 another process changed the staging table'; END IF;"
    )


def require_rows(staged: Staged, parts: Parts | None) -> str:
    """Compose the check that the number of rows, in n, is that sent; a repeated request would double them.

    For partitions, ``found`` has the oid and the number of rows of each staging table.
    """
    total = (
        f"IF n <> {staged.rows:d} THEN RAISE EXCEPTION"
        f" 'CFL04 % rows arrived, but {staged.rows:d} were sent; a proxy may repeat requests', n; END IF;"
    )
    if parts is None:
        return total
    return (
        f"{total}\nIF md5(found) <> '{parts.checksum}' THEN RAISE EXCEPTION"
        " 'CFL04 the rows of the partitions are not those sent; a proxy may repeat requests'; END IF;"
    )


def check_values(relation: str, columns: Sequence[Column], new: Container[str]) -> str:
    """Compose the check for values that their type in the table would round, truncate or pad.

    ``relation`` is an SQL expression for the name of the staging table; ``new`` are the columns whose type this write
    chooses. The error has the column, the row and the value.
    """
    checks = [
        (column, condition)
        for column in columns
        if (condition := changed(column, chosen=column.name in new)) is not None
    ]
    if not checks:
        return ""
    rows = ", ".join(
        f"ARRAY[{', '.join(literal(text) for text in (column.name, column.final_type, condition))}]"
        for column, condition in checks
    )
    find = (
        "SELECT format('column %%L, row %%s: the value %%L does not fit the type %%s', %L, at, left(value, 200), %L)"
        " FROM (SELECT row_number() OVER (ORDER BY ctid) - 1 AS at, %I::text AS value, %s AS bad FROM %s) s"
        " WHERE bad LIMIT 1"
    )
    count = literal("SELECT count(*) FROM (SELECT FROM %s WHERE %s LIMIT 1) s")
    return (
        f"FOREACH check_ SLICE 1 IN ARRAY ARRAY[{rows}] LOOP\n"
        f"EXECUTE format({count}, {relation}, check_[3]) INTO n;\n"
        "IF n > 0 THEN\n"
        f"EXECUTE format({literal(find)}, check_[1], check_[2], check_[1], check_[3], {relation}) INTO shape;\n"
        "RAISE EXCEPTION 'CFL06 %', shape;\n"
        "END IF;\n"
        "END LOOP;"
    )


def check_fit(relation: str, columns: Sequence[Column], unsure: Container[str]) -> str:
    """Compose the check whether columns that a replace would like to keep can store all staged values.

    ``relation`` is an SQL expression for the name of the staging table. The error has the positions, in ``columns``, of
    those that cannot. Values are cast to the type in the catalog, which may be a domain with constraints.
    """
    rows = ", ".join(
        f"ARRAY[{', '.join(map(literal, (str(at), column.name, cast(column), condition or 'false')))}]"
        for at, column in enumerate(columns)
        if column.name in unsure
        for condition in (changed(column, chosen=False),)
    )
    if not rows:
        return ""
    count = literal("SELECT count(*) FILTER (WHERE %s) + 0 * count((%s)::%s) FROM %s")
    return (
        "misfits := '';\n"
        f"FOREACH check_ SLICE 1 IN ARRAY ARRAY[{rows}] LOOP BEGIN\n"
        "SELECT format_type(atttypid, atttypmod) INTO kind FROM pg_attribute"
        " WHERE attrelid = rel AND attname = check_[2];\n"
        f"EXECUTE format({count}, check_[4], check_[3], kind, {relation}) INTO n;\n"
        "IF n > 0 THEN misfits := misfits || check_[1] || ','; END IF;\n"
        "EXCEPTION WHEN data_exception OR integrity_constraint_violation OR syntax_error_or_access_rule_violation"
        " OR program_limit_exceeded THEN misfits := misfits || check_[1] || ','; END; END LOOP;\n"
        "IF misfits <> '' THEN RAISE EXCEPTION 'CFL07 %', misfits; END IF;"
    )


def joins_geometries(column: Column, existing: ExistingTable, new: Container[str]) -> bool:
    """Check whether geometries are appended to an existing column that declares no SRID."""
    old = existing.columns.get(column.name)
    return column.is_geometry and old is not None and old.srid <= 0 and column.name not in new


# Two concurrent appends to an empty column, in different CRS, must not both pass the check: an advisory lock serializes
# them, without blocking other writers of the table.
SERIALIZE_SRID_CHECKS = "PERFORM pg_advisory_xact_lock(hashtext('cartoframes_lite'), hashtext(rel::text));"


def check_srid(target: str, column: Column, staging: str | None) -> str:
    """Compose the check that geometries are in the CRS of those in the column, which can be read in one CRS only.

    ``staging`` is the staging table, which may have no geometries; None if there are several.
    """
    name = quote(column.name)
    has_geometries = "" if staging is None else f" AND EXISTS (SELECT FROM {staging} WHERE {name} IS NOT NULL)"
    return (
        f"SELECT ST_SRID({name}::geometry) INTO n FROM {target} WHERE {name} IS NOT NULL LIMIT 1;\n"
        f"IF n <> {column.srid:d}{has_geometries} THEN"
        " RAISE EXCEPTION 'CFL06 column %: the table has geometries in EPSG:%,"
        f" the frame in EPSG:{column.srid:d}; reproject them with to_crs', {literal(column.name)}, n; END IF;"
    )
