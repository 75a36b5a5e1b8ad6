"""The content of a database as one value that can be compared."""

from __future__ import annotations

from typing import Any

import psycopg
from psycopg import sql

# Objects of users only: the server's own bookkeeping changes with each request.
_THEIRS = "NOT IN ('pg_catalog', 'information_schema', 'pg_toast', 'cartodb_local') AND nspname !~ '^pg_(toast_)?temp_'"
_FUNCTIONS = "SELECT oid, proname, proowner, proacl, prosecdef, prosrc FROM pg_proc"
_FIRST_OID = 16384  # of what was not there from the beginning
_PARTS = {
    "schemas": "SELECT nspname, nspowner, nspacl FROM pg_namespace",
    "relations": f"""
        SELECT n.nspname, c.oid::int8, relname, relkind, relowner, relacl, reloptions, relfilenode, relrowsecurity,
               pg_get_viewdef(c.oid) FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace
        WHERE nspname {_THEIRS}""",
    "columns": f"""
        SELECT attrelid::int8, attname, attnum, atttypid, atttypmod, attnotnull, attisdropped, attacl,
               pg_get_expr(adbin, adrelid)
        FROM pg_attribute JOIN pg_class c ON c.oid = attrelid JOIN pg_namespace n ON n.oid = relnamespace
        LEFT JOIN pg_attrdef ON adrelid = attrelid AND adnum = attnum WHERE nspname {_THEIRS}""",
    "constraints": "SELECT conname, conrelid, confrelid, pg_get_constraintdef(oid) FROM pg_constraint",
    "triggers": "SELECT tgrelid, tgname, tgenabled, pg_get_triggerdef(oid) FROM pg_trigger",
    "policies": "SELECT polrelid, polname FROM pg_policy",
    "rules": "SELECT ev_class, rulename FROM pg_rewrite",
    "functions": f"{_FUNCTIONS} WHERE oid >= {_FIRST_OID}",
    "built-in functions": f"{_FUNCTIONS} WHERE oid < {_FIRST_OID}",
    "operators": "SELECT oid, oprname, oprowner FROM pg_operator",
    "types": f"""
        SELECT typname, typowner, typacl FROM pg_type JOIN pg_namespace n ON n.oid = typnamespace
        WHERE nspname {_THEIRS}""",
    "extensions": "SELECT extname, extowner FROM pg_extension",
    "event triggers": "SELECT evtname FROM pg_event_trigger",
    "foreign servers": "SELECT srvname FROM pg_foreign_server",
    "large objects": "SELECT oid, lomowner, lomacl FROM pg_largeobject_metadata",
    "default rights": "SELECT defaclrole, defaclnamespace, defaclacl FROM pg_default_acl",
    "roles": "SELECT rolname, rolsuper, rolcreaterole, rolcreatedb, rolbypassrls, rolpassword FROM pg_authid",
    "members": "SELECT roleid, member, admin_option FROM pg_auth_members",
    "settings": "SELECT setdatabase, setrole, setconfig FROM pg_db_role_setting",
    "databases": "SELECT datname, datdba, datacl FROM pg_database",
}

_TABLES = "SELECT oid, relname FROM pg_class WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace"

Rows = set[tuple[str, ...]]
Snapshot = dict[str, Rows]
# By part and digest: fetching thousands of functions takes ten times as long as their digest.
_ROWS: dict[tuple[str, str], Rows] = {}


class DatabaseSnapshots:
    """Takes snapshots of the whole database as the superuser.

    Parameters
    ----------
    dsn : str
        Of a superuser.
    tables : sequence of tuple of (str, str)
        Schema and name of the tables whose rows count as well.
    """

    def __init__(self, dsn: str, tables: list[tuple[str, str]]) -> None:
        self.connection = psycopg.connect(dsn, autocommit=True)
        self.connection.execute("SET search_path = pg_catalog")
        self._tables = tables
        self._old = {oid for oid, _ in self._rows(_TABLES)}

    def snapshot(self) -> Snapshot:
        """Return the current snapshot."""
        parts: dict[str, sql.Composable] = {part: sql.SQL(query) for part, query in _PARTS.items()}
        for place in self._tables:
            parts[".".join(place)] = sql.SQL("SELECT t::text FROM {} t").format(sql.Identifier(*place))
        digest = sql.SQL("SELECT {}, concat(count(*), ' ', sum(hashtextextended(t::text, 0))) FROM ({}) t")
        digests = self._rows(sql.SQL(" UNION ALL ").join(digest.format(*item) for item in parts.items()))
        for part, found in digests:
            if (part, found) not in _ROWS:
                _ROWS[part, found] = {tuple(map(str, row)) for row in self._rows(parts[part])}
        return {part: _ROWS[part, found] for part, found in digests}

    def drop_new(self) -> None:
        """Drop the tables created since the beginning, and their records."""
        for oid, table in self._rows(_TABLES):
            if oid not in self._old:
                self.connection.execute(
                    sql.SQL("DROP TABLE IF EXISTS {} CASCADE").format(sql.Identifier("public", table))
                )
        forget = "DELETE FROM cartodb.cdb_tablemetadata WHERE NOT EXISTS (SELECT FROM pg_class WHERE oid = tabname)"
        self.connection.execute(forget)

    def _rows(self, query: Any) -> list[tuple[Any, ...]]:
        return self.connection.execute(query).fetchall()


def differences(before: Snapshot, after: Snapshot) -> dict[str, set[tuple[str, ...]]]:
    """Return the differences of two snapshots."""
    changed = [part for part in before if before[part] is not after[part]]
    return {part: before[part] ^ after[part] for part in changed if before[part] != after[part]}
