"""Members of the account's organization and their database roles.

The account owns the organization. Each member has a NOLOGIN role, and tables are shared by grants to this role.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any

import psycopg
from psycopg import sql

from cartoframes_lite.local.catalog import sharing
from cartoframes_lite.local.catalog.account import email
from cartoframes_lite.local.catalog.passwords import check_password, hash_password
from cartoframes_lite.local.postgres import roles
from cartoframes_lite.local.postgres.logins import Connection
from cartoframes_lite.local.state import State

ORGANIZATION = "local"
ORGANIZATION_ID = "00000000-0000-4000-8000-000000000001"  # fixed: the server has a single organization
ORGANIZATION_QUOTA_BYTES = 1 << 47
_CHANGEABLE = ("email", "quota_in_bytes", "viewer", "org_admin")


class MemberExistsError(ValueError):
    """The user name or e-mail address is already in use. The argument is a sentence."""


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
    """Members of the organization, stored in the database.

    Parameters
    ----------
    state : State
        The account that owns the organization.
    """

    def __init__(self, state: State) -> None:
        self._state = state

    def all(self) -> list[Member]:
        """Return all members, sorted by name."""
        with self._state.admin() as connection:
            return _members(connection)

    def find(self, name_or_id: str) -> Member:
        """Return a member by name or id; raise LookupError if it does not exist."""
        for member in self.all():
            if name_or_id in (member.username, member.id):
                return member
        raise LookupError(name_or_id)

    def create(self, values: Mapping[str, Any], password: str) -> Member:
        """Create a member and its role.

        Parameters
        ----------
        values : mapping
            ``username``, ``email``, ``quota_in_bytes`` and other attributes of `Member` that clients may set,
            validated by the caller.
        password : str

        Raises
        ------
        MemberExistsError
            If the user name or the e-mail address is taken.
        """
        role = roles.member_role(self._state.owner_role, secrets.token_hex(6))
        row = {"username": values["username"], **_changeable_values(values)}
        row |= {"role": role, "password_hash": hash_password(password)}
        if row["username"] == self._state.user:
            raise MemberExistsError("username is already taken")
        self._check_email(values)
        with self._state.admin() as connection, connection.transaction():
            _execute(
                connection,
                sql.SQL("INSERT INTO cartodb_local.members ({}) VALUES ({})").format(
                    sql.SQL(", ").join(map(sql.Identifier, row)), sql.SQL(", ").join(map(sql.Placeholder, row))
                ),
                row,
            )
            roles.create_member_role(connection, self._state.owner_role, role)
        return self.find(row["username"])

    def has_password(self, member: Member, password: str) -> bool:
        """Return whether a text is the password of a member."""
        with self._state.admin() as connection:
            row = connection.execute(
                "SELECT password_hash FROM cartodb_local.members WHERE id = %s", (member.id,)
            ).fetchone()
        return row is not None and check_password(password, row["password_hash"])

    def assigned_bytes(self) -> int:
        """Return the storage that is assigned to the members and to the account itself."""
        with self._state.admin() as connection:
            row = connection.execute(
                "SELECT cartodb._cdb_userquotainbytes() + (SELECT coalesce(sum(quota_in_bytes), 0)"
                " FROM cartodb_local.members) AS assigned"
            ).fetchone()
        assert row is not None  # a SELECT without FROM returns one row
        return int(row["assigned"])

    def update(self, member: Member, values: Mapping[str, Any], password: str | None) -> Member:
        """Update attributes of a member, and the password unless it is None.

        Raises
        ------
        MemberExistsError
            If the e-mail address is taken.
        """
        self._check_email(values)
        changes = _changeable_values(values) | ({} if password is None else {"password_hash": hash_password(password)})
        assignments = [sql.SQL("{} = {}").format(sql.Identifier(name), sql.Placeholder(name)) for name in changes]
        with self._state.admin() as connection:
            _execute(
                connection,
                sql.SQL("UPDATE cartodb_local.members SET {} WHERE id = %(id)s").format(
                    sql.SQL(", ").join([*assignments, sql.SQL("updated_at = now()")])
                ),
                {**changes, "id": member.id},
            )
        return self.find(member.id)

    def delete(self, member: Member) -> None:
        """Delete a member, its role and its entries in access control lists."""
        with self._state.admin() as connection, connection.transaction():
            connection.execute("DELETE FROM cartodb_local.members WHERE id = %s", (member.id,))
            connection.execute("DELETE FROM cartodb_local.group_users WHERE user_id = %s", (member.id,))
            sharing.remove_entries(connection, member.id)
            roles.drop_key_role(connection, self._state.owner_role, member.role)

    def _check_email(self, values: Mapping[str, Any]) -> None:
        """Raise MemberExistsError for the e-mail address of the organization's owner."""
        if values.get("email") == email(self._state):
            raise MemberExistsError("email is already taken")


def _members(connection: Connection) -> list[Member]:
    """Select all members."""
    query = sql.SQL("SELECT id::text, {} FROM cartodb_local.members ORDER BY username")
    names = [field.name for field in fields(Member) if field.name != "id"]
    rows = connection.execute(query.format(sql.SQL(", ").join(map(sql.Identifier, names)))).fetchall()
    return [Member(**row) for row in rows]


def _changeable_values(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values of attributes that clients may set."""
    return {name: values[name] for name in _CHANGEABLE if name in values}


def _execute(connection: Connection, statement: sql.Composed, values: Mapping[str, Any]) -> None:
    """Execute an INSERT or UPDATE of a member; raise MemberExistsError for a duplicate."""
    try:
        connection.execute(statement, values)
    except psycopg.errors.UniqueViolation as error:
        column = "email" if "email" in (error.diag.constraint_name or "") else "username"
        raise MemberExistsError(f"{column} is already taken") from error
