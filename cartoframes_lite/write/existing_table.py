"""A table that is there already: what a write has to know of it, asked for in one request that any key may send.

The catalogs are read in a block, for the SQL API forbids them in the queries of all keys but the master key, and it
does not look into blocks.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from cartoframes_lite._codec.names import literal, qualify
from cartoframes_lite.write.staging_sql import lease_has_run_out
from cartoframes_lite.write.statements import do_block

ANSWER = "cartoframes_lite.answer"  # a setting of the transaction carries the answer out of the block

# What decides how rows get in, and whether replacing them harms anything else. {table} is a regclass.
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
        The name in ``pg_type``, as ``int4``, ``_int4`` for an array; of a domain, that of its base type.
    declared : str
        The type as it is written in SQL, with its length or precision, as ``numeric(10,2)``.
    srid : int
        Of a geometry with a declared SRID, or a geography; else 0.
    dims : int
        Of a geometry, the declared number of coordinates of a point; else 4.
    shape : str
        Of a geometry, the declared type, as ``PointZ``; ``Geometry`` if there is none.
    is_computed : bool
        Whether PostgreSQL alone gives it its values: it is generated, or an identity that is always generated.
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
        """Whether it holds geometries."""
        return self.pgtype in ("geometry", "geography")

    @property
    def has_m(self) -> bool:
        """Whether its points have a measure, which no frame has."""
        return self.shape.endswith("M")


@dataclass(frozen=True, slots=True)
class ExistingTable:
    """A table that rows can be written to.

    Attributes
    ----------
    oid : int
        Tells it from a table of the same name that is made later.
    kind : str
        PostgreSQL's ``relkind``: "r" is a table, "v" a view.
    columns : mapping of str to TableColumn
        In the order of the table.
    rules, children, dependents : tuple of str
        Its rules; the tables that inherit from it; those whose rows go or change when its rows are deleted.
    row_security : bool
        Whether policies hide rows from the key.
    triggers : bool
        Whether there are triggers that are not CARTO's.
    is_carto : bool
        Whether CARTO has made it a table of its own: it has put triggers on it.
    attributes : int
        How many of the 1,600 attribute numbers are used up, also by columns that are gone.
    signature : str
        Of all that; another one means that the table was changed.
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
        """Read the answer of the server."""
        told = answer["table"]
        columns = [TableColumn(*column) for column in told["columns"] or ()]
        return cls(
            int(answer["oid"]),
            told["kind"],
            {column.name: column for column in columns},
            tuple(told["rules"] or ()),
            tuple(told["children"] or ()),
            tuple(told["dependents"] or ()),
            told["row_security"],
            told["triggers"],
            told["carto"],
            int(told["attributes"] or 0),
            answer["signature"],
        )


def signature(table: str) -> str:
    """Compose the expression that gives the signature of a table, a regclass."""
    return f"md5(({_DESCRIPTION.format(table=table)})::text)"


def inspect_table(table: str, leftovers_of: str) -> str:
    """Compose the request that describes a table of the account, and lists the staging tables that are there.

    Parameters
    ----------
    table : str
    leftovers_of : str
        What the names of staging tables begin with.
    """
    name = literal(qualify(None, table))
    leftovers = (
        f"(SELECT jsonb_agg(jsonb_build_array(relname, {lease_has_run_out('c.oid')}) ORDER BY relname) FROM pg_class c"
        " WHERE relnamespace = current_schema()::regnamespace AND relkind = 'r'"
        f" AND starts_with(relname::text, {literal(leftovers_of)}) AND pg_has_role(relowner, 'USAGE'))"
    )
    body = (
        "PERFORM set_config('quote_all_identifiers', 'off', true);\n"
        f"place := to_regclass(quote_ident(current_schema()) || '.' || {name});\n"
        "IF place IS NOT NULL THEN\n"
        f"told := {_DESCRIPTION.format(table='place')};\n"
        "END IF;\n"
        f"PERFORM set_config({literal(ANSWER)}, jsonb_build_object("
        "'schema', current_schema(), 'oid', place::oid::text,"
        f" 'table', told, 'signature', md5(told::text), 'leftovers', {leftovers})::text, true);"
    )
    block = do_block(body, declare="place regclass; told jsonb;")
    return f"{block};\nSELECT current_setting({literal(ANSWER)})::json AS answer"
