"""The account's organization: its members and their database roles.

The account itself owns the organization. A member has a role that nobody can log in as; tables are shared with
it by grants.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any

import psycopg
from psycopg import sql

from cartoframes_lite.local.catalog.account import email
from cartoframes_lite.local.catalog.passwords import hashed
from cartoframes_lite.local.postgres import roles
from cartoframes_lite.local.postgres.logins import Connection
from cartoframes_lite.local.state import State

ORGANIZATION = "local"
_CHANGEABLE = ("email", "quota_in_bytes", "name", "last_name", "viewer", "org_admin")


class MemberExistsError(ValueError):
    """The organization has a user of this name or e-mail address."""


@dataclass(frozen=True, slots=True)
class Member:
    """A member of the organization.

    Attributes
    ----------
    id, username, email : str
        Each unique in the organization.
    role : str
        Database role.
    quota_in_bytes : int
    name, last_name : str or None
    viewer, org_admin : bool
    created_at, updated_at : datetime
        With time zone.
    """

    id: str
    username: str
    email: str
    role: str
    quota_in_bytes: int
    name: str | None
    last_name: str | None
    viewer: bool
    org_admin: bool
    created_at: datetime
    updated_at: datetime


class Members:
    """The members, kept in the database.

    Parameters
    ----------
    state : State
        The account that owns the organization.
    """

    def __init__(self, state: State) -> None:
        self._state = state

    def all(self) -> list[Member]:
        """Return the members, by name."""
        with self._state.admin() as connection:
            return _members(connection)

    def find(self, which: str) -> Member:
        """Return a member by name or id; LookupError if there is none."""
        for member in self.all():
            if which in (member.username, member.id):
                return member
        raise LookupError(which)

    def create(self, values: Mapping[str, Any], password: str) -> Member:
        """Take in a member.

        Parameters
        ----------
        values : mapping
            ``username``, ``email``, ``quota_in_bytes`` and other attributes of `Member` that can be chosen,
            checked by the caller.
        password : str

        Raises
        ------
        MemberExistsError
            If name or address are taken.
        """
        role = roles.member_role(self._state.owner_role, secrets.token_hex(6))
        given = {"username": values["username"], **_chosen(values), "role": role, "password_hash": hashed(password)}
        if given["username"] == self._state.user:
            raise MemberExistsError("username has already been taken")
        self._check_address(values)
        with self._state.admin() as connection, connection.transaction():
            _run(
                connection,
                sql.SQL("INSERT INTO cartodb_local.members ({}) VALUES ({})").format(
                    sql.SQL(", ").join(map(sql.Identifier, given)), sql.SQL(", ").join(map(sql.Placeholder, given))
                ),
                given,
            )
            roles.create_member_role(connection, self._state.owner_role, role)
        return self.find(given["username"])

    def update(self, member: Member, values: Mapping[str, Any], password: str | None) -> Member:
        """Change attributes of a member, and the password unless it is None.

        Raises
        ------
        MemberExistsError
            If the address is taken.
        """
        self._check_address(values)
        changes = _chosen(values) | ({} if password is None else {"password_hash": hashed(password)})
        assignments = [sql.SQL("{} = {}").format(sql.Identifier(name), sql.Placeholder(name)) for name in changes]
        with self._state.admin() as connection:
            _run(
                connection,
                sql.SQL("UPDATE cartodb_local.members SET {} WHERE id = %(id)s").format(
                    sql.SQL(", ").join([*assignments, sql.SQL("updated_at = now()")])
                ),
                {**changes, "id": member.id},
            )
        return self.find(member.id)

    def delete(self, member: Member) -> None:
        """Let a member go; what was shared with it is its no longer."""
        with self._state.admin() as connection, connection.transaction():
            connection.execute("DELETE FROM cartodb_local.members WHERE id = %s", (member.id,))
            connection.execute(
                "UPDATE cartodb_local.visualizations SET acl = (SELECT coalesce(jsonb_agg(entry), '[]')"
                " FROM jsonb_array_elements(acl) entry WHERE entry ->> 'id' <> %(id)s)"
                " WHERE acl @> jsonb_build_array(jsonb_build_object('id', %(id)s::text))",
                {"id": member.id},
            )
            roles.drop_key_role(connection, self._state.owner_role, member.role)

    def _check_address(self, values: Mapping[str, Any]) -> None:
        """Refuse the address of the organization's owner."""
        if values.get("email") == email(self._state):
            raise MemberExistsError("email has already been taken")


def _members(connection: Connection) -> list[Member]:
    """Read the members."""
    query = sql.SQL("SELECT id::text, {} FROM cartodb_local.members ORDER BY username")
    names = [field.name for field in fields(Member) if field.name != "id"]
    rows = connection.execute(query.format(sql.SQL(", ").join(map(sql.Identifier, names)))).fetchall()
    return [Member(**row) for row in rows]


def _chosen(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return of some values those that can be chosen."""
    return {name: values[name] for name in _CHANGEABLE if name in values}


def _run(connection: Connection, statement: sql.Composed, values: Mapping[str, Any]) -> None:
    """Write a member."""
    try:
        connection.execute(statement, values)
    except psycopg.errors.UniqueViolation as error:
        column = "email" if "email" in (error.diag.constraint_name or "") else "username"
        raise MemberExistsError(f"{column} has already been taken") from error
