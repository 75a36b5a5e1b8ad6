"""API representations of the account's owner, the members and groups of its organization, and of permissions."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cached_property
from typing import Any

from cartoframes_lite.local.catalog.account import PROFILE_FIELDS, Usage, profile, usage
from cartoframes_lite.local.catalog.groups import Group, Groups
from cartoframes_lite.local.catalog.members import (
    ORGANIZATION,
    ORGANIZATION_ID,
    ORGANIZATION_QUOTA_BYTES,
    Member,
    Members,
)
from cartoframes_lite.local.catalog.visualizations import Catalog, Visualization
from cartoframes_lite.local.clock import iso_time
from cartoframes_lite.local.state import State

# Shown to those who may edit the profile only.
_BUSINESS_FIELDS = ("industry", "company_employees", "use_case", "company", "phone", "job_role")


class UserSerializer:
    """Serialize users for one request.

    Parameters
    ----------
    state : State
    catalog : Catalog
    members : Members
    account_url : str
        Base URL of the account.
    """

    def __init__(self, state: State, catalog: Catalog, members: Members, account_url: str) -> None:
        self._state, self._catalog, self._members = state, catalog, members
        self._account_url = account_url

    @property
    def master_token(self) -> str:
        """The master key of the account."""
        return self._state.master_key.token

    @cached_property
    def usage(self) -> Usage:
        """Usage of the account."""
        return usage(self._catalog)

    @cached_property
    def profile(self) -> dict[str, Any]:
        """Profile of the account's owner."""
        return profile(self._state)

    @cached_property
    def all_members(self) -> dict[str, Member]:
        """Members of the organization by id."""
        return {member.id: member for member in self._members.all()}

    @cached_property
    def all_groups(self) -> dict[str, Group]:
        """Groups of the organization by id."""
        return {group.id: group for group in Groups(self._state).all()}

    def owner(self, *, db_size: bool = True, business: bool = True, groups: bool = False) -> dict[str, Any]:
        """Serialize the account's owner for those who may view it.

        Parameters
        ----------
        db_size, business, groups : bool
            Whether to include the used storage, the fields about the owner's business, and the groups.
        """
        shown = {
            "id": self._state.user_id,
            **{field: self.profile[field] for field in PROFILE_FIELDS if field not in _BUSINESS_FIELDS},
            "username": self._state.user,
            "email": self.profile["email"],
            "avatar_url": None,
            "base_url": self._account_url,
            "google_maps_query_string": None,
            "quota_in_bytes": self.usage.quota_bytes,
            "table_count": self.usage.tables,
            "viewer": False,
            "role_display": "builder",
            "org_admin": True,
            "public_visualization_count": self.usage.public_maps,
            "all_visualization_count": self.usage.maps,
            "org_user": True,
            "remove_logo": True,
        }
        if groups:
            shown["groups"] = self.groups_of(self._state.user_id)
        if db_size:
            shown["db_size_in_bytes"] = self.usage.data_bytes
        return shown | ({field: self.profile[field] for field in _BUSINESS_FIELDS} if business else {})

    def public_owner(self, *, groups: bool = False) -> dict[str, Any]:
        """Serialize the account's owner for everybody."""
        shown = {
            "id": self._state.user_id,
            "username": self._state.user,
            "name": self.profile["name"],
            "last_name": self.profile["last_name"],
            "avatar_url": None,
            "base_url": self._account_url,
            "google_maps_query_string": None,
            "disqus_shortname": self.profile["disqus_shortname"],
            "viewer": False,
            "org_admin": True,
            "org_user": True,
            "remove_logo": True,
        }
        return shown | ({"groups": self.groups_of(self._state.user_id)} if groups else {})

    def member(self, member: Member, *, db_size: bool = True, business: bool = True) -> dict[str, Any]:
        """Serialize a member for those who may view it; as `owner`. Members own no tables on this server."""
        public = self.public_member(member)
        shown = {
            **public,
            **dict.fromkeys(("website", "description", "location", "twitter_username")),
            "email": member.email,
            "available_for_hire": False,
            "quota_in_bytes": member.quota_in_bytes,
            "table_count": 0,
            "role_display": "viewer" if member.viewer else "builder",
            "public_visualization_count": 0,
            "all_visualization_count": 0,
        }
        if db_size:
            shown["db_size_in_bytes"] = 0
        return shown | (dict.fromkeys(_BUSINESS_FIELDS) if business else {})

    def public_member(self, member: Member, *, groups: bool = False) -> dict[str, Any]:
        """Serialize a member for everybody."""
        shown = {
            "id": member.id,
            "username": member.username,
            "name": member.name,
            "last_name": member.last_name,
            "avatar_url": None,
            "base_url": f"{self._account_url.rpartition('/')[0]}/{member.username}",
            "google_maps_query_string": None,
            "disqus_shortname": None,
            "viewer": member.viewer,
            "org_admin": member.org_admin,
            "org_user": True,
            "remove_logo": True,
        }
        return shown | ({"groups": self.groups_of(member.id)} if groups else {})

    def groups_of(self, user_id: str) -> list[dict[str, Any]]:
        """Serialize the groups of a user."""
        return [serialize_group(group) for group in self.all_groups.values() if user_id in group.user_ids]

    def users_of(self, group: Group) -> list[dict[str, Any]]:
        """Serialize the users of a group, without e-mail addresses and quotas."""
        members = [self.public_member(one) for one in self.all_members.values() if one.id in group.user_ids]
        return ([self.public_owner()] if self._state.user_id in group.user_ids else []) + members

    def organization(self) -> dict[str, Any]:
        """Serialize the organization."""
        quota_bytes = ORGANIZATION_QUOTA_BYTES
        services = {
            f"{service}_{value}": number
            for service in ("geocoding", "here_isolines", "mapzen_routing")
            for value, number in (("quota", 0), ("block_price", None))
        }
        unknown = (
            "description",
            "discus_shortname",
            "twitter_username",
            "location",
            "website",
            "admin_email",
            "avatar_url",
            "geocoder_provider",
            "isolines_provider",
            "routing_provider",
            "map_views_quota",
            "map_view_block_price",
            "password_expiration_in_d",
        )
        return {
            "created_at": iso_time(self._state.master_key.created_at),
            "display_name": ORGANIZATION,
            "id": ORGANIZATION_ID,
            "name": ORGANIZATION,
            "owner": {
                "id": self._state.user_id,
                "username": self._state.user,
                "avatar_url": None,
                "email": self.profile["email"],
                "groups": self.groups_of(self._state.user_id),
            },
            "admins": [{"id": one.id} for one in self.all_members.values() if one.org_admin],
            "quota_in_bytes": quota_bytes,
            "unassigned_quota": quota_bytes - self._members.assigned_bytes(),
            **services,
            "twitter_datasource_quota": 0,
            "seats": len(self.all_members) + 1,
            "viewer_seats": 0,
            "updated_at": iso_time(self._state.master_key.created_at),
            "user_count": len(self.all_members) + 1,
            "random_saml_username": False,
            **dict.fromkeys(unknown),
        }

    def permission(
        self, visualization: Visualization, *, is_owner: bool, db_size: bool = False, groups: bool = False
    ) -> dict[str, Any]:
        """Serialize the permission of a dataset or map; only for the owner with its access control list.

        Parameters
        ----------
        visualization : Visualization
        is_owner : bool
            Whether the caller is the owner of the account.
        db_size, groups : bool
            Whether to include the used storage of the owner, and the groups of users.
        """
        if not is_owner:
            return {"id": visualization.permission_id, "owner": self.public_owner()}
        return {
            "id": visualization.permission_id,
            "owner": self.owner(db_size=db_size, business=False, groups=groups),
            "entity": {"id": visualization.id, "type": "vis"},
            "acl": self._acl(visualization.acl, groups=groups),
            "created_at": iso_time(visualization.created_at),
            "updated_at": iso_time(visualization.acl_updated_at),
        }

    def _acl(self, acl: Iterable[Mapping[str, str]], *, groups: bool) -> list[dict[str, Any]]:
        """Serialize an access control list; entries of deleted users, groups and organizations are omitted."""
        shown = []
        for entry in acl:
            member, group = self.all_members.get(entry["id"]), self.all_groups.get(entry["id"])
            entity: dict[str, Any] | None = None
            if entry["type"] == "org" and entry["id"] == ORGANIZATION_ID:
                entity = {"id": ORGANIZATION_ID, "name": ORGANIZATION, "avatar_url": None}
            elif entry["type"] == "group" and group is not None:
                entity = {"id": group.id, "name": group.name}
            elif entry["type"] == "user" and member is not None:
                entity = self.public_member(member, groups=groups)
            elif entry["type"] == "user" and entry["id"] == self._state.user_id:
                entity = self.public_owner(groups=groups)
            if entity is not None:
                shown.append({"type": entry["type"], "entity": entity, "access": entry["access"]})
        return shown


def serialize_group(group: Group) -> dict[str, Any]:
    """Serialize a group without its users."""
    return {
        "id": group.id,
        "organization_id": ORGANIZATION_ID,
        "name": group.name,
        "display_name": group.display_name,
    }
