"""Compose SQL that creates, renames and drops whole tables.

Each change applies to one version of a table only: a repeated or delayed request that finds another table of the same
name, or a later version, does not change it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from cartoframes_lite._codec.frame import THE_GEOM, WEB_MERCATOR
from cartoframes_lite._codec.names import literal, qualify, quote
from cartoframes_lite.write.cartodbfy_sql import (
    PRIMARY_KEY,
    SEQUENCE,
    SPATIAL_INDEXES,
    make_carto_table,
    rename_dependents,
)
from cartoframes_lite.write.columns import CARTODB_ID
from cartoframes_lite.write.existing_table import ANSWER
from cartoframes_lite.write.staged_sql import TAKEN, Staged, lock_staging, transaction
from cartoframes_lite.write.staging_sql import set_lease
from cartoframes_lite.write.statements import CARTO_SRIDS, do_block

# The version is checked after waiting for the lock, so it must see what was committed in the meantime.
_READ_COMMITTED = "SET TRANSACTION ISOLATION LEVEL READ COMMITTED"


@dataclass(frozen=True, slots=True)
class Version:
    """Version of the definition of a table.

    Attributes
    ----------
    oid : int
    changed_by : int
        Id of the transaction that last created, renamed or altered the table; changes of rows do not count.
    is_table : bool
        Whether it is a table or view, and not an index, a sequence or a type.
    """

    oid: int
    changed_by: int
    is_table: bool = True

    def is_current(self) -> str:
        """Compose the condition that the table has not been renamed, altered or dropped since."""
        return f"EXISTS (SELECT FROM pg_class WHERE oid = {self.oid:d} AND xmin = '{self.changed_by:d}'::xid)"


def find_tables(tables: Iterable[str]) -> str:
    """Compose the query for the schema of the account, and for the versions of tables and other relations in it."""
    # In a block, since in plain queries, the SQL API allows the system catalogs for the master key only.
    steps = [
        f"rel := to_regclass(quote_ident(current_schema()) || '.' || {literal(qualify(None, table))});\n"
        f"found := found || jsonb_build_object({literal(table)}, jsonb_build_object('oid', rel::oid::text,"
        " 'changed_by', (SELECT xmin::text FROM pg_class WHERE oid = rel),"
        " 'kind', (SELECT relkind::text FROM pg_class WHERE oid = rel)));"
        for table in tables
    ]
    answer = "jsonb_build_object('schema', current_schema(), 'tables', found)::text"
    block = do_block(
        "\n".join([*steps, f"PERFORM set_config({literal(ANSWER)}, {answer}, true);"]),
        declare="rel regclass; found jsonb := '{}';",
    )
    return f"{block};\nSELECT current_setting({literal(ANSWER)})::json AS answer"


def drop_table(schema: str, table: str, version: Version) -> str:
    """Compose the request that drops a version of a table and returns its oid, to confirm that it ran."""
    relation = qualify(schema, table)
    drop = do_block(
        f"IF to_regclass({literal(relation)})::oid = {version.oid:d} THEN\n"
        f"{_lock(relation, version)}\n"
        f"IF NOT {version.is_current()} THEN {_changed(table)} END IF;\n"
        f"DROP TABLE {relation};\nEND IF;"
    )
    return f"{_READ_COMMITTED};\n{drop};\nSELECT {version.oid:d} AS dropped"


def _lock(relation: str, version: Version) -> str:
    """Compose the step that locks a table or view. Other relations fail later, with PostgreSQL's own error."""
    lock = f"LOCK TABLE {relation} IN ACCESS EXCLUSIVE MODE;"
    return f"IF (SELECT relkind IN ('r', 'p', 'v', 'f') FROM pg_class WHERE oid = {version.oid:d}) THEN {lock} END IF;"


def _changed(table: str) -> str:
    return f"RAISE EXCEPTION 'the table % was changed or dropped by another process', {literal(table)};"


def rename_table(schema: str, table: str, version: Version, new: str, replaced_oid: int | None) -> str:
    """Compose the request that renames a table, replacing the table with oid ``replaced_oid``, if any."""
    old_relation, new_relation = qualify(schema, table), qualify(schema, new)
    steps = f"{_drop_replaced(new_relation, replaced_oid)}\nALTER TABLE {old_relation} RENAME TO {quote(new)};"
    changed = _changed(table)
    rename = do_block(
        f"IF to_regclass({literal(new_relation)})::oid IS DISTINCT FROM {version.oid:d} THEN\n"
        f"IF to_regclass({literal(old_relation)})::oid IS DISTINCT FROM {version.oid:d} THEN {changed} END IF;\n"
        f"{_lock(old_relation, version)}\n"
        f"IF NOT {version.is_current()} THEN {changed} END IF;\n"
        f"{steps}\nEND IF;"
    )
    return f"{_READ_COMMITTED};\n{rename};\nSELECT {version.oid:d} AS renamed"


def name_of(oid: int) -> str:
    """Compose the query for the name of a table; NULL if it does not exist."""
    return f"SELECT nullif({oid:d}::regclass::text, '{oid:d}') AS name"


def stage_query(schema: str, staging: str, query: str, *, make_carto: bool) -> str:
    """Compose the request that creates a staging table from a query, as a CARTO table if ``make_carto``.

    Its result is the oid of the table.
    """
    relation = qualify(schema, staging)
    steps = ""
    if make_carto:
        steps = (
            f"rel := to_regclass({literal(relation)});\n"
            f"{_relax_further_geometries()}\n{_complete_key(schema, staging)}\n"
            f"{make_carto_table(schema, staging, has_carto_columns=False, compare=_HAS_THE_GEOM)}\n"
        )
    block = do_block(steps + set_lease(schema, staging), declare="rel regclass; shape text; item text;")
    oid = f"SELECT {literal(relation)}::regclass::oid::text AS oid"
    return f"CREATE TABLE {relation} AS (\n{query}\n);\n{block};\n{oid}"


def publish_copy(schema: str, staged: Staged, table: str, replaced_oid: int | None, *, make_carto: bool) -> str:
    """Compose the transaction that renames a staging table created by ``stage_query`` to the new table."""
    staging, target = qualify(schema, staged.name), qualify(schema, table)
    steps = [
        lock_staging(staging, staged),
        _drop_replaced(target, replaced_oid),
        f"ALTER TABLE {staging} RENAME TO {quote(table)};",
        f"COMMENT ON TABLE {target} IS NULL;",
    ]
    if make_carto:
        suffixes = (PRIMARY_KEY, SEQUENCE, *SPATIAL_INDEXES)
        steps += [rename_dependents(schema, staged.name, table, suffixes), f"DELETE FROM {target} WHERE false;"]
    block = do_block("\n".join(step for step in steps if step) + f"\n{TAKEN}", declare="item text; queue text;")
    return transaction(block, schema, staged)


# Only for such a column can its values be compared after CDB_CartodbfyTable, which reprojects any other.
_HAS_THE_GEOM = (
    f"EXISTS (SELECT FROM pg_attribute WHERE attrelid = rel AND attname = {literal(THE_GEOM)} AND NOT attisdropped"
    " AND atttypid = 'geometry'::regtype AND postgis_typmod_srid(atttypmod) = 4326)"
)


def _relax_further_geometries() -> str:
    """Compose the steps that remove the declared SRID of other geometry columns: CDB_CartodbfyTable might use them."""
    srids = ", ".join(str(srid) for srid in CARTO_SRIDS)
    further = (
        "SELECT format('ALTER TABLE %s ALTER COLUMN %I TYPE geometry', rel, attname) FROM pg_attribute"
        " WHERE attrelid = rel AND NOT attisdropped AND atttypid = 'geometry'::regtype"
        f" AND postgis_typmod_srid(atttypmod) IN ({srids})"
        f" AND attname NOT IN ({literal(THE_GEOM)}, {literal(WEB_MERCATOR)})"
    )
    return f"IF {_HAS_THE_GEOM} THEN FOR item IN {further} LOOP EXECUTE item; END LOOP; END IF;"


def _complete_key(schema: str, staging: str) -> str:
    """Compose the steps that restore the primary key of a CARTO table, which a query does not return.

    Without it, ``CDB_CartodbfyTable`` would rewrite the table with ids of 4 bytes. If the ids are not a valid key, its
    error describes the problem.
    """
    relation, sequence = qualify(schema, staging), qualify(schema, f"{staging}_{CARTODB_ID}_seq")
    id_name = quote(CARTODB_ID)
    is_carto_table = (
        "(SELECT count(*) FROM pg_attribute WHERE attrelid = rel AND NOT attisdropped AND"
        f" (attname = {literal(CARTODB_ID)} AND atttypid IN (20, 21, 23)"
        f" OR attname = {literal(THE_GEOM)} AND postgis_typmod_srid(atttypmod) = 4326"
        f" OR attname = {literal(WEB_MERCATOR)} AND postgis_typmod_srid(atttypmod) = 3857)) = 3"
    )
    return (
        f"IF {is_carto_table} THEN BEGIN\n"
        f"ALTER TABLE {relation} ADD PRIMARY KEY ({id_name});\n"
        f"CREATE SEQUENCE {sequence} OWNED BY {relation}.{id_name};\n"
        f"ALTER TABLE {relation} ALTER COLUMN {id_name} SET DEFAULT nextval({literal(sequence)});\n"
        f"PERFORM setval({literal(sequence)}, greatest((SELECT max({id_name}) FROM {relation}), 1));\n"
        "EXCEPTION WHEN unique_violation OR not_null_violation THEN NULL; END; END IF;"
    )


def _drop_replaced(relation: str, replaced_oid: int | None) -> str:
    if replaced_oid is None:
        return ""
    return f"IF to_regclass({literal(relation)})::oid = {replaced_oid:d} THEN DROP TABLE {relation}; END IF;"
