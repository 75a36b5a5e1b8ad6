"""Grant the permissions of a regular API key to its database role."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, LiteralString

import psycopg
from psycopg import sql

from cartoframes_lite.local.postgres.logins import Connection

TABLE_PERMISSIONS = frozenset({"select", "insert", "update", "delete", "truncate", "references", "trigger"})
_PRIVILEGE_NOT_GRANTED = "01007"  # SQLSTATE; a warning, not an error


class NotGrantedError(ValueError):
    """The account's owner does not have the privileges that are to be granted."""


def grant(connection: Connection, owner_role: str, role: str, grants: Sequence[Mapping[str, Any]]) -> None:
    """Run the GRANTs of the ``database`` section of a key's grants, as the owner's role.

    INSERT and UPDATE on a table include its sequences. Must be called in a transaction.

    Raises
    ------
    NotGrantedError
        If the owner does not have a privilege with grant option.
    psycopg.Error
        If a table or schema does not exist or is not accessible to the owner.
    """
    not_granted: list[str] = []

    def notice(diagnostic: psycopg.errors.Diagnostic) -> None:
        if diagnostic.sqlstate == _PRIVILEGE_NOT_GRANTED:
            not_granted.append(diagnostic.message_primary or "")

    grantee = sql.Identifier(role)
    connection.add_notice_handler(notice)
    try:
        connection.execute(sql.SQL("SET LOCAL ROLE {}").format(sql.Identifier(owner_role)))
        for section in grants:
            if section["type"] != "database":
                continue
            for table in section.get("tables") or ():
                _grant_table(connection, grantee, table)
            for schema in section.get("schemas") or ():
                words = ("USAGE", "CREATE") if "create" in _permissions(schema) else ("USAGE",)
                _grant_schema(connection, grantee, schema["name"], words)
        connection.execute("SET LOCAL ROLE NONE")
    finally:
        connection.remove_notice_handler(notice)
    if not_granted:
        raise NotGrantedError("; ".join(not_granted))


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


def _grant_table(connection: Connection, grantee: sql.Identifier, table: Mapping[str, Any]) -> None:
    """Grant permissions on one table, and the use of its schema and sequences."""
    permissions = _permissions(table)
    if not permissions:
        return
    name = sql.Identifier(table["schema"], table["name"])
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
