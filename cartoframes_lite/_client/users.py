"""Users: the account with its quotas, and the users of its organization."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import count
from typing import Any
from urllib.parse import quote

from cartoframes_lite._client import nonpublic
from cartoframes_lite._client.http.json_fields import drop_none, integer, record, records, required, text
from cartoframes_lite._client.http.transport import Transport
from cartoframes_lite._client.listing import Listing
from cartoframes_lite._client.platform import Platform
from cartoframes_lite._codec.html import format_bytes, html_table
from cartoframes_lite.errors import CartoError, NotFound, PermissionDenied

ME, ORGANIZATION = "api/v3/me", "api/v1/organization"
_MEMBERS = "api/v2/organization"  # takes a name or id, and requires an administrator
_PAGE_SIZE = 50
_UUID = re.compile("[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)


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
    """A user. Values that the response does not contain are None.

    Attributes
    ----------
    id : str or None
        The responses to ``add_to_organization`` do not contain it.
    username : str
    email : str or None
    quota_bytes, used_bytes : int or None
        Storage quota and used storage, in bytes.
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

    def _repr_html_(self) -> str:
        columns = _columns(self)
        return html_table(f"User {columns.pop('name')}", columns)


@dataclass(frozen=True, slots=True)
class Account(User):
    """The account of the credentials, with its quotas.

    Attributes
    ----------
    remaining_bytes : int or None
        Unused storage, in bytes.
    remaining_tables : int or None
        Number of datasets that can still be created; None: unlimited.
    plan : str or None
        CARTO's name of the account type.
    organization : Organization or None
    """

    remaining_bytes: int | None
    remaining_tables: int | None
    plan: str | None
    organization: Organization | None

    def _repr_html_(self) -> str:
        """Return the quotas as HTML."""
        rows = {
            "plan": self.plan,
            "organization": self.organization and self.organization.name,
            "storage": f"{format_bytes(self.used_bytes)} of {format_bytes(self.quota_bytes)}",
            "tables": self.table_count,
            "tables left": self.remaining_tables,
        }
        used_share = None
        if self.quota_bytes and self.used_bytes is not None:
            used_share = self.used_bytes / self.quota_bytes
        return html_table(f"Account {self.username}", rows, share=used_share)


class Users:
    """``client.users``. CARTO does not document these APIs.

    Parameters
    ----------
    transport : Transport
    """

    def __init__(self, transport: Transport) -> None:
        self._platform = Platform(transport)

    def me(self) -> Account:
        """Return the account of the credentials, with its quotas.

        The response also contains the master key, which is discarded.

        Raises
        ------
        PermissionDenied
            If the key is not the master key.
        """
        nonpublic.warn(ME, self._platform.transport)
        what = "reading the account"
        account = self._platform.json("GET", ME, what=what, read=_account)
        if account is None:  # for invalid keys the response has status 200 and no user data
            self._platform.require_master(what)
            message = f"{what} was denied: check the api_key of Credentials"
            raise PermissionDenied(message, status=200, method="GET", url=ME)
        return account

    def get(self, user: str) -> User:
        """Return the user of the account, or another user of its organization, by id or name.

        Raises
        ------
        NotFound
            If the account does not belong to an organization, or the organization has no such user.
        """
        account = self.me()
        if user in (account.id, account.username):
            return account
        found = [] if account.organization is None else self._list(account.organization)
        for member in found:
            if user in (member.id, member.username):
                return member
        message = f"there is no user {user!r}: {_known_names(account, found)}"
        raise NotFound(message, status=404, method="GET", url=ORGANIZATION)

    def of_organization(self, organization: str) -> list[User]:
        """List the users of the account's organization, sorted by name.

        Parameters
        ----------
        organization : str
            Name or id of the organization.

        Raises
        ------
        CartoError
            If the account does not belong to it.
        """
        if _UUID.fullmatch(organization):
            return self._list(Organization(organization, organization))
        own = self.me().organization
        if own is None or own.name != organization:
            known = "no organization" if own is None else repr(own.name)
            raise CartoError(f"the account does not belong to the organization {organization!r}, but to {known}")
        return self._list(own)

    def _list(self, organization: Organization) -> list[User]:
        """List the users of an organization, over all pages."""
        nonpublic.warn(ORGANIZATION, self._platform.transport)
        path, what = f"{ORGANIZATION}/{organization.id}/users", "listing the users of the organization"  # not the name
        users: dict[str, User] = {}
        for page in count(1):
            # Names are unique, so that pages do not overlap.
            query = {"order": "username", "page": page, "per_page": _PAGE_SIZE}
            found, total = self._platform.json("GET", path, what=what, read=_page, query=query)
            known = len(users)
            users |= {user.username: user for user in found}
            if len(users) in (known, total):
                break
        return Listing((users[name] for name in sorted(users)), "users", _columns)

    def find_entity(self, user_or_org: str) -> tuple[str, str]:
        """Return kind and id of the account's organization, or of a user in it, by name.

        Returns
        -------
        tuple of (str, str)
            Kind, "org" or "user", and id.

        Raises
        ------
        CartoError
            If the account does not belong to an organization, or the organization has no such user.
        """
        organization = self.me().organization
        if organization is None:
            raise CartoError(
                f"cannot share with {user_or_org!r}: the account does not belong to an organization; set the privacy"
                ' to "link" or "public" instead'
            )
        if user_or_org == organization.name:
            return "org", organization.id
        users = {user.username: user.id for user in self._list(organization)}
        entity_id = users.get(user_or_org)
        if entity_id is None:
            raise CartoError(
                f"{user_or_org!r} is neither the organization {organization.name!r} nor one of its users: pass one of"
                f" {sorted(users)}"
            )
        return "user", entity_id

    def add_to_organization(
        self, organization: str, *, username: str, email: str, password: str, quota_bytes: int | None = None
    ) -> User:
        """Create a user of an organization. Requires an administrator of the organization.

        CARTO creates the account in the background, so that it may appear in ``of_organization`` a moment later.

        Parameters
        ----------
        organization : str
            Name of the organization.
        username, email, password : str
        quota_bytes : int, optional
            Storage quota, in bytes. None: the default of the organization.

        Returns
        -------
        User
            Without ``id``: ``get`` returns it.

        Raises
        ------
        APIError
            If a value is invalid or the name is taken.
        PermissionDenied
            If the account is no administrator of the organization.
        """
        nonpublic.warn(ORGANIZATION, self._platform.transport)
        body = drop_none(username=username, email=email, password=password, quota_in_bytes=quota_bytes)
        what = "creating a user of the organization"
        # CARTO responds with 200 instead of 201.
        path = _users_path(organization)
        return self._platform.json("POST", path, what=what, read=User.from_response, json_body=body, expect=(200, 201))

    def remove_from_organization(self, organization: str, username: str) -> None:
        """Delete a user of an organization. Requires an administrator of the organization."""
        nonpublic.warn(ORGANIZATION, self._platform.transport)
        path = f"{_users_path(organization)}/{quote(username, safe='')}"
        self._platform.delete(path, what="deleting a user of the organization")


def _account(response: Any) -> Account | None:
    """Parse the account in a response; None if it contains none."""
    user_data = record(response).get("user_data")
    if not user_data:
        return None
    organization = user_data.get("organization")
    user = User.from_response(user_data)
    return Account(
        user.id,
        user.username,
        user.email,
        user.quota_bytes,
        user.used_bytes,
        user.table_count,
        remaining_bytes=integer(user_data.get("remaining_byte_quota")),
        remaining_tables=integer(user_data.get("remaining_table_quota")),
        plan=text(user_data, "account_type"),
        organization=Organization(required(organization, "id"), required(organization, "name"))
        if organization
        else None,
    )


def _columns(user: User) -> dict[str, object]:
    """Return what a notebook shows of a user, by label."""
    has_storage = user.quota_bytes is not None or user.used_bytes is not None
    return {
        "name": user.username,
        "email": user.email,
        "storage": f"{format_bytes(user.used_bytes)} of {format_bytes(user.quota_bytes)}" if has_storage else None,
        "tables": user.table_count,
    }


def _page(response: Any) -> tuple[list[User], int]:
    """Parse a page of users; return it and the number of all users."""
    users = [User.from_response(found) for found in records(record(response)["users"])]
    # CARTO exchanges the two: total_entries is the number of users in the page.
    totals = (integer(response.get(name)) or 0 for name in ("total_user_entries", "total_entries"))
    return users, max(totals)


def _known_names(account: Account, members: list[User]) -> str:
    """Describe whose users can be requested, for a message."""
    if account.organization is None:
        return f"the account {account.username!r} does not belong to an organization, so it has no other users"
    names = sorted(member.username for member in members)
    return f"the organization {account.organization.name!r} has the users {names}"


def _users_path(organization: str) -> str:
    return f"{_MEMBERS}/{quote(organization, safe='')}/users"
