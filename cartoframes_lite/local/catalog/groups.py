"""Groups of users of the account's organization; tables can be shared with groups."""

from __future__ import annotations

import re
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import psycopg
from psycopg import sql

from cartoframes_lite.local.catalog import sharing
from cartoframes_lite.local.postgres import roles
from cartoframes_lite.local.postgres.logins import Connection
from cartoframes_lite.local.state import State


class GroupExistsError(ValueError):
    """The organization has another group of this name."""


@dataclass(frozen=True, slots=True)
class Group:
    """A group.

    Attributes
    ----------
    id : str
    name, display_name : str
        Each unique; the name is derived from the display name.
    role : str
        Database role.
    user_ids : list of str
        Ids of members, and that of the account.
    updated_at : datetime
        With time zone.
    """

    id: str
    name: str
    display_name: str
    role: str
    user_ids: list[str]
    updated_at: datetime


class Groups:
    """Groups of the organization, stored in the database.

    Parameters
    ----------
    state : State
    """

    def __init__(self, state: State) -> None:
        self._state = state

    def all(self) -> list[Group]:
        """Return all groups, sorted by name."""
        with self._state.admin() as connection:
            rows = connection.execute(
                "SELECT id::text, name, display_name, role, updated_at, ARRAY(SELECT user_id::text"
                " FROM cartodb_local.group_users WHERE group_id = id) AS user_ids"
                " FROM cartodb_local.groups ORDER BY name"
            ).fetchall()
        return [Group(**row) for row in rows]

    def find(self, group_id: str) -> Group:
        """Return a group by its id; raise LookupError if it does not exist."""
        for group in self.all():
            if group.id == group_id:
                return group
        raise LookupError(group_id)

    def create(self, display_name: str) -> Group:
        """Create a group and its role; raise GroupExistsError if the name is in use."""
        role = roles.group_role(self._state.owner_role, secrets.token_hex(6))
        with self._state.admin() as connection, connection.transaction():
            row = _execute(
                connection,
                "INSERT INTO cartodb_local.groups (name, display_name, role)"
                " VALUES (%(name)s, %(display_name)s, %(role)s) RETURNING id::text",
                {"name": _name(display_name), "display_name": display_name, "role": role},
            )
            roles.create_group_role(connection, role)
        return self.find(row["id"])

    def rename(self, group: Group, display_name: str) -> Group:
        """Rename a group; raise GroupExistsError if the name is in use."""
        with self._state.admin() as connection, connection.transaction():
            _execute(
                connection,
                "UPDATE cartodb_local.groups SET name = %(name)s, display_name = %(display_name)s, updated_at = now()"
                " WHERE id = %(id)s RETURNING id::text",
                {"name": _name(display_name), "display_name": display_name, "id": group.id},
            )
        return self.find(group.id)

    def delete(self, group: Group) -> None:
        """Delete a group, its role and its entries in access control lists."""
        with self._state.admin() as connection, connection.transaction():
            connection.execute("DELETE FROM cartodb_local.groups WHERE id = %s", (group.id,))
            sharing.remove_entries(connection, group.id)
            roles.drop_key_role(connection, self._state.owner_role, group.role)

    def add_users(self, group: Group, user_ids: Sequence[str]) -> None:
        """Add users to a group; users that are members already are ignored."""
        with self._state.admin() as connection, connection.transaction():
            connection.execute(
                "INSERT INTO cartodb_local.group_users SELECT %s, unnest(%s::uuid[]) ON CONFLICT DO NOTHING",
                (group.id, list(user_ids)),
            )
            for role in _member_roles(connection, user_ids):
                connection.execute(sql.SQL("GRANT {} TO {}").format(sql.Identifier(group.role), sql.Identifier(role)))

    def remove_users(self, group: Group, user_ids: Sequence[str]) -> None:
        """Remove users from a group."""
        with self._state.admin() as connection, connection.transaction():
            connection.execute(
                "DELETE FROM cartodb_local.group_users WHERE group_id = %s AND user_id = ANY(%s::uuid[])",
                (group.id, list(user_ids)),
            )
            for role in _member_roles(connection, user_ids):
                connection.execute(
                    sql.SQL("REVOKE {} FROM {}").format(sql.Identifier(group.role), sql.Identifier(role))
                )


def count_shared(state: State, group: Group, visualization_type: str) -> int:
    """Return the number of datasets ("table") or maps ("derived") that are shared with a group."""
    with state.admin() as connection:
        row = connection.execute(
            "SELECT count(*) AS number FROM cartodb_local.visualizations WHERE type = %s AND EXISTS"
            " (SELECT FROM jsonb_array_elements(acl) entry WHERE entry ->> 'id' = %s AND entry ->> 'access' <> 'n')",
            (visualization_type, group.id),
        ).fetchone()
    assert row is not None  # an aggregate always returns one row
    return int(row["number"])


def _name(display_name: str) -> str:
    """Return CARTO's name of a group."""
    name = " ".join(display_name.split())
    if not re.match("[A-Za-z_]", name):
        name = f"g_{name}"
    return re.sub("_{2,}", "_", re.sub("[^A-Za-z0-9_ ]", "_", name))


def _member_roles(connection: Connection, user_ids: Sequence[str]) -> list[str]:
    """Return the roles of those users that are members; the account's own role reads its tables anyway."""
    rows = connection.execute(
        "SELECT role FROM cartodb_local.members WHERE id = ANY(%s::uuid[])", (list(user_ids),)
    ).fetchall()
    return [row["role"] for row in rows]


def _execute(connection: Connection, statement: str, values: Mapping[str, Any]) -> dict[str, Any]:
    """Execute an INSERT or UPDATE that returns a row; raise GroupExistsError for a duplicate."""
    try:
        row = connection.execute(statement.encode(), values).fetchone()
    except psycopg.errors.UniqueViolation as error:
        raise GroupExistsError(values["display_name"]) from error
    if row is None:
        raise LookupError(values["id"])
    return row
