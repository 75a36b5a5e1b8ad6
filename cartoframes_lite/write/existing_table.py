"""Describe an existing table: the properties that a write depends on, fetched in one request.

The request reads the system catalogs in an anonymous block: in plain queries, the SQL API allows them for the master
key only.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from cartoframes_lite._codec.names import literal, qualify
from cartoframes_lite.write.staging_sql import lease_has_expired
from cartoframes_lite.write.statements import do_block

ANSWER = "cartoframes_lite.answer"  # a setting of the transaction, to return a value from the block

# All properties that decide whether and how rows can be inserted or replaced. {table} is a regclass.
_DESCRIPTION = """jsonb_build_object(
 'kind', (SELECT relkind FROM pg_class WHERE oid = {table}),
 'rules', (SELECT jsonb_agg(rulename ORDER BY rulename) FROM pg_rewrite
  WHERE ev_class = {table} AND rulename <> '_RETURN'),
 'children', (SELECT jsonb_agg(inhrelid::regclass::text ORDER BY 1) FROM pg_inherits WHERE inhparent = {table}),
 'dependents', (SELECT jsonb_agg(conrelid::regclass::text ORDER BY 1) FROM pg_constraint
  WHERE confrelid = {table} AND contype = 'f' AND confdeltype IN ('c', 'n', 'd')),
 'row_security', row_security_active({table}),
 'triggers', EXISTS (SELECT FROM pg_trigger JOIN pg_proc function ON function.oid = tgfoid WHERE NOT tgisinternal
  AND (tgrelid = {table} OR tgrelid IN (SELECT relid FROM pg_partition_tree({table})))
  AND function.pronamespace IS DISTINCT FROM to_regnamespace('cartodb')::oid),
 'carto', EXISTS (SELECT FROM pg_trigger JOIN pg_proc function ON function.oid = tgfoid WHERE tgrelid = {table}
  AND NOT tgisinternal AND function.pronamespace = to_regnamespace('cartodb')::oid),
 'attributes', (SELECT max(attnum) FROM pg_attribute WHERE attrelid = {table}),
 'columns', (SELECT jsonb_agg(jsonb_build_array(attname,
   CASE WHEN base.typnamespace = 'pg_catalog'::regnamespace OR base.typname IN ('geometry', 'geography')
    THEN base.typname ELSE format_type(base.oid, NULL) END,
   format_type(base.oid, typmod),
   CASE WHEN base.typname = 'geography' AND typmod = -1 THEN 4326
    WHEN base.typname IN ('geometry', 'geography') THEN postgis_typmod_srid(typmod) ELSE 0 END,
   CASE WHEN base.typname IN ('geometry', 'geography') AND typmod <> -1 THEN postgis_typmod_dims(typmod) ELSE 4 END,
   CASE WHEN base.typname IN ('geometry', 'geography') AND typmod <> -1 THEN postgis_typmod_type(typmod)
    ELSE 'Geometry' END,
   to_jsonb(a) ->> 'attgenerated' <> '' OR to_jsonb(a) ->> 'attidentity' = 'a')
   ORDER BY attnum)
  FROM pg_attribute a CROSS JOIN LATERAL (
   WITH RECURSIVE resolved AS (
    SELECT t.oid, atttypmod AS typmod, t.typtype, t.typbasetype, t.typtypmod FROM pg_type t WHERE t.oid = atttypid
    UNION ALL SELECT t.oid, d.typtypmod, t.typtype, t.typbasetype, t.typtypmod
    FROM resolved d JOIN pg_type t ON t.oid = d.typbasetype WHERE d.typtype = 'd')
   SELECT oid AS base_oid, typmod FROM resolved WHERE typtype <> 'd') base_type
  JOIN pg_type base ON base.oid = base_oid
  WHERE attrelid = {table} AND attnum > 0 AND NOT attisdropped))"""


@dataclass(frozen=True, slots=True)
class TableColumn:
    """A column of a table.

    Attributes
    ----------
    name : str
    pgtype : str
        Name of the type in ``pg_type``, for example ``int4``, or ``_int4`` for its array; for a domain, that of the
        base type.
    declared : str
        SQL name of the type with length or precision, for example ``numeric(10,2)``.
    srid : int
        SRID of a geography column, or declared SRID of a geometry column; else 0.
    dims : int
        Declared number of coordinates per point of a geometry column; 4 for any other column.
    shape : str
        Declared geometry type, for example ``PointZ``; ``Geometry`` if none is declared.
    is_computed : bool
        Whether it is a generated column or ``GENERATED ALWAYS AS IDENTITY``, which cannot be written to.
    """

    name: str
    pgtype: str
    declared: str = ""
    srid: int = 0
    dims: int = 4
    shape: str = "Geometry"
    is_computed: bool | None = False

    @property
    def is_geometry(self) -> bool:
        """Whether the type is geometry or geography."""
        return self.pgtype in ("geometry", "geography")

    @property
    def has_m(self) -> bool:
        """Whether the declared type has M values, which GeoPandas does not support."""
        return self.shape.endswith("M")


@dataclass(frozen=True, slots=True)
class ExistingTable:
    """Description of an existing table or view.

    Attributes
    ----------
    oid : int
        Distinguishes it from a table of the same name that is created later.
    kind : str
        ``pg_class.relkind``: "r" is a table, "v" a view.
    columns : mapping of str to TableColumn
        Columns by name, in table order.
    rules : tuple of str
        Names of its rules.
    children : tuple of str
        Tables that inherit from it.
    dependents : tuple of str
        Tables whose rows are deleted or changed, through foreign keys, when its rows are deleted.
    row_security : bool
        Whether row-level security is active for the role of the API key.
    triggers : bool
        Whether it has triggers other than CARTO's.
    is_carto : bool
        Whether it is a CARTO table: it has triggers of ``CDB_CartodbfyTable``.
    attributes : int
        Number of attribute numbers in use, of 1,600; dropped columns keep theirs.
    signature : str
        MD5 of the description; another value means that the table was changed.
    """

    oid: int
    kind: str
    columns: Mapping[str, TableColumn]
    rules: tuple[str, ...]
    children: tuple[str, ...]
    dependents: tuple[str, ...]
    row_security: bool
    triggers: bool
    is_carto: bool
    attributes: int
    signature: str

    @classmethod
    def of(cls, answer: Mapping[str, Any]) -> ExistingTable:
        """Build the description from the result of ``inspect_table``."""
        description = answer["table"]
        columns = [TableColumn(*column) for column in description["columns"] or ()]
        return cls(
            int(answer["oid"]),
            description["kind"],
            {column.name: column for column in columns},
            tuple(description["rules"] or ()),
            tuple(description["children"] or ()),
            tuple(description["dependents"] or ()),
            description["row_security"],
            description["triggers"],
            description["carto"],
            int(description["attributes"] or 0),
            answer["signature"],
        )


def signature(table: str) -> str:
    """Compose the expression for the signature of a table, a regclass."""
    return f"md5(({_DESCRIPTION.format(table=table)})::text)"


def inspect_table(table: str, staging_prefix: str, create: str = "") -> str:
    """Compose the request that describes a table of the account and lists the staging tables of its schema.

    Parameters
    ----------
    table : str
    staging_prefix : str
        Prefix of the names of staging tables.
    create : str
        Steps that create a staging table, from ``staging_sql.create_early``.
    """
    name = literal(qualify(None, table))
    leftovers = (
        f"(SELECT jsonb_agg(jsonb_build_array(relname, {lease_has_expired('c.oid')}) ORDER BY relname) FROM pg_class c"
        " WHERE relnamespace = current_schema()::regnamespace AND relkind = 'r'"
        f" AND starts_with(relname::text, {literal(staging_prefix)}) AND pg_has_role(relowner, 'USAGE'))"
    )
    body = (
        "PERFORM set_config('quote_all_identifiers', 'off', true);\n"
        f"rel := to_regclass(quote_ident(current_schema()) || '.' || {name});\n"
        "IF rel IS NOT NULL THEN\n"
        f"description := {_DESCRIPTION.format(table='rel')};\n"
        "END IF;\n"
        f"{create}\n"
        f"PERFORM set_config({literal(ANSWER)}, jsonb_build_object("
        "'schema', current_schema(), 'oid', rel::oid::text,"
        " 'may_create', has_schema_privilege(current_schema(), 'CREATE'),"
        " 'table', description, 'signature', md5(description::text), 'staging', staging,"
        f" 'leftovers', {leftovers})::text, true);"
    )
    block = do_block(body, declare="rel regclass; description jsonb; item text; staging jsonb;")
    return f"{block};\nSELECT current_setting({literal(ANSWER)})::json AS answer"
