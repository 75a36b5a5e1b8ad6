"""Share datasets and maps with members of the organization: access control lists and grants on tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from psycopg import sql
from psycopg.types.json import Jsonb

from cartoframes_lite.local.postgres import roles
from cartoframes_lite.local.postgres.grants import owned_sequences
from cartoframes_lite.local.postgres.logins import Connection

ACCESSES = {"r": "SELECT", "rw": "SELECT, INSERT, UPDATE, DELETE"}

Acl = Sequence[Mapping[str, str]]


def store(connection: Connection, visualization_id: str, acl: Acl) -> None:
    """Store the access control list of a dataset or map.

    Parameters
    ----------
    connection : psycopg.Connection
        Connection of the administrator.
    visualization_id : str
    acl : sequence of dict
        Entries with the keys ``type`` ("user", "org" or "group"), ``id`` and ``access`` ("r", "rw" or "n").
    """
    connection.execute(
        "UPDATE cartodb_local.visualizations SET acl = %s, acl_updated_at = now() WHERE id = %s",
        (Jsonb(list(acl)), visualization_id),
    )


def remove_entries(connection: Connection, entity_id: str) -> None:
    """Remove the entries of a member or group from all access control lists."""
    connection.execute(
        "UPDATE cartodb_local.visualizations SET acl = (SELECT coalesce(jsonb_agg(entry), '[]')"
        " FROM jsonb_array_elements(acl) entry WHERE entry ->> 'id' <> %(id)s)"
        " WHERE acl @> jsonb_build_array(jsonb_build_object('id', %(id)s::text))",
        {"id": entity_id},
    )


def grant(connection: Connection, owner_role: str, schema: str, name: str, acl: Acl) -> None:
    """Set the grants on a table to an access control list. Must be called in a transaction."""
    rows = connection.execute(
        "SELECT id::text, role FROM cartodb_local.members UNION ALL SELECT id::text, role FROM cartodb_local.groups"
    ).fetchall()
    members = {row["id"]: row["role"] for row in rows}
    if not members:
        return
    organization_role = roles.organization_role(owner_role)
    roles.create_organization_role(connection, owner_role)
    table = sql.Identifier(schema, name)
    sequences = owned_sequences(connection, table)
    grantees = sql.SQL(", ").join(map(sql.Identifier, [organization_role, *members.values()]))
    connection.execute(sql.SQL("REVOKE ALL ON TABLE {} FROM {}").format(table, grantees))
    for sequence in sequences:
        connection.execute(sql.SQL("REVOKE ALL ON SEQUENCE {} FROM {}").format(sequence, grantees))
    for entry in acl:
        role = organization_role if entry["type"] == "org" else members.get(entry["id"])
        if role is None or entry["access"] == "n":
            continue  # the member has been deleted, or has no access
        grantee = sql.Identifier(role)
        connection.execute(
            sql.SQL("GRANT {} ON TABLE {} TO {}").format(sql.SQL(ACCESSES[entry["access"]]), table, grantee)
        )
        if schema != "public":  # all roles have USAGE on public
            connection.execute(sql.SQL("GRANT USAGE ON SCHEMA {} TO {}").format(sql.Identifier(schema), grantee))
        if entry["access"] == "rw":
            for sequence in sequences:
                connection.execute(sql.SQL("GRANT USAGE, SELECT ON SEQUENCE {} TO {}").format(sequence, grantee))
