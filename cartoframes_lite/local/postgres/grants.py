"""Grant the permissions of a regular API key to its database role."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, LiteralString

import psycopg
from psycopg import sql

from cartoframes_lite.local.postgres.logins import Connection

TABLE_PERMISSIONS = frozenset({"select", "insert", "update", "delete", "truncate", "references", "trigger"})
_PRIVILEGE_NOT_GRANTED = "01007"  # SQLSTATE; a warning, not an error


class NotGrantedError(ValueError):
    """A table or schema does not exist, or the account's owner does not have the privileges that are to be granted.

    Parameters
    ----------
    kind : {"table", "schema"}
    """

    def __init__(self, kind: str) -> None:
        super().__init__(f"privileges on a {kind} cannot be granted")
        self.kind = kind


def grant(connection: Connection, owner_role: str, role: str, grants: Sequence[Mapping[str, Any]]) -> None:
    """Run the GRANTs of the ``database`` section of a key's grants, as the owner's role.

    INSERT and UPDATE on a table include its sequences. Must be called in a transaction.

    Raises
    ------
    NotGrantedError
        If a table or schema does not exist, or the owner does not have a privilege on it with grant option.
    """
    grantee = sql.Identifier(role)
    connection.execute(sql.SQL("SET LOCAL ROLE {}").format(sql.Identifier(owner_role)))
    for section in grants:
        if section["type"] != "database":
            continue
        for table in section.get("tables") or ():
            with _checked(connection, "table"):
                _grant_table(connection, grantee, table)
        for schema in section.get("schemas") or ():
            if _permissions(schema):
                with _checked(connection, "schema"):
                    _grant_schema(connection, grantee, schema["name"], ("USAGE", "CREATE"))
    connection.execute("SET LOCAL ROLE NONE")


def granted_tables(connection: Connection, roles: Sequence[str]) -> dict[str, list[dict[str, Any]]]:
    """Return the tables and views on which roles have privileges of their own, by role, in the format of the API."""
    rows = connection.execute(
        "SELECT r.rolname::text AS role, n.nspname::text AS schema, c.relname::text AS name,"
        " c.relowner = r.oid AS owner, pg_catalog.array_agg(DISTINCT lower(acl.privilege_type)) AS permissions"
        " FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace"
        " CROSS JOIN pg_catalog.aclexplode(coalesce(c.relacl, acldefault('r', c.relowner))) acl"
        " JOIN pg_catalog.pg_roles r ON r.oid = acl.grantee"
        " WHERE r.rolname = ANY(%s) AND c.relkind IN ('r', 'v', 'f', 'p') GROUP BY 1, 2, 3, 4 ORDER BY 1, 2, 3",
        (list(roles),),
    ).fetchall()
    return _by_role(rows, roles)


def granted_schemas(connection: Connection, roles: Sequence[str]) -> dict[str, list[dict[str, Any]]]:
    """Return the schemas on which roles have privileges, also inherited ones, by role, in the format of the API."""
    rows = connection.execute(
        "SELECT role, n.nspname::text AS name, pg_catalog.array_agg(permission ORDER BY permission) AS permissions"
        " FROM pg_catalog.pg_namespace n, unnest(%s::text[]) role, unnest('{create,usage}'::text[]) permission"
        " WHERE n.nspname !~ '^pg_' AND n.nspname NOT IN ('cartodb', 'cartodb_local')"
        " AND pg_catalog.has_schema_privilege(role, n.oid, permission) GROUP BY 1, 2 ORDER BY 1, 2",
        (list(roles),),
    ).fetchall()
    return _by_role(rows, roles)


def _by_role(rows: Iterable[dict[str, Any]], roles: Sequence[str]) -> dict[str, list[dict[str, Any]]]:
    """Group rows by their column ``role``, which is removed."""
    found: dict[str, list[dict[str, Any]]] = {role: [] for role in roles}
    for row in rows:
        found[row.pop("role")].append(row)
    return found


def granted_apis(grants: Iterable[Mapping[str, Any]]) -> list[str]:
    """Return the names of the APIs that grants give access to."""
    return [api for section in grants if section["type"] == "apis" for api in section["apis"]]


def owned_sequences(connection: Connection, table: sql.Identifier) -> list[sql.Identifier]:
    """Return the sequences owned by columns of a table."""
    rows = connection.execute(
        "SELECT n.nspname, c.relname FROM pg_depend d JOIN pg_class c ON c.oid = d.objid"
        " JOIN pg_namespace n ON n.oid = c.relnamespace WHERE d.refobjid = %s::regclass"
        " AND d.classid = 'pg_class'::regclass AND d.deptype IN ('a', 'i') AND c.relkind = 'S'",
        (table.as_string(connection),),
    ).fetchall()
    return [sql.Identifier(row["nspname"], row["relname"]) for row in rows]


@contextmanager
def _checked(connection: Connection, kind: str) -> Iterator[None]:
    """Return a context manager that raises NotGrantedError for a GRANT that failed or had no effect."""
    not_granted: list[str] = []

    def notice(diagnostic: psycopg.errors.Diagnostic) -> None:
        if diagnostic.sqlstate == _PRIVILEGE_NOT_GRANTED:
            not_granted.append(diagnostic.message_primary or "")

    connection.add_notice_handler(notice)
    try:
        yield
    except psycopg.ProgrammingError as error:
        raise NotGrantedError(kind) from error
    finally:
        connection.remove_notice_handler(notice)
    if not_granted:
        raise NotGrantedError(kind)


def _grant_table(connection: Connection, grantee: sql.Identifier, table: Mapping[str, Any]) -> None:
    """Grant permissions on one table, and the use of its schema and sequences."""
    permissions = _permissions(table)
    name = sql.Identifier(table["schema"], table["name"])
    if not permissions:
        connection.execute("SELECT %s::regclass", (name.as_string(connection),))  # an error if it does not exist
        return
    connection.execute(
        sql.SQL("GRANT {} ON TABLE {} TO {}").format(
            sql.SQL(", ").join(sql.SQL(word) for word in sorted(permissions & TABLE_PERMISSIONS)),
            name,
            grantee,
        )
    )
    if table["schema"] != "public":  # USAGE on public is granted to every role
        _grant_schema(connection, grantee, table["schema"], ("USAGE",))
    if permissions & {"insert", "update"}:
        for sequence in owned_sequences(connection, name):
            connection.execute(sql.SQL("GRANT USAGE, SELECT ON SEQUENCE {} TO {}").format(sequence, grantee))


def _grant_schema(connection: Connection, grantee: sql.Identifier, name: str, words: Sequence[LiteralString]) -> None:
    """Grant rights on a schema."""
    connection.execute(
        sql.SQL("GRANT {} ON SCHEMA {} TO {}").format(
            sql.SQL(", ").join(sql.SQL(word) for word in words), sql.Identifier(name), grantee
        )
    )


def _permissions(entry: Mapping[str, Any]) -> set[str]:
    """Return the permissions of a table or schema in lower case."""
    return {word.lower() for word in entry.get("permissions") or ()}
