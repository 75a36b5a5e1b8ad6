"""Published pages: visualizations of the types "kuviz" and "app", whose content is an HTML document."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import psycopg
from psycopg import sql

from cartoframes_lite.local.catalog.passwords import check_password, hash_password
from cartoframes_lite.local.postgres.logins import Connection
from cartoframes_lite.local.state import State

_COLUMNS = "id::text, type, name, map_privacy AS privacy, created_at, updated_at"


class NameTakenError(ValueError):
    """The account has another page of this type and name."""


@dataclass(frozen=True, slots=True)
class PublishedPage:
    """A published page without its content.

    Attributes
    ----------
    id, name : str
    type : {"kuviz", "app"}
    privacy : {"public", "password"}
        Set through the visualizations API, it can also be "link" or "private".
    created_at, updated_at : datetime
        With time zone.
    """

    id: str
    type: str
    name: str
    privacy: str
    created_at: datetime
    updated_at: datetime


class PublishedPages:
    """Published pages of one type.

    Parameters
    ----------
    state : State
        The account.
    page_type : {"kuviz", "app"}
    """

    def __init__(self, state: State, page_type: str) -> None:
        self._state, self._type = state, page_type

    def find(self, page_id: str) -> PublishedPage:
        """Return a page by its id; raise LookupError if it does not exist."""
        with self._state.admin() as connection:
            found = self._select(connection, "id::text = %(value)s", page_id)
        if not found:
            raise LookupError(page_id)
        return found[0]

    def named(self, name: str) -> list[PublishedPage]:
        """Return the pages with a name, last updated first."""
        with self._state.admin() as connection:
            return self._select(connection, "name = %(value)s", name)

    def create(self, name: str, html: bytes, password: str | None) -> PublishedPage:
        """Create a page, protected by a password if there is one.

        Raises
        ------
        NameTakenError
            If another page of this type has the name.
        """
        values = {
            "type": self._type,
            "name": name,
            "map_privacy": "public" if password is None else "password",
            "password_hash": None if password is None else hash_password(password),
        }
        with self._state.admin() as connection, connection.transaction():
            statement = sql.SQL("INSERT INTO cartodb_local.visualizations ({}) VALUES ({}) RETURNING id::text").format(
                sql.SQL(", ").join(map(sql.Identifier, values)), sql.SQL(", ").join(map(sql.Placeholder, values))
            )
            created = _execute(connection, statement, values)
            connection.execute("INSERT INTO cartodb_local.page_contents VALUES (%s, %s)", (created["id"], html))
        return self.find(created["id"])

    def update(
        self,
        page: PublishedPage,
        *,
        name: str | None = None,
        html: bytes | None = None,
        privacy: str | None = None,
        password: str | None = None,
    ) -> PublishedPage:
        """Update a page; None leaves an attribute as it is.

        Parameters
        ----------
        page : PublishedPage
        name : str, optional
        html : bytes, optional
        privacy : {"public", "password"}, optional
        password : str, optional
            As on CARTO, a page whose privacy is and remains "public" does not keep it.

        Raises
        ------
        NameTakenError
            If another page of this type has the name.
        """
        values = {
            "id": page.id,
            "name": name,
            "privacy": privacy,
            "password_hash": None if password is None else hash_password(password),
        }
        statement = sql.SQL(
            "UPDATE cartodb_local.visualizations SET name = coalesce(%(name)s, name), updated_at = now(),"
            " map_privacy = coalesce(%(privacy)s, map_privacy),"
            " password_hash = CASE WHEN coalesce(%(privacy)s, map_privacy) = 'password'"
            " THEN coalesce(%(password_hash)s, password_hash) END WHERE id = %(id)s RETURNING id::text"
        )
        with self._state.admin() as connection, connection.transaction():
            _execute(connection, statement, values)
            if html is not None:
                connection.execute(
                    "UPDATE cartodb_local.page_contents SET html = %s WHERE visualization_id = %s", (html, page.id)
                )
        return self.find(page.id)

    def delete(self, page: PublishedPage) -> None:
        """Delete a page with its content."""
        with self._state.admin() as connection:
            connection.execute("DELETE FROM cartodb_local.visualizations WHERE id = %s", (page.id,))

    def html(self, page: PublishedPage) -> bytes:
        """Return the content of a page; raise LookupError if it was deleted."""
        with self._state.admin() as connection:
            row = connection.execute(
                "SELECT html FROM cartodb_local.page_contents WHERE visualization_id = %s", (page.id,)
            ).fetchone()
        if row is None:
            raise LookupError(page.id)
        return bytes(row["html"])

    def check_password(self, page: PublishedPage, password: str) -> bool:
        """Return whether a password is the password of a page."""
        with self._state.admin() as connection:
            row = connection.execute(
                "SELECT password_hash FROM cartodb_local.visualizations WHERE id = %s", (page.id,)
            ).fetchone()
        stored = None if row is None else row["password_hash"]
        return stored is not None and check_password(password, stored)

    def _select(self, connection: Connection, condition: str, value: str) -> list[PublishedPage]:
        """Select the pages that satisfy a condition on ``%(value)s``, last updated first."""
        query = sql.SQL(
            "SELECT {} FROM cartodb_local.visualizations WHERE type = %(type)s AND {} ORDER BY updated_at DESC, id"
        ).format(sql.SQL(_COLUMNS), sql.SQL(condition))
        rows = connection.execute(query, {"type": self._type, "value": value}).fetchall()
        return [PublishedPage(**row) for row in rows]


def _execute(connection: Connection, statement: sql.SQL | sql.Composed, values: Mapping[str, Any]) -> dict[str, Any]:
    """Execute an INSERT or UPDATE that returns a row; raise NameTakenError for a name that is in use."""
    try:
        row = connection.execute(statement, values).fetchone()
    except psycopg.errors.UniqueViolation as error:
        raise NameTakenError(values["name"]) from error
    if row is None:
        raise LookupError(values["id"])
    return row
