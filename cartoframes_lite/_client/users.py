"""The user, quotas, and the other users of the organization."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from cartoframes_lite._client import nonpublic
from cartoframes_lite._client.http.json_fields import drop_none, integer, record, records, required, text
from cartoframes_lite._client.http.transport import Transport
from cartoframes_lite._client.platform import Platform
from cartoframes_lite._codec.html import format_bytes, html_table
from cartoframes_lite.errors import CartoError, PermissionDenied

ME, USERS, ORGANIZATION = "api/v3/me", "api/v1/users", "api/v1/organization"


@dataclass(frozen=True, slots=True)
class Organization:
    """An organization.

    Attributes
    ----------
    id, name : str
    """

    id: str
    name: str


@dataclass(frozen=True, slots=True)
class User:
    """A user, as the server described him; what the key may not know is None.

    Attributes
    ----------
    id : str or None
    username : str
    email : str or None
    quota_bytes, used_bytes : int or None
        Storage: all of it, and what is used. In bytes.
    table_count : int or None
    """

    id: str | None
    username: str
    email: str | None
    quota_bytes: int | None
    used_bytes: int | None
    table_count: int | None

    @classmethod
    def from_response(cls, response: Mapping[str, Any]) -> User:
        """Parse a response of the API."""
        return cls(
            id=text(response, "id"),
            username=required(response, "username"),
            email=text(response, "email"),
            quota_bytes=integer(response.get("quota_in_bytes")),
            used_bytes=integer(response.get("db_size_in_bytes")),
            table_count=integer(response.get("table_count")),
        )


@dataclass(frozen=True, slots=True)
class Account(User):
    """The account of the credentials.

    Attributes
    ----------
    remaining_bytes : int or None
        Storage that is left, in bytes.
    remaining_tables : int or None
        How many more datasets the plan allows; None: any number.
    plan : str or None
        CARTO's name for the type of the account.
    organization : Organization or None
    """

    remaining_bytes: int | None
    remaining_tables: int | None
    plan: str | None
    organization: Organization | None

    def _repr_html_(self) -> str:
        """Show the quota in a notebook."""
        rows = {
            "plan": self.plan,
            "organization": self.organization and self.organization.name,
            "storage": f"{format_bytes(self.used_bytes)} of {format_bytes(self.quota_bytes)}",
            "tables": self.table_count,
            "tables left": self.remaining_tables,
        }
        used = None
        if self.quota_bytes and self.used_bytes is not None:
            used = self.used_bytes / self.quota_bytes
        return html_table(f"Account {self.username}", rows, share=used)


class Users:
    """``client.users``. CARTO does not document these APIs.

    Parameters
    ----------
    transport : Transport
    """

    def __init__(self, transport: Transport) -> None:
        self._platform = Platform(transport)

    def me(self) -> Account:
        """Ask for the account of the credentials, with its quotas.

        The master key that the server sends along is dropped.

        Raises
        ------
        PermissionDenied
            If the key is not the master key.
        """
        nonpublic.warn(ME)
        what = "reading the account"
        account = self._platform.json("GET", ME, what=what, read=_account)
        if account is None:  # how the server treats somebody it takes for nobody
            self._platform.require_master(what)
            raise PermissionDenied(f"{what} was refused", status=200, method="GET", url=ME)
        return account

    def get(self, user: str) -> User:
        """Ask for a user by id or name."""
        nonpublic.warn(USERS)
        return self._platform.json(
            "GET", f"{USERS}/{quote(user, safe='')}", what="reading a user", read=User.from_response
        )

    def of_organization(self, organization: str) -> list[User]:
        """List the users of an organization.

        Parameters
        ----------
        organization : str
            Its name.
        """
        nonpublic.warn(ORGANIZATION)
        what = "listing the users of the organization"
        return self._platform.json("GET", _users_path(organization), what=what, read=_users)

    def find_entity(self, user_or_org: str) -> tuple[str, str]:
        """Find somebody to share with: the account's organization, or a user of it, by name.

        Returns
        -------
        tuple of (str, str)
            "org" or "user", and the id.

        Raises
        ------
        CartoError
            If the account is in no organization, or there is no such user in it.
        """
        organization = self.me().organization
        if organization is None:
            raise CartoError("the account belongs to no organization, so there is nobody to share with")
        if user_or_org == organization.name:
            return "org", organization.id
        users = {user.username: user.id for user in self.of_organization(organization.name)}
        entity_id = users.get(user_or_org)
        if entity_id is None:
            raise CartoError(
                f"{user_or_org!r} is neither the organization {organization.name!r} nor a user of it: {sorted(users)}"
            )
        return "user", entity_id

    def add_to_organization(
        self, organization: str, *, username: str, email: str, password: str, quota_bytes: int | None = None
    ) -> User:
        """Create a user of an organization; for its administrators.

        Parameters
        ----------
        organization : str
            Its name.
        username, email, password : str
        quota_bytes : int, optional
            Storage, in bytes. None: what the organization gives by default.
        """
        nonpublic.warn(ORGANIZATION)
        body = drop_none(username=username, email=email, password=password, quota_in_bytes=quota_bytes)
        what = "creating a user of the organization"
        # CARTO's application answers 200 to this.
        path = _users_path(organization)
        return self._platform.json("POST", path, what=what, read=User.from_response, json_body=body, expect=(200, 201))

    def remove_from_organization(self, organization: str, username: str) -> None:
        """Delete a user of an organization; for its administrators."""
        nonpublic.warn(ORGANIZATION)
        path = f"{_users_path(organization)}/{quote(username, safe='')}"
        self._platform.delete(path, what="deleting a user of the organization")


def _account(response: Any) -> Account | None:
    """Read what the server says of the account; None if it says nothing."""
    found = record(response).get("user_data")
    if not found:
        return None
    told = found.get("organization")
    user = User.from_response(found)
    return Account(
        user.id,
        user.username,
        user.email,
        user.quota_bytes,
        user.used_bytes,
        user.table_count,
        remaining_bytes=integer(found.get("remaining_byte_quota")),
        remaining_tables=integer(found.get("remaining_table_quota")),
        plan=text(found, "account_type"),
        organization=Organization(required(told, "id"), required(told, "name")) if told else None,
    )


def _users(response: Any) -> list[User]:
    return [
        User.from_response(found) for found in records(response["users"] if isinstance(response, Mapping) else response)
    ]


def _users_path(organization: str) -> str:
    return f"{ORGANIZATION}/{quote(organization, safe='')}/users"
