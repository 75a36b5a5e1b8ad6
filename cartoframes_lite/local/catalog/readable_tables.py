"""List the tables and views that the account may read or write, datasets or not."""

from __future__ import annotations

from dataclasses import dataclass

from cartoframes_lite.local.catalog.search import Search, search
from cartoframes_lite.local.catalog.visualizations import Catalog, Visualization
from cartoframes_lite.local.state import State

_ALL = 2**31 - 1


@dataclass(frozen=True, slots=True)
class ReadableTable:
    """A table or view.

    Attributes
    ----------
    schema, name : str
    mode : {"r", "rw", "w"}
        Whether the account may read and write it.
    dataset : Visualization or None
        None if it is not a dataset.
    """

    schema: str
    name: str
    mode: str
    dataset: Visualization | None


def readable_tables(state: State, catalog: Catalog, direction: str) -> list[ReadableTable]:
    """Return all tables and views that the owner may read or write, but those of extensions and of the server.

    Parameters
    ----------
    state : State
    catalog : Catalog
    direction : {"asc", "desc"}
        Sort order of the names.
    """
    datasets = {one.table_oid: one for one in search(catalog, Search(("table",), limit=_ALL)).visualizations}
    with state.admin() as connection:
        rows = connection.execute(
            "SELECT * FROM (SELECT c.oid::bigint AS oid, n.nspname::text AS schema, c.relname::text AS name,"
            " concat(CASE WHEN has_table_privilege(%(owner)s, c.oid, 'SELECT') THEN 'r' END,"
            " CASE WHEN has_table_privilege(%(owner)s, c.oid, 'UPDATE') THEN 'w' END) AS mode"
            " FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace"
            " WHERE c.relkind IN ('r', 'v', 'f', 'p') AND n.nspname !~ '^pg_'"
            " AND n.nspname NOT IN ('information_schema', 'cartodb', 'cartodb_local')"
            " AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend d WHERE d.classid = 'pg_catalog.pg_class'::regclass"
            " AND d.objid = c.oid AND d.deptype = 'e')) tables WHERE mode <> '' ORDER BY name, schema",
            {"owner": state.owner_role},
        ).fetchall()
    found = [ReadableTable(row["schema"], row["name"], row["mode"], datasets.get(row["oid"])) for row in rows]
    return found if direction == "asc" else found[::-1]
