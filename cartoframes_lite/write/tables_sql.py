"""The SQL that makes, renames and drops whole tables.

Every change is bound to the version of the table that it is meant for: a request that arrives twice, or late, finds
another table under that name, or the same one changed since, and leaves it alone.
"""

from __future__ import annotations

from dataclasses import dataclass

from cartoframes_lite._codec.frame import THE_GEOM, WEB_MERCATOR
from cartoframes_lite._codec.names import literal, qualify, quote
from cartoframes_lite.write.cartodbfy_sql import make_carto_table, rename_belongings
from cartoframes_lite.write.existing_table import ANSWER
from cartoframes_lite.write.payload import CARTODB_ID
from cartoframes_lite.write.publishing_sql import TAKEN, Staged, lock_staging, transaction
from cartoframes_lite.write.staging_sql import set_lease
from cartoframes_lite.write.statements import CARTO_SRIDS, do_block

# A version is looked at after the lock has been waited for.
_READ_COMMITTED = "SET TRANSACTION ISOLATION LEVEL READ COMMITTED"


@dataclass(frozen=True, slots=True)
class Version:
    """A table as it is defined at a moment.

    Attributes
    ----------
    oid : int
    changed_by : int
        The transaction that last renamed or altered it; rows that come and go do not matter.
    """

    oid: int
    changed_by: int

    def is_current(self) -> str:
        """Compose the condition that the table has not been renamed, altered or dropped since."""
        return f"EXISTS (SELECT FROM pg_class WHERE oid = {self.oid:d} AND xmin = '{self.changed_by:d}'::xid)"


def find_table(table: str) -> str:
    """Compose the question for the schema of the account, and for the version of a table or view in it."""
    name = literal(qualify(None, table))
    # In a block, for the SQL API lets only the master key read the catalogs.
    block = do_block(
        f"place := to_regclass(quote_ident(current_schema()) || '.' || {name});\n"
        f"PERFORM set_config({literal(ANSWER)}, jsonb_build_object('table', {literal(table)},"
        " 'schema', current_schema(), 'oid', place::oid::text,"
        " 'changed_by', (SELECT xmin::text FROM pg_class WHERE oid = place))::text, true);",
        declare="place regclass;",
    )
    return f"{block};\nSELECT current_setting({literal(ANSWER)})::json AS answer"


def drop_table(schema: str, table: str, version: Version) -> str:
    """Compose the request that drops a table, once, and says so: any other answer is none of the database."""
    place = qualify(schema, table)
    drop = do_block(
        f"IF to_regclass({literal(place)})::oid = {version.oid:d} THEN\n"
        f"{_lock(place, version)}\n"
        f"IF NOT {version.is_current()} THEN {_changed(table)} END IF;\n"
        f"DROP TABLE {place};\nEND IF;"
    )
    return f"{_READ_COMMITTED};\n{drop};\nSELECT {version.oid:d} AS dropped"


def _lock(place: str, version: Version) -> str:
    """Compose the step that locks a table or view; PostgreSQL says itself what cannot be dropped or renamed as one."""
    lock = f"LOCK TABLE {place} IN ACCESS EXCLUSIVE MODE;"
    return f"IF (SELECT relkind IN ('r', 'p', 'v', 'f') FROM pg_class WHERE oid = {version.oid:d}) THEN {lock} END IF;"


def _changed(table: str) -> str:
    return f"RAISE EXCEPTION 'the table % was changed or dropped meanwhile', {literal(table)};"


def rename_table(schema: str, table: str, version: Version, new: str, replaced_oid: int | None) -> str:
    """Compose the request that gives a table another name; the table that has it goes, if it is meant to."""
    old_place, new_place = qualify(schema, table), qualify(schema, new)
    steps = f"{_make_room(new_place, replaced_oid)}\nALTER TABLE {old_place} RENAME TO {quote(new)};"
    rename = do_block(
        f"IF to_regclass({literal(new_place)})::oid IS DISTINCT FROM {version.oid:d} THEN\n"
        f"IF to_regclass({literal(old_place)})::oid IS DISTINCT FROM {version.oid:d} THEN {_changed(table)} END IF;\n"
        f"{_lock(old_place, version)}\n"
        f"IF NOT {version.is_current()} THEN {_changed(table)} END IF;\n"
        f"{steps}\nEND IF;"
    )
    return f"{_READ_COMMITTED};\n{rename};\nSELECT {version.oid:d} AS renamed"


def name_of(oid: int) -> str:
    """Compose the question for the name of a table; NULL if it is gone."""
    return f"SELECT nullif({oid:d}::regclass::text, '{oid:d}') AS name"


def stage_query(schema: str, staging: str, query: str, *, make_carto: bool) -> str:
    """Compose the request that fills a staging table with the rows of a query, in the shape that they shall have."""
    place = qualify(schema, staging)
    steps = ""
    if make_carto:
        steps = (
            f"place := to_regclass({literal(place)});\n"
            f"{_relax_further_geometries()}\n{_complete_key(schema, staging)}\n"
            f"{make_carto_table(schema, staging, in_final_shape=False, compare=_HAS_THE_GEOM)}\n"
        )
    block = do_block(steps + set_lease(schema, staging), declare="place regclass; shape text; told text;")
    return f"CREATE TABLE {place} AS (\n{query}\n);\n{block}"


def publish_copy(schema: str, staged: Staged, table: str, replaced_oid: int | None, *, make_carto: bool) -> str:
    """Compose the block that makes a staging table, which is complete, the new table."""
    place, target = qualify(schema, staged.name), qualify(schema, table)
    steps = [
        lock_staging(place, staged),
        _make_room(target, replaced_oid),
        f"ALTER TABLE {place} RENAME TO {quote(table)};",
        f"COMMENT ON TABLE {target} IS NULL;",
    ]
    if make_carto:
        steps += [rename_belongings(schema, staged.name, table), f"DELETE FROM {target} WHERE false;"]
    block = do_block("\n".join(step for step in steps if step) + f"\n{TAKEN}", declare="told text; queue text;")
    return transaction(block, schema, staged)


# Only this column can be told from what CARTO would make of it: others are reprojected.
_HAS_THE_GEOM = (
    f"EXISTS (SELECT FROM pg_attribute WHERE attrelid = place AND attname = {literal(THE_GEOM)} AND NOT attisdropped"
    " AND atttypid = 'geometry'::regtype AND postgis_typmod_srid(atttypmod) = 4326)"
)


def _relax_further_geometries() -> str:
    """Take the SRID from the declaration of further geometries, so that CARTO does not make the_geom of one of them."""
    srids = ", ".join(str(srid) for srid in CARTO_SRIDS)
    further = (
        "SELECT format('ALTER TABLE %s ALTER COLUMN %I TYPE geometry', place, attname) FROM pg_attribute"
        " WHERE attrelid = place AND NOT attisdropped AND atttypid = 'geometry'::regtype"
        f" AND postgis_typmod_srid(atttypmod) IN ({srids})"
        f" AND attname NOT IN ({literal(THE_GEOM)}, {literal(WEB_MERCATOR)})"
    )
    return f"IF {_HAS_THE_GEOM} THEN FOR told IN {further} LOOP EXECUTE told; END LOOP; END IF;"


def _complete_key(schema: str, staging: str) -> str:
    """Give the rows of a CARTO table its key again, which a query loses: then CARTO need not write them anew.

    It would do so with ids of 4 bytes. Ids that are no key are left to CARTO, which says what is wrong with them.
    """
    place, sequence = qualify(schema, staging), qualify(schema, f"{staging}_{CARTODB_ID}_seq")
    id_name = quote(CARTODB_ID)
    shaped = (
        "(SELECT count(*) FROM pg_attribute WHERE attrelid = place AND NOT attisdropped AND"
        f" (attname = {literal(CARTODB_ID)} AND atttypid IN (20, 21, 23)"
        f" OR attname = {literal(THE_GEOM)} AND postgis_typmod_srid(atttypmod) = 4326"
        f" OR attname = {literal(WEB_MERCATOR)} AND postgis_typmod_srid(atttypmod) = 3857)) = 3"
    )
    return (
        f"IF {shaped} THEN BEGIN\n"
        f"ALTER TABLE {place} ADD PRIMARY KEY ({id_name});\n"
        f"CREATE SEQUENCE {sequence} OWNED BY {place}.{id_name};\n"
        f"ALTER TABLE {place} ALTER COLUMN {id_name} SET DEFAULT nextval({literal(sequence)});\n"
        f"PERFORM setval({literal(sequence)}, greatest((SELECT max({id_name}) FROM {place}), 1));\n"
        "EXCEPTION WHEN unique_violation OR not_null_violation THEN NULL; END; END IF;"
    )


def _make_room(relation: str, replaced_oid: int | None) -> str:
    if replaced_oid is None:
        return ""
    return f"IF to_regclass({literal(relation)})::oid = {replaced_oid:d} THEN DROP TABLE {relation}; END IF;"
